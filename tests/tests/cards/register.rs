//! The register of an election whose voters enrol by card, as the commission and the parties come by it.

use std::time::{SystemTime, UNIX_EPOCH};

use tally_proto::fixture::cards::{self, DAY, POLICY};
use tally_tests::world::World;

pub(crate) fn now_s() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("after 1970").as_secs()
}

/// The parties agree on the register, each of them has the authority's revocation list, and the authority's certificates lie where the election file will.
/// `revoked`: the cards that the list names, by their serial numbers.
pub(crate) fn agree(world: &World, cards: &cards::Cards, revoked: &[Vec<u8>], register: &str) {
    let mut words = vec!["register".to_owned(), register.to_owned()];
    for i in 1..=3 {
        let lists = world.root.join(format!("party-{i}/revocation"));
        std::fs::create_dir_all(&lists).expect("a directory");
        let list = cards.revocations(revoked, now_s() - 60, now_s() + DAY);
        std::fs::write(lists.join("cards.crl"), list).expect("written");
        words.push(format!("party-{i}/party-{i}.identity.toml"));
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    world.coordinator(&words, "").expect("agreed on");
    let election = world.root.join("election");
    std::fs::create_dir_all(&election).expect("a directory");
    for (name, der) in [("root.der", &cards.root), ("issuing.der", &cards.issuing)] {
        std::fs::write(election.join(name), der).expect("written");
    }
}

/// The election file's table of it.
pub(crate) fn enrolment(register: &str, opens: &str, closes: &str) -> String {
    format!(
        "\n[enrolment]\nregister = {register:?}\nroots = [\"root.der\"]\nissuers = [\"issuing.der\"]\n\
         person = {{ subject = \"serialNumber\", prefix = \"PNOEE-\" }}\nkey_usage = [\"digital-signature\"]\n\
         extended_key_usage = [\"clientAuth\"]\npolicies = [{POLICY:?}]\nopens = {opens:?}\ncloses = {closes:?}\ntime_zone = \"UTC\"\n"
    )
}
