//! A small election, its plain count, and the sealed box that a party is handed of it.

use super::*;

pub(super) const ELECTION: &str = "ward-7";
pub(super) const BOX: u32 = 3;

/// A small election and its plain count.
pub(super) struct Election {
    layout: BallotLayout,
    shape: Shape,
    voters: Vec<(bool, bool, u64)>,
    ballots: Vec<(BallotKind, u32, u64, Choice)>,
    network: Network,
    pub(super) seed: u64,
}

impl Election {
    pub(super) fn new(voters: u32, online: u32, electronic: u32, paper: u32, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let bits = BallotLayout::index_bits_for(voters);
        let layout = BallotLayout::new(bits, vec![Contest::Single { options: 4 }]).expect("a layout");
        let roll: Vec<(bool, bool, u64)> = (0..voters)
            .map(|_| {
                (
                    rng.random_range(0..9) != 0,
                    rng.random_range(0..9) != 0,
                    rng.random(),
                )
            })
            .collect();
        let ballots = (0..online + electronic + paper)
            .map(|i| {
                let kind = match i {
                    i if i < online => BallotKind::Online,
                    i if i < online + electronic => BallotKind::Electronic,
                    _ => BallotKind::Paper,
                };
                let index = rng.random_range(0..1u32 << bits);
                let held = roll.get(index as usize).map_or(0, |voter| voter.2);
                let credential = if rng.random_range(0..5) == 0 {
                    rng.random()
                } else {
                    held
                };
                let choice = match rng.random_range(0..6) {
                    0 => Choice::Spoilt,
                    1 => Choice::Blank,
                    n => Choice::Options(vec![n - 1]),
                };
                (kind, index, credential, choice)
            })
            .collect();
        Self {
            layout,
            shape: Shape {
                voters,
                online,
                electronic,
                paper,
            },
            voters: roll,
            ballots,
            network: Network::default(),
            seed,
        }
    }

    /// The same, for parties so far apart.
    pub(super) fn over(self, network: Network) -> Self {
        Self { network, ..self }
    }

    pub(super) fn input(&self, role: Role) -> TallyInput {
        let mut rng = StdRng::seed_from_u64(self.seed + 1);
        let (own, next) = (role.slot(), role.next().slot());
        let mut input = TallyInput::builder(role, &self.layout, self.shape).expect("fits");
        for (live, enrolled, credential) in &self.voters {
            let shares = split_credential(*credential, &mut rng);
            input
                .push_voter(*live, *enrolled, *shares[own], *shares[next])
                .expect("in order");
        }
        for (kind, index, credential, choice) in &self.ballots {
            let plain = self
                .layout
                .pack(*index, *credential, std::slice::from_ref(choice))
                .expect("packs");
            let shares = self.layout.split(&plain, &mut rng).expect("splits");
            input
                .push_ballot(*kind, &shares[own], &shares[next])
                .expect("in order");
        }
        input.finish().expect("complete")
    }

    pub(super) fn count(&self) -> wire::Result {
        let mut last = vec![None; self.voters.len()];
        for (kind, index, credential, choice) in &self.ballots {
            let Some((live, enrolled, true_one)) = self.voters.get(*index as usize) else {
                continue;
            };
            if *live && (*kind != BallotKind::Online || (*enrolled && credential == true_one)) {
                last[*index as usize] = Some((*kind, choice));
            }
        }
        let mut contest = wire::ContestResult {
            contest: 9,
            totals: vec![0; 4],
            spoilt: 0,
        };
        let (mut online, mut station) = (0, 0);
        for (kind, choice) in last.into_iter().flatten() {
            match kind {
                BallotKind::Online => online += 1,
                BallotKind::Electronic => station += 1,
                BallotKind::Paper => continue,
            }
            match choice {
                Choice::Options(chosen) => contest.totals[chosen[0] as usize - 1] += 1,
                Choice::Spoilt => contest.spoilt += 1,
                _ => {}
            }
        }
        wire::Result {
            seal_hash: vec![7; 32],
            election: ELECTION.into(),
            r#box: BOX,
            contests: vec![contest],
            counted_online: Some(online),
            counted_station: Some(station),
        }
    }
}

pub(super) fn result_of(outcome: &Outcome) -> wire::Result {
    let contest = &outcome.contests[0];
    let Counts::PerChannel { online, electronic } = outcome.counts else {
        panic!("asked for")
    };
    wire::Result {
        seal_hash: vec![7; 32],
        election: ELECTION.into(),
        r#box: BOX,
        contests: vec![wire::ContestResult {
            contest: 9,
            totals: contest.options.clone(),
            spoilt: contest.spoilt,
        }],
        counted_online: Some(online),
        counted_station: Some(electronic),
    }
}

pub(super) struct Synthetic {
    pub(super) election: Arc<Election>,
    pub(super) role: Role,
    pub(super) keys: [PublicKey; 3],
    pub(super) refusing: Arc<Mutex<Vec<Role>>>,
}

impl TallySource for Synthetic {
    fn ready(&self, election: &ElectionId, of_box: BoxId) -> Result<Ready, Refusal> {
        if (election.as_str(), of_box.get()) != (ELECTION, BOX) {
            return Err(Refusal::new(Reason::BoxUnknown, "no such box here"));
        }
        let (rows, role) = (Arc::clone(&self.election), self.role);
        Ok(Ready {
            seal_hash: Hash32([7; 32]),
            keys: self.keys,
            params: TallyParams {
                counts: OpenedCounts::PerChannel,
                sort: self.election.network.sort_params(),
            },
            input: Box::new(move || Ok(rows.input(role))),
            conclude: {
                let refuses = self.refusing.lock().expect("not poisoned").contains(&role);
                Box::new(move |outcome| {
                    if refuses {
                        return Err(ResultError::Contests);
                    }
                    BoxResult::from_wire(&result_of(outcome))
                })
            },
        })
    }
}
