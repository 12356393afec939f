use std::sync::Once;

use tally_proto::fixture::{Shape, World, cards};
use tally_proto::manifest::Manifest;
use tally_proto::ticket::{Draw, TicketError};

use super::*;
use crate::bundle::tests::directory_of;
use crate::directory::Directory;
use crate::roll;

const RECORD: usize = Records::<1>::BYTES;

pub(crate) struct Scene {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) world: World,
    pub(crate) election: Election,
}

pub(crate) fn scene() -> Scene {
    scene_of(Shape {
        tickets: true,
        ..Shape::default()
    })
}

/// An election with tickets.
pub(crate) fn scene_of(shape: Shape) -> Scene {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(tally_proto::connect::install_tls_provider);
    let world = World::new(shape);
    let dir = tempfile::tempdir().expect("dir");
    let directory: Directory = directory_of(&world, dir.path());
    let mut csv = String::from("box,reference,online,code\n");
    let closed: &[_] = if shape.open.is_none() { &world.rolls } else { &[] };
    for (id, of_box) in (1..).zip(closed) {
        for entry in of_box.entries() {
            let online = if entry.online { "yes" } else { "no" };
            let codes: Vec<String> = entry.persons.iter().map(|code| code.to_string()).collect();
            csv += &format!("{id},{},{online},{}\n", entry.reference, codes.join(" "));
        }
    }
    let roll = roll::parse(csv.as_bytes(), Path::new("roll.csv"), &[1, 2]).expect("roll");
    let manifest = world.manifest.manifest();
    let days = manifest
        .ticketing()
        .expect("tickets")
        .keys()
        .iter()
        .map(|key| key.day());
    let keys: Vec<_> = days
        .zip(&world.ticket_signers)
        .map(|(day, signer)| {
            let der = signer.to_der().expect("encodes");
            (day, TicketSigner::from_der(&der).expect("just made"))
        })
        .collect();
    let election = directory
        .create_election(
            (*world.manifest).clone(),
            &roll,
            &keys,
            shape.cards.then_some(&cards::SALT),
        )
        .expect("stored");
    Scene { dir, world, election }
}

impl Scene {
    pub(crate) fn manifest(&self) -> &Manifest {
        self.world.manifest.manifest()
    }

    pub(crate) fn code(&self, byte: u8) -> DrawCode {
        DrawCode::from_slice(&[byte; DrawCode::BYTES]).expect("ten bytes")
    }

    /// Voter v of box 1 has the code of byte v + 1.
    pub(crate) fn admit(&self, voters: u8) -> Result<usize, Error> {
        let mut csv = format!("{HASHES_HEADER}\n");
        for v in 0..voters {
            let hash = self
                .code(v + 1)
                .hash(&self.world.manifest.hash(), BoxId(1), VoterIndex(v.into()));
            csv += &format!("1,{v},{hash}\n");
        }
        let file = self.dir.path().join("draw-hashes.csv");
        std::fs::write(&file, csv).expect("written");
        admit(&self.election, &file)
    }

    fn desk(&self) -> Arc<Desk> {
        let desk = Desk::open(&self.election, Arc::default()).expect("opens");
        Arc::new(desk.expect("there are tickets"))
    }

    fn draw(&self, seed: u8) -> Draw<'_> {
        let ticketing = self.manifest().ticketing().expect("tickets");
        Draw::new(self.manifest().election(), ticketing, &[seed; 32]).expect("keys")
    }

    pub(crate) fn request(&self, v: u32, code: u8, seed: u8) -> wire::DrawRequest {
        wire::DrawRequest {
            election: self.manifest().election().as_str().to_owned(),
            r#box: 1,
            v,
            code: vec![code; DrawCode::BYTES],
            blinded: self.draw(seed).request(),
        }
    }
}

/// Admits and answers.
pub(crate) fn drawn(desk: &Arc<Desk>, request: &wire::DrawRequest) -> Result<wire::DrawReply, Refusal> {
    match desk.admit(request)? {
        Admitted::Answered(reply) => Ok(reply),
        Admitted::Due(due) => due.draw(request),
    }
}

pub(crate) fn reason(answer: Result<wire::DrawReply, Refusal>) -> Reason {
    answer.expect_err("refused").reason
}

#[test]
fn a_voter_draws_a_few_times_and_an_answered_request_is_answered_again_for_ever() {
    let scene = scene();
    let desk = scene.desk();
    assert_eq!(
        reason(drawn(&desk, &scene.request(0, 1, 1))),
        Reason::DrawNotReady
    );
    assert_eq!(scene.admit(2).expect("admitted"), 2);
    let first = drawn(&desk, &scene.request(0, 1, 1)).expect("drawn");
    let own = scene.draw(1).finish(&first.signatures).expect("good");
    assert_eq!(own.len(), scene.manifest().ticketing().expect("tickets").drawn());
    // More devices, until the draws are used up. What was answered is answered again, also after a restart.
    let mut answers = vec![first];
    let last = loop {
        let seed = answers.len() as u8 + 1;
        match drawn(&desk, &scene.request(0, 1, seed)) {
            Ok(answer) => answers.push(answer),
            refused => break reason(refused),
        }
    };
    assert_eq!(last, Reason::DrawExhausted);
    let draws = answers.len() as u8;
    drop(desk);
    let desk = scene.desk();
    for (seed, answer) in (1..).zip(&answers) {
        assert_eq!(drawn(&desk, &scene.request(0, 1, seed)).as_ref(), Ok(answer));
    }
    let more = scene.request(0, 1, draws + 1);
    assert_eq!(
        reason(drawn(&desk, &more)),
        Reason::DrawExhausted,
        "as many as before"
    );
    // A lost device must not lose the vote: the commission grants one more, to this voter alone.
    let reference = scene.world.rolls[0].entries()[0].reference.clone();
    grant(&scene.election, &reference).expect("granted");
    drawn(&desk, &more).expect("granted");
    assert_eq!(
        reason(drawn(&desk, &scene.request(0, 1, draws + 2))),
        Reason::DrawExhausted
    );
    assert!(matches!(
        grant(&scene.election, "nobody"),
        Err(Error::UnknownVoter(_))
    ));
    // A disk that was full has taken a part of a line, which is nobody's grant and spoils none.
    let place = scene.election.path().join(GRANTS);
    let granted = |voter| desk.grants(voter).expect("read");
    std::fs::write(&place, "0,0\n1,1\n1,12").expect("torn");
    assert_eq!((granted((1, 12)), granted((1, 1))), (0, 1));
    grant(&scene.election, &reference).expect("granted");
    let lines = std::fs::read_to_string(&place).expect("read");
    assert_eq!(lines, "0,0\n1,1\n1,0\n", "box 1, voter 0");
    std::fs::remove_file(&place).expect("removed");
    std::fs::create_dir(&place).expect("what cannot be read");
    assert_eq!(
        reason(drawn(&desk, &scene.request(0, 1, draws + 2))),
        Reason::Internal,
        "and not used up for good"
    );
    std::fs::remove_dir(&place).expect("removed");
    drawn(&desk, &scene.request(1, 2, 50)).expect("another voter has draws of their own");
    // Nothing of a code or a ticket is on the disk: hashes of requests, and of codes.
    let book = std::fs::read(scene.election.path().join(DRAWS)).expect("a book");
    assert_eq!(book.len(), (usize::from(draws) + 2) * RECORD);
}

#[test]
fn who_has_no_code_draws_nothing_and_uses_up_nothing() {
    let scene = scene();
    scene.admit(2).expect("admitted");
    let desk = scene.desk();
    let wrong = drawn(&desk, &scene.request(0, 9, 1)).expect_err("another code");
    // Whether a voter is on the list is not told apart from a wrong code.
    let unlisted = drawn(&desk, &scene.request(4, 1, 1)).expect_err("not on the list");
    let others = drawn(&desk, &scene.request(0, 2, 1)).expect_err("another voter's");
    assert_eq!(wrong.reason, Reason::DrawRefused);
    assert_eq!((&unlisted, &others), (&wrong, &wrong));
    let mut short = scene.request(0, 1, 1);
    short.code.pop();
    assert_eq!(reason(drawn(&desk, &short)), Reason::MessageMalformed);
    let mut few = scene.request(0, 1, 1);
    few.blinded.pop();
    assert_eq!(reason(drawn(&desk, &few)), Reason::MessageMalformed);
    let mut ragged = scene.request(0, 1, 1);
    ragged.blinded[0].pop();
    assert_eq!(reason(drawn(&desk, &ragged)), Reason::MessageMalformed);
    let mut large = scene.request(0, 1, 1);
    large.blinded[3] = vec![0xff; RSA_BYTES];
    assert_eq!(reason(drawn(&desk, &large)), Reason::MessageMalformed);
    for seed in [1, 2] {
        drawn(&desk, &scene.request(0, 1, seed)).expect("no draw was used up");
    }
}

#[test]
fn a_letter_that_is_issued_again_brings_a_code_and_takes_nobodys_away() {
    let scene = scene();
    assert_eq!(scene.admit(3).expect("admitted"), 3);
    let desk = scene.desk();
    drawn(&desk, &scene.request(1, 2, 1)).expect("drawn");
    // The registrar hands over the one line of a re-issue, for voter 1.
    let again = scene.dir.path().join("again.csv");
    let hash = scene
        .code(77)
        .hash(&scene.world.manifest.hash(), BoxId(1), VoterIndex(1));
    std::fs::write(&again, format!("{HASHES_HEADER}\n1,1,{hash}\n")).expect("written");
    for _ in 0..2 {
        assert_eq!(admit(&scene.election, &again).expect("admitted"), 3);
    }
    let kept = std::fs::read_to_string(scene.election.path().join(HASHES)).expect("kept");
    assert_eq!(kept.lines().count(), 1 + 4, "{kept}");
    // Each of the others draws as before, the voter with both codes, and nobody with that voter's.
    for (v, code, seed) in [(0, 1, 2), (2, 3, 3), (1, 2, 4), (1, 77, 5)] {
        drawn(&desk, &scene.request(v, code, seed)).unwrap_or_else(|error| panic!("voter {v}: {error}"));
    }
    let others = drawn(&desk, &scene.request(0, 77, 6));
    assert_eq!(reason(others), Reason::DrawRefused);
    // The registrar's first file again changes nothing.
    assert_eq!(scene.admit(3).expect("admitted"), 3);
    drawn(&desk, &scene.request(1, 77, 5)).expect("answered again");
}

#[test]
fn a_torn_book_is_cut_and_a_damaged_file_is_named() {
    let scene = scene();
    scene.admit(1).expect("admitted");
    drawn(&scene.desk(), &scene.request(0, 1, 1)).expect("drawn");
    let book = scene.election.path().join(DRAWS);
    let whole = std::fs::read(&book).expect("a book");
    for torn in 0..RECORD {
        std::fs::write(&book, [&whole[..], &vec![7; torn]].concat()).expect("torn");
        let desk = scene.desk();
        drawn(&desk, &scene.request(0, 1, 1)).expect("the same again");
        assert_eq!(std::fs::read(&book).expect("a book"), whole, "{torn}");
    }
    for (text, line) in [
        ("", 1),
        ("box,index,code\n", 1),
        ("box,index,hash\n1,0,00\n", 2),
        (
            &format!(
                "box,index,hash\n1,0,{}\n1,0,{}\n",
                "ab".repeat(32),
                "cd".repeat(32)
            ),
            3,
        ),
        (&format!("box,index,hash\n1,0,{},x\n", "ab".repeat(32)), 2),
    ] {
        let file = scene.dir.path().join("bad.csv");
        std::fs::write(&file, text).expect("written");
        let error = admit(&scene.election, &file).expect_err("refused");
        assert!(
            matches!(error, Error::DrawHashes { line: found, .. } if found == line),
            "{error}"
        );
    }
    assert_eq!(
        scene.desk().identify((1, 0), &[1; 10]).map_err(|r| r.reason),
        Ok((1, 0)),
        "the old file stands"
    );
    // Keys that are not the manifest's.
    let day = scene.manifest().ticketing().expect("tickets").keys()[0].day();
    let keys = scene.election.path().join(KEYS);
    let (first, second) = (keys.join(day.get().to_string()), {
        let day = scene.manifest().ticketing().expect("tickets").keys()[1].day();
        keys.join(day.get().to_string())
    });
    std::fs::copy(&second, &first).expect("swapped");
    let opened = Desk::open(&scene.election, Arc::default());
    assert!(matches!(opened, Err(Error::Stored { .. })));
    std::fs::write(&first, "no key").expect("damaged");
    assert!(Desk::open(&scene.election, Arc::default()).is_err());
}

#[test]
fn what_the_coordinator_sees_of_two_draws_says_nothing_of_the_tickets() {
    // It answers two voters and later sees their tickets in use. Blinded and unblinded numbers share no field, and each draw is as good an
    // explanation of each ticket: for every pair there is a blinding factor. Here: no bytes of the one occur in the other.
    let scene = scene();
    scene.admit(2).expect("admitted");
    let desk = scene.desk();
    let mut seen = Vec::new();
    let mut used = Vec::new();
    for (v, seed) in [(0, 1), (1, 2)] {
        let request = scene.request(v, v as u8 + 1, seed);
        let reply = drawn(&desk, &request).expect("drawn");
        seen.extend(request.blinded.iter().chain(&reply.signatures).cloned());
        used.extend(scene.draw(seed).finish(&reply.signatures).expect("good"));
    }
    for own in &used {
        let ticket = own.ticket().to_wire();
        for field in [&ticket.key, &ticket.randomizer, &ticket.signature] {
            for bytes in &seen {
                assert!(
                    !bytes
                        .windows(16)
                        .any(|window| field.windows(16).any(|w| w == window))
                );
            }
        }
    }
    assert!(matches!(
        scene.draw(1).finish(&[]),
        Err(TicketError::Count { actual: 0, .. })
    ));
}

#[test]
fn how_many_draws_are_left_says_little() {
    let scene = scene();
    let desk = scene.desk();
    let manifest = u64::from(scene.manifest().ticketing().expect("tickets").draws());
    let of = |desk: &Desk, v| manifest + desk.surplus((1, v)) as u64;
    let all: Vec<u64> = (0..900).map(|v| of(&desk, v)).collect();
    for draws in manifest..=manifest + MOST_SURPLUS {
        let voters = all.iter().filter(|of| **of == draws).count();
        assert!(
            (60..=140).contains(&voters),
            "{voters} of 900 voters have {draws} draws"
        );
    }
    assert!(
        all.iter()
            .all(|of| (manifest..=manifest + MOST_SURPLUS).contains(of))
    );
    // The same after a restart.
    drop(desk);
    let again = scene.desk();
    assert!((0..900).all(|v| of(&again, v) == all[v as usize]));
}

#[test]
fn one_voter_has_one_draw_under_way_and_a_repeat_costs_nothing() {
    let scene = scene();
    scene.admit(2).expect("admitted");
    let desk = scene.desk();
    let request = scene.request(0, 1, 1);
    let Ok(Admitted::Due(due)) = desk.admit(&request) else {
        panic!("a first draw is due")
    };
    for repeat in [&request, &scene.request(0, 1, 2)] {
        assert_eq!(
            desk.admit(repeat).expect_err("under way").reason,
            Reason::PartyBusy
        );
    }
    assert!(
        matches!(desk.admit(&scene.request(1, 2, 3)), Ok(Admitted::Due(_))),
        "another voter's is"
    );
    let reply = due.draw(&request).expect("drawn");
    drop(due);
    for _ in 0..200 {
        let Ok(Admitted::Answered(again)) = desk.admit(&request) else {
            panic!("a repeat is answered from memory")
        };
        assert_eq!(again, reply);
    }
    // A caller that went away does not hold the voter up.
    drop(desk.admit(&scene.request(0, 1, 2)).expect("due"));
    assert!(matches!(
        desk.admit(&scene.request(0, 1, 2)),
        Ok(Admitted::Due(_))
    ));
}

#[test]
fn answers_made_again_keep_nobody_from_drawing() {
    let scene = scene();
    scene.admit(2).expect("admitted");
    let desk = scene.desk();
    let old = scene.request(0, 1, 1);
    drawn(&desk, &old).expect("drawn");
    // After a restart no answer is in memory: the one who holds a code asks for the old one.
    drop(desk);
    let desk = scene.desk();
    let Ok(Admitted::Due(again)) = desk.admit(&old) else {
        panic!("made again")
    };
    assert!(again.is_again(), "it waits among its like");
    assert_eq!(desk.admit(&old).expect_err("once").reason, Reason::PartyBusy);
    // The voter's own new draw, on another device, is not held up by it.
    let Ok(Admitted::Due(new)) = desk.admit(&scene.request(0, 1, 2)) else {
        panic!("due")
    };
    assert!(!new.is_again());
    drop((again, new));
    assert!(matches!(desk.admit(&old), Ok(Admitted::Due(_))));
}
