//! The elections this party knows: manifests, orders, and who has countersigned what.
//!
//! An election comes with the coordinator's signature and is *in force* with all three countersignatures. Until this party has countersigned it,
//! the coordinator may replace it; afterwards the election id belongs to that manifest for good. Changes go to the store first and are
//! shown after the commit.

mod publication;
mod signing;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tally_proto::envelope::{Envelope, EnvelopeError};
use tally_proto::ids::{BoxId, Role};
use tally_proto::manifest::{BallotBox, Manifest, ManifestError, SignedManifest};
use tally_proto::order::{Change, EffectiveElection, OrderError, SignedOrder, in_force};
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use tally_proto::wire;

use crate::keys::Identities;
use crate::store::{Store, StoreError, WriteTx, elections as rows};

/// Why stored elections could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ElectionsError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A stored envelope does not decode.
    #[error("the store's election {election:?}: {source}")]
    Envelope {
        /// The election.
        election: String,
        /// Why.
        source: EnvelopeError,
    },
    /// A stored manifest does not hold.
    #[error("the store's election {election:?}: {source}")]
    Manifest {
        /// The election.
        election: String,
        /// Why.
        source: ManifestError,
    },
    /// A stored order does not hold.
    #[error("the store's election {election:?}: {source}")]
    Order {
        /// The election.
        election: String,
        /// Why.
        source: OrderError,
    },
}

/// One election as it stands here. Immutable: a change makes a new one.
#[derive(Clone, Debug)]
pub struct Election {
    number: u32,
    effective: EffectiveElection,
    /// All orders with the coordinator's signature, by number, those in force first.
    orders: Vec<SignedOrder>,
    /// The election with each of the orders that wait.
    supposed: Vec<EffectiveElection>,
}

impl Election {
    fn new(
        number: u32,
        manifest: SignedManifest,
        mut orders: Vec<SignedOrder>,
    ) -> Result<Election, OrderError> {
        orders.sort_by_key(|order| order.order().number);
        let mut effective = EffectiveElection::new(Arc::new(manifest), [])?;
        let mut standing: Vec<SignedOrder> = in_force(&orders).into_iter().cloned().collect();
        for order in &standing {
            effective.apply(order)?;
        }
        // What does not follow the last one in force can never be in force.
        orders.retain(|order| effective.check_follows(order.order()).is_ok());
        standing.append(&mut orders);
        let orders = standing;
        let waiting = &orders[effective.order_hashes().len()..];
        let supposed = waiting.iter().map(|order| effective.supposing(order)).collect();
        Ok(Election {
            number,
            effective,
            orders,
            supposed,
        })
    }

    /// The same with no other order waiting than this one.
    fn with_alone(&self, order: &SignedOrder) -> Result<Election, OrderError> {
        let in_force = self.orders_in_force().iter().cloned();
        let orders = in_force.chain([order.clone()]).collect();
        Self::new(self.number, self.signed_manifest().clone(), orders)
    }

    /// Its number in this party's store.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The manifest with its signatures.
    pub fn signed_manifest(&self) -> &SignedManifest {
        self.effective.signed_manifest()
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        self.effective.manifest()
    }

    /// The election with the orders in force.
    pub fn effective(&self) -> &EffectiveElection {
        &self.effective
    }

    /// The election with the orders in force, and with each order besides that the party has countersigned.
    ///
    /// What a party takes is in time under all of these. An order may come into force at any moment after the last countersignature, also long after
    /// its own time, whenever the coordinator hands it out; everyone who signed it has held to it since, so it finds nothing that two parties
    /// took and that it would put out of time.
    pub fn binding(&self, party: Role) -> impl Iterator<Item = &EffectiveElection> {
        let signed = self.orders_waiting().iter().zip(&self.supposed);
        let signed = signed.filter(move |(order, _)| order.is_countersigned_by(party));
        std::iter::once(&self.effective).chain(signed.map(|(_, supposed)| supposed))
    }

    /// Orders in force, by number.
    pub fn orders_in_force(&self) -> &[SignedOrder] {
        &self.orders[..self.effective.order_hashes().len()]
    }

    /// Orders that wait for signatures, by number.
    pub fn orders_waiting(&self) -> &[SignedOrder] {
        &self.orders[self.effective.order_hashes().len()..]
    }

    /// A box of it.
    ///
    /// # Errors
    /// `box.unknown`.
    pub fn ballot_box(&self, id: BoxId) -> Result<&BallotBox, Refusal> {
        self.manifest().ballot_box(id).ok_or_else(|| {
            Refusal::new(
                Reason::BoxUnknown,
                format_args!("election {} has no box {id}", self.manifest().election()),
            )
        })
    }

    /// Itself, when all three parties have countersigned.
    ///
    /// # Errors
    /// `manifest.not-countersigned`, naming who is missing.
    pub fn in_force(self: Arc<Self>) -> Result<Arc<Self>, Refusal> {
        if self.signed_manifest().is_complete() {
            return Ok(self);
        }
        let missing: Vec<String> = self
            .signed_manifest()
            .missing()
            .map(|role| role.to_string())
            .collect();
        Err(Refusal::new(
            Reason::ManifestNotCountersigned,
            format_args!(
                "the manifest lacks the countersignature of {}",
                missing.join(" and ")
            ),
        ))
    }

    /// As `party` hands it out: the manifest, the orders in force, and those that wait and revoke a station, where the party has countersigned
    /// them. It holds to these already, and the station must hear of it before a voter loses a vote there. Other orders that wait are nobody's
    /// business: they may name a voter, and may never come into force.
    pub fn to_wire(&self, party: Role) -> wire::ManifestReply {
        let revokes = |order: &&SignedOrder| {
            matches!(order.order().change, Change::Revocation(_)) && order.is_countersigned_by(party)
        };
        let wire = |order: &SignedOrder| order.envelope().to_wire();
        wire::ManifestReply {
            manifest: Some(self.signed_manifest().envelope().to_wire()),
            orders: self.orders_in_force().iter().map(wire).collect(),
            revoking: self.orders_waiting().iter().filter(revokes).map(wire).collect(),
        }
    }
}

/// The elections this party knows.
#[derive(Debug)]
pub struct Elections {
    known: RwLock<BTreeMap<String, Arc<Election>>>,
    /// Held during a change, from reading to showing it.
    changing: Mutex<()>,
    /// Held while rows of a publication are written or swept: one at a time, whoever brings it.
    publishing: tokio::sync::Mutex<()>,
    drafts: Drafts,
}

/// What elections that this party has not countersigned may take.
#[derive(Clone, Copy, Debug)]
pub struct Drafts {
    /// How many.
    pub most: usize,
    /// Bytes of their manifests and rolls.
    pub bytes: u64,
    /// Free bytes below which no other is taken.
    pub reserve_bytes: u64,
}

impl Elections {
    /// Loads what the store holds.
    ///
    /// # Errors
    /// [`ElectionsError`].
    pub fn load(store: &Store) -> Result<Elections, ElectionsError> {
        let known = store.read(|tx| {
            let mut known = BTreeMap::new();
            for (election, number) in rows::all(tx)? {
                let Some(bytes) = rows::manifest(tx, number)? else {
                    continue;
                };
                let envelope = |bytes: &[u8]| {
                    Envelope::decode(bytes).map_err(|source| ElectionsError::Envelope {
                        election: election.clone(),
                        source,
                    })
                };
                let manifest =
                    SignedManifest::open(envelope(&bytes)?).map_err(|source| ElectionsError::Manifest {
                        election: election.clone(),
                        source,
                    })?;
                let bad_order = |source| ElectionsError::Order {
                    election: election.clone(),
                    source,
                };
                let mut orders = Vec::new();
                for (_, bytes) in rows::orders(tx, number)? {
                    orders.push(SignedOrder::open(envelope(&bytes)?, &manifest).map_err(bad_order)?);
                }
                let loaded = Election::new(number, manifest, orders).map_err(bad_order)?;
                known.insert(election, Arc::new(loaded));
            }
            Ok::<_, ElectionsError>(known)
        })?;
        Ok(Elections {
            known: RwLock::new(known),
            changing: Mutex::new(()),
            publishing: tokio::sync::Mutex::default(),
            drafts: Drafts {
                most: usize::MAX,
                bytes: u64::MAX,
                reserve_bytes: 0,
            },
        })
    }

    /// What elections that this party has not countersigned may take.
    pub(crate) fn drafts(&self) -> Drafts {
        self.drafts
    }

    /// With these bounds.
    #[must_use]
    pub fn bounded(self, drafts: Drafts) -> Elections {
        Elections { drafts, ..self }
    }

    /// Those that this party has not countersigned, in the order in which they came, to make room for one more with so many bytes.
    fn to_forget(
        &self,
        tx: &WriteTx,
        own: Role,
        but: &str,
        bytes: u64,
    ) -> Result<Vec<(String, u32)>, StoreError> {
        let mut drafts = Vec::new();
        for election in self.all() {
            let (id, manifest) = (
                election.manifest().election().as_str(),
                election.signed_manifest(),
            );
            if id != but && !manifest.is_countersigned_by(own) && !manifest.is_complete() {
                drafts.push((
                    election.number(),
                    id.to_owned(),
                    rows::bytes(tx, election.number())?,
                ));
            }
        }
        drafts.sort_unstable();
        let mut left = drafts.len() + 1;
        let mut all = drafts
            .iter()
            .map(|(.., bytes)| *bytes)
            .fold(bytes, u64::saturating_add);
        let oldest = drafts.into_iter().take_while(|(.., bytes)| {
            let goes = left > self.drafts.most || all > self.drafts.bytes;
            left -= usize::from(goes);
            all = all.saturating_sub(if goes { *bytes } else { 0 });
            goes
        });
        Ok(oldest.map(|(number, id, _)| (id, number)).collect())
    }

    /// An election.
    ///
    /// # Errors
    /// `election.unknown`.
    pub fn get(&self, election: &str) -> Result<Arc<Election>, Refusal> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(election).cloned().ok_or_else(|| {
            let shown: String = election.chars().take(80).collect();
            Refusal::new(
                Reason::ElectionUnknown,
                format_args!("this party holds no manifest of election {shown:?}"),
            )
        })
    }

    /// All of them, by id.
    pub fn all(&self) -> Vec<Arc<Election>> {
        self.known
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }

    fn show(&self, election: Election) -> Arc<Election> {
        let election = Arc::new(election);
        let id = election.manifest().election().as_str().to_owned();
        self.known
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id, Arc::clone(&election));
        election
    }
}

/// The manifest must name exactly the parties and the coordinator that this party's operator has configured and compared.
///
/// Between elections an agency may change all of that but the key that it signs with: another HPKE key, another address. Whoever lost the store of
/// an older election must get it back all the same. It was compared before it was signed: all three parties, this one among them, and the coordinator
/// have signed exactly this manifest with the keys that are configured now.
fn check_identities(signed: &SignedManifest, identities: &Identities) -> Result<(), Refusal> {
    let manifest = signed.manifest();
    let signs_alike = Role::ALL
        .into_iter()
        .all(|role| manifest.party(role).signing_key() == identities.party(role).signing_key())
        && manifest.coordinator().signing_key() == identities.coordinator.signing_key();
    if signed.is_complete() && signs_alike {
        return Ok(());
    }
    let other = |who: String| {
        Refusal::new(
            Reason::ManifestIdentity,
            format_args!(
                "the manifest names another {who} than this party's configuration; compare identity files"
            ),
        )
    };
    for role in Role::ALL {
        if manifest.party(role) != identities.party(role) {
            return Err(other(format!("identity of {role}")));
        }
    }
    if *manifest.coordinator() != identities.coordinator {
        return Err(other("coordinator".to_owned()));
    }
    Ok(())
}

fn order_refused(error: OrderError) -> Refusal {
    Refusal::new(error.reason(), error)
}

fn manifest_refused(error: ManifestError) -> Refusal {
    Refusal::new(error.reason(), error)
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "the store failed");
        Refusal::new(
            Reason::StoreFailed,
            "the party's store failed; its operator finds the cause in its log",
        )
    }
}
