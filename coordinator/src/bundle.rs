//! The result bundle: everything that stands behind a published result, signed by the coordinator, checked by anyone offline.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use prost::Message as _;
use tally_proto::bundle::{MAX_BUNDLE_BYTES, Report, verify_bundle};
use tally_proto::envelope::Kind;
use tally_proto::ids::{BoxId, Role, RoleExt as _};
use tally_proto::manifest::SignedManifest;
use tally_proto::sealing::Claimed;
use tally_proto::wire;

use crate::aborts::Stopped;
use crate::directory::{Directory, Election};
use crate::error::Error;
use crate::files;
use crate::progress::grouped;
use crate::report::terminal::table;
use crate::setup::{fingerprint, read_manifest};

/// A bundle that holds, the manifest it was checked with, and what was found.
#[derive(Debug)]
pub struct Checked {
    /// The manifest, from a source that the reader trusts.
    pub manifest: Arc<SignedManifest>,
    /// What was recomputed.
    pub report: Report,
}

/// A written bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// Where it is.
    pub path: PathBuf,
    /// Boxes of the election that have no result and are not in it.
    pub missing: Vec<BoxId>,
}

/// Joins manifest, orders and all tallied boxes, signs, checks what came out and writes it. A box may be missing: one with too
/// few submissions never gets a result.
///
/// # Errors
/// [`Error::NothingTallied`], and [`Error::Bundle`] should what was joined not hold.
pub fn make(directory: &Directory, election: &Election, now_s: u64) -> Result<Made, Error> {
    let mut boxes = Vec::new();
    for b in election.signed().manifest().boxes() {
        boxes.extend(
            election
                .stored_box(b.id())?
                .filter(|stored| stored.result.is_some()),
        );
    }
    if boxes.is_empty() {
        return Err(Error::NothingTallied(
            election.signed().manifest().election().clone(),
        ));
    }
    let bundle = wire::Bundle {
        manifest: Some(election.signed().envelope().to_wire()),
        orders: election
            .orders_in_force()
            .into_iter()
            .map(|o| o.envelope().to_wire())
            .collect(),
        boxes,
        published_at_s: now_s,
    };
    let bytes = directory
        .signer()
        .seal_envelope(Kind::Bundle, bundle.encode_to_vec())
        .encode();
    // Nothing is published that this very program would refuse.
    let report = verify_bundle(&bytes, &Arc::new(election.signed().clone()))?;
    let path = election.bundle_file();
    files::replace(&path, &bytes)?;
    Ok(Made {
        path,
        missing: report.missing,
    })
}

/// Checks a bundle file with a manifest file, without a network.
///
/// # Errors
/// What does not hold, naming it.
pub fn check_files(bundle: &Path, manifest: &Path) -> Result<Checked, Error> {
    let manifest = Arc::new(read_manifest(manifest)?);
    check(&files::read(bundle, MAX_BUNDLE_BYTES as u64)?, manifest)
}

/// Checks a bundle's bytes.
///
/// # Errors
/// As [`check_files`].
pub fn check(bundle: &[u8], manifest: Arc<SignedManifest>) -> Result<Checked, Error> {
    let report = verify_bundle(bundle, &manifest)?;
    Ok(Checked { manifest, report })
}

/// What was checked, as a table, and what a check of the bundle cannot say.
pub fn checks(checked: &Checked, width: u16, styled: bool) -> String {
    let Checked { manifest, report } = checked;
    let mut rows = table(width, ["Checked", "Found"].map(str::to_owned).to_vec(), styled);
    let agencies: Vec<String> = manifest
        .manifest()
        .parties()
        .iter()
        .map(|p| format!("P{} {}", p.role().number(), p.agency()))
        .collect();
    rows.add_row([
        "Manifest".to_owned(),
        format!(
            "fingerprint {}; signed by the coordinator and {}",
            fingerprint(manifest),
            agencies.join(", ")
        ),
    ]);
    rows.add_row([
        "Orders".to_owned(),
        format!(
            "{}, each signed by all four; {} of them correct one voter",
            report.orders, report.corrections
        ),
    ]);
    let coordinator = manifest.manifest().coordinator().name();
    rows.add_row([
        "Bundle".to_owned(),
        format!("signed by {coordinator}, not one byte changed"),
    ]);
    for b in &report.boxes {
        let name = format!("Box {} {}", b.of_box, b.name.default_text());
        let counts = &b.seal.counts;
        let signers: Vec<String> = b.result.contests().iter().map(contest_words).collect();
        rows.add_row([
            format!("{name}: Lists, Claims"),
            "three of each, signed, and they fit the evidence".to_owned(),
        ]);
        rows.add_row([
            format!("{name}: Seal"),
            format!(
                "recomputed from the evidence, the same bytes that all three signed: {} ballots received, {} excluded, {} of {} voters live, \
                 {} with a credential",
                grouped(counts.total()),
                grouped(b.seal.exclusions.len() as u64),
                grouped(b.live as u64),
                grouped(u64::from(b.seal.voters)),
                grouped(b.enrolled as u64)
            ),
        ]);
        let by: Vec<String> = b
            .signers
            .iter()
            .map(|role| format!("P{}", role.number()))
            .collect();
        rows.add_row([
            format!("{name}: result"),
            format!(
                "of this Seal, signed by {}; its numbers fit: {}",
                by.join(", "),
                signers.join("; ")
            ),
        ]);
    }
    let mut out = format!("The bundle of election {} holds.\n\n{rows}\n", report.election);
    let agency = |role: Role| {
        let party = manifest.manifest().party(role);
        format!("P{} {}", role.number(), party.agency())
    };
    for b in &report.boxes {
        for words in named_by_claims([&b.hidden, &b.elsewhere, &b.false_claims], agency) {
            out += &format!("\nBox {}, which this does not bear on: {words}\n", b.of_box);
        }
    }
    for b in report.boxes.iter().filter(|b| !b.aborts.is_empty()) {
        let names = manifest.manifest().parties();
        let names = [0, 1, 2].map(|slot: usize| {
            format!(
                "P{} {} ({})",
                slot + 1,
                names[slot].agency(),
                names[slot].peer_address()
            )
        });
        let stopped = Stopped::of(b.aborts.clone(), b.proofs.clone());
        out += &format!(
            "\nBox {}, before its result, which this does not bear on: {}\n",
            b.of_box,
            stopped.told(&names)
        );
    }
    if !report.missing.is_empty() {
        let missing: Vec<String> = report.missing.iter().map(ToString::to_string).collect();
        out += &format!(
            "\nNot in the bundle: box {}. A bundle cannot say why: ask a party whether it is sealed or tallied. Totals are without it.\n",
            missing.join(", box ")
        );
    }
    out += "\nThat the totals are those of the sealed shares stands on the signatures of the parties, unless auditors' statements \
            prove it (--statement); the shares are no part of a bundle.\n";
    out
}

/// Whom Lists and Claims convict, in sentences.
pub(crate) fn named_by_claims(
    [hidden, elsewhere, false_claims]: [&[Claimed]; 3],
    name: impl Fn(Role) -> String,
) -> Vec<String> {
    let mut said = Vec::new();
    for role in Role::ALL {
        let of = |claimed: &[Claimed]| {
            let mut digests = claimed.iter().filter(|by| by.party == role).map(|by| by.digest);
            digests
                .next()
                .map(|first| (digests.count() as u64 + 1, first.short()))
        };
        if let Some((count, first)) = of(hidden) {
            said.push(format!(
                "{} did not list {} that it gave receipts for (the first: {first}); they were sealed by these receipts, which prove it",
                name(role),
                grouped(count)
            ));
        }
        if let Some((count, first)) = of(elsewhere) {
            said.push(format!(
                "{} did not take over {} enrolments that it accepted for another election of the register (the first: {first}); they were sealed by \
                 its receipts there: it was away until the end, or leaves people out",
                name(role),
                grouped(count)
            ));
        }
        if let Some((count, first)) = of(false_claims) {
            said.push(format!(
                "{} claimed {} receipts that are not what they say (the first names {first}); its Claims prove it",
                name(role),
                grouped(count)
            ));
        }
    }
    said
}

fn contest_words(contest: &tally_proto::result::ContestResult) -> String {
    let votes: u64 = contest.totals.iter().sum();
    format!(
        "contest {}: {} votes, {} spoilt",
        contest.contest,
        grouped(votes),
        grouped(contest.spoilt)
    )
}

#[cfg(test)]
pub(crate) mod tests;
