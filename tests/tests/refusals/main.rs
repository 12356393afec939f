//! Every reason code, met where somebody would meet it.
//!
//! [`meet`] says for each reason how it comes about. It matches exhaustively: a new reason does not compile without a case. Most
//! cases happen here, against a real server over TLS or with the real command; those that need a lying party, a failing disk or a whole
//! session happen in the crates' own tests, which are looked for in their sources. Whatever is met here must be a sentence for
//! people, and must leave what was accepted before as it was.

mod client;
mod elections;
mod elsewhere;
mod intake;
mod registration;
mod scene;
#[path = "../../../party/tests/world/mod.rs"]
mod world;

use tally_party::sealing::Lie;
use tally_proto::reason::Reason;

use elsewhere::Mark;
use scene::{Scene, driven};

/// How a reason came about.
enum Met {
    /// Here: the reason given, and the words with it.
    Here(Reason, String),
    /// In tests elsewhere.
    Elsewhere(Mark),
}

/// Brings it about.
async fn meet(reason: Reason) -> Met {
    use Reason as R;
    let elsewhere = |under: &'static str| Met::Elsewhere(Mark::reason(under, reason));
    let lie = |lies: &'static [Lie]| Met::Elsewhere(Mark::lies(lies, reason));
    match reason {
        R::BallotBeforeOpening => driven(intake::before_opening).await,
        R::BallotAfterClose => driven(intake::after_close).await,
        R::BallotCastAtOutOfRange => driven(intake::out_of_range).await,
        R::BallotKnownOtherContent => driven(intake::known_with_other_content).await,
        R::BallotStationUnknown => driven(intake::of_an_unknown_station).await,
        R::BallotStationClosed => driven(intake::of_a_closed_station).await,
        R::BallotStationSignature => driven(intake::with_a_wrong_station_signature).await,
        R::BallotAuthorityMissing => driven(intake::online_with_a_station_signature).await,
        R::ElectionUnknown => driven(intake::of_an_unknown_election).await,
        R::BoxUnknown => driven(intake::of_an_unknown_box).await,
        R::ChannelUnknown => driven(intake::on_an_unknown_channel).await,
        R::MessageMalformed => driven(intake::without_a_header).await,
        R::MessageTooLarge => driven(intake::too_large).await,
        R::ShareCommitmentMismatch => driven(intake::not_opening_its_commitment).await,
        R::ShareUnopenable => driven(intake::with_a_flipped_bit).await,
        R::RoleRefused => driven(intake::of_a_station_without_certificate).await,
        R::ManifestNotCountersigned => driven(intake::of_an_election_not_in_force).await,
        R::ListAlready => driven(intake::of_a_listed_box).await,
        R::ReceiptInvalid => driven(intake::a_forged_receipt).await,
        R::LogRange => driven(intake::beyond_the_log).await,
        R::PartyUnreachable => driven(intake::where_nobody_listens).await,
        R::PartyRefusedIdentity => driven(intake::where_somebody_else_listens).await,
        R::Internal => driven(intake::a_code_of_another_version).await,

        R::ElectionOther => driven(elections::an_order_for_another_manifest).await,
        R::OrderInvalid => driven(elections::an_order_with_a_gap).await,
        R::SignatureBad => driven(elections::an_unsigned_order).await,
        R::MessageNotCanonical => driven(elections::an_order_that_is_not_canonical).await,
        R::SealAlready => driven(elections::an_order_for_a_listed_box).await,
        R::ConfirmationMismatch => driven(elections::another_id_typed).await,
        R::ObjectUnknown => driven(elections::an_unknown_object).await,
        R::ManifestInvalid => driven(elections::without_contests).await,
        R::ManifestUnsupported => driven(elections::of_another_version).await,
        R::ManifestOther => driven(elections::defined_twice).await,
        R::ManifestIdentity => driven(elections::with_other_parties).await,
        R::SuiteUnsupported => driven(elections::with_another_suite).await,
        R::BoxTooSmall => driven(elections::with_a_box_too_small).await,
        R::RollDuplicate => driven(elections::with_a_voter_twice).await,
        R::RollGap => driven(elections::with_a_gap_in_the_roll).await,
        R::RollMismatch => driven(elections::with_another_roll).await,
        R::BoxPhase => driven(elections::sealed_too_early).await,
        R::SealPending => driven(elections::tallied_unsealed).await,
        R::SessionUnknown => driven(elections::tallied_unprepared).await,

        R::RollKind | R::RollNumberGiver | R::RollNumberTaken | R::RollFull | R::RollFrozen => {
            elsewhere("party/tests/open_rolls.rs")
        }
        R::RollTooFew => elsewhere("proto/src/sealing/tests"),
        R::VoterUnknown => driven(registration::beyond_the_roll).await,
        R::VoterStationOnly => driven(registration::station_only).await,
        R::RecordSerial => driven(registration::equal_serial).await,
        R::RecordHalves => driven(registration::in_other_halves).await,
        R::RecordAuthorisation => driven(registration::unauthorised).await,

        R::ContestUnknown => client::refused(&["--choice", "9=1"]),
        R::ChoiceUnknown => client::refused(&["--choice", "Mayor=Zoe"]),
        R::ChoiceTooMany => client::refused(&["--choice", "2=1", "--choice", "2=2", "--choice", "2=3"]),
        R::ChoiceRepeated => client::refused(&["--choice", "2=1", "--choice", "Board=Dora"]),
        R::InvitationInvalid => client::mistyped(),

        R::CheckCodeInvalid | R::CheckCodeMismatch => elsewhere("proto/src/disclosure/tests.rs"),
        R::BallotNotHeld | R::LogRewritten | R::LogUnseen | R::ReceiptWithheld => elsewhere("client/tests"),
        R::CertificateExpired => elsewhere("tests/tests/trouble"),
        R::CertificateReplaced => elsewhere("party/tests/certificates.rs"),
        R::BundleAltered | R::BundleOther | R::ResultSignatures => elsewhere("proto/src/bundle/tests.rs"),
        R::TicketMissing | R::TicketBad | R::TicketOtherDay | R::TicketOwner | R::TicketSpent => {
            elsewhere("party/tests/tickets.rs")
        }
        R::DrawRefused | R::DrawExhausted | R::DrawNotReady => elsewhere("coordinator/src/tickets/tests.rs"),
        R::DrawCodes => elsewhere("coordinator/src/tickets/cards/tests.rs"),
        R::OffsetsDiffer | R::EnrolPlaces => elsewhere("tests/tests/enrol"),
        R::OffsetsMissing | R::OffsetsRefused | R::OffsetsTold | R::OffsetsTooMany => {
            elsewhere("party/tests/offsets.rs")
        }
        R::RecordSource | R::CardRegister | R::CardMalformed => elsewhere("proto/src/record/tests.rs"),
        R::CardIssuer
        | R::CardPurpose
        | R::CardExpired
        | R::CardNotYetValid
        | R::CardNamesNobody
        | R::CardWeakKey
        | R::CardSignature => elsewhere("proto/src/card"),
        R::CardSoftware
        | R::CardReader
        | R::CardAbsent
        | R::CardOther
        | R::CardEmpty
        | R::CardKeyMissing
        | R::CardPinWrong
        | R::CardPinFew
        | R::CardPinLast
        | R::CardLocked
        | R::CardCancelled
        | R::CardAsksAgain
        | R::CardFailed
        | R::CardFile
        | R::CardFilePassword => elsewhere("tests/tests/enrol"),
        R::CardRevoked
        | R::CardRevocationList
        | R::CardNotOnRoll
        | R::CardSignedAt
        | R::CardTooOften
        | R::CardLater => elsewhere("party/tests/cards.rs"),
        R::BoxFull => elsewhere("party/tests/intake.rs"),
        R::RecordReissued => elsewhere("proto/src/sealing/tests"),
        R::MessageTooSlow => elsewhere("party/tests/floods.rs"),
        R::BallotTooFew => elsewhere("proto/src/sealing/tests.rs"),
        R::BallotStationSequence => elsewhere("party/src/sealing/tests"),
        R::SealTwoLists => lie(&[Lie::TwoLists, Lie::TwoClaims, Lie::TwoSeals]),
        R::SealDisagreement => lie(&[Lie::OtherSeal]),
        R::SealWrongKind => lie(&[Lie::WrongKind]),
        R::SealAcceptanceHidden => lie(&[Lie::HidAcceptance]),
        R::RollNumberAhead | R::RollPersonsChanged => elsewhere("party/tests"),
        R::SealNotTakenOver => elsewhere("party/tests"),
        R::SealClaimFalse => lie(&[Lie::FalseClaim]),
        R::SealShareWrong => lie(&[Lie::WrongAnswer]),
        R::SealComplaintFalse => lie(&[Lie::FalseComplaint]),
        R::SealShareWithheld => lie(&[Lie::Silent]),
        R::TallyAlready | R::SessionStale | R::TallyAborted | R::TallyOverdue | R::TallyCheckFailed => {
            elsewhere("party/src/session")
        }
        R::PartyLocked => elsewhere("tests/tests/officials.rs"),
        R::ReceiptEarly => elsewhere("party/tests/intake.rs"),
        R::PartyBusy | R::PartyShuttingDown => elsewhere("party/tests/intake.rs"),
        R::ClockWrong => elsewhere("party/tests/clock.rs"),
        R::LogFlooded => elsewhere("party/tests/burden.rs"),
        R::PartyRecollecting | R::LogCosignature | R::LogPageWrong => elsewhere("party/tests/mirror.rs"),
        R::BallotStationRevoked => elsewhere("party/tests/intake.rs"),
        R::StoreFailed | R::StoreFull => elsewhere("party/tests/crash.rs"),
        R::SessionHidden => lie(&[Lie::HidHoldings]),
        R::SessionLimit | R::SessionFramePending => elsewhere("party/src/session"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_reason_is_met_and_said_to_people() {
    let mut table = String::new();
    for &reason in Reason::ALL {
        match meet(reason).await {
            Met::Here(given, says) => {
                assert_eq!(given, reason, "{reason} was to be met, and this was said: {says}");
                for_people(reason, &says);
                table += &format!("{reason}: {says}\n");
            }
            Met::Elsewhere(mark) => {
                let (tests, givers) = (mark.tests(), Mark::givers(reason));
                assert!(
                    !tests.is_empty() || givers.is_empty(),
                    "{} give {reason}, and no test meets it: looked for {mark}",
                    givers.join(" and ")
                );
                table += &format!("{reason}: {}\n", tests.join(", "));
            }
        }
    }
    println!("{table}");
}

/// A sentence: it says something beyond the code, holds no dump of bytes, and the page says what to do.
fn for_people(reason: Reason, says: &str) {
    let words = says.replace(reason.code(), "");
    assert!(
        words.split_whitespace().filter(|word| word.len() > 1).count() >= 4,
        "{reason} says too little: {says:?}"
    );
    let longest = says
        .split(|c: char| !c.is_ascii_hexdigit())
        .map(str::len)
        .max()
        .unwrap_or(0);
    assert!(longest < 32, "{reason} shows raw bytes: {says}");
    for debris in ["Err(", "Some(", "{ ", "[0, ", "::"] {
        assert!(
            !says.contains(debris),
            "{reason} shows a program's inside: {says}"
        );
    }
    assert!(!reason.action().is_empty());
}

#[test]
fn what_is_looked_for_elsewhere_is_found_in_tests_only() {
    elsewhere::self_check();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_survives_a_refusal_and_a_restart() {
    let mut scene = Scene::new().await;
    let refusal = intake::with_a_flipped_bit(&mut scene).await;
    assert_eq!(refusal.reason, Reason::ShareUnopenable);
    scene.restart().await;
    scene.intact().await;
}
