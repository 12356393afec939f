//! Enrolment by card: this device makes the credential, the voter's card signs the record, and all three parties must take it.
//!
//! ```text
//! r_v random; c_1, c_2, c_3 commit to its three shares; the card signs the record's digest; P_i takes ct_i and says where the voter is
//! ```
//!
//! For an open roll the record goes to P1 first, which gives the voter a number and a receipt for the record with it; the two others take it with
//! that receipt.
//!
//! A record stands with three receipts only, so nothing is handed out before all three parties have taken it and say the same place. Then each
//! party tells this device two offsets, once, and credential_v = r_v ^ s_1 ^ s_2 ^ s_3 (see [`tally_proto::offsets`]); where two parties tell
//! different copies the pair is named and the voter enrols anew. What comes out is an invitation of the common form: nothing on the device tells it from one that was sent, or from a decoy. The nonces are
//! erased with what this function holds.
//!
//! Where the election asks for tickets the card signs for a draw code too ([`crate::draw_code`]), which is brought to the commission afterwards.

use std::time::Duration;

use rand::CryptoRng;
use tally_proto::card::{CardAuthorisation, NONCE_BYTES, holder, signed_bytes};
use tally_proto::ids::{BoxId, Digest, ElectionId, Hash32, Role, RoleExt as _, UnixSeconds, VoterIndex};
use tally_proto::invitation::{Credential, Invitation};
use tally_proto::offsets::{self, OffsetError, Telling, Told};
use tally_proto::reason::Reason;
use tally_proto::receipt::Receipt;
use tally_proto::record::{
    CardMark, OpenPlace, RecordError, RecordHeader, RecordParts, RecordSubmission, Source,
};
use tally_proto::shares::{Opening, ShareContext, ShareError, split_credential_openings};
use tally_proto::ticket::DrawCode;
use tally_proto::wire;
use thiserror::Error;

use crate::card::{Ask, Card, CardFailure};
use crate::connections::{Connections, NoTime};
use crate::draw_code::{self, Stated};
use crate::election::Election;
use crate::fault::Fault;
use crate::link::Link;
use crate::voter::reasons;

/// Before a party that did not answer is asked again.
pub(crate) const PAUSES: [Duration; 3] = [
    Duration::from_millis(500),
    Duration::from_secs(2),
    Duration::from_secs(5),
];
/// A record may stand though this device was not told so.
const BEFORE: &str =
    "A code that you had before may count no more: enrol again until it succeeds, or vote at a station";

/// Why somebody was not enrolled.
#[derive(Debug, Error)]
pub enum EnrolError {
    /// The election knows no enrolment by card.
    #[error("this election does not take enrolment by card: use the invitation that was sent")]
    NoRegister,
    /// The card, its PIN, or its certificate.
    #[error(transparent)]
    Card(#[from] CardFailure),
    /// The parties' time.
    #[error(transparent)]
    Time(#[from] NoTime),
    /// The shares could not be sealed.
    #[error(transparent)]
    Share(#[from] ShareError),
    /// The record could not be put together.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Not all three parties took the record, so it does not stand.
    #[error("you are not enrolled: all three parties must take the record{}. {BEFORE}", reasons(.0))]
    NotTaken(Vec<Fault>),
    /// A party did not tell its offsets: the credential cannot be put together.
    #[error("you are not enrolled: all three parties must tell this device its part of the credential{}. {BEFORE}", reasons(.0))]
    NotTold(Vec<Fault>),
    /// Two parties told different offsets, or what one told is no answer.
    #[error("you are not enrolled: {error} ({}). {BEFORE}; tell the election commission if it stays so", .agencies.join(", "))]
    Offsets {
        /// Which.
        error: OffsetError,
        /// Who runs the parties that it names.
        agencies: Vec<String>,
    },
    /// The parties say different places.
    #[error(
        "you are not enrolled: the parties say different places on the roll for you; tell the election commission. {BEFORE}"
    )]
    Places,
    /// The device's clock or the parties' time is out of what the record can say.
    #[error("the parties' time {0} is not one that this program can put into a record")]
    When(UnixSeconds),
}

impl EnrolError {
    /// The stable reason, where there is one that no party's refusal names already.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::NoRegister => Some(Reason::CardRegister),
            Self::Card(error) => Some(error.reason()),
            Self::Offsets { .. } => Some(Reason::OffsetsDiffer),
            Self::Places => Some(Reason::EnrolPlaces),
            Self::Time(_)
            | Self::Share(_)
            | Self::Record(_)
            | Self::NotTaken(_)
            | Self::NotTold(_)
            | Self::When(_) => None,
        }
    }
}

/// An enrolled voter.
#[derive(Debug)]
pub struct Enrolled {
    /// To vote with, in the common form.
    pub invitation: Invitation,
    /// Where the voter is on the roll.
    pub of_box: BoxId,
    /// In that box.
    pub voter: VoterIndex,
    /// Where the election asks for tickets: what the card stated of the invitation's draw code, to be brought to the commission once the invitation is
    /// kept, which is made only here. What fails then can be made good ([`crate::register_draw_code`]); the enrolment stands.
    pub stated: Option<Stated>,
}

/// Makes a credential, has the card authorise it, and registers it with the three parties. `ask` is asked for the PIN, once where the card allows.
/// Where the election asks for tickets, makes a draw code too, for which the card stands.
///
/// # Errors
/// [`EnrolError`]. What the parties took already may stand, so that an earlier code counts no more; enrolling again replaces it.
pub async fn enrol(
    election: &Election,
    connections: &Connections,
    card: &Card,
    ask: &mut Ask<'_>,
    rng: &mut impl CryptoRng,
) -> Result<Enrolled, EnrolError> {
    enrol_with(election, connections, card, None, ask, rng).await
}

/// [`enrol`] with a draw code that the voter has already, in place of a new one.
///
/// # Errors
/// As [`enrol`].
pub async fn enrol_with(
    election: &Election,
    connections: &Connections,
    card: &Card,
    draw: Option<DrawCode>,
    ask: &mut Ask<'_>,
    rng: &mut impl CryptoRng,
) -> Result<Enrolled, EnrolError> {
    let register = election.manifest().register().ok_or(EnrolError::NoRegister)?;
    let signed_at = UnixSeconds(connections.time().await? / 1000);
    let chosen = card.choose(register, signed_at)?;
    let mut nonce = [0; NONCE_BYTES];
    rng.fill_bytes(&mut nonce);
    let drawn = Credential::generate(rng);
    let openings = split_credential_openings(drawn.expose(), rng);
    let context = ShareContext::card(register.id());
    let header = RecordHeader::new(RecordParts {
        source: Source::Card(CardMark {
            register: register.id().clone(),
            holder: holder(&nonce, chosen.certificate()),
            // P1 gives the number.
            place: election.manifest().open_box().map(|of_box| OpenPlace {
                election: election.manifest().election().clone(),
                of_box: of_box.id(),
                voter: None,
            }),
        }),
        serial: u32::try_from(signed_at.get()).map_err(|_| EnrolError::When(signed_at))?,
        signed_at,
        commitments: context.commit_all(&openings),
    });
    let digest = header.digest();
    let draw = election.manifest().ticketing().map(|_| {
        let code = draw.unwrap_or_else(|| DrawCode::generate(rng));
        (draw_code::terms(election, &code, signed_at), code)
    });
    let for_record = signed_bytes(register.id(), &digest);
    // Both while the card is unlocked; the commission is told when the enrolment stands, so that it cannot keep anybody from enrolling.
    let (signature, stated) = match &draw {
        None => {
            let [signature] = card.sign(&chosen, [for_record], ask)?;
            (signature, None)
        }
        Some((terms, _)) => {
            let due = [for_record, terms.signed_bytes(register.id())];
            let [signature, stated] = card.sign(&chosen, due, ask)?;
            (signature, Some(Stated::new(election, *terms, &chosen, stated)?))
        }
    };
    // The register brings every authority above the voter's certificate.
    let authorisation =
        CardAuthorisation::new(nonce, chosen.certificate().to_vec(), chosen.scheme(), signature)
            .map_err(CardFailure::from)?;
    let parts = submissions(election, &header, &authorisation, &openings, rng)?;
    let (of_box, voter, receipts) = brought(connections, &header, parts).await?;
    // The offsets are of the record with its number.
    let digest = header.numbered(voter).digest();
    let wrong = |error: OffsetError| {
        let agency = |party: &Role| format!("{party}: {}", election.party(*party).agency());
        let agencies = error.suspects().iter().map(agency).collect();
        EnrolError::Offsets { error, agencies }
    };
    let told = told(connections, &digest, &openings, &receipts).await?;
    let mut opened = Vec::with_capacity(3);
    for answer in told {
        opened.push(answer.map_err(wrong)?);
    }
    let told: [Told; 3] = opened.try_into().expect("one of each of three");
    let credential = offsets::credential(&drawn, &told).map_err(wrong)?;
    let manifest = election.manifest_hash();
    let mut invitation = Invitation::new(&manifest, of_box, voter, credential);
    if let Some((_, code)) = draw {
        invitation = invitation.with_draw(code);
    }
    Ok(Enrolled {
        invitation,
        of_box,
        voter,
        stated,
    })
}

fn submissions(
    election: &Election,
    header: &RecordHeader,
    authorisation: &CardAuthorisation,
    openings: &[Opening; 3],
    rng: &mut impl CryptoRng,
) -> Result<Vec<(Role, RecordSubmission)>, EnrolError> {
    let digest = header.signed_digest();
    let mut parts = Vec::with_capacity(3);
    for role in Role::ALL {
        let key = election.party(role).sealing_key();
        let sealed = header.context().seal(role, key, &digest, openings, rng)?;
        let id = election.manifest().election().clone();
        let part = RecordSubmission::of_card(header.clone(), authorisation.clone(), sealed, id)?;
        parts.push((role, part));
    }
    Ok(parts)
}

/// The voter's place and the three receipts.
type Registered = (BoxId, VoterIndex, Vec<wire::Receipt>);

/// Registers with all three at once; for an open roll with P1, who gives the number, before the two others, who want to see that it did.
async fn brought(
    connections: &Connections,
    header: &RecordHeader,
    mut parts: Vec<(Role, RecordSubmission)>,
) -> Result<Registered, EnrolError> {
    if header.open_place().is_none() {
        return register_with_all(connections, parts).await;
    }
    let others = parts.split_off(1);
    let (of_box, voter, receipts) = register_with_all(connections, parts).await?;
    let given = receipts.first().map(Receipt::from_wire).transpose();
    let given = given.ok().flatten().ok_or(EnrolError::Places)?;
    let with_number = |(role, part): (Role, RecordSubmission)| (role, part.numbered_by(voter, given.clone()));
    let others = others.into_iter().map(with_number).collect();
    let (in_box, as_voter, rest) = register_with_all(connections, others).await?;
    if (in_box, as_voter) != (of_box, voter) {
        return Err(EnrolError::Places);
    }
    Ok((of_box, voter, [receipts, rest].concat()))
}

/// A reply that is lost on its way is asked for again: the same record has its receipt already, and without the reply the voter would go on
/// with a code that counts no more.
async fn brought_to(
    link: &Link,
    part: &RecordSubmission,
) -> Result<((BoxId, VoterIndex), wire::Receipt), Fault> {
    for pause in PAUSES {
        match link.enrol(part).await {
            Err(fault) if fault.may_pass() => tokio::time::sleep(pause).await,
            answer => return answer,
        }
    }
    link.enrol(part).await
}

async fn register_with_all(
    connections: &Connections,
    parts: Vec<(Role, RecordSubmission)>,
) -> Result<Registered, EnrolError> {
    let asked = parts.iter().map(|(role, part)| {
        let link = connections.link(*role);
        async move { brought_to(link, part).await }
    });
    let (mut places, mut receipts, mut faults) = (Vec::new(), Vec::new(), Vec::new());
    for answer in futures::future::join_all(asked).await {
        match answer {
            Ok((place, receipt)) => {
                places.push(place);
                receipts.push(receipt);
            }
            Err(fault) => faults.push(fault),
        }
    }
    match places.as_slice() {
        [first, rest @ ..] if faults.is_empty() => {
            if rest.iter().any(|place| place != first) {
                return Err(EnrolError::Places);
            }
            Ok((first.0, first.1, receipts))
        }
        _ => Err(EnrolError::NotTaken(faults)),
    }
}

/// What each party tells of its offsets, once: in this session or never.
async fn told(
    connections: &Connections,
    digest: &Digest,
    openings: &[Opening; 3],
    receipts: &[wire::Receipt],
) -> Result<[Result<Told, OffsetError>; 3], EnrolError> {
    let asked = Role::ALL.map(|party| async move {
        let nonce = |j: Role| openings[j.slot()].nonce();
        let telling = Telling::new(party, digest, nonce(party), nonce(party.next()));
        let request = wire::OffsetsRequest {
            receipts: receipts.to_vec(),
            proof: telling.proof().to_vec(),
        };
        let sealed = connections.link(party).offsets(request).await;
        sealed.map(|sealed| telling.open(&sealed))
    });
    let (mut told, mut faults) = (Vec::with_capacity(3), Vec::new());
    for answer in futures::future::join_all(asked).await {
        match answer {
            Ok(opened) => told.push(opened),
            Err(fault) => faults.push(fault),
        }
    }
    told.try_into().map_err(|_| EnrolError::NotTold(faults))
}

/// What a party's receipt of a record must say.
pub(crate) fn is_receipt_of(
    receipt: &wire::Receipt,
    party: Role,
    keys: &[tally_proto::envelope::PublicKey; 3],
    ((election, of_box), digest): ((Option<&ElectionId>, BoxId), &Digest),
    ciphertext_hash: Hash32,
) -> bool {
    let Ok(receipt) = Receipt::from_wire(receipt) else {
        return false;
    };
    receipt.verify(keys).is_ok_and(|acceptance| {
        acceptance.party == party
            && Some(&acceptance.election) == election
            && acceptance.of_box == of_box
            && acceptance.digest == *digest
            && acceptance.ciphertext_hash == ciphertext_hash
    })
}
