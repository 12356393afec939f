//! What the coercer reads: a device's files, and a party's database with its keys.

use std::path::Path;

use prost::Message as _;
use tally_party::offsets::Held;
use tally_party::store::{Kind, accepted, log, receipts};
use tally_proto::ballot::BallotHeader;
use tally_proto::ids::{Digest, Role};
use tally_proto::receipt::Receipt;
use tally_proto::record::RecordHeader;
use tally_proto::shares::PartyShares;
use tally_proto::wire;

use crate::world::Party;

/// A voter's record as one party has it.
pub(super) struct Record {
    pub(super) header: RecordHeader,
    pub(super) digest: Digest,
    /// Where it stands in the party's log, and when it was taken.
    pub(super) placed: [f64; 2],
    /// Header, authorisation and opened shares.
    pub(super) bytes: Vec<u8>,
    pub(super) shares: PartyShares,
    /// s_i and s_{i+1}.
    pub(super) offsets: [u64; 2],
}

/// The only record at `party` that this certificate signed.
pub(super) fn record_of(party: &Party, certificate: &[u8]) -> Record {
    let own = party.running.party();
    let mut found = None;
    own.store
        .read(|tx| {
            accepted::for_each(tx, Kind::Record, 1, 1, |digest, row| {
                let signed = &row.authority_signature;
                if signed.windows(certificate.len()).any(|at| at == certificate) {
                    found = Some((Digest(*digest), row));
                }
                Ok::<_, tally_party::store::StoreError>(())
            })
        })
        .expect("read");
    let (digest, row) = found.expect("the voter's record");
    let opened = own.vault.open(
        Kind::Record,
        party.role.index(),
        digest.as_bytes(),
        &row.sealed_shares,
    );
    let opened = opened.expect("opens");
    let header = RecordHeader::decode(&row.header).expect("a header");
    let shares = header.context().read(&opened).expect("shares");
    let held = Held::new(party.role, &own.store, &own.vault);
    let register = &header.card().expect("a card's").register;
    let offsets = [party.role, party.role.next()].map(|j| {
        let (key, _) = held.key(register, j).expect("read").expect("held");
        key.offset(j, &digest).expose()
    });
    Record {
        placed: [row.position as f64, row.received_at_s as f64],
        bytes: [&row.header[..], &row.authority_signature, &opened].concat(),
        header,
        digest,
        shares,
        offsets,
    }
}

/// The ally's row of a ballot, opened, and its receipts by the others; and the figures of it.
pub(super) fn ballot_of(party: &Party, digest: &Digest) -> (Vec<u8>, Vec<f64>) {
    let own = party.running.party();
    let store = &own.store;
    let row = store
        .read(|tx| accepted::get(tx, Kind::Ballot, 1, 1, digest.as_bytes()))
        .expect("read")
        .expect("accepted");
    let opened = own.vault.open(
        Kind::Ballot,
        party.role.index(),
        digest.as_bytes(),
        &row.sealed_shares,
    );
    let mut bytes = [&row.header[..], &row.receipt_signature, &opened.expect("opens")].concat();
    let entry = store
        .read(|tx| log::entries(tx, 1, row.position, 1))
        .expect("read");
    bytes.extend_from_slice(&entry);
    let header = BallotHeader::decode(&row.header).expect("a header");
    let mut lengths = vec![
        bytes.len() as f64,
        row.position as f64,
        row.received_at_s as f64,
        header.cast_at().get() as f64,
        (digest.as_bytes()[0] % 16).into(),
    ];
    for by in Role::ALL {
        let receipt = store
            .read(|tx| receipts::get(tx, 1, 1, digest.as_bytes(), by.index()))
            .expect("read");
        // When and where the others accepted it.
        let stated = receipt.as_ref().map(|bytes| {
            let receipt = wire::Receipt::decode(bytes.as_slice()).expect("a receipt");
            Receipt::from_wire(&receipt).expect("a receipt")
        });
        let stated = stated.as_ref().map(Receipt::unverified);
        lengths.push(stated.map_or(-1.0, |of| of.position as f64));
        lengths.push(stated.map_or(-1.0, |of| of.received_at.get() as f64));
        lengths.push(receipt.as_ref().map_or(-1.0, |receipt| receipt.len() as f64));
        bytes.extend(receipt.unwrap_or_default());
    }
    (bytes, lengths)
}

pub(super) fn files(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).expect("listed") {
        let entry = entry.expect("listed");
        if entry.file_type().expect("listed").is_dir() {
            found.extend(files(&entry.path()));
        } else {
            let name = entry.file_name().to_string_lossy().into_owned();
            found.push((name, std::fs::read(entry.path()).expect("read")));
        }
    }
    found.sort();
    found
}
