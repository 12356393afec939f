//! A party's Abort of a sealing, for people.

use tally_proto::ids::RoleExt as _;
use tally_proto::sealing::SealingAbort;

/// A sentence; `names`: the parties, in order.
pub(super) fn in_words(stopped: SealingAbort, by: &str, names: &[String; 3]) -> String {
    let named = &names[stopped.suspect.slot()];
    let named = if stopped.proved {
        format!("signatures that it shows prove it of {named}")
    } else {
        format!("it states this of {named}, and nothing here proves it")
    };
    let reason = stopped.reason;
    format!("{by} stopped: {}; {named}. {}", reason.code(), reason.action())
}

#[cfg(test)]
mod tests {
    use tally_proto::ids::Role;
    use tally_proto::reason::Reason;

    use super::*;

    #[test]
    fn a_proof_is_told_apart_from_a_word() {
        let names = ["P1 A", "P2 B", "P3 C"].map(str::to_owned);
        let words = |proved| {
            let stopped = SealingAbort {
                reason: Reason::SealTwoLists,
                suspect: Role::P2,
                proved,
            };
            in_words(stopped, "P1 A", &names)
        };
        assert!(
            words(true)
                .starts_with("P1 A stopped: seal.two-statements; signatures that it shows prove it of P2 B.")
        );
        assert!(words(false).starts_with(
            "P1 A stopped: seal.two-statements; it states this of P2 B, and nothing here proves it."
        ));
    }
}
