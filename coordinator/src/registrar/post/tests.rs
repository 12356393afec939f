use tally_proto::fixture::{Shape, World};
use tally_proto::ids::{BoxId, VoterIndex};
use tally_proto::invitation::{Credential, Invitation, Letter, Message};

use super::*;

struct Desk {
    world: World,
    dir: tempfile::TempDir,
    codes: Vec<String>,
}

const REFERENCES: [&str; 3] = ["V0", "\"O'Hara, <b>\"", "V2"];

impl Desk {
    /// A registrar's file of three invitations: letters, or messages.
    fn new(letters: bool) -> Self {
        tally_proto::connect::install_tls_provider();
        let world = World::new(Shape::default());
        let hash = world.manifest.hash();
        let (mut csv, mut codes) = (String::from("reference,code,link\n"), Vec::new());
        for (v, reference) in (0..).zip(REFERENCES) {
            let (voter, credential) = (VoterIndex(v), Credential::new(u64::from(v) + 77));
            let part = match letters {
                true => Part::Letter(Letter::new(Invitation::new(&hash, BoxId(1), voter, credential))),
                false => Part::Message(Message::new(&hash, BoxId(1), voter, credential)),
            };
            csv += &format!("{reference},{},{}\n", *part.to_code(), *part.to_link());
            codes.push(part.to_code().to_string());
        }
        let dir = tempfile::tempdir().expect("dir");
        fs::write(dir.path().join("invitations.csv"), csv).expect("written");
        Self { world, dir, codes }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn contacts(&self, csv: &str) -> Result<Contacts, Error> {
        fs::write(self.at("contacts.csv"), csv).expect("written");
        Contacts::read(Some(&self.at("contacts.csv")), vec!["fr".to_owned()])
    }

    fn sheets(&self, contacts: &Contacts, a_file: u32) -> Result<u64, Error> {
        let manifest = self.world.manifest.manifest();
        sheets(
            manifest,
            &self.at("invitations.csv"),
            contacts,
            a_file,
            &self.at("sheets"),
        )
    }

    fn messages(&self, contacts: &Contacts) -> Result<u64, Error> {
        let manifest = self.world.manifest.manifest();
        messages(
            manifest,
            &self.at("invitations.csv"),
            contacts,
            &self.at("messages.csv"),
        )
    }

    /// What this directory holds of a code, typed or in a link, in any file.
    fn files_with(&self, code: &str) -> Vec<String> {
        let mut found = Vec::new();
        let mut dirs = vec![self.dir.path().to_path_buf()];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir).expect("dir") {
                let path = entry.expect("entry").path();
                if path.is_dir() {
                    dirs.push(path);
                    continue;
                }
                let text = String::from_utf8_lossy(&fs::read(&path).expect("bytes")).into_owned();
                // A sheet has a code's groups in elements of their own.
                let in_groups = code
                    .split('-')
                    .all(|group| text.contains(&format!("<li>{group}<small>")));
                if text.contains(code) || in_groups {
                    found.push(path.file_name().expect("name").to_string_lossy().into_owned());
                }
            }
        }
        found
    }
}

const CONTACTS: &str = "reference,phone,language,address\nV0,+43 1,de,Anna A|Gasse 1|1010 Wien\n\"O'Hara, <b>\",+44 2,,\nV2,+81 3,ja,\n";

#[cfg(unix)]
fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).expect("there").permissions().mode() & 0o777
}

#[test]
fn sheets_take_the_place_of_the_file_of_invitations() {
    let desk = Desk::new(true);
    let contacts = desk.contacts(CONTACTS).expect("contacts");
    // What an interrupted run left goes first.
    fs::create_dir(desk.at("sheets.part")).expect("left");
    fs::write(desk.at("sheets.part").join("sheets-0001.html"), "half").expect("left");
    assert_eq!(desk.sheets(&contacts, 2).expect("written"), 3);
    let page =
        |n: u32| fs::read_to_string(desk.at("sheets").join(format!("sheets-{n:04}.html"))).expect("a page");
    assert_eq!(
        (
            page(1).matches("<section").count(),
            page(2).matches("<section").count()
        ),
        (2, 1)
    );
    assert!(page(1).contains("Anna A\nGasse 1\n1010 Wien</p>") && page(1).contains("<section lang=\"de\">"));
    assert!(page(1).contains("<section lang=\"fr\">") && page(1).contains("O&#39;Hara, &lt;b&gt;"));
    assert!(page(2).contains("<section lang=\"ja\">") && page(2).ends_with("</html>\n"));
    assert!(!desk.at("invitations.csv").exists() && !desk.at("sheets.part").exists());
    for (code, place) in desk
        .codes
        .iter()
        .zip(["sheets-0001.html", "sheets-0001.html", "sheets-0002.html"])
    {
        assert_eq!(desk.files_with(code), [place], "each code is in one place");
    }
    #[cfg(unix)]
    assert_eq!(
        (
            mode(&desk.at("sheets")),
            mode(&desk.at("sheets").join("sheets-0001.html"))
        ),
        (0o700, 0o600)
    );
    let again = desk.sheets(&contacts, 2).expect_err("once").to_string();
    assert!(again.contains("written once"), "{again}");
}

#[test]
fn text_messages_go_to_a_gateway_as_csv() {
    let desk = Desk::new(false);
    let contacts = desk.contacts(CONTACTS).expect("contacts");
    assert_eq!(desk.messages(&contacts).expect("written"), 3);
    let mut csv = csv::Reader::from_path(desk.at("messages.csv")).expect("csv");
    assert_eq!(csv.headers().expect("header"), ["phone", "text"].as_slice());
    let lines: Vec<csv::StringRecord> = csv.records().map(|line| line.expect("a line")).collect();
    for ((line, code), (phone, words)) in lines.iter().zip(&desk.codes).zip([
        ("+43 1", "niemandem"),
        ("+44 2", "personne"),
        ("+81 3", "誰にも"),
    ]) {
        assert_eq!(&line[0], phone);
        assert!(
            line[1].contains(code.as_str()) && line[1].contains(words),
            "{}",
            &line[1]
        );
        assert_eq!(desk.files_with(code), ["messages.csv"]);
    }
    assert!(!desk.at("invitations.csv").exists());
    #[cfg(unix)]
    assert_eq!(mode(&desk.at("messages.csv")), 0o600);
}

#[test]
fn nothing_in_the_csv_for_a_gateway_is_a_formula() {
    let desk = Desk::new(false);
    let contacts = desk.contacts(CONTACTS).expect("contacts");
    // `define` refuses such a title; a manifest may come from elsewhere.
    let mut wire = desk.world.manifest.manifest().to_wire();
    for title in &mut wire.title {
        title.text = "=cmd|'/C calc'!A0".to_owned();
    }
    let manifest = Manifest::from_wire(&wire).expect("a manifest");
    let out = desk.at("messages.csv");
    let count = messages(&manifest, &desk.at("invitations.csv"), &contacts, &out);
    assert_eq!(count.expect("written"), 3);
    let mut csv = csv::Reader::from_path(&out).expect("csv");
    for (line, code) in csv.records().zip(&desk.codes) {
        let line = line.expect("a line");
        assert!(
            line[1].starts_with("'=cmd|") && line[1].contains(code.as_str()),
            "{line:?}"
        );
    }
    // Voters may have written their numbers themselves.
    for (number, is_good) in [
        ("+43 (0)1/234-56.7", true),
        ("0043 1 23", true),
        ("0043;=1+1", false),
        ("call me", false),
        ("=1+1", false),
        ("@SUM(A1)", false),
        ("-1", false),
        ("+43|' /C calc'!A0", false),
        ("\u{ff1d}1", false),
    ] {
        assert_eq!(is_phone(number), is_good, "{number}");
    }
    let desk = Desk::new(false);
    let contacts = desk
        .contacts(&CONTACTS.replace("+44 2", "=44"))
        .expect("contacts");
    let error = desk.messages(&contacts).expect_err("a formula").to_string();
    assert!(
        error.contains("line 3: the contacts' telephone number \"=44\" of"),
        "{error}"
    );
    assert!(desk.at("invitations.csv").exists() && !desk.at("messages.csv").exists());
}

#[test]
fn what_does_not_fit_is_named_by_its_line_and_nothing_is_erased() {
    let letters = Desk::new(true);
    let none = Contacts::default();
    let before = fs::read_to_string(letters.at("invitations.csv")).expect("text");
    let error = letters.messages(&none).expect_err("letters").to_string();
    assert!(
        error.ends_with("line 2: this is the code of a letter: it goes out on paper, not as a text message"),
        "{error}"
    );
    let texts = Desk::new(false);
    let error = texts.sheets(&none, 9).expect_err("messages").to_string();
    assert!(
        error.contains("line 2: this is the code of a text message"),
        "{error}"
    );
    let error = texts.messages(&none).expect_err("no phone").to_string();
    assert!(
        error.ends_with("the contacts have no telephone number for \"V0\""),
        "{error}"
    );
    for (from, to, problem) in [
        (
            ",tally:v1:",
            ",tally:v9:",
            "line 2: this link is of another version",
        ),
        (
            "reference,code",
            "reference,coda",
            "line 1: this is no line of invitations",
        ),
        ("V2,", "V2,x,", "line 4: this is no line of invitations"),
        (
            &format!("V2,{}", letters.codes[2]),
            &format!("V2,{}", letters.codes[0]),
            "line 4: its code and its link differ",
        ),
    ] {
        fs::write(letters.at("invitations.csv"), before.replace(from, to)).expect("altered");
        let error = letters.sheets(&none, 9).expect_err("altered").to_string();
        assert!(error.contains(problem), "{error}");
        assert!(letters.at("invitations.csv").exists() && !letters.at("sheets").exists());
    }
    for (csv, problem) in [
        ("phone\n1\n", "line 1: this is no line of contacts"),
        ("reference,shoe\na,43\n", "line 1: this is no line of contacts"),
        ("reference\na\na\n", "line 3: \"a\" stands twice in the contacts"),
    ] {
        let error = texts.contacts(csv).expect_err("refused").to_string();
        assert!(error.contains(problem), "{error}");
    }
}
