//! Changes of what is sealed: other officials, another HPKE key, new TLS certificates. A new recovery kit goes with each.

use std::io;
use std::path::{Path, PathBuf};

use rand::CryptoRng;
use tally_proto::envelope::{Envelope, EnvelopeError};
use tally_proto::identity::{IdentityError, PartyIdentity, PartyParts};
use tally_proto::ids::{BoxId, ElectionId, Role, UnixMillis};
use tally_proto::manifest::{ManifestError, SignedManifest};
use tally_proto::pki::{Life, Shown};
use tally_proto::secret_file::{self, SecretFileError};
use tally_proto::suite::OpeningKey;
use zeroize::Zeroizing;

use super::ceremony::CeremonyError;
use super::sealed::{Label, Sealed, SealedError, Use};
use super::share::{Share, Terms};
use super::split::{Public, SplitError, UnlockKey};
use crate::clock::{Clock as _, SystemClock};
use crate::config::Config;
use crate::keys::{self, KeyError};
use crate::renew::{self, Issued, RenewError};
use crate::sealing;
use crate::store::{Storage, Store, StoreError, compared, elections};

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The configuration names no sealed key file.
    #[error(
        "the keys of this party lie in plain files: there are no officials to ask; see `party init --officials`"
    )]
    NotSplit,
    /// Files of the party.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A sealed file.
    #[error("{}: {source}", path.display())]
    Sealed {
        /// The file.
        path: PathBuf,
        /// Why.
        source: SealedError,
    },
    /// The kit is of another ceremony than the key file.
    #[error("{}: the kit is of another ceremony than the key file; use the newest kit", .0.display())]
    OtherKit(PathBuf),
    /// The ceremony.
    #[error(transparent)]
    Ceremony(#[from] CeremonyError),
    /// Splitting.
    #[error(transparent)]
    Split(#[from] SplitError),
    /// The new kit's file.
    #[error(transparent)]
    Secret(#[from] SecretFileError),
    /// A file cannot be replaced.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A stored manifest.
    #[error("a stored manifest does not hold: {0}")]
    Manifest(#[from] ManifestError),
    /// A stored manifest's envelope.
    #[error("a stored manifest does not decode: {0}")]
    Envelope(#[from] EnvelopeError),
    /// The new identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// New certificates.
    #[error(transparent)]
    Renew(#[from] RenewError),
    /// An election still needs the HPKE key.
    #[error(
        "the HPKE key stays: election {election}, box {of_box} is not sealed, and its ballots are sealed to this key; rotate between \
         elections, or say --never-sealed {election}/{of_box} of a box that never will be"
    )]
    Needed {
        /// The election.
        election: String,
        /// The first of its boxes that is not sealed.
        of_box: BoxId,
    },
    /// Perhaps there are elections that this store does not know.
    #[error(
        "the HPKE key stays: whether ballots are sealed to it this machine cannot know, as its store was not compared with {} in the last hour: it may be \
         new, or an older copy that lacks an election. Start the server, let it run until `party status` shows that both others answer and no \
         election.not-taken-over, stop it and repeat this within the hour; or, if you know that no election of this party is open, say --no-election-open",
        .0.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
    )]
    NotCompared(Vec<Role>),
}

/// What the operators of a party know of its elections and its store does not say.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stated<'a> {
    /// Boxes that will never be sealed, as one that received too little.
    pub never_sealed: &'a [(ElectionId, BoxId)],
    /// No election is open but those in the store, though it was not compared with both others.
    pub none_open: bool,
}

/// How long ago the store may have been compared with the others. An election that came into force since would have needed this party's countersignature,
/// which stands in the store unless it was put back from a backup meanwhile.
const COMPARED_MS: u64 = 60 * 60 * 1000;

/// What lies on this machine and in the kit, opened.
struct Opened {
    path: PathBuf,
    sealed: Sealed,
    kit: Sealed,
}

/// Labels of the key file, and of the kit beside them.
const KEYS: [Label; 5] = [
    Label::Signing,
    Label::Hpke,
    Label::Storage,
    Label::PartyKey,
    Label::Party,
];
const KIT: [Label; 9] = [
    Label::SealedKeys,
    Label::AuthorityKey,
    Label::Authority,
    Label::OperatorKey,
    Label::Operator,
    Label::Identity,
    Label::Config,
    Label::FrontKey,
    Label::Front,
];

type Secrets = Vec<(Label, Zeroizing<Vec<u8>>)>;

impl Opened {
    fn new(config: &Config, kit: &Path) -> Result<Opened, ChangeError> {
        let path = config.keys.sealed.clone().ok_or(ChangeError::NotSplit)?;
        let sealed = keys::sealed(config)?.ok_or(ChangeError::NotSplit)?;
        let read = Sealed::read(kit, Use::Kit).map_err(|source| ChangeError::Sealed {
            path: kit.to_owned(),
            source,
        })?;
        if read.public() != sealed.public() {
            return Err(ChangeError::OtherKit(kit.to_owned()));
        }
        Ok(Opened {
            path,
            sealed,
            kit: read,
        })
    }

    fn all(&self, of: &Sealed, labels: &[Label], key: &UnlockKey) -> Result<Secrets, ChangeError> {
        let open = |label: &Label| {
            let secret = of.open(key, *label).map_err(|source| ChangeError::Sealed {
                path: self.path.clone(),
                source,
            })?;
            Ok((*label, secret))
        };
        labels.iter().map(open).collect()
    }
}

fn borrowed(secrets: &Secrets) -> Vec<(Label, &[u8])> {
    secrets
        .iter()
        .map(|(label, secret)| (*label, secret.as_slice()))
        .collect()
}

fn set(secrets: &mut Secrets, label: Label, value: &[u8]) {
    for (_, secret) in secrets.iter_mut().filter(|(known, _)| *known == label) {
        *secret = Zeroizing::new(value.to_vec());
    }
}

/// The sealed key file's public part: whose shares are needed.
///
/// # Errors
/// [`ChangeError`].
pub fn public(config: &Config) -> Result<Public, ChangeError> {
    Ok(keys::sealed(config)?
        .ok_or(ChangeError::NotSplit)?
        .public()
        .clone())
}

/// Splits a new unlock key on `terms`, and seals the key file and a new kit under it. `key` is the old one, that enough officials gave;
/// `hand_out` gives the new shares out and has enough read back. The keys themselves stay, so a running server goes on.
///
/// # Security
/// The old shares open the old kit and old copies of the key file for ever: these must be destroyed.
///
/// # Errors
/// [`ChangeError`]; the old key file stands then.
pub fn replace(
    config: &Config,
    key: &UnlockKey,
    kits: (&Path, &Path),
    terms: Terms,
    rng: &mut impl CryptoRng,
    hand_out: impl FnOnce(&[Share], &Public) -> Result<(), CeremonyError>,
) -> Result<Public, ChangeError> {
    let opened = Opened::new(config, kits.0)?;
    let secrets = opened.all(&opened.sealed, &KEYS, key)?;
    let mut kit = opened.all(&opened.kit, &KIT, key)?;
    if kits.1.exists() {
        return Err(ChangeError::Io {
            path: kits.1.to_owned(),
            source: io::ErrorKind::AlreadyExists.into(),
        });
    }
    let new = UnlockKey::generate(rng);
    let (shares, public) = new.split(config.party, terms, rng)?;
    hand_out(&shares, &public)?;
    drop(shares);
    write(&opened.path, kits.1, &public, &new, &secrets, &mut kit, rng)?;
    Ok(public)
}

/// Makes a new HPKE key and with it a new identity, which the others must be given anew. The old key is erased: nothing of a sealed box
/// is ever opened with it again.
///
/// The server must be stopped, as its store is read.
///
/// # Errors
/// [`ChangeError::Needed`], by name, while a box of any election that this party has countersigned is not sealed, and is not among
/// [`Stated::never_sealed`]; [`ChangeError::NotCompared`] where the store cannot know of all of them and [`Stated::none_open`] is not said.
pub fn rotate_hpke(
    config: &Config,
    key: &UnlockKey,
    kits: (&Path, &Path),
    stated: Stated<'_>,
    rng: &mut impl CryptoRng,
) -> Result<PartyIdentity, ChangeError> {
    all_sealed(config, stated)?;
    let opened = Opened::new(config, kits.0)?;
    let mut secrets = opened.all(&opened.sealed, &KEYS, key)?;
    let mut kit = opened.all(&opened.kit, &KIT, key)?;
    let old = keys::own_identity(config)?;
    let fresh = OpeningKey::generate(rng);
    let identity = PartyIdentity::new(PartyParts {
        role: old.role(),
        agency: old.agency().to_owned(),
        public_address: old.public_address().as_str().to_owned(),
        peer_address: old.peer_address().as_str().to_owned(),
        tls_ca_pem: old.anchor().pem().to_owned(),
        signing_key: old.signing_key(),
        sealing_key: fresh.sealing_key(),
    })?;
    let text = identity.to_toml();
    set(&mut secrets, Label::Hpke, &*fresh.to_bytes());
    set(&mut kit, Label::Identity, text.as_bytes());
    let public = opened.sealed.public().clone();
    write(&opened.path, kits.1, &public, key, &secrets, &mut kit, rng)?;
    secret_file::replace(&config.identities.own, text.as_bytes())?;
    Ok(identity)
}

/// Issues new TLS certificates with the authority's key in the kit, seals the party's into the key file and all of them into a new kit. The keys of
/// ballots and signatures, the officials and their sheets stay. Where the operator's and the locked party's go is the caller's to write.
///
/// # Errors
/// [`ChangeError`]; the old key file stands then.
pub fn renew(
    config: &Config,
    key: &UnlockKey,
    kits: (&Path, &Path),
    life: Life,
    rng: &mut impl CryptoRng,
) -> Result<Issued, ChangeError> {
    let opened = Opened::new(config, kits.0)?;
    let mut secrets = opened.all(&opened.sealed, &KEYS, key)?;
    let mut kit = opened.all(&opened.kit, &KIT, key)?;
    let own = keys::own_identity(config)?;
    let authority = kit.iter().find(|(label, _)| *label == Label::AuthorityKey);
    let authority = authority.map_or(&[][..], |(_, secret)| secret.as_slice());
    let mut before = renew::before(&[&config.tls.party, &config.tls.operator]);
    let party = secrets.iter().find(|(label, _)| *label == Label::Party);
    let party = party.and_then(|(_, pem)| std::str::from_utf8(pem.as_slice()).ok());
    before.extend(party.and_then(|pem| Shown::of(pem).ok()));
    let issued = Issued::new(&own, authority, life, &before)?;
    set(&mut secrets, Label::Party, issued.party.cert_pem.as_bytes());
    set(&mut secrets, Label::PartyKey, issued.party.key_pem.as_bytes());
    set(&mut kit, Label::Operator, issued.operator.cert_pem.as_bytes());
    set(&mut kit, Label::OperatorKey, issued.operator.key_pem.as_bytes());
    set(&mut kit, Label::Front, issued.front.cert_pem.as_bytes());
    set(&mut kit, Label::FrontKey, issued.front.key_pem.as_bytes());
    let public = opened.sealed.public().clone();
    write(&opened.path, kits.1, &public, key, &secrets, &mut kit, rng)?;
    Ok(issued)
}

/// Refuses, naming the first, while a box of an election here is not sealed and not given up. What this party has not countersigned cannot be in force
/// anywhere, so nothing is sealed to its key for it: a manifest that somebody published and nobody signed holds nothing up.
///
/// Then refuses a store that may lack elections: one that is not there, was made anew or put back since both others last named nothing more than it holds.
fn all_sealed(config: &Config, stated: Stated<'_>) -> Result<(), ChangeError> {
    let path = config.data_dir.join(Storage::FILE);
    let own = config.party;
    let compared = |missing: Vec<Role>| match missing.as_slice() {
        [_, ..] if !stated.none_open => Err(ChangeError::NotCompared(missing)),
        _ => Ok(()),
    };
    if !path.exists() {
        let mut others = vec![own.next(), own.prev()];
        others.sort();
        return compared(others);
    }
    let store = Store::open_to_read(&path, config.party.index())?;
    store.read(|tx| {
        for (election, number) in elections::all(tx)? {
            let Some(envelope) = elections::manifest(tx, number)? else {
                continue;
            };
            let signed = SignedManifest::open(Envelope::decode(&envelope)?)?;
            if !signed.is_countersigned_by(config.party) {
                continue;
            }
            let manifest = signed.manifest();
            for of_box in manifest.boxes() {
                let given_up = (manifest.election().clone(), of_box.id());
                if !stated.never_sealed.contains(&given_up)
                    && !sealing::is_sealed(tx, (number, of_box.id().get()))?
                {
                    return Err(ChangeError::Needed {
                        election,
                        of_box: of_box.id(),
                    });
                }
            }
        }
        let now = SystemClock.now_ms();
        let hour = UnixMillis(now.saturating_sub(COMPARED_MS))..=UnixMillis(now);
        compared(compared::missing(tx, own, hour)?)
    })
}

/// The new kit first: should the machine stop in between, old key file and old kit are still there, and the new kit restores too.
fn write(
    path: &Path,
    new_kit: &Path,
    public: &Public,
    key: &UnlockKey,
    secrets: &Secrets,
    kit: &mut Secrets,
    rng: &mut impl CryptoRng,
) -> Result<(), ChangeError> {
    let sealed = Sealed::seal(Use::Keys, public, key, &borrowed(secrets), rng).encode();
    set(kit, Label::SealedKeys, &sealed);
    let kit = Sealed::seal(Use::Kit, public, key, &borrowed(kit), rng);
    secret_file::create(new_kit, &kit.encode())?;
    Ok(secret_file::replace(path, &sealed)?)
}
