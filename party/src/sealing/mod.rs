//! Sealing: three parties agree on exactly what will be tallied, and each ends up holding its two shares of all of it.
//!
//! A box is sealed once. Three parties run the same steps and pull what they need from each other over the Peer service; the
//! coordinator only says *go* and carries the three signatures away. Every step is durable before anyone sees its outcome and finds
//! its own outcome again after a restart, so a run that was cut short anywhere is simply run again and ends with the same Seal.
//!
//! # The rules, and why
//!
//! **Two timely acceptances make a ballot.** Two parties hold all three shares between them, so a ballot that two accepted can always
//! be completed; and of two parties at least one is honest, so an honest clock has seen it in time. One acceptance is not enough: one
//! party alone could invent, back-date or withhold. Three are not needed: one party may have been away.
//!
//! 1. **List.** After the last moment at which the box takes submissions, *on this party's own clock*, each party signs one List: the
//!    digests of the ballots and credential records it accepted in time, and the orders in force. The List and its body are written in
//!    one transaction with the mark that closes the box to intake, so that no receipt can be given for anything that is not in it.
//!    One List per box, ever: a party that could sign another after seeing its peers' could choose which ballots have two acceptances.
//! 2. **Crosswise.** Each party takes the List of another from that party and compares it with what the third party was shown. Two
//!    different Lists with valid signatures of one party are proof against it, whoever carries them, and end the sealing in an Abort
//!    that names it. (Without the comparison a party could show two Lists and get two Seals, or none, without being named.)
//!    What the third party carries may be anything that the other ever signed, for any box: what is not of this election, box, party and
//!    manifest convicts nobody, and its carrier is waited for by name.
//!    A List keeps ballots and records apart, a receipt does not. So whoever accepted a digest as one kind and finds it listed as the other
//!    has proof as well (the header says what it is) and the sealing ends likewise: else a party could hide an acceptance under the
//!    wrong kind, or make an honest receipt look as if its signer had hidden it.
//! 3. **Claims.** Holding all three Lists, each party signs one Claims: the hashes of the three Lists, and every receipt that voters
//!    handed to it for a digest of *its own* List and that the receipt's signer did not list. Such a receipt counts as an acceptance,
//!    and proves that its signer hides what it accepted. Receipts for digests outside the claimant's List are of no use: they would
//!    make one acceptance only. Claims are compared crosswise as well.
//! 4. **Candidates.** A ballot with two acceptances, by List or by claimed receipt, is a candidate, as is a **credential record with
//!    three**. All three parties compute the same candidates from the same six signed objects. A claimed receipt that is not what it
//!    says (a signature that does not verify, a digest that is not in the claimant's List or is in the signer's) is disregarded by
//!    everyone alike and proves the claimant at fault: nothing that one party does can take a ballot out.
//! 5. **Fill.** For a candidate that it did not accept, P_j asks P_{j-1} for share_j and P_{j+1} for share_{j+1}: the shares P_j
//!    would have been sent, no others. Each is checked against the commitment in the header, and the header against the digest.
//! 6. **Complaint**, when one is absent or fails: see [`complaint`].
//! 7. **Exclusions** come from public checks alone, made by everyone on the same headers: form, times, station signature, a (station,
//!    sequence) used twice. Timing and quarrels never decide content, a missing List or Claims only stops.
//! 8. **Seal.** Each party computes the Seal, writes it down signed, and only then shows it. Three signatures on the same bytes make
//!    the box sealed. From then on a request to seal returns what is stored, whatever has changed since: no request carries
//!    bytes that this party would sign without having computed them.
//!
//! # A restored backup
//!
//! A party cannot tell that its store is an older copy. So before it signs a List, Claims or a Seal it asks both others, with a fresh nonce,
//! what they hold of its signatures; without both answers it signs nothing. A List or Claims that one of them holds is taken back, a Seal is
//! computed anew and must be the same. What is shown must be of this box: what this party signed for another one makes it no restored one.
//! What a List names and the store lost is filled like a candidate that the party did not accept. An
//! answer that leaves out what its signer's own Claims or Seal name convicts the signer. (What only a liar has seen of this party can be
//! hidden by it: then there are two Lists, and this party has the liar's signature that it held none. Who is right, the order of the
//! two, no signature shows; sealing stops.)
//!
//! A store that is lost after the Seal comes to the same Seal by the same steps, when the coordinator asks for it: `coordinator seal` asks every
//! party whether it still has the Seals that are stored there, and has those without one seal again. A second Seal under three signatures is told
//! and stored nowhere.
//!
//! # Credential records
//!
//! A record stands only with three acceptances, so that no voter is given a credential that one party never saw. Registrars collect
//! the three receipts but do not carry them around: the parties' Lists say the same thing, since a List is signed and holds all that
//! its party receipted. So a record that all three list stands. A record that one party did not list stands only if a receipt of that
//! party for it was delivered to another and is claimed: then it is filled like a ballot, and its signer is named. Otherwise it does
//! not stand, the voter's lower serial does if there is one, and else the voter is not enrolled and has the polling station. Both
//! halves of a split issue must stand for either to count. Equal serials stand for nobody and are published. (A party that hides a
//! record can do no more than that, and its receipt in the registrar's hands proves it.)
//!
//! # What is proved and what is stated
//!
//! *Proved*: signatures that anyone can check, with no word of ours: two Lists, two Claims, two Seals; a receipt for what its signer did
//! not list; a claim with a false receipt; a sealed answer whose one-time key was shown. *Stated*: somebody was silent, and two say so.
//! Both kinds are in [`Finding`]s; what is only stated never outlives the run, since the silent may come back.
//!
//! # Orders
//!
//! Orders change calendars, live and enrolled, and come into force one by one. Were each party to take those in force when it computes
//! the Seal, an order that arrived between two computations would leave two signatures on different bytes, for ever, as no party signs
//! twice. So each List names the orders its party had in force, the Seal takes the longest of the three sequences, and a party that
//! lacks one stops and is handed it. Later orders do not touch a box with a List.

mod audit;
mod candidates;
mod claims;
pub mod complaint;
mod error;
pub(crate) mod fate;
mod fill;
mod hearing;
mod input;
pub(crate) mod known;
mod lists;
mod mediated;
mod peers;
mod recollect;
mod run;
mod seal;
mod sealed_box;
mod seals;
mod state;
mod story;

mod serve;
mod subject;
mod tables;
mod waiting;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tally_proto::envelope::{Envelope, Signer};
use tally_proto::ids::{Hash32, Role};

pub use complaint::ComplaintError;
pub use error::{Basis, Finding, Lie, SealAbort, SealError};
pub use peers::{FillParts, Flaw, Item, ListParts, PeerError, Peers};
pub use run::Step;
pub use sealed_box::{BodyParts, CredentialShares, SealedBox};
pub use serve::{FillReply, ListReply, MAX_FILL};

pub use waiting::Patience;

use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::mirror::Gate;
use crate::party::Party;
use crate::store::vault::StorageKey;
use crate::store::{Store, StoreError, Tables, WriteTx};
use tables::{BoxKey, Once};
use waiting::Steps;

/// Makes the tables of this module, in the store's opening transaction.
pub(crate) fn create_tables(tx: &WriteTx) -> Result<(), StoreError> {
    tables::create(tx)?;
    known::create(tx)
}

/// The hash of the List of `party`.
pub(crate) fn list_hash(
    tx: &impl Tables,
    (election, of_box): (u32, u32),
    party: Role,
) -> Result<Option<Hash32>, StoreError> {
    let key = BoxKey { election, of_box };
    hash_of(tables::signed(tx, key, Once::List, party.index())?, "seal_signed")
}

/// The hash of the Seal, once three have signed it.
pub(crate) fn seal_hash(
    tx: &impl Tables,
    (election, of_box): (u32, u32),
) -> Result<Option<Hash32>, StoreError> {
    hash_of(tables::whole(tx, BoxKey { election, of_box })?, "seal_whole")
}

fn hash_of(bytes: Option<Vec<u8>>, table: &'static str) -> Result<Option<Hash32>, StoreError> {
    bytes
        .map(|bytes| {
            Envelope::decode(&bytes)
                .map(|envelope| envelope.hash())
                .map_err(|_| StoreError::Corrupt { table })
        })
        .transpose()
}

/// Whether the Seal of a box, (election number, box), stands with three signatures.
pub(crate) fn is_sealed(tx: &impl Tables, (election, of_box): (u32, u32)) -> Result<bool, StoreError> {
    Ok(tables::whole(tx, BoxKey { election, of_box })?.is_some())
}

/// The List, Claims and Seal of `party`, as far as they are held here.
pub(crate) fn signed_by(
    tx: &impl Tables,
    (election, of_box): (u32, u32),
    party: Role,
) -> Result<[Option<Envelope>; 3], StoreError> {
    let key = BoxKey { election, of_box };
    let mut held = [const { None }; 3];
    for (held, what) in held.iter_mut().zip([Once::List, Once::Claims, Once::Seal]) {
        *held = tables::signed(tx, key, what, party.index())?
            .map(|bytes| Envelope::decode(&bytes).map_err(|_| StoreError::Corrupt { table: "seal_signed" }))
            .transpose()?;
    }
    Ok(held)
}

/// Sealing, of any number of boxes, for one party. Cheap to clone: clones are the same.
#[derive(Clone)]
pub struct Sealing(Arc<Inner>);

struct Inner {
    me: Role,
    store: Arc<Store>,
    vault: Arc<StorageKey>,
    signer: Arc<Signer>,
    clock: Arc<dyn Clock>,
    patience: Patience,
    entropy: Arc<dyn Entropy>,
    gate: Arc<Gate>,
    steps: Steps,
    mediated: mediated::Mediated,
    running: Mutex<HashMap<BoxKey, Arc<tokio::sync::Mutex<()>>>>,
}

impl std::fmt::Debug for Sealing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sealing({})", self.0.me)
    }
}

/// What sealing works on.
pub struct Parts {
    /// Which party this is.
    pub me: Role,
    /// Its store.
    pub store: Arc<Store>,
    /// What opens its shares at rest.
    pub vault: Arc<StorageKey>,
    /// Its signing key.
    pub signer: Arc<Signer>,
    /// Its clock.
    pub clock: Arc<dyn Clock>,
    /// How long it waits for the others.
    pub patience: Patience,
    /// Randomness, for one-time keys and the encryption of answers.
    pub entropy: Arc<dyn Entropy>,
    /// Whether its log may grow.
    pub gate: Arc<Gate>,
}

impl Sealing {
    /// Sealing for a whole party, with the usual patience.
    pub fn of(party: &Party) -> Self {
        Self::new(Parts {
            me: party.role,
            store: Arc::clone(&party.store),
            vault: Arc::clone(&party.vault),
            signer: Arc::clone(&party.signer),
            clock: Arc::clone(&party.clock),
            patience: Patience::default(),
            entropy: Arc::clone(&party.entropy),
            gate: Arc::clone(&party.gate),
        })
    }

    /// Sealing for the party that these parts belong to.
    pub fn new(parts: Parts) -> Self {
        let Parts {
            me,
            store,
            vault,
            signer,
            clock,
            patience,
            entropy,
            gate,
        } = parts;
        Self(Arc::new(Inner {
            me,
            store,
            vault,
            signer,
            clock,
            patience,
            entropy,
            gate,
            steps: Steps::new(),
            mediated: mediated::Mediated::default(),
            running: Mutex::default(),
        }))
    }

    /// Runs `work`, which reads or writes the store, on a blocking thread.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, SealError> + Send + 'static,
    ) -> Result<T, SealError> {
        let inner = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || work(&inner))
            .await
            .map_err(|_| SealError::Interrupted)?
    }
}

impl Inner {
    /// The lock of a box: one run at a time, the next finds what the one before wrote.
    fn lock_of(&self, key: BoxKey) -> Arc<tokio::sync::Mutex<()>> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(running.entry(key).or_default())
    }
}

#[cfg(test)]
mod tests;
