//! A ballot in the parties' public logs: found where the log is true, and a party that rewrote its log is convicted by what it signed.

use std::time::Duration;

use rand::{SeedableRng, rngs::StdRng};
use tally_client::{
    Choices, Connections, Device, Fault, InLog, Keepsakes, Kept, Named, Sealed, Voter, check, find,
};
use tally_proto::ids::{Hash32, Role, RoleExt};
use tally_proto::note::Checkpoint;
use tally_proto::reason::Reason;
use tally_proto::wire;

use crate::fake::Town;
use crate::fake::history::Telling;

/// Two ballots, so that a log has more than one entry; the receipts of the second, and its name.
async fn two_ballots(town: &Town) -> (Connections, Vec<wire::Receipt>, Named) {
    let connections = Connections::open(&town.election).unwrap();
    let mut rng = StdRng::seed_from_u64(3);
    let mut last = None;
    for credential in [1, 2] {
        let invitation = town.invitation(42, credential);
        let voter = Voter::new(&town.election, &connections, invitation, &Device::in_memory()).unwrap();
        let choices = Choices::parse(voter.form(), ["Mayor=1"]).unwrap();
        let mut cast = voter.cast(&choices, &mut rng).await.unwrap();
        cast.third().await;
        let named = cast.named().clone();
        last = Some((cast.receipts(), named));
    }
    let (receipts, named) = last.unwrap();
    (connections, receipts, named)
}

fn by(found: &Result<InLog, Fault>) -> Option<Vec<Role>> {
    found.as_ref().ok().map(|log| log.cosigned_by.clone())
}

#[tokio::test]
async fn a_ballot_is_found_in_every_log_and_others_have_signed_it() {
    let town = Town::open().await;
    let (connections, receipts, named) = two_ballots(&town).await;
    let found = find(&connections, &receipts, &[], Duration::ZERO).await;
    assert_eq!(
        found.iter().map(by).collect::<Vec<_>>(),
        [
            Some(vec![Role::P2, Role::P3]),
            Some(vec![Role::P1, Role::P3]),
            Some(vec![Role::P1, Role::P2]),
        ]
    );
    assert!(found.iter().all(|log| log.as_ref().unwrap().position == 1));

    // Not yet cosigned, or by nobody: said, and not taken for more.
    town.party(Role::P2).tell(Telling::Behind);
    town.party(Role::P3).tell(Telling::Alone);
    let found = find(&connections, &receipts, &[], Duration::ZERO).await;
    // P2's last entry has been seen by nobody, P3's by both others.
    assert_eq!(found[1].as_ref().unwrap_err().reason(), Reason::LogUnseen);
    let third = found[2].as_ref().unwrap();
    assert_eq!(
        (third.cosigned_by.as_slice(), third.seen_by.as_slice()),
        (&[][..], &[Role::P1, Role::P2][..])
    );

    // Waited for while there is patience.
    town.party(Role::P3).tell(Telling::Behind);
    let later = find(&connections, &receipts, &[], Duration::from_secs(60));
    let cosign = async {
        town.party(Role::P2)
            .wait_for(|seen| {
                seen.calls
                    .iter()
                    .filter(|(name, _)| *name == "checkpoint")
                    .count()
                    >= 4
            })
            .await;
        town.party(Role::P2).tell(Telling::Truth);
        town.party(Role::P3).tell(Telling::Truth);
    };
    let (found, ()) = tokio::join!(later, cosign);
    // A mirror may show it before its cosignature is seen.
    let covered = |log: &InLog| !log.cosigned_by.is_empty() || log.seen_by.len() == 2;
    assert!(
        found.iter().all(|log| log.as_ref().is_ok_and(covered)),
        "{found:?}"
    );

    let checked = check(&connections, &named, &[], Duration::ZERO).await;
    assert_eq!(
        (checked.in_logs(), checked.sealed.clone(), checked.is_false()),
        (3, None, false)
    );
}

#[tokio::test]
async fn a_log_rewritten_by_its_own_operator_is_detected_and_proven() {
    for telling in [Telling::Rewritten, Telling::Replaced, Telling::Shortened] {
        let town = Town::open().await;
        let (connections, receipts, named) = two_ballots(&town).await;
        town.party(Role::P2).tell(telling);
        let found = find(&connections, &receipts, &[], Duration::ZERO).await;
        assert!(found[0].is_ok() && found[2].is_ok(), "{telling:?}: {found:?}");
        let fault = found[1].as_ref().unwrap_err();
        assert_eq!(
            (fault.party(), fault.reason()),
            (Role::P2, Reason::LogRewritten),
            "{telling:?}"
        );
        assert!(fault.is_false());
        // What is called evidence convicts before anybody: two signed roots of one size. An old note and a later receipt look like that, too, and
        // every voter can make them against an honest party.
        let key = &town.signed.manifest().party_keys()[Role::P2.slot()];
        let open = |note: &String| Checkpoint::open(note.as_bytes(), town.election.id(), Role::P2, key);
        match fault.evidence() {
            [] => {}
            [one, other] => {
                let [one, other] = [one, other].map(|note| open(note).expect("its own"));
                assert_eq!(one.size, other.size);
                assert_ne!(one.root, other.root);
            }
            more => panic!("{more:?}"),
        }
        assert!(
            telling != Telling::Shortened || fault.evidence().is_empty(),
            "{fault:?}"
        );
        let checked = check(&connections, &named, &[], Duration::ZERO).await;
        assert!(
            checked.is_false() && checked.in_logs() == 2,
            "{telling:?}: {checked:?}"
        );
    }
}

#[tokio::test]
async fn a_checkpoint_that_the_voter_kept_convicts_where_nobody_else_has_signed() {
    let town = Town::open().await;
    let (connections, receipts, _) = two_ballots(&town).await;
    let before = find(&connections, &receipts, &[], Duration::ZERO).await;
    let kept: Vec<String> = before
        .iter()
        .map(|log| log.as_ref().unwrap().note.clone())
        .collect();
    // The true log has grown since; one party has put another first entry into its own, and shows no cosignatures.
    two_ballots(&town).await;
    let again = find(&connections, &receipts, &kept, Duration::ZERO).await;
    assert!(again.iter().all(Result::is_ok), "{again:?}");
    town.party(Role::P1).tell(Telling::RewrittenAlone);
    let without = find(&connections, &receipts, &[], Duration::ZERO).await;
    let fault = without[0].as_ref().unwrap_err();
    assert!(
        fault
            .to_string()
            .contains("not the one the other parties were shown"),
        "{fault}"
    );
    for other in [Role::P2, Role::P3] {
        town.party(other).tell(Telling::Mute);
    }
    let without = find(&connections, &receipts, &[], Duration::ZERO).await;
    assert!(
        without[0].is_ok(),
        "nobody else says what it has seen: it is not noticed"
    );
    let with = find(&connections, &receipts, &kept, Duration::ZERO).await;
    let fault = with[0].as_ref().unwrap_err();
    assert_eq!((fault.party(), fault.reason()), (Role::P1, Reason::LogRewritten));
    assert!(fault.to_string().contains("not the one you kept"), "{fault}");
    assert_eq!(fault.evidence().len(), 2, "two roots of one size");
}

#[tokio::test]
async fn what_became_of_a_ballot_at_sealing_is_told_when_two_parties_agree() {
    use wire::sealed_fate::Fate;
    let town = Town::open().await;
    let (connections, _, named) = two_ballots(&town).await;
    let says = |party: Role, seal: u8, fate: Fate| {
        let fate = wire::SealedFate {
            seal_hash: vec![seal; 32],
            fate: Some(fate),
        };
        town.party(party).seal(fate);
    };
    let checked = async || check(&connections, &named, &[], Duration::ZERO).await;
    says(Role::P1, 1, Fate::OnList(true));
    assert_eq!(checked().await.sealed, None, "one party's word is not enough");
    says(Role::P3, 1, Fate::OnList(true));
    assert_eq!(checked().await.sealed, Some(Sealed::Listed));
    // A party that says otherwise does not turn what two say, and is noticed.
    says(Role::P2, 1, Fate::NoCandidate(true));
    let now = checked().await;
    assert_eq!(
        (now.sealed.clone(), now.contradicted, now.is_false()),
        (Some(Sealed::Listed), true, true)
    );
    let code = Reason::BallotStationSequence.code().to_owned();
    for party in Role::ALL {
        says(party, 2, Fate::Excluded(code.clone()));
    }
    let now = checked().await;
    assert_eq!(
        (now.sealed.clone(), now.contradicted),
        (Some(Sealed::Excluded { code }), false)
    );
    // What is no code is not shown to people.
    says(
        Role::P1,
        2,
        Fate::Excluded("\u{1b}[2Jyour vote did not count".to_owned()),
    );
    let now = checked().await;
    assert_eq!(now.faults.len(), 1);
    assert!(!now.faults[0].to_string().contains("did not count"));
}

#[tokio::test]
async fn a_log_that_is_shown_to_one_voter_alone_is_found_through_the_two_others() {
    let town = Town::open().await;
    let (connections, receipts, named) = two_ballots(&town).await;
    let second = || async { find(&connections, &receipts, &[], Duration::ZERO).await.remove(1) };
    // It cosigns nothing that others have not seen, and the others have not seen the ballot.
    town.party(Role::P2).tell(Telling::Private);
    let fault = second().await.unwrap_err();
    assert_eq!((fault.party(), fault.reason()), (Role::P2, Reason::LogUnseen));
    assert!(!fault.is_false() && fault.may_pass(), "it may be slow: {fault}");
    let checked = check(&connections, &named, &[], Duration::ZERO).await;
    assert_eq!((checked.in_logs(), checked.faults.len()), (2, 1), "{checked:?}");
    // With one of the others silent it is not known who is at fault, and nobody is named.
    town.party(Role::P3).tell(Telling::Mute);
    assert_eq!(by(&second().await), Some(vec![]));
    // Once its true log has gone on, it cannot lead from the one to the other: its own signatures convict it, through either of the others.
    town.party(Role::P2).tell(Telling::TwoViews);
    for (mute, tells) in [(Role::P3, Role::P1), (Role::P1, Role::P3)] {
        town.party(mute).tell(Telling::Mute);
        town.party(tells).tell(Telling::Truth);
        let fault = second().await.unwrap_err();
        assert_eq!((fault.party(), fault.reason()), (Role::P2, Reason::LogRewritten));
        assert_eq!(fault.evidence().len(), 2, "two roots of one size: {fault}");
    }
}

#[tokio::test]
async fn the_holder_alone_is_told_where_a_ballot_stands_and_who_withholds_it_is_noticed() {
    let town = Town::open().await;
    let (connections, _, named) = two_ballots(&town).await;
    // The digest alone, with what the holder of another ballot has: none of the three says more than that it has it.
    let connection = Connections::open(&town.election).unwrap();
    let invitation = town.invitation(42, 9);
    let voter = Voter::new(&town.election, &connection, invitation, &Device::in_memory()).unwrap();
    let choices = Choices::parse(voter.form(), ["Mayor=1"]).unwrap();
    let mut rng = StdRng::seed_from_u64(99);
    let other = voter.cast(&choices, &mut rng).await.unwrap().named().clone();
    let stranger = Named {
        holder: other.holder,
        ..named.clone()
    };
    let checked = check(&connections, &stranger, &[], Duration::ZERO).await;
    assert_eq!((checked.in_logs(), checked.faults.len()), (0, 3), "{checked:?}");
    let fault = &checked.faults[0];
    assert_eq!(fault.reason(), Reason::ReceiptWithheld);
    assert!(!fault.is_false(), "the words may be wrong: {fault}");
    let checked = check(&connections, &named, &[], Duration::ZERO).await;
    assert_eq!((checked.in_logs(), checked.faults.len()), (3, 0), "{checked:?}");
}

#[tokio::test]
async fn a_ballot_that_was_never_cast_is_in_no_log() {
    let town = Town::open().await;
    let (connections, _, mut named) = two_ballots(&town).await;
    named.digest.0 = Hash32::of(b"no ballot").0;
    let checked = check(&connections, &named, &[], Duration::ZERO).await;
    assert_eq!(
        (checked.shown.len(), checked.in_logs(), checked.is_false()),
        (3, 0, false)
    );
    // Kept receipts find nothing else: they are of the ballots that were cast.
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(
        Keepsakes::of_device(directory.path()).all().unwrap(),
        Vec::<Kept>::new()
    );
}
