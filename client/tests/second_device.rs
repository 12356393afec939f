//! The second device: what an honest device's ballot shows there, and how a device that cheats is exposed.

use rand::{SeedableRng, rngs::StdRng};
use tally_client::{Choices, Connections, Device, InspectError, Voter, inspect};
use tally_proto::ballot::BallotHeader;
use tally_proto::disclosure::{Disclosure, DisclosureError};
use tally_proto::ids::{BoxId, Role};
use tally_proto::reason::Reason;
use tally_proto::shares::{Opening, ShareContext, split_ballot};

use crate::fake::Town;
use crate::fake::history::Telling;

const CREDENTIAL: u64 = 0xfeed_beef_1234_9876;

/// Casts `choice` with `credential`; what the device shows for it afterwards, as text.
async fn cast(town: &Town, credential: u64, choice: &[&str]) -> String {
    let connections = Connections::open(&town.election).unwrap();
    let invitation = town.invitation(42, credential);
    let voter = Voter::new(&town.election, &connections, invitation, &Device::in_memory()).unwrap();
    let choices = Choices::parse(voter.form(), choice.iter().copied()).unwrap();
    let mut cast = voter
        .cast(&choices, &mut StdRng::seed_from_u64(credential))
        .await
        .unwrap();
    cast.third().await;
    let text = cast.take_disclosure().unwrap().to_text().to_string();
    assert!(cast.take_disclosure().is_none(), "it is given once");
    text
}

/// What another device sees.
async fn seen(town: &Town, text: &str) -> Result<(String, Vec<Role>), InspectError> {
    let connections = Connections::open(&town.election).unwrap();
    let inspected = inspect(&town.election, &connections, &Disclosure::parse(text)?).await?;
    let shown = inspected
        .choices()
        .confirmation(inspected.form(), &["de".to_owned()]);
    Ok((shown, inspected.held_by().to_vec()))
}

#[tokio::test]
async fn another_device_sees_the_choice_and_a_decoys_ballot_is_seen_alike() {
    let town = Town::open().await;
    let real = cast(&town, CREDENTIAL, &["Mayor=Jan Novak", "Council=1"]).await;
    let decoy = cast(&town, 77, &["Mayor=Jan Novak", "Council=1"]).await;
    assert_eq!(real.len(), decoy.len());
    let (shown, held_by) = seen(&town, &real).await.unwrap();
    assert!(shown.contains("Bürgermeister: Jan Novak"), "{shown}");
    assert_eq!(held_by, Role::ALL);
    assert_eq!(seen(&town, &decoy).await.unwrap(), (shown, held_by));
    // What the parties are asked is the same, too.
    for party in &town.parties {
        let lookups = party.seen(|seen| {
            let calls = seen.calls.iter().filter(|(name, _)| *name == "lookup");
            calls.map(|(_, length)| *length).collect::<Vec<_>>()
        });
        assert_eq!(lookups.len(), 2);
        assert_eq!(lookups[0], lookups[1]);
    }
}

/// A ballot for `choice`, not cast.
fn openings(town: &Town, choice: &str) -> [Opening; 3] {
    let form = town.election.form(BoxId(1)).unwrap();
    let option = form.contests()[0]
        .options()
        .iter()
        .position(|o| o.default_text() == choice)
        .unwrap();
    let of_box = town.signed.manifest().ballot_box(BoxId(1)).unwrap();
    let mut payload = vec![0; 8];
    payload[0] = option as u8 + 1;
    let packed = of_box.layout().pack_payload(42, CREDENTIAL, &payload).unwrap();
    split_ballot(of_box.layout(), &packed, &mut StdRng::seed_from_u64(9)).unwrap()
}

#[tokio::test]
async fn a_device_that_shows_one_choice_and_seals_another_is_exposed() {
    let town = Town::open().await;
    // The voter chose Maria Schmidt, and the device's screen says so. It casts Jan Novak.
    let honest_code = cast(&town, CREDENTIAL, &["Mayor=Jan Novak"]).await;
    // With the true code of what it cast, the other device shows Jan Novak.
    let (shown, _) = seen(&town, &honest_code).await.unwrap();
    assert!(
        shown.contains("Jan Novak") && !shown.contains("Maria Schmidt"),
        "{shown}"
    );
    // With a code that it makes up for Maria Schmidt and the ballot that it cast, it is convicted.
    let digest = Disclosure::parse(&honest_code).unwrap().digest();
    let of_box = town.signed.manifest().ballot_box(BoxId(1)).unwrap();
    let (hash, wanted) = (town.signed.hash(), openings(&town, "Maria Schmidt"));
    let made_up = Disclosure::of(&hash, of_box, digest, &wanted).to_text();
    let error = seen(&town, &made_up).await.unwrap_err();
    assert!(
        matches!(
            error,
            InspectError::Disclosure(DisclosureError::Commitment { share: Role::P1 })
        ),
        "{error}"
    );
    assert_eq!(error.reason(), Reason::CheckCodeMismatch);
    // With a code for a ballot for Maria Schmidt that it never cast, no party shows it.
    let context = ShareContext::ballot(town.election.id(), of_box);
    let at = town.party(Role::P1).now_ms() / 1000;
    let header = BallotHeader::online(
        town.election.id().clone(),
        BoxId(1),
        at.into(),
        context.commit_all(&wanted),
    );
    let never_cast = Disclosure::of(&hash, of_box, header.digest(), &wanted).to_text();
    let error = seen(&town, &never_cast).await.unwrap_err();
    assert!(
        matches!(&error, InspectError::NotHeld { by, faults } if by.is_empty() && faults.is_empty()),
        "{error}"
    );
    assert_eq!(error.reason(), Reason::BallotNotHeld);
    assert!(
        error.to_string().contains("it did not cast what it shows"),
        "{error}"
    );
}

#[tokio::test]
async fn one_party_cannot_deceive_the_other_device_nor_keep_it_from_seeing() {
    let town = Town::open().await;
    let text = cast(&town, CREDENTIAL, &["Mayor=Jan Novak"]).await;
    cast(&town, 5, &["Mayor=Maria Schmidt"]).await;
    let (shown, _) = seen(&town, &text).await.unwrap();
    for telling in [
        Telling::OtherHeader,
        Telling::Ignorant,
        Telling::HeaderOnly,
        Telling::Withholding,
    ] {
        town.party(Role::P2).tell(telling);
        let (same, held_by) = seen(&town, &text).await.unwrap();
        assert_eq!(
            (&same, held_by),
            (&shown, vec![Role::P1, Role::P3]),
            "{telling:?}"
        );
    }
    // One party alone proves nothing to the other device.
    town.party(Role::P2).tell(Telling::OtherHeader);
    town.party(Role::P3).tell(Telling::Ignorant);
    let error = seen(&town, &text).await.unwrap_err();
    let InspectError::NotHeld { by, faults } = &error else {
        panic!("{error}")
    };
    assert_eq!(by, &[Role::P1]);
    assert!(
        matches!(&faults[..], [fault] if fault.is_false() && fault.party() == Role::P2),
        "{error}"
    );
}

#[tokio::test]
async fn a_code_of_another_election_is_refused_before_anybody_is_asked() {
    let (town, other) = (Town::open().await, Town::open().await);
    let text = cast(&town, CREDENTIAL, &["Mayor=Jan Novak"]).await;
    let error = seen(&other, &text).await.unwrap_err();
    assert!(
        matches!(
            error,
            InspectError::Disclosure(DisclosureError::OtherElection { .. })
        ),
        "{error}"
    );
    assert!(
        other
            .parties
            .iter()
            .all(|party| party.seen(|seen| seen.calls.is_empty()))
    );
}
