//! Tallies a synthetic box in memory, one thread a party, and prints seconds, bytes sent and rounds of each phase: first without the
//! checks that hold a malicious party, then with them, and the ratio of the two.
//!
//! `cargo run --release -p tally-mpc --features curious --example local_tally -- [voters] [ballots] [lan|wan]`

use std::time::{Duration, Instant};

use ed25519_dalek::{Signature, Signer, SigningKey, Verifier, VerifyingKey};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use tally_mpc::curious::tally_without_checks;
use tally_mpc::layout::split_credential;
use tally_mpc::local::run_trio;
use tally_mpc::{
    BallotKind, BallotLayout, Binding, Choice, Contest, Counts, Notary, Observer, OpenedCounts, Phase, Role,
    Seed, Seeds, Shape, SortParams, TallyInput, TallyParams, Traffic, tally,
};

const OPTIONS: u32 = 6;

#[derive(Default)]
struct Report {
    started: Option<Instant>,
    phases: Vec<(Phase, Duration, Traffic)>,
}

impl Observer for Report {
    fn phase_started(&mut self, _: Phase) {
        self.started = Some(Instant::now());
    }

    fn phase_finished(&mut self, phase: Phase, traffic: &Traffic) {
        self.phases.push((
            phase,
            self.started.map_or(Duration::ZERO, |at| at.elapsed()),
            *traffic,
        ));
    }
}

fn inputs(voters: u32, ballots: u32) -> ([TallyInput; 3], Vec<u64>) {
    let layout = BallotLayout::new(
        BallotLayout::index_bits_for(voters),
        vec![Contest::Single { options: OPTIONS }],
    )
    .expect("a valid layout");
    let electronic = ballots / 10;
    let shape = Shape {
        voters,
        online: ballots - electronic,
        electronic,
        paper: 0,
    };
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let mut builders =
        Role::ALL.map(|role| TallyInput::builder(role, &layout, shape).expect("the shape fits the layout"));
    let credentials: Vec<u64> = (0..voters).map(|_| rng.next_u64()).collect();
    for &credential in &credentials {
        let shares = split_credential(credential, &mut rng);
        for (i, builder) in builders.iter_mut().enumerate() {
            builder
                .push_voter(true, true, *shares[i], *shares[(i + 1) % 3])
                .expect("a voter is due");
        }
    }
    let mut votes = vec![0u32; voters as usize];
    for ballot in 0..ballots {
        let index = (rng.next_u64() % u64::from(voters)) as u32;
        let option = rng.next_u32() % OPTIONS + 1;
        let online = ballot < shape.online;
        let fake = online && rng.next_u32() % 20 == 0;
        let credential = credentials[index as usize] ^ u64::from(fake);
        let plain = layout
            .pack(index, credential, &[Choice::Options(vec![option])])
            .expect("a valid ballot");
        let shares = layout.split(&plain, &mut rng).expect("a packed ballot");
        let kind = if online {
            BallotKind::Online
        } else {
            BallotKind::Electronic
        };
        for (i, builder) in builders.iter_mut().enumerate() {
            builder
                .push_ballot(kind, &shares[i], &shares[(i + 1) % 3])
                .expect("a ballot is due");
        }
        if !fake {
            votes[index as usize] = option;
        }
    }
    let mut totals = vec![0; OPTIONS as usize];
    votes
        .iter()
        .filter(|&&v| v > 0)
        .for_each(|&v| totals[v as usize - 1] += 1);
    (
        builders.map(|builder| builder.finish().expect("all rows were pushed")),
        totals,
    )
}

fn main() {
    let mut args = std::env::args().skip(1);
    let mut number = |default| args.next().map_or(default, |arg| arg.parse().expect("a number"));
    let (voters, ballots) = (number(100_000), number(100_000));
    let sort = if args.next().as_deref() == Some("wan") {
        SortParams::WAN
    } else {
        SortParams::LAN
    };
    let params = TallyParams {
        counts: OpenedCounts::PerChannel,
        sort,
    };
    println!("{voters} voters, {ballots} ballots, three threads in memory");
    let curious = run(voters, ballots, &params, false);
    let checked = run(voters, ballots, &params, true);
    let more = |checked: f64, curious: f64| 100.0 * (checked / curious - 1.0);
    println!(
        "\nthe checks take {:.0} % more time, {:.0} % more CPU time and {:.1} % more bytes",
        more(checked.seconds, curious.seconds),
        more(checked.cpu, curious.cpu),
        more(checked.sent as f64, curious.sent as f64)
    );
}

/// Ed25519 under keys that follow from the role.
struct Keys {
    own: SigningKey,
    all: [VerifyingKey; 3],
}

impl Keys {
    fn new(role: Role) -> Self {
        let key = |role: Role| SigningKey::from_bytes(&[role.index(); 32]);
        Self {
            own: key(role),
            all: Role::ALL.map(|role| key(role).verifying_key()),
        }
    }
}

impl Notary for Keys {
    fn sign(&mut self, statement: &[u8]) -> [u8; 64] {
        self.own.sign(statement).to_bytes()
    }

    fn verify(&mut self, signer: Role, statement: &[u8], signature: &[u8; 64]) -> bool {
        let key = &self.all[signer.index() as usize - 1];
        key.verify(statement, &Signature::from_bytes(signature)).is_ok()
    }
}

/// What one tally took.
struct Cost {
    seconds: f64,
    /// CPU seconds of the three parties.
    cpu: f64,
    /// Bytes that the three parties sent.
    sent: u64,
}

/// One tally.
fn run(voters: u32, ballots: u32, params: &TallyParams, checked: bool) -> Cost {
    let (inputs, expected) = inputs(voters, ballots);
    let inputs = std::sync::Mutex::new(inputs.map(Some));
    let (start, cpu) = (Instant::now(), cpu_seconds());
    let results = run_trio(|role, mut channel| {
        let i = role.index();
        let seeds = Seeds {
            prev: Seed::new([i; 32]),
            next: Seed::new([role.next().index(); 32]),
        };
        let binding = Binding::new(&[0; 32], b"example", b"box", 1);
        let input = inputs.lock().expect("no thread panics")[i as usize - 1]
            .take()
            .expect("one input a party");
        let mut report = Report::default();
        let outcome = if checked {
            let mut keys = Keys::new(role);
            tally(
                &seeds,
                &binding,
                input,
                &mut channel,
                &mut keys,
                &mut report,
                params,
            )
        } else {
            tally_without_checks(&seeds, &binding, input, &mut channel, &mut report, params)
        };
        (outcome, report)
    });
    let seconds = start.elapsed().as_secs_f64();
    let cpu = cpu_seconds() - cpu;
    let sent = results
        .iter()
        .flat_map(|(_, report)| &report.phases)
        .map(|(_, _, traffic)| traffic.bytes_sent)
        .sum();
    let [(outcome, report), ..] = results;
    let outcome = outcome.expect("an honest tally");
    assert_eq!(
        outcome.contests[0].options, expected,
        "the tally is the plain count"
    );
    assert!(matches!(outcome.counts, Counts::PerChannel { .. }));
    println!(
        "\n{}, P1:",
        if checked {
            "against one malicious party"
        } else {
            "without checks"
        }
    );
    println!(
        "{:<8} {:>9} {:>14} {:>8} {:>9}",
        "phase", "seconds", "bytes sent", "rounds", "messages"
    );
    let mut all = Traffic::default();
    for (phase, time, traffic) in &report.phases {
        println!(
            "{:<8} {:>9.3} {:>14} {:>8} {:>9}",
            phase.name(),
            time.as_secs_f64(),
            traffic.bytes_sent,
            traffic.rounds,
            traffic.messages_sent
        );
        all += *traffic;
    }
    println!(
        "{:<8} {seconds:>9.3} {:>14} {:>8} {:>9}",
        "total", all.bytes_sent, all.rounds, all.messages_sent
    );
    println!("{cpu:.2} CPU seconds of the three parties");
    Cost { seconds, cpu, sent }
}

/// User and system time of this process: fields 14 and 15 of proc(5), in ticks of 1/100 s; zero where there is no such file.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, after)| after);
    fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<f64>().ok())
        .sum::<f64>()
        / 100.0
}
