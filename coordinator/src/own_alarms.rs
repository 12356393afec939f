//! What is wrong at the commission itself, beside what the parties say: `coordinator status` shows it with their alarms.

use std::fmt;

use serde_json::json;
use tally_proto::calendar::ChannelKind;
use tally_proto::card::{ListDirectory, lists_until};
use tally_proto::ids::{RegisterId, UnixSeconds};
use tally_proto::manifest::Manifest;

/// A revocation list that ends sooner is told, as at a party by its default.
const LIST_ENDS_S: u64 = 6 * 3600;

/// The commission's revocation lists for draw codes of cards end soon, have ended, or one is missing.
#[derive(Debug, PartialEq, Eq)]
pub struct ListEnds {
    register: RegisterId,
    detail: String,
    place: String,
}

impl ListEnds {
    /// The stable code, the same as a party's.
    pub const CODE: &str = "card.list-ends";

    /// Looks at the lists in `lists`, which lie at `place`, for an election in which cards stand for draw codes until online voting ends.
    pub fn look(lists: &ListDirectory, place: &str, manifest: &Manifest, now: UnixSeconds) -> Option<Self> {
        let register = manifest.register()?;
        manifest.ticketing()?;
        let online = manifest.channel(ChannelKind::Online)?.receive_until();
        if now > online.max(register.closes()) {
            return None;
        }
        let mut unread = Vec::new();
        let read = lists.lists(register, |path, read| {
            if let Err(error) = read {
                unread.push(format!("; {} is none of its lists: {error}", path.display()));
            }
        });
        let nothing = "no draw code of a card is taken, and who enrols cannot vote online";
        let detail = match lists_until(register, read.iter().map(|list| &**list), now) {
            None => format!("of an issuing authority there is no list: {nothing}"),
            Some(until) if until < now => format!("the newest list ended at {until}: {nothing}"),
            Some(until) if until.get() <= now.get().saturating_add(LIST_ENDS_S) => {
                format!("the newest list ends at {until}: after that {nothing}")
            }
            Some(_) => return None,
        };
        Some(Self {
            register: register.id().clone(),
            detail: detail + &unread.concat(),
            place: place.to_owned(),
        })
    }

    fn advice(&self) -> String {
        format!(
            "Fetch the authority's newest list into {}; the board reads it by itself.",
            self.place
        )
    }

    /// For machines.
    pub fn to_json(&self) -> serde_json::Value {
        json!({ "code": Self::CODE, "about": self.register.as_str(), "detail": self.detail, "advice": self.advice() })
    }
}

impl fmt::Display for ListEnds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (register, detail, advice) = (&self.register, &self.detail, self.advice());
        write!(
            f,
            "Commission {} ({register}): {detail}\n    {advice}",
            Self::CODE
        )
    }
}
