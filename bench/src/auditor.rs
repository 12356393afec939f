//! The auditor of one party of a measurement: a process with the party's session log and what it kept.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result};
use prost::Message as _;
use tally_mpc::{Role, SortParams};
use tally_party::audit::{SignedEnd, audit_session};
use tally_party::session::Ready;
use tally_party::session::log::SessionLogs;
use tally_party::store::vault::StorageKey;
use tally_proto::audit::{Audit, Check, Item, Verdict};
use tally_proto::envelope::{Envelope, PublicKey, Signer};
use tally_proto::ids::{Hash32, UnixSeconds};

use crate::child::{SESSION, box_result, scene};
use crate::process::{cpu_seconds, peak_rss_bytes, read_line, write_line};
use crate::protocol::{AuditSetup, Audited};

/// Audits one party's part of a session: setup, audit, report.
///
/// There is no sealed box in this measurement, so the checks of the box are left as not applicable; those of the session are the real
/// ones. The input stands in memory before the clock starts, as it did for the tally.
///
/// # Errors
/// Whatever goes wrong; the parent sees it on standard error.
pub fn auditor() -> Result<()> {
    let setup: AuditSetup = read_line()?;
    let own = Role::from_index(setup.party).context("the parent numbers parties 1 to 3")?;
    let scene = scene(&setup.plan)?;
    let mut keys = Vec::new();
    for key in &setup.keys {
        keys.push(PublicKey::from_slice(key)?);
    }
    let keys = keys
        .try_into()
        .map_err(|_| anyhow::anyhow!("three keys are needed"))?;
    let input = setup.plan.input(own)?;
    let of = scene.clone();
    let ready = Ready {
        seal_hash: scene.seal_hash,
        keys,
        params: setup.plan.params(SortParams::default()),
        input: Box::new(move || Ok(input)),
        conclude: Box::new(move |outcome| box_result(&of, outcome)),
    };
    let signed = SignedEnd {
        result: Some(Envelope::decode(&setup.kept.result)?),
        abort: None,
    };
    let logs = SessionLogs::new(setup.logs, Arc::new(StorageKey::new(setup.kept.storage)));
    let log_bytes = std::fs::metadata(logs.path(&scene.election, scene.box_id, SESSION))?.len();

    let (begun, cpu) = (Instant::now(), cpu_seconds()?);
    let log = logs.open(own, &scene.election, scene.box_id, SESSION)?;
    let audit = audit_session(log, own, &scene, SESSION, ready, &signed)?;
    let (seconds, cpu_seconds) = (begun.elapsed().as_secs_f64(), cpu_seconds()? - cpu);

    let of_box = Check::ALL
        .into_iter()
        .take_while(|check| *check < Check::SessionLog);
    let mut items: Vec<Item> = of_box
        .map(|check| Item {
            check,
            verdict: Verdict::NotApplicable,
            detail: "no box was sealed for this measurement".to_owned(),
        })
        .collect();
    items.extend(audit.items);
    let statement = Audit {
        election: scene.election,
        of_box: scene.box_id,
        seal_hash: scene.seal_hash,
        manifest_hash: Hash32([0; 32]),
        session: SESSION,
        session_id: audit.session_id,
        party: own,
        auditor: format!("Auditor of {own}"),
        auditor_key: Signer::from_seed(&[own.index(); 32])?.public_key(),
        audited_at: UnixSeconds(1),
        items,
        channels: audit.channels,
        agreed: audit.agreed,
        stated: audit.stated,
        end: audit.end,
    };
    write_line(&Audited {
        seconds,
        cpu_seconds,
        peak_rss_bytes: peak_rss_bytes()?,
        log_bytes,
        statement: statement.to_wire().encode_to_vec(),
    })
}
