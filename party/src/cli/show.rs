//! What the operator sees before signing, and the state of the party.

use std::fmt::Write as _;

use tally_proto::calendar::{Channel, Opening};
use tally_proto::card::subject;
use tally_proto::identity::Fingerprint;
use tally_proto::ids::{Hash32, Role, RoleExt as _};
use tally_proto::manifest::{Manifest, Network, RevokedRows, Rule};
use tally_proto::order::{Change, Order};
use tally_proto::text::Texts;
use tally_proto::wire;

use crate::config::Config;
use crate::intake::carried::in_words;
use crate::keys::{self, KeyError};
use crate::status::phase_name;

// Writing to a String cannot fail: the results of `writeln!` are dropped below.

/// What other elections have to do with a manifest or an order, and its signers must know; empty where there is nothing.
pub(super) fn carried(carried: &wire::CarriedReply) -> String {
    let mut text = String::new();
    if carried.changed > 0 {
        let _ = writeln!(
            text,
            "\n  {} of {} people who enrolled by card in other elections of this register are CALLED OTHERWISE on this roll. Their enrolments do not\n               count here, and codes carried over from there do not either: they must enrol anew. If the commission cannot say why, do not sign:",
            carried.changed, carried.enrolled
        );
        for voter in &carried.voters {
            let _ = writeln!(text, "    {}", in_words(voter));
        }
        let untold = carried.changed.saturating_sub(carried.voters.len() as u64);
        if untold > 0 {
            let _ = writeln!(text, "    and {untold} more");
        }
    }
    if !carried.orders.is_empty() {
        let _ = writeln!(
            text,
            "\n  These orders of other elections of this register DO NOT FOLLOW: what they set aside there counts here, unless the commission orders\n               it for this election too:"
        );
        for order in &carried.orders {
            let _ = writeln!(
                text,
                "    order {} of election {}, {:?} there: {}",
                order.number, order.election, order.voter, order.does
            );
        }
    }
    for station in &carried.stations {
        let _ = writeln!(
            text,
            "\n  Station {} HAS THE KEY OF A STATION THAT WAS REVOKED, by order {} of election {}. That order does nothing here. If the commission cannot\n               say why its key is used again, do not sign.",
            station.station, station.number, station.election
        );
    }
    if !carried.also.is_empty() {
        let _ = writeln!(
            text,
            "\n  THIS ORDER DOES NOTHING in these elections of the same register, which have the same person on their roll: what the voter's card signed\n               counts there, unless the commission orders it for them too (open rolls are not looked through):"
        );
        for also in &carried.also {
            let _ = writeln!(text, "    election {}, {:?} there", also.election, also.voter);
        }
    }
    text
}

/// Everything of a manifest that its countersignature stands for.
pub(super) fn manifest(manifest: &Manifest, hash: &Hash32) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "Election {}: {}, defined at {}",
        manifest.election(),
        texts(manifest.title()),
        manifest.created_at()
    );
    let _ = writeln!(
        text,
        "  manifest {hash}\n  read it over the phone as {}",
        Fingerprint::of_hash(hash)
    );
    let _ = writeln!(text, "\n  Who takes part (compare fingerprints by phone):");
    for role in Role::ALL {
        let party = manifest.party(role);
        let _ = writeln!(text, "    {role}  {}  {}", party.fingerprint(), party.agency());
        let _ = writeln!(
            text,
            "        voters {}, others {}",
            party.public_address(),
            party.peer_address()
        );
    }
    let coordinator = manifest.coordinator();
    let _ = writeln!(
        text,
        "    coordinator  {}  {} ({})",
        coordinator.fingerprint(),
        coordinator.name(),
        coordinator.address()
    );
    for registrar in manifest.registrars() {
        let _ = writeln!(
            text,
            "    registrar    {}  {}",
            registrar.fingerprint(),
            registrar.name()
        );
    }
    for station in manifest.stations() {
        let _ = writeln!(
            text,
            "    station {:<4} {}  {}",
            station.id(),
            station.fingerprint(),
            station.name()
        );
        for opening in station.openings() {
            let _ = writeln!(text, "                 open only {}", hours(opening));
        }
    }
    let _ = writeln!(text, "\n  Contests:");
    for contest in manifest.contests() {
        let rule = match contest.rule() {
            Rule::Single => "one option".to_owned(),
            Rule::Approval { max } => format!("up to {max} options"),
        };
        let _ = writeln!(text, "    {} {} ({rule})", contest.id(), texts(contest.title()));
        for (number, option) in (1..).zip(contest.options()) {
            let _ = writeln!(text, "      {number:>3} {}", texts(option));
        }
    }
    let _ = writeln!(text, "\n  Boxes:");
    for of_box in manifest.boxes() {
        let contests: Vec<String> = of_box.contests().iter().map(ToString::to_string).collect();
        let _ = writeln!(
            text,
            "    {} {}: {}, contests {}",
            of_box.id(),
            texts(of_box.name()),
            match (of_box.open(), of_box.roll_root()) {
                (Some(open), _) => format!(
                    "open roll, at most {} voters, frozen at {}",
                    of_box.voters(),
                    open.freezes
                ),
                (None, root) => format!(
                    "{} voters, roll {}",
                    of_box.voters(),
                    root.map(|root| root.to_string()).unwrap_or_default()
                ),
            },
            contests.join(", "),
        );
    }
    let _ = writeln!(text, "\n  Calendars:");
    for channel in manifest.channels() {
        calendar(&mut text, channel);
    }
    enrolment(&mut text, manifest);
    tickets(&mut text, manifest);
    let policy = manifest.policy();
    let _ = writeln!(
        text,
        "\n  Network: the tally is cut for parties that are {}.",
        match manifest.network() {
            Network::Near => "near one another (a few milliseconds at most)",
            Network::Far => "far from one another (tens of milliseconds)",
        }
    );
    if !manifest.stations().is_empty() {
        let _ = writeln!(
            text,
            "\n  Revoked stations: when an order revokes a station, {}.",
            manifest.revoked_rows().in_words()
        );
    }
    let _ = writeln!(
        text,
        "\n  Results: boxes have at least {} voters. One that received fewer than {} submissions is not tallied; fakes, ballots cast again and invalid \
         ones count among these, so this keeps next to empty boxes closed and protects no small one. Ballots counted per channel are {}.\n",
        policy.min_voters,
        policy.min_submissions,
        if policy.open_counted_per_channel {
            "opened"
        } else {
            "not opened"
        }
    );
    text
}

/// Everything of an order; `voter`: the roll's reference of the voter that it corrects, `rows`: what the manifest says of revoked stations.
pub(super) fn order(order: &Order, hash: &Hash32, voter: Option<&str>, rows: RevokedRows) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "Order {} of election {}", order.number, order.election);
    let _ = writeln!(
        text,
        "  hash {hash}\n  read it over the phone as {}",
        Fingerprint::of_hash(hash)
    );
    let _ = writeln!(text, "  reason: {}", order.reason);
    match &order.change {
        Change::Calendar(channel) => {
            let _ = writeln!(text, "  the calendar becomes:");
            calendar(&mut text, channel);
        }
        Change::Correction(correction) => {
            let _ = writeln!(text, "  {}", correction.in_words());
            if let Some(reference) = voter {
                let _ = writeln!(text, "  the roll calls this voter {reference:?}");
            }
            let _ = writeln!(
                text,
                "  Nobody sees whether there are such votes. The order itself, with the voter's number and the reason, is published."
            );
        }
        Change::Reissue(reissue) => {
            let _ = writeln!(text, "  {}", reissue.in_words());
            if let Some(reference) = voter {
                let _ = writeln!(text, "  the roll calls this voter {reference:?}");
            }
        }
        Change::Revocation(revocation) => {
            let _ = writeln!(text, "  {}", revocation.in_words(rows));
        }
    }
    text.push('\n');
    text
}

/// A text in every language that it has.
fn texts(texts: &Texts) -> String {
    let all: Vec<String> = texts
        .iter()
        .map(|(language, text)| format!("{text} [{language}]"))
        .collect();
    all.join(" / ")
}

fn hours(opening: &Opening) -> String {
    format!(
        "{} to {}  ({} to {})",
        opening.opens_local, opening.closes_local, opening.opens, opening.closes
    )
}

/// Who may say who a voter is: whoever holds the key of one of these authorities can take every voter's vote.
fn enrolment(text: &mut String, manifest: &Manifest) {
    let Some(register) = manifest.register() else {
        return;
    };
    let _ = writeln!(
        text,
        "\n  Voters enrol by identity card, in register {}, from {} to {}. Whoever holds the key of one of these authorities can make cards for\n  \
         every voter: compare each with what the state publishes.",
        register.id(),
        register.opens(),
        register.closes()
    );
    for (what, authorities) in [("root", register.roots()), ("issues cards", register.issuers())] {
        for der in authorities {
            let _ = writeln!(
                text,
                "    {what:<12} {}\n                 SHA-256 {}",
                subject(der),
                Hash32::of(der)
            );
        }
    }
    let _ = writeln!(text, "    a voter is named by {}", register.person().in_words());
    let _ = writeln!(
        text,
        "    a card's certificate is for {}",
        register.purpose().in_words()
    );
    let _ = writeln!(
        text,
        "    persons stand in the roll under the salt {}",
        register.salt_hash()
    );
    if let Some(commitments) = manifest.offsets() {
        for (j, commitment) in Role::ALL.into_iter().zip(commitments) {
            let _ = writeln!(
                text,
                "    K_{} of {} and {j} is committed to as {commitment}",
                j.number(),
                j.prev()
            );
        }
    }
}

fn tickets(text: &mut String, manifest: &Manifest) {
    let Some(ticketing) = manifest.ticketing() else {
        return;
    };
    let _ = writeln!(
        text,
        "\n  Online ballots need a ticket: {} for each of these days in one draw, {} draws a voter.",
        ticketing.per_day(),
        ticketing.draws()
    );
    for key in ticketing.keys() {
        let _ = writeln!(text, "    from {}  key {}", key.day(), Hash32::of(key.modulus()));
    }
}

fn calendar(text: &mut String, channel: &Channel) {
    let _ = writeln!(
        text,
        "    {} ({}), {}",
        texts(channel.name()),
        channel.kind(),
        channel.time_zone()
    );
    for opening in channel.openings() {
        let _ = writeln!(text, "      {}", hours(opening));
    }
    let _ = writeln!(
        text,
        "      submissions are taken until {}",
        channel.receive_until()
    );
}

/// How the secret keys are kept, plainly.
pub(super) fn keys(config: &Config) -> Result<String, KeyError> {
    Ok(match keys::sealed(config)? {
        Some(sealed) => {
            let public = sealed.public();
            format!(
                "Keys: split, ceremony {}; {} unlock them with `party unseal`. What is in the key file is checked then.\n",
                public.ceremony, public.terms
            )
        }
        None => "Keys: in plain files. Whoever reads this machine's disk, or a backup with the keys in it, has this party's shares of every \
                 vote and can sign in its name; two such parties together reveal everything. Fit for pilots and small elections; \
                 else set the party up with `party init --officials N --threshold K`.\n"
            .to_owned(),
    })
}

/// How the sessions of a box stand, before its operator gives leave for more.
pub(super) fn sessions(election: &str, of_box: &wire::BoxStatus) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "Election {election}, box {}: {}. The last tally session that this party signed is {}; {} more may begin without your leave.",
        of_box.r#box,
        phase_name(of_box.phase()),
        of_box.last_session,
        of_box.sessions_left
    );
    if !of_box.trouble.is_empty() {
        let _ = writeln!(text, "  {}", of_box.trouble);
    }
    text
}

#[cfg(test)]
mod tests;
