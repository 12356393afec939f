//! A session's log with every kind of entry, and three auditors' statements.

use std::sync::Arc;

use prost::Message as _;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use tally_mpc::{
    ChannelHashes, Label, Neighbour, OpenedCounts, Phase, Scope, SortParams, Statement, TallyParams,
};
use tally_party::session::Scene;
use tally_party::session::log::{Entry, Fault, SessionLogs, Way};
use tally_party::store::vault::StorageKey;
use tally_proto::audit::{Audit, Binding, ChannelRecord, Check, End, Item, Mark, Stated, Stopped, Verdict};
use tally_proto::envelope::{Kind, SignatureBytes, Signer};
use tally_proto::ids::{BoxId, ElectionId, Hash32, Role, SessionNumber, UnixSeconds};

/// What the targets of the audit start from.
pub(crate) struct Logged {
    /// The log's file.
    pub file: Vec<u8>,
    /// The same entries in the clear.
    pub entries: Vec<u8>,
    /// Statements of the three parties' auditors.
    pub audits: [Vec<u8>; 3],
}

fn label(round: u32) -> Label {
    Label {
        scope: Scope {
            phase: Phase::Sort,
            step: 3,
            chunk: 1,
        },
        round,
    }
}

fn entries() -> Vec<Entry> {
    let signer = Signer::from_seed(&[4; 32]).expect("a seed");
    let signed = |kind| signer.seal_envelope(kind, vec![1, 2, 3]);
    let failed = |fault| Entry::Failed {
        way: Way::Receiving,
        with: Neighbour::Prev,
        label: label(9),
        fault,
    };
    // A contribution cannot be made outside a session: its bytes are fuzzed from what is like one.
    let contribution = [&[2, 34, 0, 0, 0, 1, 2][..], &[7; 32]].concat();
    let mut all = vec![
        Entry::Starts([signed(Kind::Start), signed(Kind::Start), signed(Kind::Start)]),
        Entry::Input {
            fingerprint: [9; 32],
            params: TallyParams {
                counts: OpenedCounts::PerChannel,
                sort: SortParams::default(),
            },
        },
        Entry::Received {
            from: Neighbour::Next,
            label: label(1),
            message: vec![5; 300],
        },
        Entry::Stated {
            statement: Box::new(statement(Role::P1).to_bytes()),
            signature: Box::new([8; 64]),
        },
        failed(Fault::Closed),
        failed(Fault::Overdue),
        failed(Fault::Interrupted),
        failed(Fault::WrongLabel(label(2))),
        failed(Fault::WrongLength(77)),
        failed(Fault::Transport("gone".into())),
    ];
    let mut bytes = contribution.as_slice();
    all.extend(Entry::take(&mut bytes).ok().flatten());
    all.push(Entry::Ended {
        abort: Some(signed(Kind::Abort)),
    });
    all
}

fn statement(signer: Role) -> Statement {
    Statement {
        binding: Binding::new(&[1; 32], b"ward-7", b"1", 1),
        signer,
        number: 3,
        at: label(0).scope,
        channels: ChannelHashes {
            to_next: [1; 32],
            to_prev: [2; 32],
            from_next: [3; 32],
            from_prev: [4; 32],
        },
    }
}

fn audit(party: Role) -> Audit {
    Audit {
        election: ElectionId::new("ward-7").expect("a slug"),
        of_box: BoxId(1),
        seal_hash: Hash32([1; 32]),
        manifest_hash: Hash32([2; 32]),
        session: SessionNumber(1),
        session_id: Hash32([3; 32]),
        party,
        auditor: "Somebody".into(),
        auditor_key: Signer::from_seed(&[50 + party.index(); 32])
            .expect("a seed")
            .public_key(),
        audited_at: UnixSeconds(9),
        items: Check::ALL
            .map(|check| Item {
                check,
                verdict: Verdict::Passed,
                detail: "found".into(),
            })
            .to_vec(),
        channels: [1, 2, 3, 4].map(|salt| ChannelRecord {
            messages: 2,
            hash: Hash32([salt; 32]),
            trail: (0..2)
                .map(|round| Mark {
                    label: label(round).to_bytes(),
                    hash: [salt; 16],
                })
                .collect(),
        }),
        agreed: Some(statement(party)),
        stated: vec![Stated {
            statement: statement(party),
            signature: SignatureBytes([6; 64]),
        }],
        end: End::Stopped(Stopped {
            reason: "tally.check-failed".into(),
            step: "sort step 2".into(),
            channel: "P1-P2".into(),
            suspects: vec![Role::P1],
        }),
    }
}

impl Logged {
    /// What the log is sealed under.
    pub(crate) const STORAGE: [u8; 32] = [3; 32];

    /// Makes them; always the same.
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let logs = SessionLogs::new(directory.path().into(), Arc::new(StorageKey::new(Self::STORAGE)));
        let scene = Scene {
            seal_hash: Hash32([1; 32]),
            election: ElectionId::new("ward-7").expect("a slug"),
            box_id: BoxId(1),
        };
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let log = logs
            .begin(Role::P1, &scene, SessionNumber(1), &mut rng)
            .expect("a new file");
        let mut clear = Vec::new();
        for entry in entries() {
            log.enter(&entry);
            entry.encode(&mut clear);
        }
        log.seal();
        let path = logs.path(&scene.election, scene.box_id, SessionNumber(1));
        Self {
            file: std::fs::read(path).expect("written"),
            entries: clear,
            audits: [Role::P1, Role::P2, Role::P3].map(|party| audit(party).to_wire().encode_to_vec()),
        }
    }
}
