//! What a voter meets at the command, before anything is sent.

use std::path::Path;

use tally_proto::fixture::{Shape, World};
use tally_proto::ids::{BoxId, VoterIndex};
use tally_proto::invitation::{Credential, Invitation};
use tally_proto::reason::Reason;
use tally_tests::process::Program;

use crate::Met;

/// Votes with `words` and the invitation as changed by `mistype`. Nobody listens anywhere: what is not refused at once fails otherwise.
fn vote(words: &[&str], mistype: impl FnOnce(&str) -> String) -> Met {
    let directory = tempfile::tempdir().expect("a directory");
    let write =
        |name: &str, bytes: &[u8]| std::fs::write(directory.path().join(name), bytes).expect("written");
    let world = World::new(Shape::default());
    let invitation = Invitation::new(
        &world.manifest.hash(),
        BoxId(1),
        VoterIndex(2),
        Credential::new(7),
    );
    write("manifest", &world.manifest.envelope().encode());
    write("invitation", mistype(&invitation.to_code()).as_bytes());
    let common = [
        "client",
        "vote",
        "--manifest",
        "manifest",
        "--invitation",
        "invitation",
        "--state",
        "device",
        "--yes",
        "--give-up-after",
        "0",
    ];
    let words: Vec<&str> = common.iter().chain(words).copied().collect();
    said(directory.path(), &words)
}

fn said(directory: &Path, words: &[&str]) -> Met {
    let said = Program::at(env!("CARGO_BIN_EXE_tally-tests"))
        .attempt(directory, words, "")
        .expect("the command runs");
    assert_eq!(said.status.code(), Some(3), "{said:?}");
    let text = said.err.trim();
    let code = text
        .strip_suffix(')')
        .and_then(|text| text.rsplit_once('('))
        .map(|(_, code)| code);
    let reason: Reason = code
        .and_then(|code| code.parse().ok())
        .unwrap_or_else(|| panic!("no code at the end: {text}"));
    Met::Here(reason, text.to_owned())
}

pub(crate) fn refused(choices: &[&str]) -> Met {
    vote(choices, str::to_owned)
}

/// The first letter or digit of the code is another.
pub(crate) fn mistyped() -> Met {
    vote(&["--choice", "1=1"], |code| {
        let other = if code.starts_with('0') { "1" } else { "0" };
        format!("{other}{}", &code[1..])
    })
}
