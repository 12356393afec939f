//! The targets.

use std::io::Cursor;
use std::sync::{Arc, LazyLock};

use prost::Message as _;
use tally_mpc::layout::{BallotLayout, Contest};
use tally_party::session::log::{Entry, Reader};
use tally_party::store::vault::StorageKey;
use tally_proto::audit::{Audit, combine};
use tally_proto::ballot::{BallotHeader, Submission};
use tally_proto::bundle::verify_bundle;
use tally_proto::disclosure::Disclosure;
use tally_proto::envelope::{Envelope, Kind, Signer};
use tally_proto::fixture::{Shape, World};
use tally_proto::holder::Holder;
use tally_proto::identity::{CoordinatorIdentity, PartyIdentity, RegistrarIdentity, StationIdentity};
use tally_proto::ids::UnixSeconds;
use tally_proto::ids::{BoxId, Digest, ElectionId, Hash32, Role};
use tally_proto::invitation::Part;
use tally_proto::log;
use tally_proto::manifest::Manifest;
use tally_proto::note::Checkpoint;
use tally_proto::open_roll::{OpenRollList, Subject};
use tally_proto::order::Order;
use tally_proto::pki::{Anchor, PeerRole};
use tally_proto::receipt::{Receipt, WholeBatch, whole_batches};
use tally_proto::record::{RecordHeader, RecordSubmission};
use tally_proto::result::BoxResult;
use tally_proto::sealing::{BoxBody, Claims, DigestList, List, Seal, Statements, check_two_statements};
use tally_proto::shares::{ShareContext, ShareForm};
use tally_proto::sign_ins::SignIns;
use tally_proto::ticket::{OwnTicket, Ticket, TicketKey, Use};
use tally_proto::wire;

use crate::logged::Logged;
use crate::{Seeds, answers, cards, keys, sessions};

/// One decoder under fuzz.
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// Takes any bytes.
    pub run: fn(&[u8]),
    /// Inputs to start from.
    pub seeds: fn(&Seeds) -> Vec<Vec<u8>>,
}

/// Every decoder.
pub const TARGETS: &[Target] = &[
    Target {
        name: "share_text",
        run: keys::share_text,
        seeds: |_| keys::share_text_seeds(),
    },
    Target {
        name: "sealed_keys",
        run: keys::sealed_keys,
        seeds: |_| keys::sealed_keys_seeds(),
    },
    Target {
        name: "holder_message",
        run: keys::holder_message,
        seeds: |_| keys::holder_message_seeds(),
    },
    Target {
        name: "envelope",
        run: envelope,
        seeds: |s| vec![s.world.manifest.envelope().encode()],
    },
    Target {
        name: "manifest",
        run: manifest,
        seeds: |s| vec![s.world.manifest.manifest().encode(), cards::manifest()],
    },
    Target {
        name: "order",
        run: order,
        seeds: |s| vec![s.order()],
    },
    Target {
        name: "record_header",
        run: record_header,
        seeds: |s| [vec![s.record.header().encode()], cards::headers()].concat(),
    },
    Target {
        name: "record_submission",
        run: record_submission,
        seeds: |s| [vec![s.record.to_wire().encode_to_vec()], cards::submissions()].concat(),
    },
    Target {
        name: "card_authorisation",
        run: cards::authorisation,
        seeds: |_| cards::authorisations(),
    },
    Target {
        name: "draw_statement",
        run: cards::statement,
        seeds: |_| cards::statements(),
    },
    Target {
        name: "revocation_list",
        run: cards::list,
        seeds: |_| cards::lists(),
    },
    Target {
        name: "ballot_header",
        run: ballot_header,
        seeds: |s| s.submissions.iter().map(|b| b.header().encode()).collect(),
    },
    Target {
        name: "submission",
        run: submission,
        seeds: |s| s.submissions.iter().map(Submission::encode).collect(),
    },
    Target {
        name: "receipt",
        run: receipt,
        seeds: |s| vec![s.receipt()],
    },
    Target {
        name: "receipt_batch",
        run: receipt_batch,
        seeds: |s| s.receipt_batches(),
    },
    Target {
        name: "list",
        run: list,
        seeds: |s| vec![s.evidence.lists[0].list().encode()],
    },
    Target {
        name: "list_body",
        run: list_body,
        seeds: |_| vec![vec![], (0..96).map(|i| i / 32).collect()],
    },
    Target {
        name: "claims",
        run: claims,
        seeds: |s| vec![s.evidence.claims[0].0.encode()],
    },
    Target {
        name: "box_body",
        run: box_body,
        seeds: |s| vec![s.evidence.body.encode()],
    },
    Target {
        name: "seal",
        run: seal,
        seeds: |s| vec![s.seal.encode()],
    },
    Target {
        name: "result",
        run: result,
        seeds: |s| vec![s.result.encode()],
    },
    Target {
        name: "bundle",
        run: bundle,
        seeds: |s| vec![s.bundle.clone()],
    },
    Target {
        name: "bundle_payload",
        run: bundle_payload,
        seeds: bundle_payload_seeds,
    },
    Target {
        name: "sign_ins",
        run: sign_ins,
        seeds: |s| vec![s.sign_ins()],
    },
    Target {
        name: "open_roll",
        run: open_roll,
        seeds: |s| vec![s.open_roll()],
    },
    Target {
        name: "invitation",
        run: invitation,
        seeds: |s| vec![s.invitation(), s.invitation_with_draw(), s.letter(), s.message()],
    },
    Target {
        name: "ticket",
        run: ticket,
        seeds: Seeds::tickets,
    },
    Target {
        name: "check_code",
        run: check_code,
        seeds: |s| vec![s.disclosed.1.clone().into_bytes()],
    },
    Target {
        name: "ballot_holder",
        run: ballot_holder,
        seeds: |s| {
            let code = Disclosure::parse(&s.disclosed.1).expect("a check code");
            let digest = code.digest();
            vec![[&digest.0[..], code.holder().to_text(&digest).as_bytes()].concat()]
        },
    },
    Target {
        name: "signed_note",
        run: signed_note,
        seeds: |s| vec![s.note()],
    },
    Target {
        name: "identity_file",
        run: identity_file,
        seeds: identity_seeds,
    },
    Target {
        name: "certificate",
        run: certificate,
        seeds: |s| vec![s.world.authorities[0].cert_pem().into()],
    },
    Target {
        name: "start",
        run: sessions::start,
        seeds: |s| vec![sessions::payload(&s.start(Role::P2))],
    },
    Target {
        name: "demand",
        run: sessions::demand,
        seeds: |s| vec![sessions::payload(&s.demand().sign(&s.world.signers[0]))],
    },
    Target {
        name: "supply",
        run: sessions::supply,
        seeds: sessions::supply_seeds,
    },
    Target {
        name: "sealed_frame",
        run: sessions::sealed_frame,
        seeds: sessions::sealed_frame_seeds,
    },
    Target {
        name: "holdings",
        run: sessions::holdings,
        seeds: sessions::holdings_seeds,
    },
    Target {
        name: "abort",
        run: sessions::abort,
        seeds: sessions::abort_seeds,
    },
    Target {
        name: "signed_result",
        run: sessions::signed_result,
        seeds: sessions::signed_result_seeds,
    },
    Target {
        name: "frame",
        run: sessions::frame,
        seeds: sessions::frame_seeds,
    },
    Target {
        name: "frame_label",
        run: sessions::frame_label,
        seeds: |_| vec![vec![2; 13]],
    },
    Target {
        name: "packed_share",
        run: packed_share,
        seeds: |_| vec![vec![0; 96], vec![0; 48]],
    },
    Target {
        name: "audit",
        run: audit,
        seeds: |_| LOGGED.audits.to_vec(),
    },
    Target {
        name: "statements",
        run: statements,
        seeds: statement_seeds,
    },
    Target {
        name: "session_log",
        run: session_log,
        seeds: |_| vec![LOGGED.file.clone()],
    },
    Target {
        name: "session_log_entries",
        run: session_log_entries,
        seeds: |_| vec![LOGGED.entries.clone()],
    },
    Target {
        name: "refusal",
        run: answers::refusal,
        seeds: |_| answers::refusal_seeds(),
    },
    Target {
        name: "offsets_told",
        run: answers::offsets_told,
        seeds: |_| answers::offsets_told_seeds(),
    },
    Target {
        name: "log_page",
        run: log_page,
        seeds: |s| vec![s.log_page()],
    },
];

/// Whatever is accepted must encode to the accepted bytes.
pub(crate) fn canonical<T, E>(
    data: &[u8],
    decoded: Result<T, E>,
    encode: impl Fn(&T) -> Vec<u8>,
) -> Option<T> {
    let value = decoded.ok()?;
    assert_eq!(
        encode(&value),
        data,
        "an accepted value does not encode to the accepted bytes"
    );
    Some(value)
}

fn envelope(data: &[u8]) {
    if let Some(envelope) = canonical(data, Envelope::decode(data), Envelope::encode) {
        let keys: Vec<_> = envelope.signatures().iter().map(|s| s.key).collect();
        let _ = envelope.verify(Kind::Seal, &keys);
    }
}

fn manifest(data: &[u8]) {
    let _ = canonical(data, Manifest::decode(data), Manifest::encode);
}

fn order(data: &[u8]) {
    let _ = canonical(data, Order::decode(data), Order::encode);
}

fn record_header(data: &[u8]) {
    if let Some(header) = canonical(data, RecordHeader::decode(data), RecordHeader::encode) {
        let _ = header.digest();
    }
}

fn record_submission(data: &[u8]) {
    let encode = |s: &RecordSubmission| s.to_wire().encode_to_vec();
    if let Some(submission) = canonical(data, RecordSubmission::decode(data), encode)
        && let Some(signature) = submission.registrar_signature()
    {
        let _ = submission
            .header()
            .check_authorisation(&submission.digest(), signature);
    }
}

fn ballot_header(data: &[u8]) {
    if let Some(header) = canonical(data, BallotHeader::decode(data), BallotHeader::encode) {
        let _ = header.digest();
    }
}

fn submission(data: &[u8]) {
    if let Some(submission) = canonical(data, Submission::decode(data), Submission::encode) {
        let _ = submission.header().check_place(FIXED.world.manifest.manifest());
        let (header, signature) = (submission.header(), submission.authority_signature());
        let _ = header.check_authority(&submission.digest(), signature, FIXED.world.manifest.manifest());
        let election = header.election().clone();
        let layout = layout();
        let context = ShareContext {
            of: election.as_str(),
            of_box: header.of_box(),
            form: ShareForm::Ballot(&layout),
        };
        let key = &FIXED.world.opening_keys[0];
        let _ = context.open(
            Role::P1,
            key,
            &submission.digest(),
            header.commitments(),
            submission.ciphertext(),
        );
    }
}

fn receipt(data: &[u8]) {
    if let Some(receipt) = canonical(data, Receipt::decode(data), Receipt::encode) {
        let _ = receipt.verify(&FIXED.world.manifest.manifest().party_keys());
    }
}

/// What is well-formed is what its receipts say, in one form.
fn receipt_batch(data: &[u8]) {
    let Ok(wire) = wire::ReceiptBatch::decode(data) else {
        return;
    };
    if let Ok(batch) = WholeBatch::from_wire(&wire, Role::P2) {
        let _ = batch
            .batch()
            .verify(&FIXED.world.manifest.manifest().party_keys());
        assert_eq!(whole_batches(batch.receipts()), [wire]);
    }
}

fn list(data: &[u8]) {
    let _ = canonical(data, List::decode(data), List::encode);
}

fn list_body(data: &[u8]) {
    let encode = |l: &DigestList| l.as_slice().iter().flat_map(|d| d.0).collect();
    let _ = canonical(data, DigestList::from_bytes(data), encode);
}

fn claims(data: &[u8]) {
    let _ = canonical(data, Claims::decode(data), Claims::encode);
}

fn box_body(data: &[u8]) {
    if let Some(body) = canonical(data, BoxBody::decode(data, 5), BoxBody::encode) {
        let _ = Role::ALL.map(|party| body.lists_of(party));
    }
}

fn seal(data: &[u8]) {
    let _ = canonical(data, Seal::decode(data), Seal::encode);
}

fn result(data: &[u8]) {
    if let Some(result) = canonical(data, BoxResult::decode(data), BoxResult::encode) {
        let sealed = tally_proto::sealing::Counts {
            online: 1,
            station: 1,
            paper: 1,
        };
        let _ = result.check_numbers(FIXED.world.manifest.manifest(), 5, &sealed);
    }
}

pub(crate) static FIXED: LazyLock<Seeds> = LazyLock::new(Seeds::new);

/// The bytes of a bundle. The valid one must verify, every other must not.
fn bundle(data: &[u8]) {
    let verified = verify_bundle(data, &Arc::clone(&FIXED.world.manifest));
    assert_eq!(
        verified.is_ok(),
        data == FIXED.bundle,
        "another bundle verifies, or the valid one does not"
    );
}

/// The same, signed by a coordinator that alters what it likes: reaches everything behind the outer signature. Whatever verifies differs
/// from the valid one in the coordinator's own statement of the time at most, or leaves out signatures or boxes, which the report shows.
fn bundle_payload(data: &[u8]) {
    let kind = Kind::Bundle;
    let bytes = FIXED
        .world
        .coordinator
        .seal_envelope(kind, data.to_vec())
        .encode();
    if let Ok(report) = verify_bundle(&bytes, &Arc::clone(&FIXED.world.manifest)) {
        for of_box in &report.boxes {
            assert_eq!(of_box.seal, FIXED.seal, "another Seal verifies");
            assert_eq!(of_box.result, FIXED.result, "another result verifies");
        }
        assert_eq!(report.boxes.len() + report.missing.len(), 2);
    }
}

fn bundle_payload_seeds(_: &Seeds) -> Vec<Vec<u8>> {
    let envelope = Envelope::decode(&FIXED.bundle).expect("the valid bundle");
    vec![envelope.payload().to_vec()]
}

fn sign_ins(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok((statement, _)) = SignIns::read(text) {
        let signer = Signer::from_seed(&[7; 32]).expect("a seed");
        let again = statement.sign(&signer).expect("what reads can be signed");
        assert_eq!(SignIns::read(&again).expect("its own text reads").0, statement);
    }
}

fn open_roll(data: &[u8]) {
    // The keys follow from its seed: what the seeds sign verifies.
    static WORLD: LazyLock<World> = LazyLock::new(|| World::new(Shape::default()));
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let manifest = WORLD.manifest.manifest();
    if let Ok(list) = OpenRollList::decode(text, manifest, BoxId(1)) {
        let of = Subject {
            election: manifest.election(),
            of_box: BoxId(1),
        };
        assert_eq!(
            OpenRollList::decode(&list.encode(of), manifest, BoxId(1)),
            Ok(list)
        );
    }
}

fn invitation(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(invitation) = Part::parse(text) {
        let again = Part::parse(&invitation.to_link()).expect("its own link reads");
        assert_eq!(*again.to_code(), *invitation.to_code());
    }
}

/// What is kept of a ballot's name: the digest, then the words.
fn ballot_holder(bytes: &[u8]) {
    let Some((digest, text)) = bytes.split_first_chunk::<32>() else {
        return;
    };
    let (digest, Ok(text)) = (Digest(*digest), std::str::from_utf8(text)) else {
        return;
    };
    if let Some(holder) = Holder::parse(&digest, text) {
        assert_eq!(holder.to_text(&digest), text);
    }
}

fn check_code(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(disclosure) = Disclosure::parse(text) else {
        return;
    };
    let canonical = disclosure.to_text();
    let again = Disclosure::parse(&canonical).expect("its own text reads");
    assert_eq!(again.to_text(), canonical);
    // What opens the ballot is the one text that was made for it.
    let manifest = FIXED.world.manifest.manifest();
    let of_box = manifest.ballot_box(BoxId(1)).expect("box 1");
    let (header, made) = &FIXED.disclosed;
    let hash = FIXED.world.manifest.hash();
    if disclosure.check_election(&hash).is_ok()
        && disclosure.open(manifest.election(), of_box, header).is_ok()
    {
        assert_eq!(canonical.as_str(), made);
    }
}

/// A ticket as a header carries it, as a device keeps it, and its use as a party keeps it: by the first byte.
fn ticket(data: &[u8]) {
    let Some((kind, data)) = data.split_first() else {
        return;
    };
    match kind {
        0 => {
            let read = tally_proto::decode::decode_canonical::<tally_proto::wire::TicketAuthority>(
                "ticket", data, 1024,
            );
            if let Ok(ticket) = read
                .map_err(drop)
                .and_then(|wire| Ticket::from_wire(&wire).map_err(drop))
            {
                assert_eq!(prost::Message::encode_to_vec(&ticket.to_wire()), data);
                let manifest = FIXED.world.manifest.manifest();
                for day in [ticket.day(), UnixSeconds(0)] {
                    let key = TicketKey::new(day, &[0xff; 256]).expect("odd, of 2048 bits");
                    assert!(!key.signed(manifest.election(), &ticket), "nobody has that key");
                }
            }
        }
        1 => {
            if let Ok(own) = OwnTicket::from_bytes(data) {
                assert_eq!(own.to_bytes().as_slice(), data);
            }
        }
        _ => {
            if let Ok(spent) = Use::from_bytes(data) {
                assert_eq!(spent.to_bytes(), data);
            }
        }
    }
}

fn signed_note(data: &[u8]) {
    if let Ok((checkpoint, _)) = Checkpoint::parse(data) {
        let keys = FIXED.world.manifest.manifest().party_keys();
        let _ = Checkpoint::open(data, &checkpoint.election, checkpoint.party, &keys[0]);
        let _ = Checkpoint::open_cosigned(data, &checkpoint.election, checkpoint.party, &keys);
    }
}

/// Entries of a log, from another party.
fn log_page(data: &[u8]) {
    if let Ok(entries) = log::decode_page(data) {
        let again: Vec<u8> = entries.iter().flat_map(log::Entry::to_bytes).collect();
        assert_eq!(again, data, "one entry, one byte string");
    }
}

fn identity_file(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(party) = PartyIdentity::from_toml(text) {
        assert_eq!(
            PartyIdentity::from_toml(&party.to_toml()).expect("its own file reads"),
            party
        );
    }
    if let Ok(coordinator) = CoordinatorIdentity::from_toml(text) {
        assert_eq!(
            CoordinatorIdentity::from_toml(&coordinator.to_toml()).expect("its own file reads"),
            coordinator
        );
    }
    if let Ok(registrar) = RegistrarIdentity::from_toml(text) {
        assert_eq!(
            RegistrarIdentity::from_toml(&registrar.to_toml()).expect("its own file reads"),
            registrar
        );
    }
    if let Ok(station) = StationIdentity::from_toml(text) {
        assert_eq!(
            StationIdentity::from_toml(&station.to_toml()).expect("its own file reads"),
            station
        );
    }
}

fn identity_seeds(seeds: &Seeds) -> Vec<Vec<u8>> {
    let manifest = seeds.world.manifest.manifest();
    vec![
        manifest.parties()[0].to_toml().into(),
        manifest.coordinator().to_toml().into(),
        manifest.registrars()[0].to_toml().into(),
        manifest.stations()[1].to_toml().into(),
    ]
}

fn certificate(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let _ = text.parse::<PeerRole>();
    let _ = Anchor::from_pem(text);
    // The peer's certificate, as TLS hands it over.
    let anchor = seeds_anchor();
    let _ = tally_proto::pki::Trust::new()
        .party(Role::P1, anchor)
        .role_of(data);
}

fn seeds_anchor() -> Anchor {
    FIXED.world.manifest.manifest().party(Role::P1).anchor().clone()
}

fn layout() -> BallotLayout {
    let contests = vec![
        Contest::Single { options: 3 },
        Contest::Approval { options: 4, max: 2 },
    ];
    BallotLayout::new(3, contests).expect("a layout")
}

/// Two openings as sealed to a party, or between parties.
fn packed_share(data: &[u8]) {
    let election = ElectionId::new("ward-7").expect("a slug");
    let layout = layout();
    let _ = layout.check(data);
    let forms = [ShareForm::Ballot(&layout), ShareForm::Credential];
    for form in forms {
        let context = ShareContext {
            of: election.as_str(),
            of_box: BoxId(1),
            form,
        };
        if let Ok(shares) = context.read(data) {
            assert_eq!(*shares.to_bytes(), data);
            let _ = context.check(Role::P1, &shares.this, &[Hash32([0; 32]); 3]);
        }
    }
}

static LOGGED: LazyLock<Logged> = LazyLock::new(Logged::new);

/// An auditor's statement, and what it and a changed one say together.
fn audit(data: &[u8]) {
    let encode = |audit: &Audit| audit.to_wire().encode_to_vec();
    if let Some(audit) = canonical(data, Audit::decode(data), encode) {
        let keys = FIXED.world.manifest.manifest().party_keys();
        let mut all: Vec<Audit> = LOGGED
            .audits
            .iter()
            .map(|bytes| Audit::decode(bytes).expect("a seed"))
            .collect();
        let party = audit.party;
        all.retain(|other| other.party != party);
        all.push(audit);
        let combined = combine(&all, &keys);
        assert!(!combined.proves_totals() || combined.named.is_empty());
    }
}

/// Two signed statements of P1 of one kind: the signed one, and whatever the data is. Nobody but P1 can convict it.
fn statements(data: &[u8]) {
    let Ok(other) = Envelope::decode(data) else {
        return;
    };
    let keys = FIXED.world.manifest.manifest().party_keys();
    for (kind, one) in [
        (Kind::List, FIXED.evidence.lists[0].envelope().clone()),
        (Kind::Claims, FIXED.evidence.claims_envelopes[0].clone()),
        (Kind::Seal, FIXED.seal.sign(&FIXED.world.signers[0])),
    ] {
        let said = check_two_statements(kind, Role::P1, &keys, &one, &other);
        assert!(
            !matches!(said, Ok(Statements::Contradict)),
            "P1 is convicted by what it never signed"
        );
    }
}

fn statement_seeds(_: &Seeds) -> Vec<Vec<u8>> {
    vec![
        FIXED.evidence.lists[0].envelope().encode(),
        FIXED.evidence.claims_envelopes[0].encode(),
        FIXED.seal.sign(&FIXED.world.signers[0]).encode(),
    ]
}

/// The file of a session's log. Nothing but the file that was written is whole, and what reads before a fault is its beginning.
fn session_log(data: &[u8]) {
    let key = StorageKey::new(Logged::STORAGE);
    let Ok(mut reader) = Reader::over("fuzzed".into(), Cursor::new(data.to_vec()), &key) else {
        return;
    };
    let mut read = Vec::new();
    let sound = loop {
        match reader.next_entry() {
            Ok(Some(entry)) => entry.encode(&mut read),
            Ok(None) => break true,
            Err(_) => break false,
        }
    };
    assert!(
        LOGGED.entries.starts_with(&read),
        "an entry that was never written"
    );
    assert_eq!(
        sound && reader.is_whole(),
        data == LOGGED.file,
        "another file is whole, or the written one is not"
    );
}

/// What a chunk of a session's log holds once it is opened: only the party itself can write that, and an auditor does not trust it.
fn session_log_entries(data: &[u8]) {
    let mut rest = data;
    let mut again = Vec::new();
    while let Ok(Some(entry)) = Entry::take(&mut rest) {
        let _ = format!("{entry:?}");
        entry.encode(&mut again);
        assert_eq!(
            again,
            data[..data.len() - rest.len()],
            "an accepted entry does not encode to the accepted bytes"
        );
    }
}
