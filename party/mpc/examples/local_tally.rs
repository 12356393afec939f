//! Tallies a synthetic box in memory, one thread a party, and prints seconds, bytes sent and rounds of each phase.
//!
//! `cargo run --release -p tally-mpc --example local_tally -- [voters] [ballots] [lan|wan]`

use std::time::{Duration, Instant};

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use tally_mpc::layout::split_credential;
use tally_mpc::local::run_trio;
use tally_mpc::{
    BallotKind, BallotLayout, Binding, Choice, Contest, Counts, Observer, OpenedCounts, Phase, Role, Seed,
    Seeds, Shape, SortParams, TallyInput, TallyParams, Traffic, tally,
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
    let (inputs, expected) = inputs(voters, ballots);
    let inputs = std::sync::Mutex::new(inputs.map(Some));
    let start = Instant::now();
    let [result, ..] = run_trio(|role, mut channel| {
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
        let outcome = tally(&seeds, &binding, input, &mut channel, &mut report, &params);
        (outcome, report)
    });
    let seconds = start.elapsed().as_secs_f64();
    let (outcome, report) = result;
    let outcome = outcome.expect("an honest tally");
    assert_eq!(
        outcome.contests[0].options, expected,
        "the tally is the plain count"
    );
    assert!(matches!(outcome.counts, Counts::PerChannel { .. }));
    println!("{voters} voters, {ballots} ballots, three threads in memory, curious-only");
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
}
