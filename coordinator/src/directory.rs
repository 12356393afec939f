//! What a coordinator keeps on disk: its keys, and a directory for each election.
//!
//! ```text
//! coordinator.identity.toml   public: name, board, authority, signing key
//! signing.key ca.key tls.key  secret, readable by their owner only
//! ca.pem tls.pem              public certificates
//! registers/<id>.toml         of enrolled credentials: see `registers`
//! revocation/                 revocation lists of cards, where voters who enrol draw tickets: the commission fetches them
//! elections/<id>/
//!   manifest                  envelope; countersignatures are added to it
//!   roll.csv                  as it was read, with indices, and salted codes for what certificates say of voters
//!   roll.salt                 their salt: for the parties only
//!   ticket-keys/ draw-*       where there are tickets: see `tickets`
//!   orders/0001               envelopes, in number order
//!   boxes/1                   a box's seal with its evidence, then its result
//!   <id>.bundle               the signed result bundle
//! ```

use std::path::{Path, PathBuf};

use prost::Message as _;
use rand_core::CryptoRng;
use tally_proto::card::Salt;
use tally_proto::decode::decode_canonical;
use tally_proto::envelope::{Envelope, MAX_ENVELOPE_BYTES, Signer};
use tally_proto::identity::CoordinatorIdentity;
use tally_proto::ids::{BoxId, ElectionId, RegisterId, UnixSeconds, VoterIndex};
use tally_proto::manifest::{Manifest, SignedManifest};
use tally_proto::order::{SignedOrder, in_force};
use tally_proto::pki::{Authority, Leaf, Life, PeerRole, Shown};
use tally_proto::sealing::MAX_BODY_BYTES;
use tally_proto::ticket::TicketSigner;
use tally_proto::{secret_file, wire};

use crate::error::{Error, StoredProblem};
use crate::files;
use crate::open_roll;
use crate::parties::Parties;
use crate::roll::{self, RollFile};
use crate::tickets;

const IDENTITY: &str = "coordinator.identity.toml";
/// The largest stored box: a seal with all its evidence.
const MAX_BOX_BYTES: usize = MAX_BODY_BYTES + 7 * MAX_ENVELOPE_BYTES;

/// An open coordinator's directory with its keys.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    identity: CoordinatorIdentity,
    signer: Signer,
    authority: Authority,
    leaf: Leaf,
}

impl Directory {
    /// Makes keys, authority, certificate and identity in a new directory. `address` is the board's, `https://host:port`;
    /// the certificate names its host and `hosts`.
    ///
    /// # Errors
    /// [`Error::AlreadyThere`] for a directory that holds an identity, [`Error::Identity`] for a name or address that cannot be used, and
    /// failures to write.
    pub fn init(
        path: &Path,
        name: &str,
        address: &str,
        hosts: &[&str],
        rng: &mut impl CryptoRng,
    ) -> Result<Self, Error> {
        if path.join(IDENTITY).exists() {
            return Err(Error::AlreadyThere(path.to_path_buf()));
        }
        let signer = Signer::generate(rng);
        let authority = Authority::generate(name)?;
        let identity = CoordinatorIdentity::new(name, address, authority.cert_pem(), signer.public_key())
            .map_err(|source| Error::Identity {
                place: "coordinator".to_owned(),
                source,
            })?;
        let mut names = vec![identity.address().host()];
        names.extend(hosts.iter().filter(|h| **h != identity.address().host()));
        let leaf = authority.issue(&PeerRole::Coordinator, &names)?;
        files::directory(path)?;
        secret_file::create(&path.join("signing.key"), signer.seed().as_slice())?;
        secret_file::create(&path.join("ca.key"), authority.key_pem().as_bytes())?;
        secret_file::create(&path.join("tls.key"), leaf.key_pem.as_bytes())?;
        files::create(&path.join("ca.pem"), authority.cert_pem().as_bytes())?;
        files::create(&path.join("tls.pem"), leaf.cert_pem.as_bytes())?;
        files::directory(&path.join("elections"))?;
        // Last: a directory is a coordinator's when its identity is there.
        files::create(&path.join(IDENTITY), identity.to_toml().as_bytes())?;
        Ok(Self {
            path: path.to_path_buf(),
            identity,
            signer,
            authority,
            leaf,
        })
    }

    /// Opens a directory.
    ///
    /// # Errors
    /// Files that are missing, exposed or damaged.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let place = path.join(IDENTITY);
        let identity =
            CoordinatorIdentity::from_toml(&files::read_text(&place)?).map_err(|source| Error::Identity {
                place: place.display().to_string(),
                source,
            })?;
        let signer = Signer::from_seed(secret_file::read_exact::<32>(&path.join("signing.key"))?.as_slice())?;
        let authority = {
            let key = secret_text(&path.join("ca.key"))?;
            Authority::from_pem(&files::read_text(&path.join("ca.pem"))?, &key)?
        };
        let leaf = read_leaf(&path.join("tls.pem"), &path.join("tls.key"))?;
        if signer.public_key() != identity.signing_key() || authority.cert_pem() != identity.anchor().pem() {
            return Err(Error::Stored {
                path: place,
                problem: StoredProblem::OtherCoordinator,
            });
        }
        Ok(Self {
            path: path.to_path_buf(),
            identity,
            signer,
            authority,
            leaf,
        })
    }

    /// The public identity.
    pub fn identity(&self) -> &CoordinatorIdentity {
        &self.identity
    }

    /// Where the public identity's file is.
    pub fn identity_file(&self) -> PathBuf {
        self.path.join(IDENTITY)
    }

    /// Where a register of enrolled credentials is kept.
    pub fn register_file(&self, register: &RegisterId) -> PathBuf {
        self.path.join("registers").join(format!("{register}.toml"))
    }

    /// The directory of the revocation lists of authorities whose cards voters enrol with, for draw codes.
    pub fn revocation_lists(&self) -> PathBuf {
        self.path.join("revocation")
    }

    /// The signing key.
    pub fn signer(&self) -> &Signer {
        &self.signer
    }

    /// The TLS certificate, for the board and towards parties.
    pub fn leaf(&self) -> &Leaf {
        &self.leaf
    }

    /// Issues a certificate for the same host names under the same authority, with a new key, in the place of the one that is there. Identity and
    /// manifests stay as they are.
    ///
    /// # Errors
    /// Failures to write.
    pub fn renew(&mut self, hosts: &[&str], life: Life) -> Result<(), Error> {
        let mut names = vec![self.identity.address().host()];
        names.extend(
            hosts
                .iter()
                .filter(|host| **host != self.identity.address().host()),
        );
        // Whoever meets old and new tells them apart by their beginnings.
        let life = life.after(Shown::of(&self.leaf.cert_pem)?.begins());
        let leaf = self.authority.issue_for(&PeerRole::Coordinator, &names, life)?;
        secret_file::replace(&self.path.join("tls.key"), leaf.key_pem.as_bytes())?;
        files::replace(&self.path.join("tls.pem"), leaf.cert_pem.as_bytes())?;
        self.leaf = leaf;
        Ok(())
    }

    /// Signs the certificate request of a registrar or station.
    ///
    /// # Errors
    /// [`Error::NotOurRole`] for any other role, [`Error::Pki`] for a bad request.
    pub fn certify(&self, request_pem: &str, role: &PeerRole, life: Life) -> Result<String, Error> {
        match role {
            PeerRole::Registrar(_) | PeerRole::Station(_) => {
                Ok(self.authority.sign_request(request_pem, role, &[], life)?)
            }
            other => Err(Error::NotOurRole(other.to_string())),
        }
    }

    /// The ids of all defined elections, sorted.
    ///
    /// # Errors
    /// Failures to read the directory.
    pub fn elections(&self) -> Result<Vec<ElectionId>, Error> {
        let path = self.path.join("elections");
        let entries = std::fs::read_dir(&path).map_err(files::FileError::of(&path, "list"))?;
        let mut ids = Vec::new();
        for entry in entries {
            let entry = entry.map_err(files::FileError::of(&path, "list"))?;
            // Directories whose names are no election ids were not made here.
            ids.extend(
                entry
                    .file_name()
                    .to_str()
                    .and_then(|name| ElectionId::new(name).ok()),
            );
        }
        ids.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        Ok(ids)
    }

    /// Opens an election.
    ///
    /// # Errors
    /// [`Error::NotDefined`], or stored files that do not hold.
    pub fn election(&self, id: &ElectionId) -> Result<Election, Error> {
        let path = self.election_path(id);
        if !path.join("manifest").exists() {
            return Err(Error::NotDefined {
                election: id.clone(),
                path,
            });
        }
        Election::open(path, self)
    }

    /// Stores a new election, with the secret keys of its tickets.
    ///
    /// # Errors
    /// [`Error::AlreadyDefined`], and failures to write.
    pub fn create_election(
        &self,
        signed: SignedManifest,
        roll: &RollFile,
        ticket_keys: &[(UnixSeconds, TicketSigner)],
        salt: Option<&Salt>,
    ) -> Result<Election, Error> {
        let id = signed.manifest().election().clone();
        let path = self.election_path(&id);
        if path.join("manifest").exists() {
            return Err(Error::AlreadyDefined { election: id, path });
        }
        files::directory(&path.join("orders"))?;
        files::directory(&path.join("boxes"))?;
        files::replace(&path.join("roll.csv"), roll.to_csv().as_bytes())?;
        tickets::store_keys(&path, ticket_keys)?;
        if let Some(salt) = salt {
            secret_file::create(&path.join("roll.salt"), &salt.0)?;
        }
        // Last: an election is defined when its manifest is there.
        files::create(&path.join("manifest"), &signed.envelope().encode())?;
        Ok(Election {
            path,
            signed,
            orders: Vec::new(),
        })
    }

    fn election_path(&self, id: &ElectionId) -> PathBuf {
        self.path.join("elections").join(id.as_str())
    }
}

/// The roll in an election's directory.
///
/// # Errors
/// A roll file that was changed.
pub(crate) fn roll_at(path: &Path, manifest: &Manifest) -> Result<RollFile, Error> {
    let boxes: Vec<u32> = manifest.boxes().iter().map(|b| b.id().get()).collect();
    let roll = roll::read(&path.join("roll.csv"), &boxes)?;
    roll.check(manifest)?;
    Ok(roll)
}

/// A TLS certificate and key from their files.
pub(crate) fn read_leaf(cert: &Path, key: &Path) -> Result<Leaf, Error> {
    Ok(Leaf {
        cert_pem: files::read_text(cert)?,
        key_pem: secret_text(key)?,
    })
}

fn secret_text(path: &Path) -> Result<zeroize::Zeroizing<String>, Error> {
    let bytes = secret_file::read(path)?;
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(zeroize::Zeroizing::new(text.to_owned())),
        Err(_) => Err(Error::Stored {
            path: path.to_path_buf(),
            problem: StoredProblem::Damaged,
        }),
    }
}

/// A defined election on disk.
#[derive(Debug)]
pub struct Election {
    path: PathBuf,
    signed: SignedManifest,
    orders: Vec<SignedOrder>,
}

impl Election {
    fn open(path: PathBuf, directory: &Directory) -> Result<Self, Error> {
        let place = path.join("manifest");
        let signed = SignedManifest::open(Envelope::decode(&files::read(&place, MAX_BOX_BYTES as u64)?)?)?;
        if signed.manifest().coordinator() != directory.identity() {
            return Err(Error::Stored {
                path: place,
                problem: StoredProblem::OtherCoordinator,
            });
        }
        if path.file_name().and_then(|n| n.to_str()) != Some(signed.manifest().election().as_str()) {
            return Err(Error::Stored {
                path: place,
                problem: StoredProblem::OtherElection,
            });
        }
        let mut orders = Vec::new();
        for number in 1.. {
            let place = order_path(&path, number);
            if !place.exists() {
                break;
            }
            let envelope = Envelope::decode(&files::read(&place, MAX_BOX_BYTES as u64)?)?;
            let order = SignedOrder::open(envelope, &signed)?;
            if order.order().number != number {
                return Err(Error::Stored {
                    path: place,
                    problem: StoredProblem::OtherNumber,
                });
            }
            orders.push(order);
        }
        Ok(Self { path, signed, orders })
    }

    /// The manifest with the signatures so far.
    pub fn signed(&self) -> &SignedManifest {
        &self.signed
    }

    /// Stores the manifest with more signatures.
    ///
    /// # Errors
    /// Failures to write.
    pub fn store_manifest(&mut self, signed: SignedManifest) -> Result<(), Error> {
        files::replace(&self.path.join("manifest"), &signed.envelope().encode())?;
        self.signed = signed;
        Ok(())
    }

    /// All orders in number order, in force or not.
    pub fn orders(&self) -> &[SignedOrder] {
        &self.orders
    }

    /// The orders in force, each after the one before it.
    pub fn orders_in_force(&self) -> Vec<&SignedOrder> {
        in_force(&self.orders)
    }

    /// The order that waits for countersignatures: the last one drawn up. Those before it that are not in force were given up by it.
    pub fn order_waiting(&self) -> Option<&SignedOrder> {
        let last = self.orders_in_force().last().map(|order| order.hash());
        let waits = |order: &&SignedOrder| !order.is_complete() && order.order().after == last;
        self.orders.last().filter(waits)
    }

    /// Stores an order, new or with more signatures.
    ///
    /// # Errors
    /// Failures to write.
    pub fn store_order(&mut self, order: SignedOrder) -> Result<(), Error> {
        let number = order.order().number;
        let place = order_path(&self.path, number);
        match self.orders.iter_mut().find(|o| o.order().number == number) {
            Some(known) => {
                files::replace(&place, &order.envelope().encode())?;
                *known = order;
            }
            None => {
                files::create(&place, &order.envelope().encode())?;
                self.orders.push(order);
            }
        }
        Ok(())
    }

    /// Its directory.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The roll it was defined with.
    ///
    /// # Errors
    /// A roll file that was changed.
    pub fn roll(&self) -> Result<RollFile, Error> {
        roll_at(&self.path, self.signed.manifest())
    }

    /// Where a voter stands: on the roll it was defined with, or of an open roll on the newest one that was fetched.
    ///
    /// # Errors
    /// [`Error::UnknownVoter`], [`Error::NoOpenRoll`]; a file that was changed.
    pub fn find(&self, reference: &str) -> Result<(BoxId, VoterIndex), Error> {
        let found = match self.signed.manifest().open_box() {
            Some(of_box) => {
                let voter = open_roll::read(self)?.remove(reference);
                voter.map(|v| (of_box.id(), v))
            }
            None => self.roll()?.find(reference),
        };
        found.ok_or_else(|| Error::UnknownVoter(reference.to_owned()))
    }

    /// The salt of the roll's person codes, where voters enrol by card.
    ///
    /// # Errors
    /// A file that was changed.
    pub fn salt(&self) -> Result<Option<Salt>, Error> {
        let Some(register) = self.signed.manifest().register() else {
            return Ok(None);
        };
        let path = self.path.join("roll.salt");
        let bytes = secret_file::read(&path)?;
        let salt = <[u8; 32]>::try_from(bytes.as_slice()).map(Salt).ok();
        match salt.filter(|salt| salt.hash() == register.salt_hash()) {
            Some(salt) => Ok(Some(salt)),
            None => Err(Error::Stored {
                path,
                problem: StoredProblem::Damaged,
            }),
        }
    }

    /// Where the roll is.
    pub fn roll_file(&self) -> PathBuf {
        self.path.join("roll.csv")
    }

    /// Where the manifest is.
    pub fn manifest_file(&self) -> PathBuf {
        self.path.join("manifest")
    }

    /// Where the result bundle is.
    pub fn bundle_file(&self) -> PathBuf {
        self.path
            .join(format!("{}.bundle", self.signed.manifest().election()))
    }

    /// A box's stored seal and, once tallied, result; `None` before it is sealed.
    ///
    /// # Errors
    /// A damaged file.
    pub fn stored_box(&self, id: BoxId) -> Result<Option<wire::BoxBundle>, Error> {
        let place = self.box_path(id);
        if !place.exists() {
            return Ok(None);
        }
        let bytes = files::read(&place, MAX_BOX_BYTES as u64)?;
        let damaged = |_| Error::Stored {
            path: place.clone(),
            problem: StoredProblem::Damaged,
        };
        decode_canonical("box", &bytes, MAX_BOX_BYTES)
            .map(Some)
            .map_err(damaged)
    }

    /// Stores a box's seal or result.
    ///
    /// # Errors
    /// Failures to write.
    pub fn store_box(&self, id: BoxId, bundle: &wire::BoxBundle) -> Result<(), Error> {
        Ok(files::replace(&self.box_path(id), &bundle.encode_to_vec())?)
    }

    fn box_path(&self, id: BoxId) -> PathBuf {
        self.path.join("boxes").join(id.to_string())
    }

    /// The three parties, dialled with the coordinator's certificate.
    ///
    /// # Errors
    /// [`Error::Connect`].
    pub fn parties(&self, directory: &Directory) -> Result<Parties, Error> {
        Ok(Parties::dial(self.signed.manifest().parties(), directory.leaf())?)
    }
}

fn order_path(election: &Path, number: u32) -> PathBuf {
    election.join("orders").join(format!("{number:04}"))
}
