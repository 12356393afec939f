//! Three parties in one process on simulated disks, with one election whose ballots the tests hand out as they please.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tally_proto::envelope::{Kind as Signed, Signer};
use tally_proto::ids::{BoxId, ElectionId, Hash32, Role, RoleExt as _};
use tally_proto::manifest::{self, SignedManifest};
use tally_proto::pki::Authority;
use tally_proto::suite::OpeningKey;
use tally_proto::wire;

use super::super::{Parts, Patience, SealError, SealedBox, Sealing};
use super::network::{Honest, Network, Saboteur, Seen};
use crate::clock::ManualClock;
use crate::entropy::SeededEntropy;
use crate::mirror::Gate;
use crate::store::sim::SimDisk;
use crate::store::vault::StorageKey;
use crate::store::{Storage, Store, elections};

/// Voting hours, and the last moment of stations.
pub(super) const OPENS: u64 = 1_700_000_000;
pub(super) const CLOSES: u64 = OPENS + 36_000;
pub(super) const UNTIL: u64 = CLOSES + 7_200;
pub(super) const VOTERS: u32 = 10;
pub(super) const BOX: u32 = 7;

/// All printed with a failing assertion, so that it can be run again.
pub(super) const SEED: u64 = 20_261_120;

/// One party: its disk outlives its process.
struct Place {
    disk: SimDisk,
    store: Arc<Store>,
    signer: Arc<Signer>,
    sealing: Sealing,
}

pub(super) struct World {
    pub(super) rng: StdRng,
    pub(super) manifest: SignedManifest,
    pub(super) clock: ManualClock,
    pub(super) network: Arc<Network>,
    pub(super) coordinator: Signer,
    pub(super) registrars: Vec<Signer>,
    pub(super) stations: Vec<Signer>,
    places: Vec<Place>,
}

/// What differs from world to world.
pub(super) struct Setting {
    pub(super) registrars: usize,
    pub(super) min_submissions: u32,
    pub(super) max_ballots: u32,
    pub(super) apart: manifest::Network,
    pub(super) saboteur: Arc<dyn Saboteur>,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            registrars: 1,
            min_submissions: 1,
            max_ballots: 100_000,
            apart: manifest::Network::default(),
            saboteur: Arc::new(Honest),
        }
    }
}

fn text(text: &str) -> Vec<wire::Text> {
    vec![wire::Text {
        language: "en".to_owned(),
        text: text.to_owned(),
    }]
}

fn channel(kind: wire::ChannelKind, until: u64) -> wire::Channel {
    wire::Channel {
        kind: kind.into(),
        name: text("channel"),
        time_zone: "Europe/Berlin".to_owned(),
        openings: vec![wire::Opening {
            opens_local: "8:00".to_owned(),
            closes_local: "18:00".to_owned(),
            opens_s: OPENS,
            closes_s: CLOSES,
        }],
        receive_until_s: until,
    }
}

pub(super) fn election() -> ElectionId {
    ElectionId::new("ward-7").expect("a slug")
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(Setting::default())
    }

    pub(super) fn sabotaged(saboteur: impl Saboteur + 'static) -> Self {
        Self::with(Setting {
            saboteur: Arc::new(saboteur),
            ..Setting::default()
        })
    }

    pub(super) fn with(setting: Setting) -> Self {
        let mut rng = StdRng::seed_from_u64(SEED);
        let coordinator = Signer::generate(&mut rng);
        let signers: Vec<_> = Role::ALL.iter().map(|role| Arc::new(signer(*role))).collect();
        let stations: Vec<_> = (0..2).map(|_| Signer::generate(&mut rng)).collect();
        let registrars: Vec<_> = (0..setting.registrars)
            .map(|_| Signer::generate(&mut rng))
            .collect();
        let roll: Vec<_> = (0..VOTERS)
            .map(|v| wire::RollEntry {
                v,
                reference: format!("voter {v}"),
                online: v != VOTERS - 1,
                persons: Vec::new(),
            })
            .collect();
        let root = tally_proto::roll::Roll::from_wire(roll.clone())
            .expect("a roll")
            .root();
        let manifest = manifest(
            &setting,
            &coordinator,
            &signers,
            &stations,
            &registrars,
            root,
            &mut rng,
        );
        let clock = ManualClock::new((UNTIL + 1) * 1000);
        let network = Network::new(Arc::clone(&setting.saboteur));
        let places = Role::ALL
            .into_iter()
            .zip(signers)
            .map(|(role, signer)| Place::open(role, SimDisk::new(), signer, &clock, 0))
            .collect();
        let world = Self {
            rng,
            manifest,
            clock,
            network,
            coordinator,
            registrars,
            stations,
            places,
        };
        for (role, place) in Role::ALL.into_iter().zip(&world.places) {
            place
                .store
                .write(|tx| {
                    let number = elections::number_or_new(tx, election().as_str())?;
                    elections::put_manifest(tx, number, &world.manifest.envelope().encode())?;
                    let entries = roll.iter().map(|entry| (entry.online, entry.reference.as_str()));
                    elections::put_roll(tx, number, BOX, 0, entries)?;
                    let complete = tally_proto::log::Happening::Complete(world.manifest.hash());
                    let entry = tally_proto::log::Entry::Event(complete, tally_proto::ids::UnixSeconds(1));
                    crate::store::log::append(tx, number, &entry).map(drop)
                })
                .expect("a fresh store");
            world.network.put(role, Some(place.sealing.clone()));
        }
        world
    }

    /// The sealing of one party.
    pub(super) fn sealing(&self, role: Role) -> &Sealing {
        &self.places[role.slot()].sealing
    }

    pub(super) fn signer(&self, role: Role) -> &Signer {
        &self.places[role.slot()].signer
    }

    pub(super) fn store(&self, role: Role) -> &Store {
        &self.places[role.slot()].store
    }

    pub(super) fn disk(&self, role: Role) -> &SimDisk {
        &self.places[role.slot()].disk
    }

    /// The network as `role` sees it.
    pub(super) fn seen(&self, role: Role) -> Seen {
        Seen {
            network: Arc::clone(&self.network),
            me: role,
        }
    }

    /// Starts `role` again from its disk as a crash leaves it.
    pub(super) fn restart(&mut self, role: Role, seed: u64) {
        self.network.put(role, None);
        let place = &mut self.places[role.slot()];
        let disk = place.disk.after_crash(seed);
        *place = Place::open(role, disk, Arc::clone(&place.signer), &self.clock, 0);
        self.network.put(role, Some(place.sealing.clone()));
    }

    /// The disk of `role` as it is now.
    pub(super) fn backup(&self, role: Role) -> SimDisk {
        self.disk(role).after_crash(0)
    }

    /// Starts `role` again from an older copy of its disk.
    pub(super) fn restore(&mut self, role: Role, backup: &SimDisk) {
        self.network.put(role, None);
        let place = &mut self.places[role.slot()];
        let signer = Arc::clone(&place.signer);
        *place = Place::open(role, backup.after_crash(0), signer, &self.clock, 1);
        self.network.put(role, Some(place.sealing.clone()));
    }

    /// Runs the sealing of `roles` at the same time.
    pub(super) async fn seal(&self, roles: &[Role]) -> Vec<Result<SealedBox, SealError>> {
        let runs = roles.iter().map(|role| {
            let (sealing, seen) = (self.sealing(*role).clone(), self.seen(*role));
            async move { sealing.run(&election(), BoxId(BOX), &seen, |_| {}).await }
        });
        futures::future::join_all(runs).await
    }

    /// Seals with all three, which must succeed with the same Seal.
    pub(super) async fn sealed(&self) -> [SealedBox; 3] {
        let sealed: Vec<_> = self
            .seal(&Role::ALL)
            .await
            .into_iter()
            .map(|run| run.unwrap_or_else(|error| panic!("seed {SEED}: {error}")))
            .collect();
        let hash = sealed[0].seal_hash();
        assert!(
            sealed.iter().all(|sealed| sealed.seal_hash() == hash),
            "seed {SEED}: three Seals"
        );
        sealed.try_into().expect("three of three")
    }

    pub(super) fn vault(&self, role: Role) -> StorageKey {
        vault(role)
    }
}

impl Place {
    /// `start`: another one draws other randomness.
    fn open(role: Role, disk: SimDisk, signer: Arc<Signer>, clock: &ManualClock, start: u64) -> Self {
        let store = Store::open(Storage::Backend(Box::new(disk.clone())), role.index());
        let store = Arc::new(store.expect("the disk works"));
        let sealing = Sealing::new(Parts {
            me: role,
            store: Arc::clone(&store),
            vault: Arc::new(vault(role)),
            signer: Arc::clone(&signer),
            clock: Arc::new(clock.clone()),
            patience: Patience {
                total: Duration::from_secs(10),
                pause: Duration::from_millis(50),
                hold: Duration::from_secs(2),
            },
            entropy: Arc::new(SeededEntropy::new(SEED + u64::from(role.index()) + 1000 * start)),
            gate: Arc::new(Gate::always_open()),
        });
        Self {
            disk,
            store,
            signer,
            sealing,
        }
    }
}

/// A party's signing key, the same in every world.
pub(super) fn signer(role: Role) -> Signer {
    Signer::generate(&mut StdRng::seed_from_u64(SEED ^ u64::from(role.index())))
}

/// Certificates of the parties' authorities and the coordinator's. They come from the operating system's randomness, so they are made
/// once: worlds of one seed are the same to the byte.
static AUTHORITIES: LazyLock<[String; 4]> = LazyLock::new(|| {
    ["one", "two", "three", "commission"].map(|name| {
        Authority::generate(name)
            .expect("a certificate")
            .cert_pem()
            .to_owned()
    })
});

fn vault(role: Role) -> StorageKey {
    StorageKey::new([role.index(); 32])
}

fn manifest(
    setting: &Setting,
    coordinator: &Signer,
    parties: &[Arc<Signer>],
    stations: &[Signer],
    registrars: &[Signer],
    roll_root: Hash32,
    rng: &mut StdRng,
) -> SignedManifest {
    let key = |signer: &Signer| signer.public_key().as_bytes().to_vec();
    let manifest = wire::Manifest {
        version: 1,
        election: election().as_str().to_owned(),
        title: text("Ward 7"),
        contests: vec![wire::Contest {
            id: 1,
            title: text("Councillor"),
            options: ["Ann", "Bob", "Cid"]
                .map(|name| wire::Choice { name: text(name) })
                .to_vec(),
            rule: Some(wire::contest::Rule::Single(wire::SingleRule {})),
        }],
        boxes: vec![wire::Box {
            id: BOX,
            name: text("Ward 7"),
            contests: vec![1],
            voters: VOTERS,
            roll_root: roll_root.0.to_vec(),
            open: None,
            index_bits: 4,
            max_ballots: setting.max_ballots,
        }],
        channels: vec![
            channel(wire::ChannelKind::Online, CLOSES),
            channel(wire::ChannelKind::Station, UNTIL),
            channel(wire::ChannelKind::Paper, UNTIL),
        ],
        parties: Role::ALL
            .iter()
            .zip(parties)
            .map(|(role, signer)| wire::PartyIdentity {
                index: role.number(),
                agency: format!("Agency {role}"),
                public_address: format!("https://{role}.example:443").to_lowercase(),
                peer_address: format!("https://{role}.example:444").to_lowercase(),
                tls_ca_pem: AUTHORITIES[role.slot()].clone(),
                signing_key: key(signer),
                hpke_keys: vec![OpeningKey::generate(rng).sealing_key().to_wire()],
            })
            .collect(),
        coordinator: Some(wire::CoordinatorIdentity {
            name: "Commission".to_owned(),
            address: "https://board.example:443".to_owned(),
            tls_ca_pem: AUTHORITIES[3].clone(),
            signing_key: key(coordinator),
        }),
        registrars: registrars
            .iter()
            .enumerate()
            .map(|(i, signer)| wire::RegistrarIdentity {
                name: format!("registrar-{i}"),
                signing_key: key(signer),
            })
            .collect(),
        stations: stations
            .iter()
            .zip(1..)
            .map(|(signer, id)| wire::StationIdentity {
                id,
                name: format!("Station {id}"),
                signing_key: key(signer),
                boxes: Vec::new(),
                openings: Vec::new(),
            })
            .collect(),
        policy: Some(wire::ResultPolicy {
            open_counted_per_channel: true,
            min_voters: 2,
            min_submissions: setting.min_submissions,
        }),
        created_at_s: OPENS - 1_000_000,
        network: setting.apart.to_wire().into(),
        ..Default::default()
    };
    let payload = prost::Message::encode_to_vec(&manifest);
    let mut envelope = coordinator.seal_envelope(Signed::Manifest, payload);
    for party in parties {
        let signature = party.sign(Signed::Manifest, envelope.payload());
        envelope.add_signature(signature);
    }
    SignedManifest::open(envelope).expect("a manifest")
}
