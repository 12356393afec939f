//! From an election file to an election in force: define, publish to the parties, collect and hand out countersignatures.

use std::path::Path;

use futures::stream;
use rand_core::{CryptoRng, Rng as _};
use tally_proto::card::Salt;
use tally_proto::envelope::{Envelope, Kind, MAX_ENVELOPE_BYTES, Signature};
use tally_proto::identity::Fingerprint;
use tally_proto::ids::{BoxId, ElectionId, Hash32, RegisterId, Role, RoleExt as _};
use tally_proto::manifest::{Manifest, SignedManifest};
use tally_proto::order::SignedOrder;
use tally_proto::roll::Roll;
use tally_proto::{refusal::Refusal, wire};
use tokio::time::timeout;

use crate::definition::ceilings;
use crate::directory::{Directory, Election};
use crate::error::Error;
use crate::parties::{Parties, Party, PartyError, Patience, SILENCE};
use crate::progress::{Progress, Step};
use crate::{definition, files, registers, tickets};

/// Most roll entries in one message: with the longest references still well within a message's limit.
const ENTRIES_A_PART: usize = 5_000;

/// Reads an election file and its roll, makes the keys of its tickets if it asks for any, signs the manifest and stores all of it; sends nothing.
///
/// # Errors
/// What is wrong with the file or the roll, and [`Error::AlreadyDefined`].
pub fn define(directory: &Directory, file: &Path, now_s: u64) -> Result<Election, Error> {
    let mut definition = definition::read(file, directory.identity().to_wire(), now_s)?;
    let mut wire = definition.manifest;
    let mut salt = None;
    if let Some(register) = &mut wire.register {
        let mut fresh = Salt([0; 32]);
        os_rng().fill_bytes(&mut fresh.0);
        if let Some(wire::enrolment_register::Person::CertificateSerial(_)) = register.person {
            definition.roll.number_persons()?;
        }
        definition.roll.code(&fresh);
        register.salt_hash = fresh.hash().0.to_vec();
        salt = Some(fresh);
    }
    for b in &mut wire.boxes {
        if b.open.is_some() {
            b.index_bits = index_bits(b.voters);
            continue;
        }
        let of_box = BoxId(b.id);
        let roll = definition
            .roll
            .of_box(of_box)
            .map_err(|source| Error::RollOfBox { of_box, source })?;
        b.roll_root = roll.root().0.to_vec();
        b.index_bits = index_bits(roll.voters());
    }
    let keys = tickets::generate(&definition.ticket_days, &mut os_rng())?;
    wire.ticket_keys = keys.iter().map(|(day, key)| key.key_of(*day).to_wire()).collect();
    if let Some(register) = &wire.register {
        let commitments = registers::read(directory, &RegisterId::new(&register.id)?)?;
        let offset = |(j, commitment): (Role, Hash32)| wire::CredentialOffset {
            index: j.number(),
            commitment: commitment.0.to_vec(),
        };
        wire.offsets = Role::ALL.into_iter().zip(commitments).map(offset).collect();
    }
    let manifest = Manifest::from_wire(&wire)?;
    ceilings::check(&manifest)?;
    let envelope = directory
        .signer()
        .seal_envelope(Kind::Manifest, manifest.encode());
    let signed = SignedManifest::open(envelope)?;
    directory.create_election(signed, &definition.roll, &keys, salt.as_ref())
}

/// k = ceil(log2(N + 1)), at least 1: voters 0 to N-1 and the sentinel N.
fn index_bits(voters: u32) -> u32 {
    (u32::BITS - voters.leading_zeros()).max(1)
}

/// The fingerprint of an election's manifest, to compare with what each party's operator sees.
pub fn fingerprint(signed: &SignedManifest) -> Fingerprint {
    Fingerprint::of_hash(&signed.hash())
}

/// Hands the signed manifest and the rolls to the three parties; the same again changes nothing.
///
/// # Errors
/// [`Error::Parties`]: those that refused or did not answer, while the others have it.
pub async fn publish(
    directory: &Directory,
    election: &Election,
    patience: Patience,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let rolls = election.roll()?.check(election.signed().manifest())?;
    let salt = election.salt()?;
    let parties = election.parties(directory)?;
    let hash = election.signed().hash();
    let answers = parties
        .all(async |party| {
            publish_to(party, election, &rolls, salt.as_ref(), patience, progress).await?;
            progress.note(&format!("{} has the manifest {}", party.name(), hash.short()));
            Ok(())
        })
        .await;
    answers.map(|_| ()).map_err(Error::Parties)
}

async fn publish_to(
    party: &Party,
    election: &Election,
    rolls: &[(BoxId, Roll)],
    salt: Option<&Salt>,
    patience: Patience,
    progress: &dyn Progress,
) -> Result<(), PartyError> {
    let reply = party.call(patience, progress, async || {
        // Built anew for each try: a stream is gone once it was sent.
        let parts = parts(election, rolls, salt);
        let late = |_| tonic::Status::deadline_exceeded("no answer in time");
        let mut control = party.control();
        let published = timeout(SILENCE, control.publish(stream::iter(parts)));
        Ok(published.await.map_err(late)??.into_inner())
    });
    let reply = reply.await?;
    if reply.manifest_hash == election.signed().hash().0 {
        return Ok(());
    }
    let detail = "it answered with the hash of another manifest";
    Err(party.error(Refusal::new(tally_proto::reason::Reason::ManifestOther, detail)))
}

fn parts(election: &Election, rolls: &[(BoxId, Roll)], salt: Option<&Salt>) -> Vec<wire::PublishPart> {
    use wire::publish_part::Part;
    let part = |part| wire::PublishPart { part: Some(part) };
    let mut parts = vec![part(Part::Manifest(election.signed().envelope().to_wire()))];
    // Of an open roll the salt alone.
    let open = election.signed().manifest().open_box();
    parts.extend(open.map(|of_box| {
        part(Part::Roll(wire::RollPart {
            r#box: of_box.id().get(),
            entries: Vec::new(),
            salt: salt.map_or_else(Vec::new, |salt| salt.0.to_vec()),
        }))
    }));
    for (id, roll) in rolls {
        let entries: Vec<wire::RollEntry> = roll.to_wire().collect();
        for chunk in entries.chunks(ENTRIES_A_PART) {
            parts.push(part(Part::Roll(wire::RollPart {
                r#box: id.get(),
                entries: chunk.to_vec(),
                salt: salt.map_or_else(Vec::new, |salt| salt.0.to_vec()),
            })));
        }
    }
    parts
}

/// Which parties have countersigned an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Countersigned {
    /// `the manifest` or `order 3 (reason)`.
    pub object: String,
    /// The object's hash.
    pub hash: Hash32,
    /// By party, in order.
    pub parties: [bool; 3],
}

impl Countersigned {
    /// Whether all three have.
    pub fn is_complete(&self) -> bool {
        self.parties == [true; 3]
    }

    /// The names of those that have not.
    pub fn missing(&self, manifest: &Manifest) -> String {
        let names: Vec<&str> = manifest
            .parties()
            .iter()
            .zip(self.parties)
            .filter(|(_, signed)| !signed)
            .map(|(p, _)| p.agency())
            .collect();
        names.join(", ")
    }
}

/// What is known of all objects' countersignatures without asking anybody.
pub fn countersigned(election: &Election) -> Vec<Countersigned> {
    let signed = election.signed();
    let mut all = vec![Countersigned {
        object: "the manifest".to_owned(),
        hash: signed.hash(),
        parties: Role::ALL.map(|role| signed.is_countersigned_by(role)),
    }];
    let orders = election
        .orders_in_force()
        .into_iter()
        .chain(election.order_waiting());
    all.extend(orders.map(|order| Countersigned {
        object: format!("order {} ({})", order.order().number, order.order().reason),
        hash: order.hash(),
        parties: Role::ALL.map(|role| order.is_countersigned_by(role)),
    }));
    all
}

/// Asks the parties for countersignatures of the manifest and of every order, and stores them.
///
/// # Errors
/// [`Error::Parties`] when none of the three answers; one that does not is only noted.
pub async fn collect(
    directory: &Directory,
    election: &mut Election,
    patience: Patience,
    progress: &dyn Progress,
) -> Result<Vec<Countersigned>, Error> {
    let parties = election.parties(directory)?;
    for object in countersigned(election).into_iter().filter(|o| !o.is_complete()) {
        let answers = ask_all(&parties, object.hash, patience, progress).await?;
        let mut signed = election.signed().clone();
        let mut orders = election.orders().to_vec();
        let order = orders.iter_mut().find(|o| o.hash() == object.hash);
        match order {
            None => {
                let add = |signature| signed.add_signature(signature).map_err(Error::from);
                take_signatures(&object.object, &answers, add, progress);
                election.store_manifest(signed)?;
            }
            Some(order) => {
                let add = |signature| {
                    order
                        .add_signature(signature, signed.manifest())
                        .map_err(Error::from)
                };
                take_signatures(&object.object, &answers, add, progress);
                let order = order.clone();
                election.store_order(order)?;
            }
        }
    }
    Ok(countersigned(election))
}

/// Keeps of what the parties sent (name, signatures) every signature that holds, whoever brought it; what does not is noted with who sent it, and
/// keeps nobody else's from counting.
fn take_signatures(
    object: &str,
    answers: &[(String, Vec<wire::Signature>)],
    mut add: impl FnMut(Signature) -> Result<(), Error>,
    progress: &dyn Progress,
) {
    for (name, signatures) in answers {
        // One of the coordinator and one of each party: nobody has more to say.
        for signature in signatures.iter().take(4) {
            let added = Signature::from_wire(signature)
                .map_err(Error::from)
                .and_then(&mut add);
            if let Err(error) = added {
                progress.note(&format!(
                    "{name} sent a signature of {object} that does not hold, and it is not kept: {error}"
                ));
            }
        }
    }
}

/// (Name, signatures) of each party that answered.
async fn ask_all(
    parties: &Parties,
    hash: Hash32,
    patience: Patience,
    progress: &dyn Progress,
) -> Result<Vec<(String, Vec<wire::Signature>)>, Error> {
    let answers = parties
        .at_once(async |party| {
            let ask = async || {
                let object = wire::ObjectRef {
                    object_hash: hash.0.to_vec(),
                };
                Ok(party.control().signatures(object).await?.into_inner())
            };
            party.ask(patience, progress, ask).await
        })
        .await;
    let (mut signatures, mut failed) = (Vec::new(), Vec::new());
    for (party, answer) in parties.each().iter().zip(answers) {
        match answer {
            Ok(reply) => signatures.push((party.name().to_owned(), reply.signatures)),
            Err(error) => {
                progress.note(&error.to_string());
                failed.push(error);
            }
        }
    }
    if failed.len() == 3 {
        Err(Error::Parties(failed))
    } else {
        Ok(signatures)
    }
}

/// Collects countersignatures and hands the complete sets to all parties: manifest first, then orders in number order.
///
/// # Errors
/// [`Error::NotCountersigned`] naming who is missing, [`Error::Parties`].
pub async fn complete(
    directory: &Directory,
    election: &mut Election,
    patience: Patience,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let objects = collect(directory, election, patience, progress).await?;
    let parties = election.parties(directory)?;
    let total = objects.len() as u64;
    for (done, object) in (0..).zip(objects) {
        let scope = "complete";
        progress.report(Step {
            scope,
            phase: "handing out",
            done,
            total,
            unit: "objects",
        });
        if !object.is_complete() {
            let missing = object.missing(election.signed().manifest());
            return Err(Error::NotCountersigned {
                object: object.object,
                missing,
            });
        }
        let envelope = election
            .orders()
            .iter()
            .find(|o| o.hash() == object.hash)
            .map_or(
                election.signed().envelope(),
                tally_proto::order::SignedOrder::envelope,
            )
            .to_wire();
        let handed = parties
            .all(async |party| {
                let hand = async || Ok(party.control().complete(envelope.clone()).await?.into_inner());
                party.ask(patience, progress, hand).await
            })
            .await;
        handed.map_err(Error::Parties)?;
    }
    progress.finish("complete");
    Ok(())
}

/// Parses an election id given on a command line.
///
/// # Errors
/// [`Error::Id`].
pub fn election_id(text: &str) -> Result<ElectionId, Error> {
    Ok(ElectionId::new(text)?)
}

/// Reads a manifest file with its signatures.
///
/// # Errors
/// A file that cannot be read or does not hold.
pub fn read_manifest(path: &Path) -> Result<SignedManifest, Error> {
    Ok(SignedManifest::open(Envelope::decode(&files::read(
        path,
        MAX_ENVELOPE_BYTES as u64,
    )?)?)?)
}

/// Reads an order's envelope, as it lies in `elections/ID/orders`, and checks its signatures against the manifest.
///
/// # Errors
/// A file that is no order of that election.
pub fn read_order(path: &Path, manifest: &SignedManifest) -> Result<SignedOrder, Error> {
    let envelope = Envelope::decode(&files::read(path, MAX_ENVELOPE_BYTES as u64)?)?;
    Ok(SignedOrder::open(envelope, manifest)?)
}

/// The operating system's randomness; without it nothing secret can be made, so it panics.
pub fn os_rng() -> impl CryptoRng {
    rand_core::UnwrapErr(rand::rngs::SysRng)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tally_proto::fixture::{Shape, World};
    use tally_proto::manifest::SignedManifest;

    use super::*;

    #[derive(Default)]
    struct Notes(Mutex<Vec<String>>);

    impl Progress for Notes {
        fn report(&self, _: Step<'_>) {}
        fn note(&self, text: &str) {
            self.0.lock().expect("one thread").push(text.to_owned());
        }
        fn finish(&self, _: &str) {}
    }

    #[test]
    fn a_party_that_sends_rubbish_keeps_no_signature_of_another_from_counting() {
        let world = World::new(Shape::default());
        let bare = world
            .coordinator
            .seal_envelope(Kind::Manifest, world.manifest.manifest().encode());
        let true_of = |at: usize| world.signers[at].sign(Kind::Manifest, bare.payload()).to_wire();
        let stranger = tally_proto::envelope::Signer::generate(&mut world.rng.clone());
        for liar in 0..3 {
            let mut short = true_of(liar);
            short.signature.pop();
            // Of a stranger, of another kind of object, and another party's altered.
            let foreign = stranger.sign(Kind::Manifest, bare.payload()).to_wire();
            let other_kind = world.signers[liar].sign(Kind::Order, bare.payload()).to_wire();
            let mut altered = true_of((liar + 1) % 3);
            altered.signature[7] ^= 1;
            for rubbish in [short, foreign, other_kind, altered] {
                let answers: Vec<_> = (0..3)
                    .map(|at| {
                        let sent = if at == liar { rubbish.clone() } else { true_of(at) };
                        (format!("P{}", at + 1), vec![sent])
                    })
                    .collect();
                for reversed in [false, true] {
                    let mut answers = answers.clone();
                    if reversed {
                        answers.reverse();
                    }
                    let mut signed = SignedManifest::open(bare.clone()).expect("opens");
                    let notes = Notes::default();
                    let add = |signature| signed.add_signature(signature).map_err(Error::from);
                    take_signatures("the manifest", &answers, add, &notes);
                    let signers = Role::ALL.map(|role| signed.is_countersigned_by(role));
                    assert_eq!(signers, [0, 1, 2].map(|at| at != liar));
                    let notes = notes.0.into_inner().expect("one thread");
                    let [note] = notes.as_slice() else {
                        panic!("{notes:?}")
                    };
                    assert!(
                        note.starts_with(&format!("P{} sent a signature of the manifest", liar + 1)),
                        "{note}"
                    );
                }
            }
        }
    }

    #[test]
    fn indices_and_the_sentinel_fit() {
        for (voters, bits) in [
            (1, 1),
            (2, 2),
            (3, 2),
            (4, 3),
            (7, 3),
            (8, 4),
            (20_000, 15),
            ((1 << 20) - 1, 20),
            (1 << 20, 21),
        ] {
            assert_eq!(index_bits(voters), bits, "{voters} voters");
        }
    }
}
