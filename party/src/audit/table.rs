//! The summary of an audit for people.

use tally_proto::audit::{Audit, End, Verdict};
use tally_proto::ids::RoleExt as _;

/// A table of the checks, and what they come to.
pub(crate) fn summary(audit: &Audit) -> String {
    let mut out = format!(
        "Audit of party {} in session {} of box {} of election {}\nby {} (key {})\n\n",
        audit.party.number(),
        audit.session,
        audit.of_box,
        audit.election,
        audit.auditor,
        audit.auditor_key
    );
    let width = audit
        .items
        .iter()
        .map(|item| item.check.name().chars().count())
        .max()
        .unwrap_or_default();
    for item in &audit.items {
        let verdict = match item.verdict {
            Verdict::Passed => "holds ",
            Verdict::Failed => "FAILS ",
            Verdict::NotApplicable => "  -   ",
        };
        out += &format!("  {verdict} {:width$}  {}\n", item.check.name(), item.detail);
    }
    out += &match &audit.end {
        End::Result(hash) => format!("\nThe session ended with the Result {hash}.\n"),
        End::Stopped(stop) => {
            let suspects: Vec<String> = stop.suspects.iter().map(ToString::to_string).collect();
            let suspects = if suspects.is_empty() {
                "nobody".to_owned()
            } else {
                suspects.join(" or ")
            };
            format!(
                "\nThe session stopped at {}: {}; this party named {suspects}.\n",
                stop.step, stop.reason
            )
        }
        End::Unfinished => "\nThe log does not say how the session ended.\n".to_owned(),
    };
    out += &if audit.passed() {
        format!(
            "Everything holds: party {} did what an honest party does with what it received.\n",
            audit.party.number()
        )
    } else {
        format!(
            "Party {} did something else than an honest party does, or its records are not what they were.\n",
            audit.party.number()
        )
    };
    out += "Whether it sent what an honest party sends, the others' statements show: tally coordinator verify-result --statement.\n";
    out
}
