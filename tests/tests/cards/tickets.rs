//! An election with tickets whose voters are invited or enrol by card, or both: whose code was handed over goes unseen by it when they enrol anew.

use tally_client::DrawCodeError;
use tally_proto::invitation::Invitation;
use tally_proto::reason::Reason;

use super::*;

/// So many of the people are on the roll with what their cards say; all get a letter.
pub(super) const WITH_CARDS: u32 = 6;

impl Scene {
    /// The authority's revocation list, where the commission looks for it.
    pub(super) fn give_the_commission_lists(&self) {
        let lists = self.world.root.join("coordinator/revocation");
        std::fs::create_dir_all(&lists).expect("a directory");
        let list = self.cards.revocations(&[], now_s() - 60, now_s() + DAY);
        std::fs::write(lists.join("cards.crl"), list).expect("written");
    }

    fn client(&self, words: &[&str], typed: &str) -> Said {
        let manifest = self.manifest();
        let words = [&["client", words[0], "--manifest", &manifest], &words[1..]].concat();
        let said = self.world.program.attempt(&self.world.root, &words, typed);
        said.expect("it runs")
    }

    /// `client vote` with the code in the file `code`, on the device `state`.
    fn vote(&self, code: &str, choice: &str, state: &str) -> Said {
        let words = ["vote", "--invitation", code, "--choice", choice, "--state", state];
        let more = ["--yes", "--now", "--give-up-after", "30"];
        self.client(&[&words[..], &more].concat(), "")
    }

    fn voted(&self, code: &str, choice: &str, state: &str) -> Said {
        let said = self.vote(code, choice, state);
        succeeded(&said);
        said
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.world.root.join(name), text).expect("written");
    }

    /// A decoy of the code in a file.
    fn decoy(&self, code: &str, name: &str) {
        let decoy = self
            .world
            .run(&["client", "decoy", "--invitation", code], "")
            .expect("a decoy");
        self.write(name, decoy.trim());
    }

    fn whole(&self, code: &str) -> Invitation {
        let text = std::fs::read_to_string(self.world.root.join(code)).expect("written");
        read_invitation(&[text.trim()]).expect("an invitation")
    }

    fn draw_code(&self, code: &str) -> [u8; 10] {
        *self.whole(code).draw_code().expect("a draw code").expose()
    }

    fn tickets_on(&self, state: &str) -> usize {
        let files = std::fs::read_dir(self.world.root.join(state)).expect("a device");
        let names = files.map(|entry| entry.expect("an entry").file_name());
        names
            .filter(|name| {
                let name = name.to_string_lossy();
                name.starts_with("tickets-") && !name.ends_with(".lock")
            })
            .count()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tickets_for_voters_with_cards_and_voters_with_letters() {
    tally_proto::connect::install_tls_provider();
    let _ = tokens();
    let directory = tempfile::tempdir().expect("a directory");
    let plan = Plan {
        tickets: Some((6, 4)),
        stations: 0,
        ..plan("grounds-tickets")
    };
    let mut scene = Scene::set_up(&directory.path().join("world"), plan, false);
    scene.invites = true;
    scene.define();
    let letters = scene.world.issue().expect("letters are written");
    let mut codes = letters.clone();
    for (place, code) in &letters {
        scene.write(&format!("letter-{}", place.v), code);
    }

    // The commission has no revocation list yet: the first is enrolled all the same, is told so, and makes it good afterwards.
    let said = scene.enrol_by_file(0, "code-0");
    assert_eq!(said.status.code(), Some(5), "{}{}", said.out, said.err);
    for part in [
        "You are enrolled",
        "has not registered the draw code",
        "client draw-code",
    ] {
        assert!(said.err.contains(part), "{part:?} in {}", said.err);
    }
    assert!(
        said.err.contains(Reason::CardRevocationList.code()),
        "{}",
        said.err
    );
    let refused = scene.vote("code-0", "Ada", "device-0");
    assert_eq!(refused.status.code(), Some(4), "{}", refused.err);
    assert!(refused.err.contains("draw.refused") && refused.err.contains("client draw-code"));
    let status = || {
        let said = scene.world.attempt(&["status", "grounds-tickets"], "");
        said.expect("it runs")
    };
    let alarming = status();
    assert_eq!(alarming.status.code(), Some(2));
    assert!(
        alarming.out.contains("Commission card.list-ends") && alarming.out.contains("coordinator/revocation"),
        "{}",
        alarming.out
    );
    scene.give_the_commission_lists();
    assert!(!status().out.contains("Commission card.list-ends"));
    let card = scene.made[&0].to_string_lossy().into_owned();
    let typed = format!("{PASSWORD}\n");
    let register = ["draw-code", "--pkcs12", &card, "--invitation"];
    for _ in 0..2 {
        let said = scene.client(&[&register[..], &["code-0"]].concat(), &typed);
        succeeded(&said);
        assert!(
            said.out.is_empty(),
            "no code is shown that is there already: {}",
            said.out
        );
    }
    for person in 1..5 {
        let out = format!("code-{person}");
        let said = scene.enrol_by_file(person, &out);
        succeeded(&said);
        assert!(
            said.err.contains("your card stands for the draw code"),
            "{}",
            said.err
        );
    }
    for person in 0..5 {
        let (place, code) = scene.invitation(&format!("code-{person}"));
        assert_eq!(place.v, person);
        codes.insert(place, code);
    }

    // All vote, five with what their cards made and seven with their letters; some again, some with a decoy of it.
    let manifest = std::fs::read(scene.manifest()).expect("readable");
    let nowhere = BTreeMap::<u32, PathBuf>::new();
    let mut rng = StdRng::seed_from_u64(8);
    let mut crowd = Crowd::new(&manifest, codes, &nowhere, &mut rng).expect("a crowd");
    for (people, turn, way) in [
        (0..PEOPLE, 0, Way::Online),
        (3..8, 1, Way::Online),
        (4..6, 2, Way::FalseOnline),
    ] {
        let casts: Vec<Cast> = people
            .map(|v| cast(v, way, 1 + (v * 5 + turn) % OPTIONS))
            .collect();
        crowd.cast_online(&casts, |_| {}).await.expect("accepted");
    }

    // Person 1 handed the code over, and enrols anew. Who has the old one sees it vote as before, beside the new one and a decoy of that.
    next_second().await;
    succeeded(&scene.enrol_by_file(1, "code-1-again"));
    assert_ne!(scene.draw_code("code-1"), scene.draw_code("code-1-again"));
    scene.decoy("code-1-again", "decoy-1");
    let said = [
        scene.voted("code-1-again", "Ben", "device-1"),
        scene.voted("decoy-1", "Ada", "device-1"),
        scene.voted("code-1", "Ada", "device-1"),
    ];
    for other in &said[1..] {
        assert_eq!(
            said[0].out.lines().count(),
            other.out.lines().count(),
            "{}",
            other.out
        );
    }
    assert_eq!(scene.tickets_on("device-1"), 2, "of two draw codes");

    // Person 2 keeps the draw code: the new code looks like a decoy of the old one, on the device too.
    next_second().await;
    let card = scene.made[&2].to_string_lossy().into_owned();
    let words = ["--pkcs12", &card, "--draw-code-of", "code-2"];
    succeeded(&scene.enrol(&words, PASSWORD, "code-2-again"));
    assert_eq!(scene.draw_code("code-2"), scene.draw_code("code-2-again"));
    scene.voted("code-2", "Ada", "device-2");
    scene.voted("code-2-again", "Cleo", "device-2");
    scene.decoy("code-2", "decoy-2");
    scene.voted("decoy-2", "Ada", "device-2");
    assert_eq!(scene.tickets_on("device-2"), 1);

    // Person 3's letter still draws and is accepted; the card's record stands above it.
    scene.voted("letter-3", "Ada", "device-3");
    // Person 5 has a card on the roll and never enrolled: letter and card draw from one allowance, which ends alike for both.
    let card = scene.card(5, CardKey::P256);
    let card = pkcs12(&scene.world.root, &scene.cards.issuing, &card);
    let card = card.to_string_lossy().into_owned();
    let fresh = [
        "draw-code",
        "--pkcs12",
        &card,
        "--invitation",
        "letter-5",
        "--new",
        "--out",
        "fresh-5",
    ];
    succeeded(&scene.client(&fresh, &typed));
    assert_ne!(scene.draw_code("letter-5"), scene.draw_code("fresh-5"));
    scene.decoy("fresh-5", "decoy-5");
    let spent = (0..12).find_map(|device| {
        let code = ["letter-5", "fresh-5", "decoy-5"][device % 3];
        let said = scene.client(
            &["draw", "--invitation", code, "--state", &format!("five-{device}")],
            "",
        );
        (!said.status.success()).then_some(said.err)
    });
    let spent = spent.expect("the draws end");
    assert!(spent.contains("draw.exhausted"), "{spent}");
    for code in ["letter-5", "fresh-5", "decoy-5"] {
        let said = scene.client(&["draw", "--invitation", code, "--state", "five-more"], "");
        assert_eq!((said.status.code(), &said.err), (Some(4), &spent), "{code}");
    }

    what_needs_no_draw_code_is_told(&scene);
    let done = crowd.done().to_vec();
    let new = [(1, 2), (2, 3)];
    count(&scene, &done, &new).await;
}

/// Refused before a card is asked for anything.
fn what_needs_no_draw_code_is_told(scene: &Scene) {
    let card = scene.made[&0].to_string_lossy().into_owned();
    let other = scene.client(
        &["draw-code", "--pkcs12", &card, "--invitation", "no-such-code"],
        "",
    );
    assert_eq!(other.status.code(), Some(1), "{}", other.err);
    // A card of nobody on the roll.
    let mut stranger = cards::Cards::new(now_s());
    let shape = CardShape::of(&called(1, 0), CardKey::P256, now_s());
    let made = stranger.card(&shape);
    let path = pkcs12(&scene.world.root, &stranger.issuing, &made);
    let path = path.to_string_lossy().into_owned();
    let words = ["draw-code", "--pkcs12", &path, "--invitation", "code-0"];
    let refused = scene.client(&words, &format!("{PASSWORD}\n"));
    assert_eq!(refused.status.code(), Some(3), "{}", refused.err);
    assert!(refused.err.contains(Reason::CardIssuer.code()), "{}", refused.err);
    let none = DrawCodeError::NoTickets.to_string();
    assert!(none.contains("asks for no tickets"), "{none}");
}

/// Seals and tallies: of those in `new` (person, choice) only what the new code cast counts.
async fn count(scene: &Scene, done: &[Done], new: &[(u32, usize)]) {
    let election = scene.election().to_owned();
    let typed = format!("{election}\n");
    let closed = scene.world.close("All have voted").expect("orders are in force");
    if let Ok(left) = closed.duration_since(SystemTime::now()) {
        tokio::time::sleep(left).await;
    }
    for step in ["seal", "tally"] {
        scene.world.coordinator(&[step, &election], &typed).expect(step);
    }
    scene
        .world
        .coordinator(&["bundle", &election], "")
        .expect("a bundle");
    let (bundle, manifest) = (scene.world.bundle_file().expect("a bundle"), scene.manifest());
    let path = bundle.to_string_lossy().into_owned();
    scene
        .world
        .coordinator(&["verify-result", &path, "--manifest", &manifest], "")
        .expect("verified");
    let replaced = |done: &&Done| new.iter().all(|(person, _)| done.cast.place.v != *person);
    let counted: Vec<Done> = done.iter().filter(replaced).cloned().collect();
    let roll = Roll { boxes: vec![PEOPLE] };
    let mut expected = recount(1, &roll, OPTIONS, &counted);
    for (_, choice) in new {
        *expected.totals.get_mut(choice - 1).expect("an option") += 1;
    }
    assert_eq!(expected.totals.iter().sum::<u64>(), u64::from(PEOPLE));
    let published = published::read(&std::fs::read(&bundle).expect("readable"), &roll).expect("a bundle");
    assert_eq!(published[0].count.totals, expected.totals);
    for done in done {
        assert!(published[0].ballots.contains(&done.digest), "a ballot is lost");
    }
}
