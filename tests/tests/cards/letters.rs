//! Voters with a letter and a card: the card's record beats the letter's, until an order sets it aside.

use super::*;

/// Who enrol by card beside their letters: the first stays so, the second's card is set aside, the third enrols once more after that.
const ENROLLED: std::ops::Range<u32> = 0..3;

impl Scene {
    /// What the voter's card signed until now does not stand: ordered, countersigned by all three and in force.
    fn set_aside(&self, person: u32) {
        let (election, reference) = (self.election(), name_on_roll(person));
        let typed = format!("{election}\n");
        let until = utc::second(SystemTime::now());
        let order = ["order", election, "--reason", "The card was stolen.", "reissue"];
        let what = ["--voter", &reference, "--until", &until];
        self.world
            .coordinator(&[&order[..], &what].concat(), &typed)
            .expect("an order");
        let shown = self.world.countersign().expect("countersigned");
        let told = shown.matches(&reference).count();
        assert!(told >= 3, "every operator is told whose: {shown}");
        self.world
            .coordinator(&["complete", election], &typed)
            .expect("in force");
    }
}

/// Everybody whose code is in `codes` votes, each as `choice` says.
async fn vote(
    scene: &Scene,
    codes: BTreeMap<Place, String>,
    choice: impl Fn(u32) -> u32,
    seed: u64,
) -> Vec<Done> {
    let manifest = std::fs::read(scene.manifest()).expect("readable");
    let nowhere = BTreeMap::<u32, PathBuf>::new();
    let casts: Vec<Cast> = codes
        .keys()
        .map(|place| cast(place.v, Way::Online, choice(place.v)))
        .collect();
    let mut rng = StdRng::seed_from_u64(seed);
    let mut crowd = Crowd::new(&manifest, codes, &nowhere, &mut rng).expect("a crowd");
    crowd.cast_online(&casts, |_| {}).await.expect("accepted");
    // The next votes of these people come from other devices.
    crowd.await_later_second().await;
    crowd.done().to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_beats_a_letter_until_an_order_sets_it_aside() {
    tally_proto::connect::install_tls_provider();
    let _ = tokens();
    let directory = tempfile::tempdir().expect("a directory");
    let plan = Plan {
        stations: 0,
        ..plan("grounds-letters")
    };
    let mut scene = Scene::set_up(&directory.path().join("world"), plan, false);
    scene.invites = true;
    scene.define();
    let letters = scene.world.issue().expect("letters are written");
    assert_eq!(letters.len(), PEOPLE as usize);
    let of_enrolled = || {
        let mine = |(place, _): &(&Place, &String)| ENROLLED.contains(&place.v);
        letters
            .iter()
            .filter(mine)
            .map(|(place, code)| (*place, code.clone()))
    };

    // Everybody votes with the letter; three enrol and vote with what their cards made; then with their letters again.
    let mut by_letter = vote(&scene, letters.clone(), |_| 1, 1).await;
    let mut codes = BTreeMap::new();
    for person in ENROLLED {
        let out = format!("code-{person}");
        succeeded(&scene.enrol_by_file(person, &out));
        codes.extend([scene.invitation(&out)]);
    }
    let mut by_card = vote(&scene, codes.clone(), |_| 2, 2).await;
    by_letter.extend(vote(&scene, of_enrolled().collect(), |_| 3, 3).await);

    // An order lets the letter stand again where the card was stolen; what the letter cast before counts again with it. The codes that the cards made
    // go on being accepted, as any would.
    next_second().await;
    for person in [1, 2] {
        scene.set_aside(person);
    }
    by_card.extend(vote(&scene, codes, |_| 2, 4).await);
    // The third has a new card, and enrols with it after the moment of the order.
    next_second().await;
    scene.made.remove(&2);
    succeeded(&scene.enrol_by_file(2, "code-2-again"));
    let again = BTreeMap::from([scene.invitation("code-2-again")]);
    let by_new_card = vote(&scene, again, |_| 1, 5).await;

    let counts = |done: &&Done, of: u32| done.cast.place.v == of;
    let counted: Vec<Done> = by_letter
        .iter()
        .filter(|done| counts(done, 1) || done.cast.place.v >= ENROLLED.end)
        .chain(by_card.iter().filter(|done| counts(done, 0)))
        .chain(&by_new_card)
        .cloned()
        .collect();
    let expected = recount(1, &Roll { boxes: vec![PEOPLE] }, OPTIONS, &counted);
    assert_eq!(
        expected.totals,
        [10, 1, 1],
        "nine letters and the new card; the first card; the letter that stands again"
    );
    let done = [by_letter, by_card, by_new_card].concat();
    let digests: Vec<[u8; 32]> = counted.iter().map(|done| done.digest).collect();
    scene.count(&done, |done| digests.contains(&done.digest)).await;
    for i in 0..3 {
        scene.world.stop_party(i).expect("stopped");
    }
    scene.world.audit(1).expect("three audits that find nothing");
}
