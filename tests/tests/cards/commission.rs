//! The commission's own revocation lists: `coordinator status` tells of them before they end.

use tally_coordinator::own_alarms::ListEnds;
use tally_proto::calendar::ChannelKind;
use tally_proto::card::ListDirectory;
use tally_proto::fixture::cards::DAY;
use tally_proto::fixture::{OPENS, Shape, World};
use tally_proto::ids::UnixSeconds;

/// How long before its end a list is told of.
const BEFORE: u64 = 6 * 3600;

#[test]
fn lists_of_the_commission_are_told_of_before_they_end_while_cards_stand_for_draw_codes() {
    let shape = |tickets| Shape {
        cards: true,
        tickets,
        ..Shape::default()
    };
    let world = World::new(shape(true));
    let directory = tempfile::tempdir().expect("a directory");
    let lists = ListDirectory::of(directory.path());
    let manifest = world.manifest.manifest();
    let at = |now| ListEnds::look(&lists, "the directory", manifest, UnixSeconds(now));
    let told = |now| at(now).expect("an alarm").to_string();

    assert!(told(OPENS).contains("there is no list"), "{}", told(OPENS));
    std::fs::write(directory.path().join("a.crl"), "no list").expect("written");
    let first = told(OPENS);
    for part in [
        "Commission card.list-ends (citizens)",
        "a.crl is none of its lists",
        "Fetch the authority's",
        "the directory",
    ] {
        assert!(first.contains(part), "{part:?} in {first}");
    }
    let end = OPENS + 25_000;
    let cards = world.cards.as_ref().expect("cards");
    let list = cards.revocations(&[], OPENS - DAY, end);
    std::fs::write(directory.path().join("b.crl"), list).expect("written");
    assert_eq!(at(end - BEFORE - 1), None);
    assert!(told(end - BEFORE).contains("ends at"));
    assert!(told(end + 1).contains("ended at"));
    let for_machines = at(end).expect("an alarm").to_json();
    assert_eq!(for_machines["code"], "card.list-ends");
    // As long as somebody may still draw.
    let online = manifest
        .channel(ChannelKind::Online)
        .expect("online")
        .receive_until();
    let closes = manifest.register().expect("a register").closes();
    let last = online.max(closes).get();
    assert!(last > end, "the election goes on after the list has ended");
    assert!(told(last).contains("ended at"));
    assert_eq!(at(last + 1), None);

    let none = World::new(shape(false));
    let without = ListEnds::look(&lists, "", none.manifest.manifest(), UnixSeconds(end));
    assert_eq!(without, None, "without tickets the commission looks at no card");
}
