//! Changes of a defined election: closing early, extending, another calendar, corrections of the roll. Each is an order that the
//! coordinator signs and proposes; it is in force only with the countersignatures of all three parties.

use tally_proto::calendar::{Channel, ChannelKind, Opening};
use tally_proto::envelope::Kind;
use tally_proto::ids::{BoxId, StationId, UnixSeconds, VoterIndex};
use tally_proto::manifest::Manifest;
use tally_proto::order::{Change, Correction, EffectiveElection, Order, Reissue, Revocation, SignedOrder};

use crate::definition::calendar::{self, Zone};
use crate::directory::{Directory, Election};
use crate::error::{ClosingProblem, Error};
use crate::parties::Patience;
use crate::progress::Progress;

/// What an order is to change, as a person says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// The channel closes for good at this local time of its zone: later openings are struck, a running one is cut or extended.
    CloseAt {
        /// Which.
        channel: ChannelKind,
        /// `YYYY-MM-DD HH:MM[:SS]`.
        local: String,
        /// How long parties then still take what stations queued: a local time; one minute unless said.
        receive_until: Option<String>,
    },
    /// One more opening, after the last.
    OpenAgain {
        /// Which.
        channel: ChannelKind,
        /// `YYYY-MM-DD HH:MM[:SS]`.
        opens: String,
        /// `YYYY-MM-DD HH:MM[:SS]`.
        closes: String,
        /// As above.
        receive_until: Option<String>,
    },
    /// One voter's online votes do not count; a vote at a station does. Whether there are any, nobody learns.
    Strike {
        /// The voter's reference.
        reference: String,
    },
    /// One voter's online votes count again.
    Restore {
        /// The voter's reference.
        reference: String,
    },
    /// A station's ballots from this local time on do not count, and nothing more is taken from it.
    Revoke {
        /// Which.
        station: u32,
        /// `YYYY-MM-DD HH:MM[:SS]` in the zone of the stations' channel.
        from: String,
    },
    /// What one voter's card signed up to a local time does not stand, and a credential that a registrar issued does; or registrars may issue
    /// the voter's credential again.
    Reissue {
        /// The voter's reference.
        reference: String,
        /// `YYYY-MM-DD HH:MM[:SS]` in the zone of the online channel.
        until: Option<String>,
        /// Issued records stand up to this serial.
        serial: Option<u32>,
    },
    /// The flags of one voter.
    Correct {
        /// The voter's reference.
        reference: String,
        /// Whether any vote of the voter counts.
        live: bool,
        /// Whether the voter's credential counts; station only where not.
        enrolled: bool,
    },
}

/// Makes the next order, after the last one in force; signs, stores and sends nothing. One that waits for countersignatures is given up when this
/// one is signed: so an operator who refuses a slip ends that order alone.
///
/// # Errors
/// A wish that cannot be fulfilled.
pub fn draft(election: &Election, wish: &Wish, reason: &str) -> Result<Order, Error> {
    let order = Order {
        election: election.signed().manifest().election().clone(),
        manifest_hash: election.signed().hash(),
        number: u32::try_from(election.orders().len())
            .unwrap_or(u32::MAX)
            .saturating_add(1),
        after: election.orders_in_force().last().map(|order| order.hash()),
        reason: reason.to_owned(),
        change: change(election, wish)?,
    };
    // The same checks that parties make, before anybody is asked to confirm it.
    Ok(Order::from_wire(&order.to_wire())?)
}

/// Signs an order and stores it; sends nothing.
///
/// # Errors
/// An order that does not fit the manifest, and failures to write.
pub fn sign(directory: &Directory, election: &mut Election, order: &Order) -> Result<SignedOrder, Error> {
    let envelope = directory.signer().seal_envelope(Kind::Order, order.encode());
    let signed = SignedOrder::open(envelope, election.signed())?;
    election.store_order(signed.clone())?;
    Ok(signed)
}

/// What `wish` changes in the election as it stands with all its complete orders.
fn change(election: &Election, wish: &Wish) -> Result<Change, Error> {
    match wish {
        Wish::CloseAt {
            channel,
            local,
            receive_until,
        } => {
            let channel = in_force(election, *channel)?;
            Ok(Change::Calendar(close_at(
                &channel,
                local,
                receive_until.as_deref(),
            )?))
        }
        Wish::OpenAgain {
            channel,
            opens,
            closes,
            receive_until,
        } => {
            let channel = in_force(election, *channel)?;
            Ok(Change::Calendar(open_again(
                &channel,
                opens,
                closes,
                receive_until.as_deref(),
            )?))
        }
        Wish::Revoke { station, from } => {
            let channel = in_force(election, ChannelKind::Station)
                .or_else(|_| in_force(election, ChannelKind::Paper))?;
            Ok(Change::Revocation(Revocation {
                station: StationId(*station),
                from: UnixSeconds(Zone::find(channel.time_zone())?.moment(from)?),
            }))
        }
        Wish::Reissue {
            reference,
            until,
            serial,
        } => {
            let (of_box, voter) = find(election, reference)?;
            let until = match until {
                Some(until) => {
                    let channel = in_force(election, ChannelKind::Online)?;
                    Zone::find(channel.time_zone())?.moment(until)?
                }
                None => 0,
            };
            Ok(Change::Reissue(Reissue {
                of_box,
                voter,
                until: UnixSeconds(until),
                serial: serial.unwrap_or_default(),
            }))
        }
        Wish::Correct {
            reference,
            live,
            enrolled,
        } => {
            let (of_box, voter) = find(election, reference)?;
            Ok(Change::Correction(Correction {
                of_box,
                voter,
                live: *live,
                enrolled: *enrolled,
            }))
        }
        Wish::Strike { reference } => online(election, reference, false),
        Wish::Restore { reference } => online(election, reference, true),
    }
}

fn find(election: &Election, reference: &str) -> Result<(BoxId, VoterIndex), Error> {
    election.find(reference)
}

/// Whether one voter's online votes count; what else stands about the voter stays.
fn online(election: &Election, reference: &str, count: bool) -> Result<Change, Error> {
    let (of_box, voter) = find(election, reference)?;
    let stands = effective(election)?.correction(of_box, voter);
    if stands.enrolled == count {
        return Err(Error::NothingToCorrect {
            reference: reference.to_owned(),
            stands: if count { "count" } else { "are struck" },
        });
    }
    Ok(Change::Correction(Correction {
        enrolled: count,
        ..stands
    }))
}

/// The election as it stands: its manifest and the orders that all parties have countersigned.
///
/// # Errors
/// [`Error::Order`].
pub fn effective(election: &Election) -> Result<EffectiveElection, Error> {
    let manifest = std::sync::Arc::new(election.signed().clone());
    Ok(EffectiveElection::new(manifest, election.orders_in_force())?)
}

fn in_force(election: &Election, kind: ChannelKind) -> Result<Channel, Error> {
    effective(election)?
        .channel(kind)
        .cloned()
        .ok_or(Error::UnknownChannel(word(kind)))
}

/// The word for a channel kind.
pub fn word(kind: ChannelKind) -> &'static str {
    crate::definition::kind_name(kind.to_wire())
}

fn close_at(channel: &Channel, local: &str, receive_until: Option<&str>) -> Result<Channel, Error> {
    let zone = Zone::find(channel.time_zone())?;
    let closes = zone.moment(local)?;
    let name = word(channel.kind());
    let mut openings: Vec<Opening> = channel
        .openings()
        .iter()
        .filter(|o| o.opens.get() < closes)
        .cloned()
        .collect();
    let Some(last) = openings.last_mut() else {
        return Err(Error::Closing {
            channel: name,
            problem: ClosingProblem::BeforeOpening(local.to_owned()),
        });
    };
    if channel.last_closes().get() == closes {
        return Err(Error::Closing {
            channel: name,
            problem: ClosingProblem::Unchanged(local.to_owned()),
        });
    }
    // In a pause, closing for good strikes what follows; it must not open the pause.
    if closes < last.closes.get() || last.closes == channel.last_closes() {
        last.closes = UnixSeconds(closes);
        last.closes_local = local.to_owned();
    }
    with_openings(channel, &zone, openings, receive_until)
}

fn open_again(channel: &Channel, opens: &str, closes: &str, until: Option<&str>) -> Result<Channel, Error> {
    let zone = Zone::find(channel.time_zone())?;
    let opening = zone.opening(opens, closes)?;
    let mut openings = channel.openings().to_vec();
    openings.push(Opening {
        opens_local: opening.opens_local,
        closes_local: opening.closes_local,
        opens: UnixSeconds(opening.opens_s),
        closes: UnixSeconds(opening.closes_s),
    });
    with_openings(channel, &zone, openings, until)
}

fn with_openings(
    channel: &Channel,
    zone: &Zone,
    openings: Vec<Opening>,
    receive_until: Option<&str>,
) -> Result<Channel, Error> {
    let openings: Vec<calendar::Opening> = openings
        .into_iter()
        .map(|o| calendar::Opening {
            opens_local: o.opens_local,
            closes_local: o.closes_local,
            opens_s: o.opens.get(),
            closes_s: o.closes.get(),
        })
        .collect();
    let until = calendar::check_order(zone, &openings, receive_until)?;
    let wire = crate::definition::wire_channel(
        channel.kind().to_wire(),
        channel.name().to_wire(),
        zone,
        openings,
        until,
    );
    Ok(Channel::from_wire(&wire).map_err(tally_proto::order::OrderError::from)?)
}

/// Hands an order to the three parties, whose operators then countersign it.
///
/// # Errors
/// [`Error::Parties`]: those that refused or did not answer.
pub async fn propose(
    directory: &Directory,
    election: &Election,
    order: &SignedOrder,
    patience: Patience,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let envelope = order.envelope().to_wire();
    let proposed = election
        .parties(directory)?
        .all(async |party| {
            let propose = async || {
                Ok(party
                    .control()
                    .propose_order(envelope.clone())
                    .await?
                    .into_inner())
            };
            party.ask(patience, progress, propose).await
        })
        .await;
    proposed.map(|_| ()).map_err(Error::Parties)
}

/// What an order does, in a sentence.
pub fn in_words(order: &Order, manifest: &Manifest) -> String {
    match &order.change {
        Change::Calendar(channel) => {
            let closes = channel.openings().last().map_or("", |o| o.closes_local.as_str());
            format!(
                "order {}: the {} channel has {} opening(s), the last closes at {closes} ({})",
                order.number,
                word(channel.kind()),
                channel.openings().len(),
                channel.time_zone()
            )
        }
        Change::Correction(c) => format!("order {}: {}", order.number, c.in_words()),
        Change::Reissue(r) => format!("order {}: {}", order.number, r.in_words()),
        Change::Revocation(r) => format!("order {}: {}", order.number, r.in_words(manifest.revoked_rows())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tally_proto::wire;

    fn channel() -> Channel {
        let zone = Zone::find("Europe/London").expect("zone");
        let openings = zone
            .daily("2027-05-04 to 2027-05-06", "08:00 to 20:00")
            .expect("openings");
        let until = calendar::check_order(&zone, &openings, None).expect("order");
        let name = vec![wire::Text {
            language: "en".into(),
            text: "Internet".into(),
        }];
        let wire = crate::definition::wire_channel(wire::ChannelKind::Online, name, &zone, openings, until);
        Channel::from_wire(&wire).expect("channel")
    }

    fn ends(channel: &Channel) -> Vec<&str> {
        channel
            .openings()
            .iter()
            .map(|o| o.closes_local.as_str())
            .collect()
    }

    #[test]
    fn closing_early_cuts_the_running_opening_and_strikes_later_ones() {
        let channel = channel();
        let early = close_at(&channel, "2027-05-05 12:00", None).expect("order");
        assert_eq!(ends(&early), ["2027-05-04 20:00", "2027-05-05 12:00"]);
        assert_eq!(
            early.receive_until().get(),
            early.last_closes().get() + calendar::GRACE_S
        );
        let between = close_at(&channel, "2027-05-05 22:00", None).expect("order");
        assert_eq!(
            ends(&between),
            ["2027-05-04 20:00", "2027-05-05 20:00"],
            "a pause stays a pause"
        );
    }

    #[test]
    fn extending_moves_the_last_closing() {
        let longer = close_at(&channel(), "2027-05-06 22:00", Some("2027-05-06 23:00")).expect("order");
        assert_eq!(
            ends(&longer),
            ["2027-05-04 20:00", "2027-05-05 20:00", "2027-05-06 22:00"]
        );
        assert_eq!(longer.receive_until().get(), longer.last_closes().get() + 3600);
        let again = open_again(&channel(), "2027-05-07 08:00", "2027-05-07 12:00", None).expect("order");
        assert_eq!(ends(&again).len(), 4);
    }

    #[test]
    fn wishes_that_make_no_sense_are_refused() {
        let channel = channel();
        let before = close_at(&channel, "2027-05-04 08:00", None)
            .expect_err("before")
            .to_string();
        assert_eq!(
            before,
            "the online channel has no opening that begins before 2027-05-04 08:00: choose a later time"
        );
        let same = close_at(&channel, "2027-05-06 20:00", None)
            .expect_err("same")
            .to_string();
        assert_eq!(
            same,
            "the online channel already closes at 2027-05-06 20:00: nothing would change"
        );
        assert!(matches!(
            close_at(&channel, "soon", None),
            Err(Error::Calendar(_))
        ));
        assert!(matches!(
            open_again(&channel, "2027-05-06 19:00", "2027-05-07 12:00", None),
            Err(Error::Calendar(_))
        ));
    }
}
