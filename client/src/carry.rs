//! One enrolment, many elections: the code of an earlier election of a register made into the code of a later one.
//!
//! ```text
//! code of A: manifest's hash, box, v, credential      ->      code of B: manifest's hash, box', v', the same credential
//! ```
//!
//! A card's record is of its register ([`tally_proto::record`]), and so are the keys of the offsets: credential_v = r_v ^ s_1 ^ s_2 ^ s_3 is the
//! same in every election of the register into which the parties take the record over. What is missing on the device is the voter's place on the
//! roll of B, which is looked up in the roll that the commission publishes, and that must be B's manifest's roll.
//!
//! # Security
//! Nobody is asked: a party that was would learn who is about to vote, and from where. Nothing depends on the credential, so the code of a decoy is
//! carried over like any other, and nothing is kept. Nobody can say whether the code counts in B either: not this device, and not to a coercer.
//!
//! Where B asks for tickets the draw code of A goes with it, and is good there once the voter's card stands for it in B too ([`crate::draw_code`]): then
//! for the codes of every credential that have it, whoever carried them over.
//!
//! The code of A vouches for A's manifest, and it must vouch for B's. Whoever could have a voter seal a ballot for parties of their own would have
//! the credential, in A too: so B's parties sign with the keys that A's manifest names, and have countersigned B. Its offsets must be A's.

use tally_proto::calendar::ChannelKind;
use tally_proto::ids::{ElectionId, RegisterId, Role, UnixSeconds};
use tally_proto::invitation::{Credential, Invitation, InvitationError};
use tally_proto::manifest::Register;
use tally_proto::reason::Reason;
use tally_proto::ticket::DrawCode;
use thiserror::Error;

use crate::election::Election;
use crate::station::roll::OnRoll;

/// In what two elections of one register differ, so that a record of the one cannot be relied on in the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Differs {
    /// Another certificate of a root or issuing CA is missing in the later one.
    Authorities,
    /// Another field of a certificate names the voter.
    Person,
    /// Certificates must be for something else.
    Purpose,
    /// The keys of the offsets.
    Offsets,
}

impl std::fmt::Display for Differs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Authorities => {
                "it does not take cards of every authority whose cards the earlier one takes"
            }
            Self::Person => "another field of a card's certificate names the voter",
            Self::Purpose => "cards' certificates must be for something else",
            Self::Offsets => "the parties' keys for enrolled credentials are others",
        })
    }
}

/// Why the code of an earlier election is of no use in a later one. Nothing was sent.
#[derive(Debug, Error)]
pub enum CarryError {
    /// The code is not of the earlier election.
    #[error("{0}. Give with --from the manifest of the election that you enrolled in")]
    Invitation(#[from] InvitationError),
    /// The same election twice.
    #[error("the code is of election {0} already: vote with it as it is")]
    SameElection(ElectionId),
    /// No enrolment by card.
    #[error("election {0} does not take enrolment by card: use the invitation that was sent for it")]
    NoRegister(ElectionId),
    /// Another register.
    #[error(
        "the code was made by enrolling in the register {earlier}, election {election} is of the register {later}: enrol for it with your card"
    )]
    OtherRegister {
        /// The later election.
        election: ElectionId,
        /// The code's.
        earlier: RegisterId,
        /// Its own.
        later: RegisterId,
    },
    /// The same register by name.
    #[error(
        "the register {register} of election {election} is not that of your code: {what}. Enrol for it with your card"
    )]
    RegisterDiffers {
        /// The later election.
        election: ElectionId,
        /// The register.
        register: RegisterId,
        /// In what.
        what: Differs,
    },
    /// A party signs with another key.
    #[error(
        "{party} of election {election} signs with another key than in the election of your code: do not use this manifest before the commission and \
         the agency have told you its fingerprint; then enrol with your card"
    )]
    OtherParty {
        /// The later election.
        election: ElectionId,
        /// The party.
        party: Role,
    },
    /// Who is on an open roll has enrolled for it.
    #[error("the roll of election {0} is open: whoever wants to vote in it enrols for it, with the card")]
    OpenRoll(ElectionId),
    /// No record of the earlier election can have been signed in time.
    #[error(
        "election {election} takes over enrolments of before {before}, and enrolment for the earlier one began at {opened}: enrol for it with your card"
    )]
    Window {
        /// The later election.
        election: ElectionId,
        /// Its first online opening.
        before: UnixSeconds,
        /// When enrolment opened in the earlier one.
        opened: UnixSeconds,
    },
    /// The later election is not online, or the voter is not.
    #[error("{reference} votes at a station in election {election}, not online")]
    StationOnly {
        /// The later election.
        election: ElectionId,
        /// The voter.
        reference: String,
    },
    /// Nobody on the later roll is called so.
    #[error(
        "nobody on the roll of election {election} has the reference {reference:?}: it stands on what the commission sent you, letter by letter as \
         in its roll"
    )]
    NotOnRoll {
        /// The later election.
        election: ElectionId,
        /// What was given.
        reference: String,
    },
}

impl CarryError {
    /// The stable reason code.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Invitation(error) => error.reason(),
            Self::SameElection(_) => Reason::InvitationInvalid,
            Self::NoRegister(_) | Self::OtherRegister { .. } | Self::RegisterDiffers { .. } => {
                Reason::CardRegister
            }
            Self::OtherParty { .. } => Reason::ManifestIdentity,
            Self::OpenRoll(_) => Reason::RollKind,
            Self::Window { .. } => Reason::CardSignedAt,
            Self::StationOnly { .. } => Reason::VoterStationOnly,
            Self::NotOnRoll { .. } => Reason::VoterUnknown,
        }
    }
}

/// The code of `later` that the same credential has, for the voter in that place on its roll; and before which moment the voter must have enrolled
/// for it to count there: a later record stays with the election that it was brought to.
///
/// The same for every credential. The draw code of the earlier election goes with it where the later one asks for tickets.
///
/// # Errors
/// [`CarryError`].
pub fn carry_over(
    earlier: &Election,
    invitation: &Invitation,
    later: &Election,
    place: &OnRoll,
) -> Result<(Invitation, UnixSeconds), CarryError> {
    let before = check(earlier, later)?;
    let election = later.id().clone();
    let credential = invitation.credential_for(&earlier.manifest_hash())?;
    if !place.online {
        let reference = place.reference.clone();
        return Err(CarryError::StationOnly { election, reference });
    }
    let credential = Credential::new(credential.expose());
    let mut carried = Invitation::new(&later.manifest_hash(), place.of_box, place.voter, credential);
    if let Some(code) = invitation
        .draw_code()
        .filter(|_| later.manifest().ticketing().is_some())
        .and_then(|code| DrawCode::from_slice(code.expose()).ok())
    {
        carried = carried.with_draw(code);
    }
    Ok((carried, before))
}

/// Whether records of the earlier election are the later one's too; signed before which moment.
fn check(earlier: &Election, later: &Election) -> Result<UnixSeconds, CarryError> {
    let election = later.id().clone();
    if earlier.manifest_hash() == later.manifest_hash() {
        return Err(CarryError::SameElection(election));
    }
    // First of all: whose manifest this is.
    for party in Role::ALL {
        if earlier.party(party).signing_key() != later.party(party).signing_key() {
            return Err(CarryError::OtherParty { election, party });
        }
    }
    let register = |of: &Election| match of.manifest().register() {
        None => Err(CarryError::NoRegister(of.id().clone())),
        Some(register) => Ok(register.clone()),
    };
    let (old, new) = (register(earlier)?, register(later)?);
    if old.id() != new.id() {
        return Err(CarryError::OtherRegister {
            election,
            earlier: old.id().clone(),
            later: new.id().clone(),
        });
    }
    let offsets = earlier.manifest().offsets() == later.manifest().offsets();
    if let Some(what) = differs(&old, &new, offsets) {
        return Err(CarryError::RegisterDiffers {
            election,
            register: new.id().clone(),
            what,
        });
    }
    for of in [earlier, later] {
        if of.manifest().open_box().is_some() {
            return Err(CarryError::OpenRoll(of.id().clone()));
        }
    }
    let opens = later
        .manifest()
        .channel(ChannelKind::Online)
        .map(|online| online.first_opens());
    // Records are of the time before both.
    let before = opens.unwrap_or_default().min(UnixSeconds(new.closes().get() + 1));
    if before <= old.opens() {
        let opened = old.opens();
        return Err(CarryError::Window {
            election,
            before,
            opened,
        });
    }
    Ok(before)
}

fn differs(old: &Register, new: &Register, same_offsets: bool) -> Option<Differs> {
    let holds = |new: &[Vec<u8>], old: &[Vec<u8>]| old.iter().all(|der| new.contains(der));
    if !holds(new.roots(), old.roots()) || !holds(new.issuers(), old.issuers()) {
        Some(Differs::Authorities)
    } else if new.person() != old.person() {
        Some(Differs::Person)
    } else if new.purpose() != old.purpose() {
        Some(Differs::Purpose)
    } else if same_offsets {
        None
    } else {
        Some(Differs::Offsets)
    }
}

#[cfg(test)]
mod tests;
