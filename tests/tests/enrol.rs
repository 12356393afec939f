//! Voters who enrol with cards at three real parties: PKCS#12 files, and SoftHSM tokens for each kind of key; what they made is what the
//! parties hold, what goes wrong with a card is said in words of its own, and a party that lies is named.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::{SeedableRng, rngs::StdRng};
use tally_client::card::{Card, CardFailure, CardFile, Token};
use tally_client::{
    Choices, Connections, Device, DrawCodeError, Election, EnrolError, Voter, enrol, enrol_with,
    register_draw_code,
};
use tally_party::store::{Kind, accepted};
use tally_proto::fixture::cards::{self, CardKey, CardShape, DAY, called};
use tally_proto::fixture::{OPENS, Shape};
use tally_proto::ids::{BoxId, Digest, Role, VoterIndex};
use tally_proto::reason::Reason;
use tally_proto::record::RecordHeader;
use tally_proto::ticket::DrawCode;
use zeroize::Zeroizing;

#[path = "../../party/tests/world/mod.rs"]
mod world;

#[path = "enrol/liars.rs"]
mod liars;
#[path = "enrol/one_refuses.rs"]
mod one_refuses;
mod soft_hsm;
#[path = "enrol/tokens.rs"]
mod tokens;

use soft_hsm::{PASSWORD, PIN};
use world::{Party, World};

async fn start() -> (World, Vec<Party>) {
    start_with(false).await
}

/// `tickets`: whether online ballots need them.
async fn start_with(tickets: bool) -> (World, Vec<Party>) {
    let world = World::new(Shape {
        cards: true,
        tickets,
        ..Shape::default()
    });
    let (clock, begun) = (world.clock.clone(), Instant::now());
    let now_ms = move || (OPENS + 100) * 1000 + begun.elapsed().as_millis() as u64;
    clock.set(now_ms());
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            clock.set(now_ms());
        }
    });
    let mut parties = Vec::new();
    for role in Role::ALL {
        world.write_revocations(role, &[], OPENS - DAY, OPENS + DAY);
        parties.push(world.start_in_force(role).await);
    }
    (world, parties)
}

fn election(world: &World) -> Election {
    Election::new((*world.fixture.manifest).clone()).expect("complete")
}

fn connections(world: &World, parties: &[Party]) -> Connections {
    let channels = std::array::from_fn(|at| parties[at].public_channel());
    Connections::over(&election(world), channels, parties[0].public_channel())
}

fn card(world: &mut World, shape: &CardShape) -> cards::Card {
    world.fixture.cards.as_mut().expect("cards").card(shape)
}

fn pkcs12(world: &World, card: &cards::Card) -> PathBuf {
    let issuing = &world.fixture.cards.as_ref().expect("cards").issuing;
    soft_hsm::pkcs12(world.root.path(), issuing, card)
}

/// Waits for the next second: a record's serial is its second.
async fn next_second(world: &World) {
    let second = world.clock_s();
    while world.clock_s() == second {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Enrols and checks that the parties' shares are those of the invitation's credential.
async fn enrolled(world: &World, parties: &[Party], card: &Card, voter: u32) -> tally_client::Enrolled {
    let mut asked = 0;
    let mut ask = |question: &str| {
        assert!(question.contains("PIN of the card"), "{question}");
        asked += 1;
        Ok(Zeroizing::new(PIN.to_owned()))
    };
    let before = records(&parties[0]).len();
    let connections = connections(world, parties);
    let mut rng = StdRng::seed_from_u64(voter.into());
    let enrolled = enrol(&election(world), &connections, card, &mut ask, &mut rng)
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((enrolled.of_box, enrolled.voter), (BoxId(1), VoterIndex(voter)));
    assert_eq!(asked, u32::from(matches!(card, Card::Token(_))));
    let all = records(&parties[0]);
    assert_eq!(all.len(), before + 1);
    enrolled
}

fn records(party: &Party) -> Vec<[u8; 32]> {
    let store = &party.running.party().store;
    store
        .read(|tx| accepted::digests(tx, Kind::Record, 1, 1))
        .expect("read")
}

/// What the parties' shares of the newest record that all three hold add up to, with their offsets.
fn credential(parties: &[Party]) -> u64 {
    let store = &parties[0].running.party().store;
    let serial = |digest: &[u8; 32]| {
        let row = store.read(|tx| accepted::get(tx, Kind::Record, 1, 1, digest));
        let row = row.expect("read").expect("held");
        RecordHeader::decode(&row.header).expect("a header").serial
    };
    let newest = records(&parties[0]).into_iter().max_by_key(serial);
    let digest = newest.expect("a record");
    parties.iter().fold(0, |sum, party| {
        let of = party.running.party();
        let row = of
            .store
            .read(|tx| accepted::get(tx, Kind::Record, 1, 1, &digest))
            .expect("read")
            .expect("held");
        let header = RecordHeader::decode(&row.header).expect("a header");
        assert!(header.is_card());
        let packed = of
            .vault
            .open(Kind::Record, party.role.index(), &digest, &row.sealed_shares);
        let shares = header.context().read(&packed.expect("opens")).expect("shares");
        let held = tally_party::offsets::Held::new(party.role, &of.store, &of.vault);
        let register = &header.card().expect("a card's").register;
        let (key, _) = held.key(register, party.role).expect("read").expect("held");
        let offset = key.offset(party.role, &Digest(digest)).expose();
        sum ^ *shares.credential_shares().expect("a credential").0 ^ offset
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pkcs12_file_enrols_and_what_it_made_votes() {
    let (mut world, parties) = start().await;
    let made = card(&mut world, &CardShape::of(&called(1, 2), CardKey::P256, OPENS));
    let path = pkcs12(&world, &made);
    let file = Card::File(CardFile::open(&path, PASSWORD).expect("opens"));
    let enrolled = enrolled(&world, &parties, &file, 2).await;
    let hash = world.fixture.manifest.hash();
    let own = enrolled
        .invitation
        .credential_for(&hash)
        .expect("of this election")
        .expose();
    assert_eq!(credential(&parties), own);
    // Nobody needs a draw code here.
    assert!(enrolled.stated.is_none() && enrolled.invitation.draw_code().is_none());
    let code = DrawCode::from_slice(&[1; DrawCode::BYTES]).expect("ten bytes");
    let mut never = |_: &str| panic!("asked");
    let (of, to) = (election(&world), connections(&world, &parties));
    let needless = register_draw_code(&of, &to, &file, &code, &mut never).await;
    assert!(matches!(needless, Err(DrawCodeError::NoTickets)), "{needless:?}");
    // It votes like any invitation.
    let voter = Voter::new(
        &election(&world),
        &connections(&world, &parties),
        enrolled.invitation,
        &Device::in_memory(),
    )
    .expect("a voter of this election");
    let choices = Choices::parse(voter.form(), ["Mayor=Ada"]).expect("choices");
    voter
        .cast(&choices, &mut StdRng::seed_from_u64(9))
        .await
        .expect("cast");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commission_that_takes_no_draw_code_keeps_nobody_from_enrolling() {
    let (mut world, parties) = start_with(true).await;
    let made = card(&mut world, &CardShape::of(&called(1, 2), CardKey::P256, OPENS));
    let file = Card::File(CardFile::open(&pkcs12(&world, &made), PASSWORD).expect("opens"));
    // Where the commission's board should be there is a party, which knows nothing of draw codes.
    let first = enrolled(&world, &parties, &file, 2).await;
    let stated = first.stated.expect("the card stated it");
    let refused = stated.bring(&connections(&world, &parties)).await;
    assert!(
        matches!(refused, Err(DrawCodeError::Refused { .. })),
        "{refused:?}"
    );
    let own = *first
        .invitation
        .draw_code()
        .expect("it waits for its registration")
        .expose();
    next_second(&world).await;
    // With the draw code of before the new code is as a decoy of the old one would be: of another credential, and else the same.
    let connections = connections(&world, &parties);
    let mut never = |_: &str| panic!("asked");
    let kept = DrawCode::from_slice(&own).expect("ten bytes");
    let mut rng = StdRng::seed_from_u64(3);
    let election = election(&world);
    let again = enrol_with(&election, &connections, &file, Some(kept), &mut never, &mut rng);
    let again = again.await.expect("enrolled").invitation;
    assert_eq!(again.draw_code().expect("kept").expose(), &own);
    let (old, new) = (first.invitation.to_code(), again.to_code());
    assert_eq!(old.len(), new.len());
    assert_ne!(old, new);
    let hash = world.fixture.manifest.hash();
    let decoy = first.invitation.decoy(&mut rng);
    for code in [&again, &decoy] {
        assert_eq!(code.draw_code().map(DrawCode::expose), Some(&own));
        assert_eq!((code.of_box(), code.voter()), (BoxId(1), VoterIndex(2)));
        assert!(code.credential_for(&hash).is_ok());
    }
    let code = DrawCode::generate(&mut rng);
    let refused = register_draw_code(&election, &connections, &file, &code, &mut never).await;
    assert!(
        matches!(refused, Err(DrawCodeError::Refused { .. })),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said_before_a_pin_is_asked_for_and_a_party_that_is_away_leaves_nobody_enrolled() {
    let (mut world, mut parties) = start().await;
    let refused = async |world: &World, parties: &[Party], card: &cards::Card| {
        let file = Card::File(CardFile::open(&pkcs12(world, card), PASSWORD).expect("opens"));
        let mut never = |_: &str| panic!("asked");
        let mut rng = StdRng::seed_from_u64(1);
        enrol(
            &election(world),
            &connections(world, parties),
            &file,
            &mut never,
            &mut rng,
        )
        .await
        .expect_err("refused")
    };
    let good = CardShape::of(&called(1, 0), CardKey::P384, OPENS);
    let of = |change: &dyn Fn(&mut CardShape)| {
        let mut shape = good.clone();
        change(&mut shape);
        shape
    };
    let mut made: Vec<(cards::Card, Reason, &str)> = Vec::new();
    for (shape, due, part) in [
        (of(&|s| s.not_after = OPENS), Reason::CardExpired, "expired at"),
        (
            of(&|s| s.not_before = OPENS + DAY),
            Reason::CardNotYetValid,
            "not valid before",
        ),
        (
            of(&|s| s.authentication = false),
            Reason::CardPurpose,
            "its key usage is another",
        ),
        (
            of(&|s| s.extended.clear()),
            Reason::CardPurpose,
            "its extended key usage is another",
        ),
        (
            of(&|s| s.policies.clear()),
            Reason::CardPurpose,
            "under another policy",
        ),
        (
            of(&|s| s.person = "PNOLT-38001011000".into()),
            Reason::CardNamesNobody,
            "does not name its holder",
        ),
    ] {
        made.push((card(&mut world, &shape), due, part));
    }
    let elsewhere = cards::Cards::new(OPENS).card(&good);
    made.push((
        elsewhere,
        Reason::CardIssuer,
        "perhaps another card is in the reader",
    ));
    for (made, due, part) in &made {
        match refused(&world, &parties, made).await {
            EnrolError::Card(error) => {
                assert_eq!(error.reason(), *due, "{error}");
                assert!(error.to_string().contains(part), "{error}");
            }
            other => panic!("{other}"),
        }
    }
    let stranger = card(&mut world, &of(&|s| s.person = called(4, 4)));
    let words = refused(&world, &parties, &stranger).await.to_string();
    assert_eq!(words.matches("not on the roll").count(), 3, "{words}");
    let revoked = card(&mut world, &good);
    world.write_revocations(
        Role::P2,
        std::slice::from_ref(&revoked.serial),
        OPENS - 60,
        OPENS + DAY,
    );
    let words = refused(&world, &parties, &revoked).await.to_string();
    assert!(words.contains("was revoked") && words.contains("P2"), "{words}");
    // A record's serial is its second: who is refused by one party enrols anew a second later.
    next_second(&world).await;
    let gone = parties.remove(2);
    let channels = [0, 1, 1].map(|at: usize| parties[at].public_channel());
    let away = gone.public_channel();
    gone.running.stop().await;
    let [one, two, _] = channels;
    let connections = Connections::over(&election(&world), [one, two, away], parties[0].public_channel());
    let made = card(&mut world, &good);
    let file = Card::File(CardFile::open(&pkcs12(&world, &made), PASSWORD).expect("opens"));
    let mut never = |_: &str| panic!("asked");
    let mut rng = StdRng::seed_from_u64(2);
    let error = enrol(&election(&world), &connections, &file, &mut never, &mut rng).await;
    assert!(
        matches!(&error, Err(EnrolError::NotTaken(faults)) if faults.len() == 1),
        "{error:?}"
    );
}
