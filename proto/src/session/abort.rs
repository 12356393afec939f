//! Aborts of tally sessions: what a party says when it stops, and what of it anybody can check.
//!
//! An Abort names the check, the step, the pair of parties and the suspects, as its signer sees it. That is its word: **stated**. What
//! signatures in it show to anyone is **proved**, and is computed here from the evidence, never taken from the Abort:
//!
//! - two parties signed different accounts of the messages between them at one barrier: one of the two deviated;
//! - one party signed two different statements at one barrier: it deviated.
//!
//! Suspect sets of different Aborts are never intersected, since the parties that signed them may lie; the replay audit decides.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use prost::Message as _;
use tally_mpc::{Binding, Statement};

use super::demand::{Demand, DemandError};
use super::start::{Start, StartPayloadError, session_id};
use crate::decode::{DecodeError, decode_canonical};
use crate::envelope::{Envelope, EnvelopeError, Kind, PublicKey, SignatureBytes, Signer};
use crate::ids::{BoxId, ElectionId, Hash32, IdError, Role, RoleExt as _, SessionNumber};
use crate::layout::{Writer, tag};
use crate::reason::{Reason, UnknownReason};
use crate::wire;
use crate::wire::evidence::Object;

/// Longest payload of a session's Abort, what other parties said included.
pub const MAX_ABORT_BYTES: usize = 16 << 10;
/// Longest name of a step.
const MAX_STEP_BYTES: usize = 64;
/// An Abort may hold a neighbour's, which may hold the third party's, which may hold a statement about a demand.
const MAX_DEPTH: usize = 4;

/// What a party's signature on a barrier statement is over.
pub fn statement_layout(session: &Hash32, statement: &[u8]) -> Writer {
    Writer::new(tag::STATEMENT)
        .fixed(session.as_bytes())
        .bytes(statement)
}

macro_rules! checks {
    ($($name:ident $code:literal $words:literal;)*) => {
        /// Which check failed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Check {
            $(#[doc = $words] $name,)*
        }

        impl Check {
            /// Every check.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The stable code.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// What it found, as the end of a sentence.
            pub const fn words(self) -> &'static str {
                match self { $(Self::$name => $words,)* }
            }
        }

        impl FromStr for Check {
            type Err = AbortError;
            fn from_str(code: &str) -> Result<Self, AbortError> {
                match code {
                    $($code => Ok(Self::$name),)*
                    _ => Err(AbortError::Check),
                }
            }
        }
    };
}

checks! {
    Message "message" "a message was not the one that was due";
    GateProof "gate proof" "a proof of the computation did not hold";
    ShuffleTags "shuffle tags" "the shuffled rows did not have their tags";
    Copies "copies of an opening" "two copies of an opened value differed";
    Commitments "output commitments" "two commitments to the totals differed";
    Outputs "output openings" "no opening of the totals fitted its commitment";
    BarrierSignature "barrier signature" "a statement was not signed by its party";
    ChannelHashes "channel hashes" "two parties gave different accounts of the messages between them";
    PivotOrder "order of the pivots" "opened comparisons contradicted one another";
    TotalsRange "range of the totals" "a total exceeded the number of ballots";
    Contribution "contribution" "a contribution to a seed was not the one committed to";
    Frame "frame" "a frame was repeated, left out, altered or of another session";
    Connection "connection" "the connection was closed or broke";
    Deadline "deadline" "a message was overdue, also after it was demanded through the third party";
    Session "session deadline" "the session did not end within its time";
    Neighbour "neighbour" "another party stopped first";
    Interrupted "interrupted" "its coordinator or its operator ended the session";
    Input "input" "its own input or parameters could not be used";
    Log "session log" "its log of the session could not be written";
    Fault "fault" "its own program failed";
}

/// Why a session's Abort, or the evidence in it, is refused.
#[derive(Debug, thiserror::Error)]
pub enum AbortError {
    /// Bytes refused at the door.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Signature or form.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// An id or hash.
    #[error(transparent)]
    Id(#[from] IdError),
    /// The reason.
    #[error(transparent)]
    Reason(#[from] UnknownReason),
    /// The check is not one that this version knows.
    #[error("the check is not one that this version knows")]
    Check,
    /// The step's name has characters that a step's name never has.
    #[error("a step is named in at most {MAX_STEP_BYTES} lower-case letters, digits, spaces and hyphens")]
    Step,
    /// The channel is not of the form P1-P2.
    #[error("a channel is named P1-P2, P1-P3 or P2-P3, or not at all")]
    Channel,
    /// The suspects are not ascending, or the signer is one of them.
    #[error("suspects are ascending and other than the signer")]
    Suspects,
    /// A Start in the evidence.
    #[error("a Start in the evidence: {0}")]
    Start(#[from] StartPayloadError),
    /// A Demand in the evidence.
    #[error("a demand in the evidence: {0}")]
    Demand(#[from] DemandError),
    /// The Starts do not open the session that the Abort names.
    #[error("the evidence does not hold the three Starts of the session that the Abort names")]
    OtherSession,
    /// A barrier statement does not decode, or not to this session.
    #[error("a barrier statement in the evidence is malformed or of another session")]
    Barrier,
    /// A barrier statement is not signed by the party that it names.
    #[error("the barrier statement of {0} in the evidence is not signed by it")]
    BarrierSignature(Role),
    /// Something that is no evidence of a session.
    #[error("the evidence holds something that is no evidence of a tally session")]
    Foreign,
    /// Aborts within Aborts.
    #[error("Aborts are nested more than {MAX_DEPTH} deep")]
    Depth,
    /// It says that it proves, and does not, or the other way round.
    #[error("the Abort claims that its evidence proves something, and it does not, or the other way round")]
    Standing,
    /// It is not of the box or Seal that it was given for.
    #[error("the Abort is of another election, box or Seal")]
    Other,
}

/// What signatures show to anyone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// At a barrier of the session, the two signed different accounts of the messages between them: at least one deviated.
    Accounts {
        /// The session.
        session: Hash32,
        /// The barrier's number.
        barrier: u32,
        /// The two.
        between: [Role; 2],
    },
    /// At one barrier of the session, the party signed two different statements.
    TwoStatements {
        /// The session.
        session: Hash32,
        /// The barrier's number.
        barrier: u32,
        /// The party.
        party: Role,
    },
}

impl Proof {
    /// The parties of which at least one deviated.
    pub fn suspects(&self) -> Vec<Role> {
        match self {
            Self::Accounts { between, .. } => between.to_vec(),
            Self::TwoStatements { party, .. } => vec![*party],
        }
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accounts { barrier, between, .. } => write!(
                f,
                "at barrier {barrier} {} and {} signed different accounts of the messages between them: one of the two deviated",
                between[0], between[1]
            ),
            Self::TwoStatements { barrier, party, .. } => {
                write!(
                    f,
                    "at barrier {barrier} {party} signed two different statements: it deviated"
                )
            }
        }
    }
}

/// A party's Abort of a tally session, its form checked.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionAbort {
    /// The election.
    pub election: ElectionId,
    /// The box.
    pub of_box: BoxId,
    /// The Seal.
    pub seal_hash: Hash32,
    /// The session's number.
    pub number: SessionNumber,
    /// The session's id.
    pub session: Hash32,
    /// Who says so.
    pub party: Role,
    /// The stable reason.
    pub reason: Reason,
    /// Which check failed.
    pub check: Check,
    /// In which step: lower-case letters, digits, spaces, hyphens.
    pub step: String,
    /// Between which two, in order, where it was between two.
    pub channel: Option<[Role; 2]>,
    /// The parties of which, by its word, one is at fault; ascending; never the signer. Empty: nobody.
    pub suspects: Vec<Role>,
    /// Whether it says that its evidence proves it.
    pub proved: bool,
    /// The evidence.
    pub evidence: Vec<wire::Evidence>,
}

impl SessionAbort {
    /// Signs it as its party.
    pub fn sign(&self, signer: &Signer) -> Envelope {
        let payload = wire::Abort {
            election: self.election.as_str().to_owned(),
            r#box: self.of_box.get(),
            seal_hash: self.seal_hash.0.to_vec(),
            session: self.number.get(),
            party: self.party.number(),
            reason: self.reason.code().to_owned(),
            step: self.step.clone(),
            channel: self.channel.map_or_else(String::new, |[one, other]| {
                format!("P{}-P{}", one.number(), other.number())
            }),
            suspects: self.suspects.iter().map(|role| role.number()).collect(),
            proved: self.proved,
            evidence: self.evidence.clone(),
            session_id: self.session.0.to_vec(),
            check: self.check.code().to_owned(),
            ..wire::Abort::default()
        };
        signer.seal_envelope(Kind::Abort, payload.encode_to_vec())
    }

    /// Checks form and that it is signed by the party that it names, and by it alone. The evidence is not looked at.
    ///
    /// # Errors
    /// [`AbortError`].
    pub fn open(envelope: &Envelope, keys: &[PublicKey; 3]) -> Result<Self, AbortError> {
        let raw: wire::Abort = decode_canonical("Abort", envelope.payload(), MAX_ABORT_BYTES)?;
        let party = Role::from_number(raw.party)?;
        envelope.verify_all(Kind::Abort, std::slice::from_ref(&keys[party.slot()]))?;
        // Shown on terminals: nothing but plain words gets through.
        let plain =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b' ' || byte == b'-';
        if raw.step.len() > MAX_STEP_BYTES || !raw.step.bytes().all(plain) {
            return Err(AbortError::Step);
        }
        let suspects = raw
            .suspects
            .iter()
            .map(|number| Role::from_number(*number))
            .collect::<Result<Vec<_>, _>>()?;
        if !suspects.is_sorted_by(|one, other| one < other) || suspects.contains(&party) {
            return Err(AbortError::Suspects);
        }
        if raw.subject.is_some() || !raw.one_time_key.is_empty() {
            return Err(AbortError::Foreign);
        }
        Ok(Self {
            election: ElectionId::new(&raw.election)?,
            of_box: BoxId(raw.r#box),
            seal_hash: Hash32::from_slice(&raw.seal_hash)?,
            number: SessionNumber(raw.session),
            session: Hash32::from_slice(&raw.session_id)?,
            party,
            reason: raw.reason.parse()?,
            check: raw.check.parse()?,
            step: raw.step,
            channel: match raw.channel.as_str() {
                "" => None,
                "P1-P2" => Some([Role::P1, Role::P2]),
                "P1-P3" => Some([Role::P1, Role::P3]),
                "P2-P3" => Some([Role::P2, Role::P3]),
                _ => return Err(AbortError::Channel),
            },
            suspects,
            proved: raw.proved,
            evidence: raw.evidence,
        })
    }

    /// Checks all the evidence and says what it proves to anyone, and what other parties' Aborts stand in it.
    ///
    /// # Errors
    /// [`AbortError`]: some of the evidence is not what it should be, or the Abort says that it proves and does not.
    pub fn examine(&self, keys: &[PublicKey; 3]) -> Result<Examined, AbortError> {
        let examined = self.examine_within(keys, MAX_DEPTH)?;
        if self.proved == examined.proofs.is_empty() {
            return Err(AbortError::Standing);
        }
        Ok(examined)
    }

    /// As its party should sign it: it says that it proves exactly when its evidence does. Evidence that does not hold is left out.
    #[must_use]
    pub fn settled(mut self, keys: &[PublicKey; 3]) -> Self {
        self.proved = match self.examine_within(keys, MAX_DEPTH) {
            Ok(examined) => !examined.proofs.is_empty(),
            Err(_) => {
                self.evidence.clear();
                false
            }
        };
        self
    }

    fn examine_within(&self, keys: &[PublicKey; 3], depth: usize) -> Result<Examined, AbortError> {
        if depth == 0 {
            return Err(AbortError::Depth);
        }
        let mut starts = Vec::new();
        let (mut signed, mut said, mut demanded) = (Vec::new(), Vec::new(), false);
        for evidence in &self.evidence {
            match evidence.object.clone().ok_or(AbortError::Foreign)? {
                Object::Start(start) => starts.push(Envelope::from_wire(start)?),
                Object::Barrier(statement) => signed.push(statement),
                Object::Demand(demand) => {
                    let demand = Demand::open(&Envelope::from_wire(demand)?, keys)?;
                    if demand.session != self.session || demand.by != self.party {
                        return Err(AbortError::OtherSession);
                    }
                    demanded = true;
                }
                Object::Statement(other) => {
                    let other = Self::open(&Envelope::from_wire(other)?, keys)?;
                    if other.session != self.session || other.party == self.party {
                        return Err(AbortError::OtherSession);
                    }
                    said.push(other);
                }
                _ => return Err(AbortError::Foreign),
            }
        }
        let mut statements = if signed.is_empty() {
            Vec::new()
        } else {
            let binding = self.binding(&starts, keys)?;
            signed
                .iter()
                .map(|statement| self.statement(statement, &binding, keys))
                .collect::<Result<Vec<_>, _>>()?
        };
        let mut nested = Vec::new();
        for other in said {
            let inner = other.examine_within(keys, depth - 1)?;
            statements.extend_from_slice(&inner.statements);
            nested.push(other);
            nested.extend(inner.said);
        }
        let proofs = proofs(self.session, &statements);
        Ok(Examined {
            proofs,
            said: nested,
            demanded,
            statements,
        })
    }

    /// The binding of the session that the three Starts open, if that is the one this Abort names.
    fn binding(&self, starts: &[Envelope], keys: &[PublicKey; 3]) -> Result<Binding, AbortError> {
        let [one, two, three] = starts else {
            return Err(AbortError::OtherSession);
        };
        for (start, party) in [(one, Role::P1), (two, Role::P2), (three, Role::P3)] {
            let start = Start::open(start, keys)?;
            let same = start.party == party
                && start.seal_hash == self.seal_hash
                && start.election == self.election
                && start.of_box == self.of_box
                && start.number == self.number;
            if !same {
                return Err(AbortError::OtherSession);
            }
        }
        if session_id([one.payload(), two.payload(), three.payload()]) != self.session {
            return Err(AbortError::OtherSession);
        }
        Ok(binding(&self.seal_hash, &self.election, self.of_box, self.number))
    }

    fn statement(
        &self,
        signed: &wire::BarrierStatement,
        binding: &Binding,
        keys: &[PublicKey; 3],
    ) -> Result<Statement, AbortError> {
        let statement = Statement::from_bytes(&signed.statement).ok_or(AbortError::Barrier)?;
        // The last one is no barrier's: honest parties that stop at different times say different things in it.
        if statement.binding != *binding || statement.number == Statement::LAST {
            return Err(AbortError::Barrier);
        }
        let signer = statement.signer;
        let signature = SignatureBytes::from_slice(&signed.signature)?;
        let layout = statement_layout(&self.session, &signed.statement);
        if !keys[signer.slot()].verify(layout.as_bytes(), &signature) {
            return Err(AbortError::BarrierSignature(signer));
        }
        Ok(statement)
    }
}

/// What randomness, channel hashes and commitments of a session are bound to.
fn binding(seal: &Hash32, election: &ElectionId, of_box: BoxId, number: SessionNumber) -> Binding {
    Binding::new(
        seal.as_bytes(),
        election.as_str().as_bytes(),
        &of_box.get().to_be_bytes(),
        number.get(),
    )
}

/// What statements of one session prove.
fn proofs(session: Hash32, statements: &[Statement]) -> Vec<Proof> {
    let mut proofs = Vec::new();
    for (at, one) in statements.iter().enumerate() {
        for other in &statements[at + 1..] {
            if one.number != other.number || one == other {
                continue;
            }
            let barrier = one.number;
            let proof = if one.signer == other.signer {
                Proof::TwoStatements {
                    session,
                    barrier,
                    party: one.signer,
                }
            } else if one.agrees_with(other) {
                continue;
            } else {
                let mut between = [one.signer, other.signer];
                between.sort();
                Proof::Accounts {
                    session,
                    barrier,
                    between,
                }
            };
            if !proofs.contains(&proof) {
                proofs.push(proof);
            }
        }
    }
    proofs
}

/// What the evidence of an Abort comes to.
#[derive(Clone, Debug)]
pub struct Examined {
    /// What signatures show to anyone.
    pub proofs: Vec<Proof>,
    /// What other parties stated, as far as the Abort carries it.
    pub said: Vec<SessionAbort>,
    /// Whether the overdue frame was demanded, with a signature, before anybody was called overdue.
    pub demanded: bool,
    statements: Vec<Statement>,
}

/// An Abort that was verified, with what it proves.
#[derive(Clone, Debug)]
pub struct VerifiedAbort {
    /// What its signer states.
    pub abort: SessionAbort,
    /// What its evidence comes to.
    pub examined: Examined,
}

/// Verifies Aborts of one box offline, with the parties' keys of the manifest. The second value is what signatures in all of them together
/// prove, session by session: two Aborts may each hold one of two contradicting statements.
///
/// # Errors
/// [`AbortError`], the first thing that does not hold.
pub fn verify_aborts(
    aborts: &[Envelope],
    keys: &[PublicKey; 3],
    (election, of_box, seal_hash): (&ElectionId, BoxId, Hash32),
) -> Result<(Vec<VerifiedAbort>, Vec<Proof>), AbortError> {
    let mut verified = Vec::with_capacity(aborts.len());
    let mut statements: BTreeMap<[u8; 32], Vec<Statement>> = BTreeMap::new();
    for envelope in aborts {
        let abort = SessionAbort::open(envelope, keys)?;
        if abort.election != *election || abort.of_box != of_box || abort.seal_hash != seal_hash {
            return Err(AbortError::Other);
        }
        let examined = abort.examine(keys)?;
        statements
            .entry(abort.session.0)
            .or_default()
            .extend_from_slice(&examined.statements);
        verified.push(VerifiedAbort { abort, examined });
    }
    let proofs = statements
        .iter()
        .flat_map(|(session, statements)| proofs(Hash32(*session), statements))
        .collect();
    Ok((verified, proofs))
}
