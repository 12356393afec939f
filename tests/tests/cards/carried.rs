//! One enrolment, two elections of a register.

use super::*;

impl Scene {
    /// `client carry-over` of the code in the file `code` of election `from` into the election of now.
    fn carry_over(&self, from: &str, code: &str, reference: &str, out: &str) -> Said {
        let manifest = self.manifest();
        let election = self.election();
        let (from, roll) = (
            format!("coordinator/elections/{from}/manifest"),
            format!("coordinator/elections/{election}/roll.csv"),
        );
        let words = [
            "client",
            "carry-over",
            "--manifest",
            &manifest,
            "--from",
            &from,
            "--invitation",
            code,
            "--roll",
            &roll,
            "--reference",
            reference,
            "--out",
            out,
        ];
        self.world
            .program
            .attempt(&self.world.root, &words, "")
            .expect("it runs")
    }

    /// Closes, seals, tallies and bundles the election of now, and compares with what counts of `done`.
    pub(super) async fn count(&self, done: &[Done], counts: impl Fn(&Done) -> bool) {
        let election = self.election().to_owned();
        let typed = format!("{election}\n");
        let closed = self.world.close("All have voted").expect("orders are in force");
        if let Ok(left) = closed.duration_since(SystemTime::now()) {
            tokio::time::sleep(left).await;
        }
        self.world.seal_without_statements().expect("sealed");
        self.world
            .coordinator(&["tally", &election], &typed)
            .expect("tallied");
        self.world
            .coordinator(&["bundle", &election], "")
            .expect("a bundle");
        let (bundle, manifest) = (self.world.bundle_file().expect("a bundle"), self.manifest());
        let path = bundle.to_string_lossy().into_owned();
        self.world
            .coordinator(&["verify-result", &path, "--manifest", &manifest], "")
            .expect("verified");
        let counted: Vec<Done> = done.iter().filter(|done| counts(done)).cloned().collect();
        let roll = Roll { boxes: vec![PEOPLE] };
        let published = published::read(&std::fs::read(&bundle).expect("readable"), &roll).expect("a bundle");
        assert_eq!(published[0].count, recount(1, &roll, OPTIONS, &counted));
        for done in done {
            assert!(published[0].ballots.contains(&done.digest), "a ballot is lost");
        }
    }
}

/// Waits until the parties take ballots: the channel opens at a second that was chosen before the election was defined.
async fn opened(opens: SystemTime) {
    if let Ok(left) = opens.duration_since(SystemTime::now()) {
        tokio::time::sleep(left).await;
    }
}

/// Everybody enrols in the first election and votes in both; in the second without the card. There people have other numbers.
#[tokio::test(flavor = "multi_thread")]
async fn enrolled_once_and_votes_in_two_elections_of_a_register() {
    tally_proto::connect::install_tls_provider();
    let _ = tokens();
    let directory = tempfile::tempdir().expect("a directory");
    let mut scene = Scene::new(&directory.path().join("world"), "grounds-first", false);
    let mut first = BTreeMap::new();
    for person in 0..PEOPLE {
        let out = format!("code-{person}");
        succeeded(&scene.enrol_by_file(person, &out));
        let (place, code) = scene.invitation(&out);
        assert_eq!(place.v, person);
        first.insert(place, code);
    }
    let decoy = scene
        .world
        .run(&["client", "decoy", "--invitation", "code-4"], "")
        .expect("a decoy");
    std::fs::write(scene.world.root.join("decoy-4"), decoy).expect("written");

    // Another register, of the same people and parties; and the second election of the first one's.
    let second_number = |person: u32| PEOPLE - 1 - person;
    let later = |election: &str, opens: SystemTime| Plan {
        election: election.to_owned(),
        title: "Harbour dues 2027".to_owned(),
        opens: utc::second(opens),
        closes: utc::second(opens + Duration::from_secs(20 * 3600)),
        ..plan(election)
    };
    let own_plan = std::mem::replace(
        &mut scene.world.plan,
        later("grounds-other", SystemTime::now() + Duration::from_secs(3600)),
    );
    scene.define_with("fishers", 0..PEOPLE);
    let refused = scene.carry_over("grounds-first", "code-0", &name_on_roll(0), "never");
    assert_eq!(refused.status.code(), Some(3));
    assert!(
        refused
            .err
            .contains("register citizens, election grounds-other is of the register fishers"),
        "{}",
        refused.err
    );
    assert!(refused.err.contains("(card.register)") && !scene.world.root.join("never").exists());

    // Between the elections person 6's card is revoked: what it enrolled before stands on its own.
    let serial = scene.made[&6]
        .file_stem()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    scene.revoked = vec![
        data_encoding::HEXLOWER
            .decode(serial.as_bytes())
            .expect("a serial number"),
    ];
    // What was enrolled before it opens is taken over, whenever that happens.
    let opens = SystemTime::now() + Duration::from_secs(20);
    scene.world.plan = later("grounds-second", opens);
    scene.define_with(REGISTER, (0..PEOPLE).rev());
    let mut second = BTreeMap::new();
    for person in 0..PEOPLE {
        let (code, out) = (format!("code-{person}"), format!("second-{person}"));
        let said = scene.carry_over("grounds-first", &code, &name_on_roll(person), &out);
        succeeded(&said);
        let (place, code) = scene.invitation(&out);
        assert_eq!(place.v, second_number(person), "the number on the second roll");
        second.insert(place, code);
    }
    succeeded(&scene.carry_over("grounds-first", "decoy-4", &name_on_roll(4), "second-decoy-4"));
    // What the commission's roll does not have, and a roll that is not the manifest's.
    let nobody = scene.carry_over("grounds-first", "code-0", "B1-999999", "never");
    assert!(nobody.err.contains("(voter.unknown)"), "{}", nobody.err);
    let other = scene.carry_over("grounds-second", "code-0", &name_on_roll(0), "never");
    assert!(other.err.contains("(invitation.invalid)"), "{}", other.err);

    let mut rng = StdRng::seed_from_u64(6);
    let stations = scene.world.station_dirs();
    let nowhere = BTreeMap::<u32, PathBuf>::new();
    let in_first = std::fs::read(
        scene
            .world
            .root
            .join("coordinator/elections/grounds-first/manifest"),
    );
    let mut at_first = Crowd::new(&in_first.expect("readable"), first, &nowhere, &mut rng).expect("a crowd");
    let in_second = std::fs::read(scene.manifest()).expect("readable");
    let mut at_second = Crowd::new(&in_second, second, &stations, &mut rng).expect("a crowd");
    let choice = |person: u32, turn: u32| 1 + (person * 5 + turn) % OPTIONS;
    let first_casts: Vec<Cast> = (0..11).map(|p| cast(p, Way::Online, choice(p, 0))).collect();
    at_first
        .cast_online(&first_casts, |_| {})
        .await
        .expect("accepted");
    opened(opens).await;
    // With the revoked card nobody enrols any more. Person 5 enrols anew in the first election, now that the second is open: there the new code
    // counts, and here that of before, since a record that was signed after the opening does not follow.
    let revoked = scene.enrol_by_file(6, "never");
    assert!(
        !revoked.status.success() && revoked.err.contains("was revoked"),
        "{}",
        revoked.err
    );
    let second_plan = std::mem::replace(&mut scene.world.plan, own_plan.clone());
    next_second().await;
    succeeded(&scene.enrol_by_file(5, "code-5-again"));
    let (place, code) = scene.invitation("code-5-again");
    assert_eq!(place.v, 5);
    let in_first = scene.manifest();
    let in_first = std::fs::read(in_first).expect("readable");
    let mut later =
        Crowd::new(&in_first, BTreeMap::from([(place, code)]), &nowhere, &mut rng).expect("a crowd");
    later
        .cast_online(&[cast(5, Way::Online, choice(5, 1))], |_| {})
        .await
        .expect("accepted");
    at_first
        .cast_online(&[cast(5, Way::Online, choice(5, 2))], |_| {})
        .await
        .expect("accepted");
    scene.world.plan = second_plan;
    let online = |people: std::ops::Range<u32>, turn, way| -> Vec<Cast> {
        people
            .map(|person| cast(second_number(person), way, choice(person, turn)))
            .collect()
    };
    for casts in [
        online(0..12, 1, Way::Online),
        online(2..6, 2, Way::Online),
        online(1..3, 0, Way::FalseOnline),
    ] {
        at_second.cast_online(&casts, |_| {}).await.expect("accepted");
    }
    at_second
        .vote_at_stations(&[cast(second_number(7), Way::Station(1), 2)], |_| {})
        .await
        .expect("delivered");

    // One enrols in the second election too, by card: what the carried code has cast and casts counts no more there, and still in the first.
    next_second().await;
    succeeded(&scene.enrol_by_file(3, "second-3-again"));
    let (place, code) = scene.invitation("second-3-again");
    assert_eq!(place.v, second_number(3));
    let again = BTreeMap::from([(place, code)]);
    let mut anew = Crowd::new(&in_second, again, &nowhere, &mut rng).expect("a crowd");
    anew.cast_online(&online(3..4, 4, Way::Online), |_| {})
        .await
        .expect("accepted");
    at_second
        .cast_online(&online(3..4, 5, Way::Online), |_| {})
        .await
        .expect("accepted");
    // The decoy behaves as the true one: accepted by all, and not counted. It is a false credential of the same person.
    let vote = |invitation: &str, choice: &str, state: &str| {
        let manifest = scene.manifest();
        let words = [
            "client",
            "vote",
            "--manifest",
            &manifest,
            "--invitation",
            invitation,
            "--state",
            state,
        ];
        let words = [
            &words[..],
            &["--choice", choice, "--yes", "--give-up-after", "30"],
        ]
        .concat();
        scene
            .world
            .program
            .attempt(&scene.world.root, &words, "")
            .expect("it runs")
    };
    let said = vote("second-decoy-4", "Cleo", "decoy-device");
    succeeded(&said);
    assert!(said.out.contains("Your ballot was accepted by"), "{}", said.out);

    // Person 5's later code, carried over, behaves as any and does not count.
    succeeded(&scene.carry_over("grounds-first", "code-5-again", &name_on_roll(5), "second-5-late"));
    succeeded(&vote("second-5-late", "Cleo", "late-device"));

    // In the second: of person 3 only what the new code has cast.
    let replaced = second_number(3);
    let done: Vec<Done> = at_second.done().iter().chain(anew.done()).cloned().collect();
    let new = anew.done()[0].digest;
    scene
        .count(&done, |done| done.cast.place.v != replaced || done.digest == new)
        .await;
    scene.world.plan = own_plan;
    let done: Vec<Done> = at_first.done().iter().chain(later.done()).cloned().collect();
    let new = later.done()[0].digest;
    scene
        .count(&done, |done| done.cast.place.v != 5 || done.digest == new)
        .await;

    for i in 0..3 {
        scene.world.stop_party(i).expect("stopped");
    }
    scene.world.plan.election = "grounds-second".to_owned();
    scene.world.audit(1).expect("three audits that find nothing");
}
