//! What auditors found: their signed statements beside a result bundle, and what is proven by whom.

use std::path::PathBuf;

use tally_proto::audit::{
    Audit, Blame, Check, Combined, End, MAX_AUDIT_BYTES, PairVerdict, Verdict, combine,
};
use tally_proto::bundle::BoxReport;
use tally_proto::envelope::{Envelope, PublicKey};
use tally_proto::ids::{BoxId, Hash32, Role, RoleExt as _, SessionNumber};
use tally_proto::manifest::SignedManifest;

use crate::bundle::Checked;
use crate::error::Error;
use crate::files;
use crate::report::terminal::table;

/// One auditor's statement that holds, and where it came from.
#[derive(Debug)]
pub struct Statement {
    /// The file.
    pub path: PathBuf,
    /// What it says.
    pub audit: Audit,
}

/// Reads statements and checks their signatures; with `trusted` keys, no other auditor's is taken.
///
/// # Errors
/// A file that cannot be read, a statement that is not of this election, one of an auditor who is not trusted, or two that say different things of one
/// party's part: whoever hides a failed audit behind a made-up one would have the first of them believed.
pub fn read(
    paths: &[PathBuf],
    manifest: &SignedManifest,
    trusted: &[PublicKey],
) -> Result<Vec<Statement>, Error> {
    let mut statements = Vec::with_capacity(paths.len());
    for path in paths {
        let bytes = files::read(path, 2 * MAX_AUDIT_BYTES as u64)?;
        let refused = |source| Error::Statement {
            path: path.clone(),
            source,
        };
        let envelope = Envelope::decode(&bytes)?;
        let audit = Audit::open(&envelope, manifest.manifest(), manifest.hash()).map_err(refused)?;
        if !trusted.is_empty() && !trusted.contains(&audit.auditor_key) {
            return Err(Error::Auditor {
                path: path.clone(),
                key: audit.auditor_key,
            });
        }
        let differs =
            |of: &&Statement| is_of_the_same(&of.audit, &audit) && !finds_the_same(&of.audit, &audit);
        if let Some(other) = statements.iter().find(differs) {
            return Err(Error::StatementsDiffer {
                first: other.path.clone(),
                second: path.clone(),
                party: audit.party,
                of_box: audit.of_box,
                session: audit.session,
            });
        }
        statements.push(Statement {
            path: path.clone(),
            audit,
        });
    }
    Ok(statements)
}

/// Whether both are about one party's part in one session.
fn is_of_the_same(one: &Audit, other: &Audit) -> bool {
    (one.party, one.of_box, one.session) == (other.party, other.of_box, other.session)
}

/// Whether both say the same of it, whoever says so and when.
fn finds_the_same(one: &Audit, other: &Audit) -> bool {
    let same = |audit: &Audit| Audit {
        auditor: String::new(),
        auditor_key: one.auditor_key,
        audited_at: one.audited_at,
        ..audit.clone()
    };
    same(one) == same(other)
}

/// What the statements say about the bundle, in tables, and whether they contradict it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings {
    /// For people.
    pub text: String,
    /// Boxes whose published result an audit refutes.
    pub refuted: Vec<BoxId>,
}

/// The claims of the table, and the checks that each rests on.
const CLAIMS: [(&str, &[Check]); 9] = [
    ("The roll is the manifest's", &[Check::Roll]),
    (
        "What the party acknowledged is in its List, sealed or out for a reason",
        &[Check::Log, Check::List, Check::Receipts, Check::Accounted],
    ),
    (
        "Every online ballot came with its owner's ticket",
        &[Check::Tickets],
    ),
    (
        "The offsets of enrolled credentials are those that the manifest commits to",
        &[Check::CardOffsets],
    ),
    ("The Seal follows from Lists and Claims", &[Check::Seal]),
    (
        "The sealed ballots went into the tally",
        &[Check::Rows, Check::Openings, Check::Input],
    ),
    (
        "Seeds were committed to before they were known",
        &[Check::Starts, Check::Seeds],
    ),
    (
        "The party computed what an honest party computes",
        &[Check::SessionLog, Check::Statements, Check::Replay],
    ),
    ("The end is the one it signed", &[Check::Outcome]),
];

/// Joins the statements box by box, session by session, and holds them against the bundle.
pub fn findings(checked: &Checked, statements: &[Statement], width: u16, styled: bool) -> Findings {
    let mut text = String::new();
    let mut refuted = Vec::new();
    let mut groups: Vec<(BoxId, SessionNumber)> = statements
        .iter()
        .map(|s| (s.audit.of_box, s.audit.session))
        .collect();
    groups.sort_unstable();
    groups.dedup();
    for report in &checked.report.boxes {
        if groups.iter().all(|(of_box, _)| *of_box != report.of_box) {
            text += &format!(
                "\nBox {} {}: no auditor's statement. That its totals are those of the sealed shares stands on the signatures of the \
                 parties.\n",
                report.of_box,
                report.name.default_text()
            );
        }
    }
    let keys = checked.manifest.manifest().party_keys();
    for (of_box, session) in groups {
        let audits: Vec<Audit> = statements
            .iter()
            .map(|s| &s.audit)
            .filter(|audit| (audit.of_box, audit.session) == (of_box, session))
            .cloned()
            .collect();
        let combined = combine(&audits, &keys);
        let report = checked.report.boxes.iter().find(|report| report.of_box == of_box);
        let group = Group {
            audits: &audits,
            combined: &combined,
            report,
        };
        text += &group.table(width, styled);
        text += &group.conclusion();
        if group.refutes() {
            refuted.push(of_box);
        }
    }
    refuted.dedup();
    text += "\nNo audit shows: ballots that a party dropped before any log had them (the voter's receipt does); votes cast by two parties \
             with credentials that they can jointly know; who the auditors are (compare their keys with those you were given).\n";
    Findings { text, refuted }
}

struct Group<'a> {
    audits: &'a [Audit],
    combined: &'a Combined,
    report: Option<&'a BoxReport>,
}

impl Group<'_> {
    fn of(&self, party: Role) -> Option<&Audit> {
        self.audits.iter().find(|audit| audit.party == party)
    }

    fn finished(&self) -> bool {
        self.audits
            .iter()
            .any(|audit| matches!(audit.end, End::Result(_)))
    }

    /// Whether the totals that the audits lead to are the published ones: `None` when they lead to none.
    fn published(&self) -> Option<bool> {
        let result = self.combined.result?;
        let report = self.report?;
        let same_seal = self
            .audits
            .iter()
            .all(|audit| audit.seal_hash == report.seal_hash);
        Some(same_seal && Hash32::of(&report.result.encode()) == result)
    }

    /// Whether an audit of a session with a result contradicts what is published.
    fn refutes(&self) -> bool {
        self.finished() && (self.published() == Some(false) || !self.combined.named.is_empty())
    }

    fn table(&self, width: u16, styled: bool) -> String {
        let header = ["What", "P1", "P2", "P3", "Proven"].map(str::to_owned).to_vec();
        let mut rows = table(width, header, styled);
        for (claim, checks) in CLAIMS {
            let found = Role::ALL.map(|role| self.of(role).map(|audit| joined(audit, checks)));
            let mut row = vec![claim.to_owned()];
            row.extend(found.iter().map(|found| match found {
                Some(Verdict::Passed) => "holds".to_owned(),
                Some(Verdict::Failed) => "FAILS".to_owned(),
                Some(Verdict::NotApplicable) => "n/a".to_owned(),
                None => "-".to_owned(),
            }));
            row.push(proven(&found));
            rows.add_row(row);
        }
        let mut row = vec!["What it sent is what the two others received".to_owned()];
        let sent = Role::ALL.map(|role| self.sent(role));
        row.extend(sent.iter().map(|sent| {
            match sent {
                Some(true) => "holds",
                Some(false) => "FAILS",
                None => "-",
            }
            .to_owned()
        }));
        row.push(if sent == [Some(true); 3] {
            "by the auditors together".to_owned()
        } else if sent.contains(&Some(false)) {
            "REFUTED".to_owned()
        } else {
            "not yet: an auditor is missing".to_owned()
        });
        rows.add_row(row);
        let first = &self.audits[0];
        let mut out = format!(
            "\nBox {}, session {} ({}):\n",
            first.of_box,
            first.session,
            match &first.end {
                End::Result(_) => "tallied".to_owned(),
                End::Stopped(stop) => format!("stopped at {}: {}", stop.step, stop.reason),
                End::Unfinished => "without an end".to_owned(),
            }
        );
        for role in Role::ALL {
            out += &match self.of(role) {
                Some(audit) => format!(
                    "  {role} audited by {}, key {}\n",
                    audit.auditor, audit.auditor_key
                ),
                None => format!("  {role} not audited\n"),
            };
        }
        out += &format!("{rows}\n");
        out
    }

    /// Whether the two others received what an honest party in `role` sends; `None` where an auditor is missing.
    fn sent(&self, role: Role) -> Option<bool> {
        let verdicts: Vec<PairVerdict> = self
            .combined
            .pairs
            .iter()
            .filter(|pair| pair.from == role)
            .map(|pair| pair.verdict)
            .collect();
        if verdicts
            .iter()
            .any(|verdict| matches!(verdict, PairVerdict::Differ { .. }))
        {
            Some(false)
        } else if verdicts.iter().all(|verdict| *verdict == PairVerdict::Agree) {
            Some(true)
        } else {
            None
        }
    }

    fn conclusion(&self) -> String {
        let combined = self.combined;
        let mut out = String::new();
        if !combined.same_session {
            out += "The statements are of different sessions or Seals: they cannot be joined.\n";
        }
        if !combined.own_auditors {
            out += "One auditor signed for two parties: nobody may audit two, since two parties' records together show every vote.\n";
        }
        for pair in &combined.pairs {
            if let PairVerdict::Differ { blame, .. } = pair.verdict {
                out += &format!(
                    "What {} sent {} is not what an honest party sends: {}.\n",
                    pair.from,
                    pair.to,
                    match blame {
                        Blame::Sender => format!("{} signed that it sent it", pair.from),
                        Blame::Receiver =>
                            format!("but {} signed that it received that, its log is false", pair.to),
                        Blame::Either => format!(
                            "{} sent it, or the log of {} is false; no signature settles which",
                            pair.from, pair.to
                        ),
                    }
                );
            }
        }
        for (party, check) in &combined.failed {
            let detail = self
                .of(*party)
                .and_then(|audit| audit.items.iter().find(|item| item.check == *check))
                .map_or("", |item| item.detail.as_str());
            out += &format!("{party} fails: {}: {detail}.\n", check.name());
        }
        let named: Vec<String> = combined
            .named
            .iter()
            .map(|set| {
                set.iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join(" or ")
            })
            .collect();
        if !named.is_empty() {
            out += &format!("Named: {}.\n", named.join("; "));
        }
        for set in combined.named.iter().filter(|set| set.len() > 1) {
            let set: Vec<String> = set.iter().map(ToString::to_string).collect();
            out += &format!(
                "One of {} lied, on the wire or in its log: the records of the two contradict each other and no signature tells which is \
                 false. It is one of them for certain, it may be both.\n",
                set.join(" and ")
            );
        }
        let cleared = Role::ALL
            .into_iter()
            .filter(|role| self.of(*role).is_some() && combined.named.iter().all(|set| !set.contains(role)));
        let cleared: Vec<String> = cleared.map(|role| role.to_string()).collect();
        if !named.is_empty() && !cleared.is_empty() {
            out += &format!(
                "Nothing in the statements speaks against {}.\n",
                cleared.join(" and ")
            );
        }
        match (combined.proves_totals(), self.published()) {
            (true, Some(true)) => {
                out += "Proven: the published totals are right for the sealed list, even if all three parties were corrupt.\n";
            }
            (_, Some(false)) => out += "REFUTED: the audited result is not the published one.\n",
            _ if !self.finished() => {
                if named.is_empty() {
                    out += "The session stopped; nobody is shown to have deviated.\n";
                }
            }
            _ => {
                let missing: Vec<String> = Role::ALL
                    .into_iter()
                    .filter(|role| self.of(*role).is_none())
                    .map(|role| role.to_string())
                    .collect();
                out += &if missing.is_empty() {
                    "Not proven: see above.\n".to_owned()
                } else {
                    format!(
                        "Not proven yet: {} not audited. Each audit stands for itself; only three together exclude that all three parties \
                         were corrupt.\n",
                        missing.join(" and ")
                    )
                };
            }
        }
        out
    }
}

/// The verdict on several checks: one that fails decides.
fn joined(audit: &Audit, checks: &[Check]) -> Verdict {
    let verdicts: Vec<Verdict> = checks.iter().map(|check| audit.verdict(*check)).collect();
    if verdicts.contains(&Verdict::Failed) {
        Verdict::Failed
    } else if verdicts.iter().all(|verdict| *verdict == Verdict::NotApplicable) {
        Verdict::NotApplicable
    } else {
        Verdict::Passed
    }
}

fn proven(found: &[Option<Verdict>; 3]) -> String {
    if found.contains(&Some(Verdict::Failed)) {
        return "REFUTED".to_owned();
    }
    if *found == [Some(Verdict::NotApplicable); 3] {
        return "is not asked for".to_owned();
    }
    let by: Vec<String> = Role::ALL
        .into_iter()
        .filter(|role| found[role.slot()] == Some(Verdict::Passed))
        .map(|role| role.to_string())
        .collect();
    match by.len() {
        0 => "no".to_owned(),
        3 => "for all three".to_owned(),
        _ => format!("for {} only", by.join(" and ")),
    }
}

/// Reads a public key as `party audit-key` prints it.
///
/// # Errors
/// [`Error::AuditorKey`].
pub fn key(text: &str) -> Result<PublicKey, Error> {
    let bytes = data_encoding::HEXLOWER_PERMISSIVE
        .decode(text.trim().as_bytes())
        .unwrap_or_default();
    PublicKey::from_slice(&bytes).map_err(|source| Error::AuditorKey {
        text: text.chars().take(80).collect(),
        source,
    })
}

/// Checks a bundle and the statements beside it: what is said, and an error when a statement refutes the bundle.
///
/// # Errors
/// As [`crate::bundle::check_files`] and [`read`].
pub fn verify(
    checked: &Checked,
    paths: &[PathBuf],
    trusted: &[String],
    (width, styled): (u16, bool),
) -> Result<Findings, Error> {
    let trusted = trusted
        .iter()
        .map(|text| key(text))
        .collect::<Result<Vec<_>, _>>()?;
    let statements = read(paths, &checked.manifest, &trusted)?;
    Ok(findings(checked, &statements, width, styled))
}

#[cfg(test)]
mod tests;
