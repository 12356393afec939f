//! Tests in the crates' own sources that meet a reason, found by reading the sources: a test that is taken away is missed here.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use tally_party::sealing::Lie;
use tally_proto::reason::Reason;

/// What must stand in a test, and where to look.
pub(crate) struct Mark {
    under: &'static str,
    words: Vec<String>,
}

impl Mark {
    /// The reason by name, in a test under that file or directory.
    pub(crate) fn reason(under: &'static str, reason: Reason) -> Self {
        Self {
            under,
            words: vec![format!("Reason::{reason:?}")],
        }
    }

    /// A party's lie by name, in the tests of sealing, for each lie that is named with this reason.
    pub(crate) fn lies(lies: &[Lie], reason: Reason) -> Self {
        for lie in lies {
            assert_eq!(lie.reason(), reason);
        }
        Self {
            under: "party/src/sealing/tests",
            words: lies.iter().map(|lie| format!("Lie::{lie:?}")).collect(),
        }
    }

    /// Sources, other than tests, that give the reason. One that nobody gives needs no test, until somebody does.
    pub(crate) fn givers(reason: Reason) -> Vec<String> {
        let root = root();
        let mut files = Vec::new();
        for package in ["proto", "party", "coordinator", "client"] {
            collect(&root.join(package).join("src"), &mut files);
        }
        let (word, mut givers) = (format!("Reason::{reason:?}"), Vec::new());
        for file in files {
            let place = file.strip_prefix(&root).expect("below the root");
            let is_test = place
                .components()
                .any(|part| part.as_os_str().to_string_lossy().starts_with("tests"));
            // How a reason travels is told for all of them in one place.
            if is_test || place.ends_with("proto/src/refusal.rs") {
                continue;
            }
            let text = fs::read_to_string(&file).expect("a source");
            let product = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            if product.lines().any(|line| holds(line, &word)) {
                givers.push(place.display().to_string());
            }
        }
        givers
    }

    /// The tests found, `file::name`: at least one for every word, else none.
    pub(crate) fn tests(&self) -> Vec<String> {
        let root = root();
        let mut files = Vec::new();
        collect(&root.join(self.under), &mut files);
        let mut all = Vec::new();
        for word in &self.words {
            let before = all.len();
            for file in &files {
                let text = fs::read_to_string(file).expect("a source");
                let file = file.strip_prefix(&root).expect("below the root").display();
                let found = tests_with(&text, word).into_iter();
                all.extend(found.map(|name| format!("{file}::{name}")));
            }
            if all.len() == before {
                return Vec::new();
            }
        }
        all.sort();
        all.dedup();
        all
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in the tests of {}", self.words.join(", "), self.under)
    }
}

fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the workspace").to_owned()
}

fn collect(place: &Path, files: &mut Vec<PathBuf>) {
    if place.is_dir() {
        for entry in fs::read_dir(place).expect("a directory") {
            collect(&entry.expect("an entry").path(), files);
        }
    } else if place.extension().is_some_and(|extension| extension == "rs") {
        files.push(place.to_owned());
    }
}

/// The names of the tests in a formatted source whose bodies hold `word` as a whole word.
fn tests_with(text: &str, word: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let attribute = line.trim_start();
        if attribute != "#[test]" && !attribute.starts_with("#[tokio::test") {
            continue;
        }
        // The body ends with a brace that stands as far in as the attribute.
        let end = format!("{}}}", &line[..line.len() - attribute.len()]);
        let body: Vec<&str> = lines[at..]
            .iter()
            .copied()
            .take_while(|line| *line != end)
            .collect();
        let name = body.iter().find_map(|line| {
            line.split_once("fn ")
                .and_then(|(_, rest)| rest.split('(').next())
        });
        if let Some(name) = name
            && body.iter().any(|line| holds(line, word))
        {
            found.push(name.to_owned());
        }
    }
    found
}

fn holds(line: &str, word: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    code.match_indices(word)
        .any(|(at, _)| !code[at + word.len()..].starts_with(|c: char| c.is_ascii_alphanumeric()))
}

pub(crate) fn self_check() {
    let source = "\
fn helper() {
    assert_eq!(reason, Reason::One);
}
    #[test]
    fn one() {
        assert_eq!(reason, Reason::OneMore);
        // Reason::One
    }
    #[tokio::test(flavor = \"x\")]
    async fn two() {
        if x {
            assert_eq!(reason, Reason::One);
        }
    }
";
    assert_eq!(tests_with(source, "Reason::One"), ["two"]);
    assert_eq!(tests_with(source, "Reason::OneMore"), ["one"]);
    assert!(tests_with(source, "Reason::Two").is_empty());
}
