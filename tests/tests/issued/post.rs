//! What goes out to voters by the registrars' commands: sheets, read as a camera and as somebody who types reads them, and text messages.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use tally_proto::invitation::Part;
use tally_tests::leaks::{Secrets, files_below};
use tally_tests::script::Place;
use tally_tests::world::World;

use super::{VOTERS, place};

/// Who lives where and has which telephone; one voter reads German.
pub(super) fn write_contacts(world: &World) {
    let mut csv = String::from("reference,phone,language,address\n");
    for v in 0..VOTERS {
        let language = if v == 0 { "de" } else { "" };
        csv += &format!("{},{},{language},Weg {v}|1010 Wien\n", reference(v), phone(v));
    }
    std::fs::write(world.root.join("contacts.csv"), csv).expect("written");
}

pub(super) fn reference(v: u32) -> String {
    format!("B1-{:06}", v + 1)
}

fn phone(v: u32) -> String {
    format!("+43 660 {v:06}")
}

/// The words of a registrar's command that makes `out` of `invitations`.
fn words<'a>(
    dir: &'a str,
    command: &'a str,
    invitations: &'a str,
    out: &'a str,
    manifest: &'a str,
) -> Vec<&'a str> {
    let words = [
        "registrar",
        "--dir",
        dir,
        command,
        "--manifest",
        manifest,
        "--invitations",
        invitations,
        "--contacts",
        "contacts.csv",
        "--out",
        out,
    ];
    words.to_vec()
}

/// `registrar sheets`: the link in the picture on each sheet.
pub(super) fn sheets(world: &World) -> BTreeMap<Place, String> {
    let manifest = world.manifest_file().expect("a manifest");
    let manifest = manifest.to_string_lossy();
    let words = words("registrar", "sheets", "invitations.csv", "sheets", &manifest);
    let words = [&words[..], &["--sheets-a-file", "5"]].concat();
    let said = world.run(&words, "").expect("sheets");
    for part in [
        "14 sheets in sheets\n",
        "invitations.csv is erased: the pages are all there is of the codes. Print them, hand them to the post, and erase them.",
    ] {
        assert!(said.contains(part), "{part:?} in {said}");
    }
    assert!(!world.root.join("invitations.csv").exists());
    let twice = world.program.attempt(&world.root, &words, "").expect("it runs");
    assert!(
        !twice.status.success() && twice.err.contains("what goes out to voters is written once"),
        "{twice:?}"
    );
    let mut links = BTreeMap::new();
    for (page, many) in [
        ("sheets-0001.html", 5),
        ("sheets-0002.html", 5),
        ("sheets-0003.html", 4),
    ] {
        let page = std::fs::read_to_string(world.root.join("sheets").join(page)).expect("a page");
        let sheets: Vec<&str> = page.split("<section ").skip(1).collect();
        assert_eq!(sheets.len(), many);
        for sheet in sheets {
            let v = links.len() as u32;
            let language = if v == 0 { "lang=\"de\">" } else { "lang=\"en\">" };
            let whose = format!("<strong>{}</strong>", reference(v));
            assert!(sheet.starts_with(language) && sheet.contains(&whose), "{sheet}");
            assert!(sheet.contains(&format!("Weg {v}\n1010 Wien</p>")), "{sheet}");
            let link = scanned(sheet);
            let half = Part::parse(&link).expect("a link");
            assert!(matches!(half, Part::Letter(_)), "{half:?}");
            assert_eq!(*half.to_code(), typed(sheet), "the picture is the code below it");
            links.insert(place(v), link);
        }
    }
    links
}

/// `registrar messages` of the second registrar: the half in the text that goes to each telephone.
pub(super) fn texts(world: &World, invitations: &str, out: &str) -> BTreeMap<Place, Part> {
    let manifest = world.manifest_file().expect("a manifest");
    let manifest = manifest.to_string_lossy();
    let words = words("registrar-2", "messages", invitations, out, &manifest);
    let said = world.run(&words, "").expect("text messages");
    let erased = format!(
        "{invitations} is erased: this file is all there is of the codes. Hand it to the gateway and erase it."
    );
    assert!(said.contains(&erased), "{said}");
    assert!(!world.root.join(invitations).exists());
    let csv = std::fs::read_to_string(world.root.join(out)).expect("readable");
    let (head, lines) = csv.split_once('\n').expect("a head");
    assert_eq!(head, "phone,text");
    let half = |line: &str| {
        let (to, text) = line.split_once(',').expect("two columns");
        let v = (0..VOTERS).find(|v| phone(*v) == to).expect("a telephone");
        let words = if v == 0 { "zweite Hälfte" } else { "second half" };
        assert!(text.contains(words), "{text}");
        let code = text.split_whitespace().find_map(|word| Part::parse(word).ok());
        (place(v), code.expect("a code"))
    };
    let halves: BTreeMap<Place, Part> = lines.lines().map(half).collect();
    assert!(
        said.contains(&format!("{} text messages in {out}\n", halves.len())),
        "{said}"
    );
    halves
}

/// Files of the registrars, and of those who stand where their commands are given, in which a code stands or the link with it.
pub(super) fn files_with<'a>(world: &World, codes: impl Iterator<Item = &'a Part>) -> BTreeSet<PathBuf> {
    let mut secrets = Secrets::default();
    for part in codes {
        secrets.add_text("code", &part.to_code(), &[]);
        secrets.add_text("link", &part.to_link(), &[]);
    }
    let mut found = BTreeSet::new();
    for file in files_below(&world.root).expect("readable") {
        let name = file.strip_prefix(&world.root).expect("below");
        let theirs = ["registrar", "registrar-2", "sheets"]
            .iter()
            .any(|of| name.starts_with(of));
        // The servers run, and what they write may be gone the moment after.
        if theirs || name.components().count() == 1 {
            let bytes = std::fs::read(&file).expect("readable");
            if !secrets.find(&file, &bytes).is_empty() {
                found.insert(name.to_owned());
            }
        }
    }
    found
}

/// The code in groups, as a voter types it.
fn typed(sheet: &str) -> String {
    let (_, list) = sheet.split_once("<ul class=\"code\">").expect("a code");
    let (list, _) = list.split_once("</ul>").expect("its end");
    let groups = list.split("<li>").skip(1);
    let groups: Vec<&str> = groups
        .filter_map(|group| Some(group.split_once("<small>")?.0))
        .collect();
    groups.join("-")
}

/// What a reader of QR codes makes of the picture on a sheet, eight points a module.
fn scanned(sheet: &str) -> String {
    const POINTS: usize = 8;
    let (_, rest) = sheet.split_once("viewBox=\"0 0 ").expect("a picture");
    let side: usize = rest
        .split(' ')
        .next()
        .and_then(|side| side.parse().ok())
        .expect("its side");
    let (_, path) = rest.split_once(" d=\"").expect("a path");
    let (path, _) = path.split_once('"').expect("its end");
    let mut dark = vec![false; side * side];
    let number = |text: &str| text.parse::<usize>().expect("a number");
    for run in path.split('M').skip(1) {
        let (place, length) = run.split_once('h').expect("a run");
        let (x, y) = place.split_once(' ').expect("a place");
        let (length, _) = length.split_once('v').expect("a length");
        dark[number(y) * side + number(x)..][..number(length)].fill(true);
    }
    let grey = |x: usize, y: usize| {
        if dark[y / POINTS * side + x / POINTS] {
            0
        } else {
            255
        }
    };
    let mut image = rqrr::PreparedImage::prepare_from_greyscale(side * POINTS, side * POINTS, grey);
    let grids = image.detect_grids();
    assert_eq!(grids.len(), 1, "one code is seen");
    grids[0].decode().expect("it is read").1
}
