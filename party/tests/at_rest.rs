//! Shares at rest: what the store's file holds of ballots and credential records, and what becomes of rows that are moved.

use std::sync::Arc;

use redb::TableDefinition;
use tally_party::store::sim::SimDisk;
use tally_party::store::vault::StorageKey;
use tally_party::store::{Kind, Storage, Store, StoreError, accepted};
use tally_proto::fixture::Shape;
use tally_proto::ids::{BoxId, Digest, Hash32, Role, VoterIndex};
use tally_proto::invitation::Credential;
use tally_proto::pki::PeerRole;
use tally_proto::record::Half;
use tally_proto::shares::ShareContext;

use crate::world::World;
use crate::world::three::until;

/// The storage key that the test world gives party 1.
const STORAGE_KEY: [u8; 32] = [1; 32];

/// Contents as the store keeps them, by election and position in the log: see its schema.
type Row = (
    &'static [u8],
    &'static [u8],
    &'static [u8; 32],
    u64,
    &'static [u8],
    &'static [u8],
);
const CONTENTS: TableDefinition<'static, (u32, u64), Row> = TableDefinition::new("accepted");

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// What was taken: its digest and the plaintext of this party's shares and nonces.
struct Taken {
    kind: Kind,
    digest: [u8; 32],
    shares: Vec<u8>,
}

/// Ballots and a record in a store file on disk, written by a real server that has stopped.
async fn filled() -> (World, std::path::PathBuf, Vec<Taken>) {
    let mut world = World::new(Shape::default());
    let config = world.config(Role::P1);
    let file = config.data_dir.join(Storage::FILE);
    let party = world
        .start_with(config, Storage::File(file.clone()), SimDisk::new())
        .await;
    world.put_in_force(&party).await;
    let mut taken = Vec::new();
    let open = |world: &World,
                context: &ShareContext<'_>,
                digest: &Digest,
                commitments: &[Hash32; 3],
                sealed: &[u8]| {
        let key = &world.fixture.opening_keys[0];
        let shares = context.open(Role::P1, key, digest, commitments, sealed);
        shares.expect("opens").to_bytes().to_vec()
    };
    for _ in 0..3 {
        let ballot = world.ballot();
        party
            .intake()
            .submit(party.part(&ballot))
            .await
            .expect("accepted");
        let manifest = world.fixture.manifest.manifest();
        let of_box = manifest.ballot_box(BoxId(1)).expect("the box");
        let context = ShareContext::ballot(manifest.election(), of_box);
        let header = ballot[0].header();
        let digest = header.digest();
        taken.push(Taken {
            kind: Kind::Ballot,
            digest: digest.0,
            shares: open(
                &world,
                &context,
                &digest,
                header.commitments(),
                ballot[0].ciphertext(),
            ),
        });
    }
    let [record, ..] = world
        .fixture
        .record(BoxId(1), VoterIndex(0), 1, Half::WHOLE, &Credential::new(77));
    let leaf = world.leaf_of(Role::P1, PeerRole::Registrar("letters".into()));
    let mut answers = party
        .registration(&leaf)
        .register(tokio_stream::iter([record.to_wire()]))
        .await
        .expect("served")
        .into_inner();
    let answer = answers
        .message()
        .await
        .expect("answered")
        .and_then(|answer| answer.outcome);
    assert!(matches!(
        answer,
        Some(tally_proto::wire::record_receipt::Outcome::Receipt(_))
    ));
    let context = ShareContext::credential(world.fixture.manifest.manifest().election(), BoxId(1));
    let (header, digest) = (record.header(), record.digest());
    taken.push(Taken {
        kind: Kind::Record,
        digest: digest.0,
        shares: open(
            &world,
            &context,
            &digest,
            &header.commitments,
            record.ciphertext(),
        ),
    });
    let gone = Arc::downgrade(party.running.party());
    party.running.stop().await;
    // What ran in the background ends a moment later, and then the file is closed.
    until("the store is closed", async || gone.strong_count() == 0).await;
    (world, file, taken)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_holds_no_share_and_no_nonce() {
    let (_world, file, taken) = filled().await;
    let bytes = std::fs::read(&file).expect("readable");
    let vault = StorageKey::new(STORAGE_KEY);
    let store = Store::open(Storage::File(file), 1).expect("opens");
    for Taken { kind, digest, shares } in &taken {
        let row = store
            .read(|tx| accepted::get(tx, *kind, 1, 1, digest))
            .expect("read")
            .expect("stored");
        // The search finds what is there: the sealed row, which opens to exactly what is not.
        assert!(holds(&bytes, &row.sealed_shares) && holds(&bytes, digest));
        let opened = vault.open(*kind, 1, digest, &row.sealed_shares).expect("opens");
        assert!(opened.as_slice() == shares.as_slice());
        for part in shares.windows(8) {
            assert!(!holds(&bytes, part), "eight bytes of a {kind}'s shares lie open");
        }
    }
}

/// A row's shares open under its own digest, in its own table and at its own party only.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_change_places_do_not_open() {
    let (_world, file, taken) = filled().await;
    let store = Store::open(Storage::File(file), 1).expect("opens");
    let vault = StorageKey::new(STORAGE_KEY);
    let row = |of: &Taken| {
        let row = store.read(|tx| accepted::get(tx, of.kind, 1, 1, &of.digest));
        row.expect("read").expect("stored")
    };
    let rows: Vec<_> = taken.iter().map(row).collect();
    // Every pair, within a table and across the two: each holds the other's sealed shares.
    for one in 0..taken.len() {
        for other in (0..taken.len()).filter(|other| *other != one) {
            let of = &taken[one];
            store
                .write(|tx| {
                    let own = &rows[one];
                    tx.table_mut(CONTENTS)?.insert(
                        (1, own.position),
                        (
                            own.header.as_slice(),
                            own.authority_signature.as_slice(),
                            &own.ciphertext_hash,
                            own.received_at_s,
                            own.receipt_signature.as_slice(),
                            rows[other].sealed_shares.as_slice(),
                        ),
                    )?;
                    Ok::<_, StoreError>(())
                })
                .expect("written");
            let moved = row(of);
            assert!(vault.open(of.kind, 1, &of.digest, &moved.sealed_shares).is_err());
            // Named as what it was, it still does not pass for the other table or party.
            let from = &taken[other];
            let kinds = [Kind::Ballot, Kind::Record]
                .into_iter()
                .filter(|kind| *kind != from.kind);
            for kind in kinds {
                assert!(vault.open(kind, 1, &from.digest, &moved.sealed_shares).is_err());
            }
            assert!(
                vault
                    .open(from.kind, 2, &from.digest, &moved.sealed_shares)
                    .is_err()
            );
            assert!(
                vault
                    .open(from.kind, 1, &from.digest, &moved.sealed_shares)
                    .is_ok()
            );
        }
    }
}
