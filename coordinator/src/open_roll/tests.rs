use std::future::pending;

use futures::stream::{self, BoxStream};
use tally_proto::connect;
use tally_proto::fixture::{CLOSES, OPENS, OpenShape, Shape, World};
use tally_proto::ids::UnixSeconds;
use tally_proto::pki::PeerRole;
use tokio::time::sleep;

use super::*;
use crate::progress::Quiet;

const MOST: u32 = 100;
const ALL: [(u32, &str); 3] = [(0, "a"), (1, "b"), (2, "c")];

fn world() -> World {
    World::new(Shape {
        cards: true,
        registrars: 0,
        open: Some(OpenShape {
            most: MOST,
            freezes: CLOSES,
            min_voters: 1,
        }),
        ..Shape::default()
    })
}

fn head(world: &World, party: Role, people: &[(u32, &str)]) -> Head {
    let names: BTreeMap<u32, String> = people.iter().map(|(v, name)| (*v, (*name).to_owned())).collect();
    let of = Subject {
        election: world.manifest.manifest().election(),
        of_box: BoxId(1),
    };
    let signer = &world.signers[party.slot()];
    Head::sign(of, party, UnixSeconds(OPENS), &names, signer)
}

#[test]
fn whoever_lacks_what_two_have_is_named() {
    let world = world();
    let of = Subject {
        election: world.manifest.manifest().election(),
        of_box: BoxId(1),
    };
    let told = |party: Role, people: &[(u32, &str)]| {
        let names = people.iter().map(|(v, name)| (*v, (*name).to_owned()));
        let key = world.signers[party.slot()].public_key();
        Told::new(of, party, &key, names, head(&world, party, people)).ok()
    };
    let words = |told: [Option<Told>; 3], without| {
        let list = OpenRollList::join(told).expect("two heads");
        Fetched { list, without }.in_words(|role| format!("P{}", role.number()))
    };
    assert!(words(Role::ALL.map(|party| told(party, &ALL)), None).is_empty());
    let renamed = [(0, "a"), (1, "x"), (5, "f")];
    let said = words(
        [
            told(Role::P1, &ALL),
            told(Role::P2, &renamed),
            told(Role::P3, &ALL),
        ],
        None,
    );
    assert!(
        said[0].starts_with("P2 does not have 2 of them") && said[0].contains("(the first: 1)"),
        "{said:?}"
    );
    assert!(
        said[1].starts_with("1 enrolments were begun and not finished"),
        "{said:?}"
    );
    assert_eq!(said.len(), 2);
    let error = PartyError {
        party: "P3 Court".into(),
        role: Role::P3,
        refusal: Refusal::new(Reason::PartyUnreachable, "no answer"),
    };
    let said = words(
        [told(Role::P1, &ALL), told(Role::P2, &[(0, "a"), (1, "y")]), None],
        Some(error),
    );
    assert!(
        said[0].starts_with("Without the signature of P3 Court: no answer"),
        "{said:?}"
    );
    assert!(
        said[1].starts_with("1 enrolments") && said[2].starts_with("Number 1: each party"),
        "{said:?}"
    );
    assert_eq!(said.len(), 3);
}

/// What a party does when it is asked for the roll.
#[derive(Clone, Copy, Debug)]
enum Does {
    Tells,
    TakesTheQuestion,
    /// It begins, and says no more.
    FallsSilent,
    /// A name every twenty seconds, up to this number.
    Drips(u32),
    /// As many names in each part, for ever.
    Floods(u32),
    /// Names of so many bytes.
    LongNames(usize),
    EmptyParts,
    GoesOnAfterTheHead,
}

fn part(people: impl IntoIterator<Item = (u32, String)>) -> wire::OpenRollPart {
    let entry = |(v, reference)| wire::RollEntry {
        v,
        reference,
        online: true,
        persons: Vec::new(),
    };
    wire::OpenRollPart {
        entries: people.into_iter().map(entry).collect(),
        head: None,
    }
}

type Parts = BoxStream<'static, Result<wire::OpenRollPart, Status>>;

async fn answer(does: Does, head: Head) -> Result<Parts, Status> {
    let all = part(ALL.map(|(v, name)| (v, name.to_owned())));
    let last = wire::OpenRollPart {
        entries: Vec::new(),
        head: Some(head.to_wire()),
    };
    let name = |v: u32| part([(v, format!("n{v}"))]);
    Ok(match does {
        Does::Tells => stream::iter([Ok(all), Ok(last)]).boxed(),
        Does::TakesTheQuestion => pending().await,
        Does::FallsSilent => stream::iter([Ok(all)]).chain(stream::pending()).boxed(),
        Does::Drips(most) => stream::iter(0..most)
            .then(move |v| async move {
                sleep(Duration::from_secs(20)).await;
                Ok(name(v))
            })
            .boxed(),
        Does::Floods(names) => stream::iter(0..)
            .map(move |i: u32| Ok(part((0..names).map(|v| (i * names + v, format!("n{v}"))))))
            .boxed(),
        Does::LongNames(bytes) => stream::iter(0..)
            .map(move |v: u32| Ok(part([(v, "n".repeat(bytes))])))
            .boxed(),
        Does::EmptyParts => stream::repeat_with(|| Ok(part([]))).boxed(),
        Does::GoesOnAfterTheHead => stream::iter([Ok(all), Ok(last), Ok(name(7))]).boxed(),
    })
}

/// What comes of it when the parties do this, and after how many seconds.
async fn fetched(
    world: &World,
    patience: Patience,
    does: [Does; 3],
) -> (Result<Fetched, Vec<PartyError>>, u64) {
    let leaf = world
        .coordinator_authority
        .issue(&PeerRole::Coordinator, &["localhost"])
        .expect("certificate");
    connect::install_tls_provider();
    let manifest = world.manifest.manifest();
    let parties = Parties::dial(manifest.parties(), &leaf).expect("addresses");
    let asked = Asked {
        of: Subject {
            election: manifest.election(),
            of_box: BoxId(1),
        },
        keys: manifest.party_keys(),
        most: MOST,
        patience,
    };
    let start = Instant::now();
    let ask = async |party: &Party| {
        let role = party.role();
        answer(does[role.slot()], head(world, role, &ALL)).await
    };
    let fetched = asked.of_all(&parties, &Quiet, ask).await;
    (fetched, start.elapsed().as_secs())
}

#[tokio::test(start_paused = true)]
async fn no_party_keeps_the_list_from_being_made_by_telling_nothing_or_without_end() {
    let world = world();
    let in_all = IN_ALL.as_secs();
    for (does, reason, within) in [
        (Does::TakesTheQuestion, Reason::PartyUnreachable, 30),
        (Does::FallsSilent, Reason::PartyUnreachable, 30),
        (Does::Drips(MOST), Reason::PartyUnreachable, in_all),
        (Does::Floods(1), Reason::MessageTooLarge, 0),
        (Does::Floods(1_000_000), Reason::MessageTooLarge, 0),
        (Does::LongNames(1 << 20), Reason::MessageTooLarge, 0),
        (Does::LongNames(1 << 17), Reason::MessageTooLarge, 0),
        (Does::EmptyParts, Reason::MessageMalformed, 0),
        (Does::Drips(3), Reason::MessageMalformed, 60),
        (Does::GoesOnAfterTheHead, Reason::MessageMalformed, 0),
    ] {
        for role in Role::ALL {
            let mut all = [Does::Tells; 3];
            all[role.slot()] = does;
            let (fetched, after) = fetched(&world, Patience::NONE, all).await;
            let fetched = fetched.expect("two suffice");
            assert_eq!((after, fetched.list.voters().count()), (within, 3), "{does:?}");
            let named = fetched.without.expect("it is named");
            assert_eq!(
                (named.role, named.refusal.reason),
                (role, reason),
                "{does:?}: {named}"
            );
        }
    }
    // However patient the commission is, and whatever is tried again.
    let patient = Patience(Duration::from_secs(3600));
    let (outcome, after) = fetched(&world, patient, [Does::Tells, Does::FallsSilent, Does::Tells]).await;
    assert!(outcome.is_ok_and(|fetched| fetched.without.is_some()));
    assert!((in_all - 30..=in_all).contains(&after), "{after} s");
    // Without two there is no list, and who failed is named.
    let (failed, _) = fetched(
        &world,
        Patience::NONE,
        [Does::Tells, Does::EmptyParts, Does::FallsSilent],
    )
    .await;
    let failed: Vec<_> = failed
        .expect_err("one party's word")
        .iter()
        .map(|error| error.role)
        .collect();
    assert_eq!(failed, [Role::P2, Role::P3]);
}
