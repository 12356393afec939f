//! Honest parties accept, whatever the size, the processor and the way the gates were recorded.

use super::*;

const SIZES: [usize; 18] = [
    1, 2, 63, 64, 65, 127, 128, 129, 500, 511, 512, 513, 1000, 4095, 4096, 4097, 10_000, 33_000,
];

#[test]
fn honest_proofs_are_accepted_at_every_size() {
    for words in SIZES {
        let gates = Gates::random(words, words as u64);
        let provers: &[Role] = if words < 600 { &Role::ALL } else { &[Role::P2] };
        for &prover in provers {
            let outcome = run_honestly(prover, &gates, 3);
            assert!(
                outcome.accepted(),
                "{words} words: {:?} {:?}",
                outcome.minus,
                outcome.plus
            );
            for verified in [outcome.minus.expect("accepted"), outcome.plus.expect("accepted")] {
                assert_eq!(
                    (verified.prover(), verified.batch(), verified.words()),
                    (prover, 1, words)
                );
            }
        }
    }
}

#[test]
fn degenerate_operands_are_accepted() {
    for fill in [0, u64::MAX, 1, 1 << 63] {
        let mut gates = Gates::random(200, 4);
        for column in gates.x.iter_mut().chain(&mut gates.y).chain(&mut gates.a) {
            column.fill(fill);
        }
        assert!(run_honestly(Role::P1, &gates.multiplied(), 5).accepted());
    }
}

#[test]
fn parties_with_different_processors_agree_on_every_byte() {
    let available: Vec<Kernels> = Level::ALL.into_iter().filter_map(Kernels::at).collect();
    for words in [1, 65, 600, 2100] {
        let gates = Gates::random(words, 6);
        let logs = Role::ALL.map(|role| gates.log(role));
        let mut transcripts = Vec::new();
        for i in 0..3 {
            let kernels = std::array::from_fn(|j| available[(i + j) % available.len()]);
            let outcome = run(Role::P3, &logs, 7, kernels, &mut |_, _| {});
            assert!(outcome.accepted());
            transcripts.push(outcome.messages);
        }
        assert!(transcripts.windows(2).all(|pair| pair[0] == pair[1]));
    }
}

#[test]
fn messages_have_the_lengths_the_shape_says() {
    for words in [1, 64, 65, 5000] {
        let shape = Shape::new(words);
        let outcome = run_honestly(Role::P1, &Gates::random(words, 8), 9);
        assert_eq!(
            outcome.messages.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(),
            kinds(&shape)
        );
        let sent = |from: &[Kind]| {
            let counted = |kind: &Kind| match kind {
                Kind::Values(_) => from.contains(&Kind::Values(0)),
                Kind::Point(_) => from.contains(&Kind::Point(0)),
                other => from.contains(other),
            };
            outcome
                .messages
                .iter()
                .filter(|(kind, _)| counted(kind))
                .map(|(_, bytes)| bytes.len())
                .sum::<usize>()
        };
        assert_eq!(
            sent(&[Kind::Values(0), Kind::Coefficients, Kind::Hash]),
            shape.prover_bytes()
        );
        assert_eq!(
            sent(&[Kind::Seed, Kind::Point(0), Kind::Last, Kind::OpeningMinus]),
            shape.minus_bytes()
        );
    }
}

#[test]
fn a_log_is_proven_in_chunks_with_reused_memory() {
    let words = 1000;
    let gates = Gates::random(words, 10);
    let logs = Role::ALL.map(|role| gates.log_in_chunks_of(256, role));
    let mut parties = Role::ALL.map(|role| proofs(role, 11));
    let mut proven = 0;
    for batch in 0..4 {
        let mut batches: Vec<_> = (0..3)
            .map(|i| Some(parties[i].open(batch, logs[i].chunks().nth(batch as usize).expect("four chunks"))))
            .collect();
        let mut split = || {
            let opened = batches.remove(0).expect("taken once");
            (opened.prover, opened.minus, opened.plus)
        };
        let ((p1, m1, v1), (p2, m2, v2), (p3, m3, v3)) = (split(), split(), split());
        for (prover, minus, plus) in [(p1, m3, v2), (p2, m1, v3), (p3, m2, v1)] {
            let (spaces, verified) = finish(prover, minus, plus);
            for (party, space) in parties.iter_mut().zip(spaces) {
                party.recycle(space);
            }
            proven += verified.words();
        }
    }
    assert_eq!(proven, 3 * words);
}

/// Cuts a frame into messages of the lengths that their receivers expect.
fn cut(frame: &[u8], lengths: impl IntoIterator<Item = usize>) -> Vec<&[u8]> {
    let mut rest = frame;
    let messages = lengths
        .into_iter()
        .map(|length| {
            let (message, after) = rest.split_at(length);
            rest = after;
            message
        })
        .collect();
    assert!(rest.is_empty(), "{} bytes are nobody's", rest.len());
    messages
}

#[test]
fn proofs_of_several_chunks_share_the_frames_of_a_round() {
    // Chunks of 4096 words and of 4 words: 3 rounds and 2. A party sends one frame a round, with whatever its proofs have to say.
    let gates = Gates::random(4100, 15);
    let logs = Role::ALL.map(|role| gates.log_in_chunks_of(4096, role));
    let mut parties = Role::ALL.map(|role| proofs(role, 16));
    let prover = Role::P2;
    let mut open = |role: Role| {
        let party = &mut parties[index(role)];
        let chunks = logs[index(role)].chunks().enumerate();
        chunks
            .map(|(batch, chunk)| party.open(batch as u64, chunk))
            .collect::<Vec<_>>()
    };
    let provers: Vec<_> = open(prover).into_iter().map(|batch| batch.prover).collect();
    let pluses: Vec<_> = open(prover.next())
        .into_iter()
        .map(|batch| batch.plus.evaluate())
        .collect();
    let (mut frame, mut answer) = (Vec::new(), Vec::new());
    let mut verifiers: Vec<_> = open(prover.prev())
        .into_iter()
        .map(|batch| batch.minus.start(&mut frame))
        .collect();
    let lengths: Vec<_> = provers.iter().map(Prover::expects).collect();
    let seeded = provers.into_iter().zip(cut(&frame, lengths));
    let mut provers: Vec<_> = seeded
        .map(|(prover, seed)| prover.seed(seed, &mut answer).expect("honest"))
        .collect();
    // The shorter proof is done with its rounds first, and waits here for the longer one.
    let (mut last_provers, mut last_verifiers, mut coefficients) = (Vec::new(), Vec::new(), Vec::new());
    while !provers.is_empty() {
        frame.clear();
        let lengths: Vec<_> = verifiers.iter().map(MinusRound::expects).collect();
        let rounds = std::mem::take(&mut verifiers)
            .into_iter()
            .zip(cut(&answer, lengths));
        for next in rounds
            .map(|(v, values)| v.values(values, &mut frame).expect("honest"))
            .collect::<Vec<_>>()
        {
            match next {
                MinusNext::Round(v) => verifiers.push(v),
                MinusNext::Last(v) => last_verifiers.push(v),
            }
        }
        answer.clear();
        let lengths: Vec<_> = provers.iter().map(ProverRound::expects).collect();
        for (state, point) in std::mem::take(&mut provers).into_iter().zip(cut(&frame, lengths)) {
            let mut message = Vec::new();
            match state.point(point, &mut message).expect("honest") {
                ProverNext::Round(p) => {
                    provers.push(p);
                    answer.extend_from_slice(&message);
                }
                ProverNext::Last(p) => {
                    last_provers.push(p);
                    coefficients.extend_from_slice(&message);
                }
            }
        }
    }
    // The proofs came to their last step in the order of their length: the second chunk before the first.
    let (mut points, mut openings, mut hashes, mut replies) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let lengths: Vec<_> = last_verifiers.iter().map(MinusLast::expects).collect();
    let minuses: Vec<_> = last_verifiers
        .into_iter()
        .zip(cut(&coefficients, lengths))
        .map(|(v, message)| {
            v.coefficients(message, &mut points, &mut openings)
                .expect("honest")
        })
        .collect();
    let lengths: Vec<_> = last_provers.iter().map(ProverLast::expects).collect();
    for (prover, point) in last_provers.into_iter().zip(cut(&points, lengths)) {
        prover.last(point, &mut hashes).expect("honest");
    }
    let lengths: Vec<_> = pluses.iter().map(PlusReady::expects).collect();
    let pluses = pluses.into_iter().rev().zip(cut(&hashes, lengths));
    let pluses: Vec<_> = pluses
        .map(|(plus, hash)| plus.challenges(hash, &mut replies).expect("honest"))
        .collect();
    let minus_lengths: Vec<_> = minuses.iter().map(MinusOpening::expects).collect();
    let plus_lengths: Vec<_> = pluses.iter().map(PlusOpening::expects).collect();
    let by_minus = minuses
        .into_iter()
        .zip(cut(&replies, minus_lengths))
        .map(|(v, m)| v.check(m).expect("honest").0);
    let by_plus = pluses
        .into_iter()
        .zip(cut(&openings, plus_lengths))
        .map(|(v, m)| v.check(m).expect("honest").0);
    for (a, b) in by_minus.zip(by_plus) {
        assert_eq!((a.batch(), a.words()), (b.batch(), b.words()));
    }
}

/// Runs an honest proof to its end.
fn finish(prover: Prover, minus: VerifierMinus, plus: VerifierPlus) -> ([Workspace; 3], Verified) {
    let (mut a, mut b, mut c) = (Vec::new(), Vec::new(), Vec::new());
    let mut verifier = minus.start(&mut a);
    assert_eq!(prover.expects(), a.len());
    let mut prover = prover.seed(&a, &mut b).expect("honest");
    let (prover, verifier) = loop {
        a.clear();
        assert_eq!(verifier.expects(), b.len());
        let next = verifier.values(&b, &mut a).expect("honest");
        b.clear();
        assert_eq!(prover.expects(), a.len());
        match (prover.point(&a, &mut b).expect("honest"), next) {
            (ProverNext::Round(p), MinusNext::Round(v)) => (prover, verifier) = (p, v),
            (ProverNext::Last(p), MinusNext::Last(v)) => break (p, v),
            _ => panic!("prover and verifier agree on the number of rounds"),
        }
    };
    a.clear();
    assert_eq!(verifier.expects(), b.len());
    let minus = verifier.coefficients(&b, &mut a, &mut c).expect("honest");
    b.clear();
    assert_eq!(prover.expects(), a.len());
    let space = prover.last(&a, &mut b).expect("honest");
    a.clear();
    let plus = plus.evaluate();
    assert_eq!(plus.expects(), b.len());
    let plus = plus.challenges(&b, &mut a).expect("honest");
    assert_eq!((minus.expects(), plus.expects()), (a.len(), c.len()));
    let (verified, minus) = minus.check(&a).expect("honest");
    let (again, plus) = plus.check(&c).expect("honest");
    assert_eq!(verified.prover(), again.prover());
    ([space, minus, plus], verified)
}

#[test]
#[should_panic(expected = "a number is used once in a session")]
fn a_batch_number_used_twice_panics() {
    let log = Gates::random(1, 12).log(Role::P1);
    let mut party = proofs(Role::P1, 13);
    let _ = party.open(5, only_chunk(&log));
    let _ = party.open(5, only_chunk(&log));
}

#[test]
#[should_panic(expected = "still wait for their products")]
fn incomplete_gates_cannot_be_proven() {
    let mut log = Log::default();
    let words = [1, 2];
    log.record([&words, &words], [&words, &words], [&words, &words]);
    log.answer([1].into_iter());
    let _ = only_chunk(&log);
}

#[test]
#[should_panic(expected = "3 products for 2 words")]
fn more_products_than_gates_panic() {
    let mut log = Log::default();
    let words = [1, 2];
    log.record([&words, &words], [&words, &words], [&words, &words]);
    log.answer([1, 2, 3].into_iter());
}

#[test]
fn kept_memory_forgets() {
    let gates = Gates::random(130, 14);
    let mut log = gates.log(Role::P1);
    log.take_all().into_iter().for_each(|chunk| log.keep(chunk));
    assert!(log.is_empty());
    let words = [3];
    log.record([&words, &words], [&words, &words], [&words, &words]);
    log.answer([0].into_iter());
    let chunk = only_chunk(&log);
    assert_eq!(chunk.words(), 1);
    for column in [chunk.x()[0], chunk.y()[1], chunk.c_minus(), chunk.c_plus()] {
        assert_eq!(column.len(), GROUP);
        assert!(column[1..].iter().all(|&word| word == 0));
    }
}
