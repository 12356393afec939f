//! The audit of one party's session: its log, the seeds, the input, the replay and the end.

use prost::Message as _;
use tally_mpc::{Binding, Seeds, Statement, TallyError, TallyParams};
use tally_proto::audit::{ChannelRecord, Check, End, Item, Stated, Stopped, Verdict};
use tally_proto::envelope::{Envelope, Kind, PublicKey};
use tally_proto::ids::{Hash32, Role, RoleExt as _, SessionNumber};
use tally_proto::wire;

use super::item;
use super::replay::{Replayed, Setup, replay};
use crate::session::log::{Entry, LogError, Reader};
use crate::session::opening::{Contribution, Scene, pair_seed};
use crate::session::start::Starts;
use crate::session::{Conclude, Ready};

/// What the party itself signed about the session's end, as its store has it.
#[derive(Clone, Debug, Default)]
pub struct SignedEnd {
    /// Its Result of the box.
    pub result: Option<Envelope>,
    /// Its Abort of this session.
    pub abort: Option<Envelope>,
}

/// What was found about one party's session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionAudit {
    /// The checks from [`Check::SessionLog`] on, in order.
    pub items: Vec<Item>,
    /// From the three Starts; zero where they do not hold.
    pub session_id: Hash32,
    /// To the next party, to the previous, from the next, from the previous.
    pub channels: [ChannelRecord; 4],
    /// The statement at the last barrier, as an honest party makes it.
    pub agreed: Option<Statement>,
    /// What the parties signed last.
    pub stated: Vec<Stated>,
    /// How it ended.
    pub end: End,
}

/// The log up to the point where the engine begins.
struct Opening {
    starts: Result<Starts, String>,
    contributions: Vec<(Role, Role, Contribution)>,
    input: Option<([u8; 32], TallyParams)>,
    end: Option<Entry>,
}

/// Audits the session of `number` of `own` from its log, with the sealed box as `ready`. Blocks; takes about as long as the tally.
///
/// # Errors
/// The log cannot be read as a whole; what is wrong with its content is in the items.
pub fn audit_session(
    mut log: Reader,
    own: Role,
    scene: &Scene,
    number: SessionNumber,
    ready: Ready,
    signed: &SignedEnd,
) -> Result<SessionAudit, LogError> {
    let Ready {
        keys,
        params: agreed_params,
        input,
        conclude,
        ..
    } = ready;
    let opening = read_opening(&mut log, own, scene, number, &keys)?;
    let mut items = Vec::new();
    let session_id = opening
        .starts
        .as_ref()
        .map_or(Hash32([0; 32]), |starts| starts.id);
    let starts_item = match &opening.starts {
        Ok(starts) => item(Check::Starts, Ok(format!("session {}", starts.id.short()))),
        Err(error) => item(Check::Starts, Err(error.clone())),
    };
    let (seeds_item, seeds) = seeds(&opening, own, scene);
    let (Ok(_), Some((fingerprint, params))) = (&opening.starts, &opening.input) else {
        return Ok(without_engine(
            opening,
            (starts_item, seeds_item),
            &log,
            (own, scene, number, &keys),
        ));
    };
    let binding = binding(scene, number);
    let Some(seeds) = seeds else {
        return Ok(without_engine(
            opening,
            (starts_item, seeds_item),
            &log,
            (own, scene, number, &keys),
        ));
    };
    let input = match input() {
        Ok(input) => input,
        Err(refusal) => {
            let what = format!("the sealed input cannot be made: {refusal}");
            let mut audit = without_engine(
                opening,
                (starts_item, seeds_item),
                &log,
                (own, scene, number, &keys),
            );
            audit.items[3] = item(Check::Input, Err(what));
            return Ok(audit);
        }
    };
    let rows = input.shape().rows();
    let input_item = item(
        Check::Input,
        if input.fingerprint() != *fingerprint {
            Err(format!(
                "the party tallied another input than the {rows} rows of its sealed box"
            ))
        } else if *params != agreed_params {
            Err("the party ran with other parameters than the manifest and this version prescribe".to_owned())
        } else {
            Ok(format!("{rows} rows"))
        },
    );
    let setup = Setup {
        seeds: &seeds,
        binding: &binding,
        keys: &keys,
        session_id,
        input,
        own,
        params,
    };
    let (mut replayed, log) = replay(log, setup)?;
    items.push(item(Check::SessionLog, whole(&log, replayed.end.is_some())));
    items.extend([starts_item, seeds_item, input_item]);
    items.push(item(Check::Statements, statements(&replayed)));
    items.push(item(Check::Replay, taken(&replayed)));
    let (outcome, end) = outcome(&replayed, conclude, (own, scene, number, &keys), signed);
    items.push(item(Check::Outcome, outcome));
    if matches!(end, End::Result(_)) {
        // The parties agreed on the channels at the last barrier: single messages are nobody's business.
        replayed
            .channels
            .iter_mut()
            .for_each(|channel| channel.trail.clear());
    }
    Ok(SessionAudit {
        items,
        session_id,
        channels: replayed.channels,
        agreed: replayed.agreed,
        stated: replayed.stated,
        end,
    })
}

/// What the randomness of a session is bound to.
fn binding(scene: &Scene, number: SessionNumber) -> Binding {
    Binding::new(
        scene.seal_hash.as_bytes(),
        scene.election.as_str().as_bytes(),
        &scene.box_id.get().to_be_bytes(),
        number.get(),
    )
}

fn read_opening(
    log: &mut Reader,
    own: Role,
    scene: &Scene,
    number: SessionNumber,
    keys: &[PublicKey; 3],
) -> Result<Opening, LogError> {
    let mut opening = Opening {
        starts: Err("the log holds none".to_owned()),
        contributions: Vec::new(),
        input: None,
        end: None,
    };
    while let Some(entry) = log.next_entry()? {
        match entry {
            Entry::Starts(starts) => {
                opening.starts = match Starts::verify(&starts, keys, scene) {
                    Ok(starts) if starts.number == number => Ok(starts),
                    Ok(starts) => Err(format!("they are of session {}, not {number}", starts.number)),
                    Err(error) => Err(error.to_string()),
                };
            }
            Entry::Contribution { from, to, secret } if from == own || to == own => {
                opening.contributions.push((from, to, secret));
            }
            Entry::Input { fingerprint, params } => {
                opening.input = Some((fingerprint, params));
                break;
            }
            end @ Entry::Ended { .. } => {
                opening.end = Some(end);
                break;
            }
            other => {
                opening.starts = Err(format!("{other:?} stands before the input"));
                break;
            }
        }
    }
    Ok(opening)
}

/// Whether every contribution opens its commitment, and the two seeds when all do.
fn seeds(opening: &Opening, own: Role, scene: &Scene) -> (Item, Option<Seeds>) {
    let Ok(starts) = &opening.starts else {
        return (
            item(
                Check::Seeds,
                Err("there are no Starts to hold them to".to_owned()),
            ),
            None,
        );
    };
    for (from, to, secret) in &opening.contributions {
        if !secret.opens(&starts.commitment(*from, *to), scene, starts.number, *from, *to) {
            let what = format!(
                "the contribution of {from} for {to} does not open the commitment in the Start of {from}"
            );
            return (item(Check::Seeds, Err(what)), None);
        }
    }
    let of = |from: Role, to: Role| {
        let found = opening
            .contributions
            .iter()
            .find(|(by, for_whom, _)| (*by, *for_whom) == (from, to));
        found.map(|(_, _, secret)| secret)
    };
    let seed = |with: Role| {
        let (ours, theirs) = (of(own, with)?, of(with, own)?);
        Some(pair_seed(scene, starts.id, (own, ours), (with, theirs)))
    };
    let held = opening.contributions.len();
    let seeds = seed(own.next())
        .zip(seed(own.prev()))
        .map(|(next, prev)| Seeds { prev, next });
    let verdict = match (&seeds, &opening.input) {
        (None, Some(_)) => Err(format!("the log holds {held} of the four contributions")),
        (None, None) => Ok(format!(
            "{held} of four contributions, before the session stopped"
        )),
        (Some(_), _) => Ok("four contributions, both pairs".to_owned()),
    };
    (item(Check::Seeds, verdict), seeds)
}

type Place<'a> = (Role, &'a Scene, SessionNumber, &'a [PublicKey; 3]);

/// A session in which the engine did not run, or cannot be run again.
fn without_engine(
    opening: Opening,
    (starts, seeds): (Item, Item),
    log: &Reader,
    place: Place<'_>,
) -> SessionAudit {
    let session_id = opening
        .starts
        .as_ref()
        .map_or(Hash32([0; 32]), |starts| starts.id);
    let ran = opening.input.is_some();
    let not_run = |check| {
        if ran {
            item(
                check,
                Err("the part cannot be run again without the checks above".to_owned()),
            )
        } else {
            Item {
                check,
                verdict: Verdict::NotApplicable,
                detail: "the session stopped before the tally began".to_owned(),
            }
        }
    };
    let (outcome, end) = match &opening.end {
        Some(Entry::Ended { abort: Some(abort) }) => match stop(abort, place) {
            Ok(stopped) => (Ok(format!("stopped: {}", stopped.reason)), End::Stopped(stopped)),
            Err(what) => (Err(what), End::Unfinished),
        },
        Some(_) => (
            Err("the log ends with outputs, but the tally never began".to_owned()),
            End::Unfinished,
        ),
        None => (
            Err("the log does not say how the session ended".to_owned()),
            End::Unfinished,
        ),
    };
    let whole = if ran {
        Err("not read to its end: the part cannot be run again".to_owned())
    } else {
        whole(log, opening.end.is_some())
    };
    SessionAudit {
        items: vec![
            item(Check::SessionLog, whole),
            starts,
            seeds,
            not_run(Check::Input),
            not_run(Check::Statements),
            not_run(Check::Replay),
            item(Check::Outcome, outcome),
        ],
        session_id,
        channels: std::array::from_fn(|_| ChannelRecord {
            messages: 0,
            hash: Hash32([0; 32]),
            trail: Vec::new(),
        }),
        agreed: None,
        stated: Vec::new(),
        end,
    }
}

fn whole(log: &Reader, ended: bool) -> Result<String, String> {
    if log.is_whole() && ended {
        Ok("sealed to its last chunk".to_owned())
    } else {
        Err("it ends in the middle: the party died, or the log was cut".to_owned())
    }
}

fn statements(replayed: &Replayed) -> Result<String, String> {
    match replayed
        .divergences
        .iter()
        .find(|divergence| divergence.is_signed())
    {
        Some(divergence) => Err(divergence.to_string()),
        None => Ok(format!("{} signed statements", replayed.statements)),
    }
}

fn taken(replayed: &Replayed) -> Result<String, String> {
    match replayed
        .divergences
        .iter()
        .find(|divergence| !divergence.is_signed())
    {
        Some(divergence) => Err(divergence.to_string()),
        None if replayed.ran_out => Err(format!(
            "the log ends after {} messages, an honest party takes more",
            replayed.messages
        )),
        None => Ok(format!("{} messages taken", replayed.messages)),
    }
}

/// Whether the end is what the party signed, and what an honest party comes to.
fn outcome(
    replayed: &Replayed,
    conclude: Conclude,
    place: Place<'_>,
    signed: &SignedEnd,
) -> (Result<String, String>, End) {
    match (&replayed.end, &replayed.outcome) {
        (None, _) => (
            Err("the log does not say how the session ended".to_owned()),
            End::Unfinished,
        ),
        (Some(Entry::Ended { abort: None }), Ok(outcome)) => match conclude(outcome) {
            Err(error) => (
                Err(format!("the totals make no Result: {error}")),
                End::Unfinished,
            ),
            Ok(result) => {
                let hash = Hash32::of(&result.encode());
                let (own, _, _, keys) = place;
                let held = signed.result.as_ref().map(|envelope| {
                    // The others' signatures may have joined this party's.
                    let signed = envelope.verify(Kind::Result, keys);
                    envelope.hash() == hash && signed.is_ok_and(|signed| signed[own.slot()])
                });
                let verdict = match held {
                    Some(true) => Ok(format!("the Result {}", hash.short())),
                    Some(false) => Err(format!(
                        "the party signed another Result than {}, which its log leads to",
                        hash.short()
                    )),
                    None => {
                        Err("the party has no Result of its own, though its session had outputs".to_owned())
                    }
                };
                (verdict, End::Result(hash))
            }
        },
        (Some(Entry::Ended { abort: None }), Err(error)) => (
            Err(format!(
                "the log ends with outputs, but an honest party stops: {error}"
            )),
            End::Unfinished,
        ),
        (Some(Entry::Ended { abort: Some(abort) }), replay) => match stop(abort, place) {
            Ok(stopped) => (
                stopped_rightly(&stopped, replay, abort, signed),
                End::Stopped(stopped),
            ),
            Err(what) => (Err(what), End::Unfinished),
        },
        (Some(other), _) => (Err(format!("the log ends with {other:?}")), End::Unfinished),
    }
}

/// What the party's Abort in the log says, once it is the party's and of this session.
fn stop(abort: &Envelope, (own, scene, number, keys): Place<'_>) -> Result<Stopped, String> {
    abort
        .verify_all(Kind::Abort, &[keys[own.slot()]])
        .map_err(|error| format!("the Abort in the log: {error}"))?;
    let message = wire::Abort::decode(abort.payload().clone())
        .map_err(|error| format!("the Abort in the log does not decode: {error}"))?;
    let same = message.election == scene.election.as_str()
        && message.r#box == scene.box_id.get()
        && message.seal_hash == scene.seal_hash.as_bytes()
        && message.session == number.get()
        && message.party == own.number();
    if !same {
        return Err("the Abort in the log is of another session".to_owned());
    }
    let suspects = message.suspects.iter().map(|number| Role::from_number(*number));
    Ok(Stopped {
        reason: message.reason,
        step: message.step,
        channel: message.channel,
        suspects: suspects
            .collect::<Result<_, _>>()
            .map_err(|error| format!("the Abort in the log: {error}"))?,
    })
}

/// Whether an honest party stops there, and names the same.
fn stopped_rightly(
    stopped: &Stopped,
    replay: &Result<tally_mpc::Outcome, TallyError>,
    abort: &Envelope,
    signed: &SignedEnd,
) -> Result<String, String> {
    let error = match replay {
        Ok(_) => return Err("the party stopped where an honest party has outputs".to_owned()),
        Err(error) => error,
    };
    if signed
        .abort
        .as_ref()
        .is_some_and(|stored| stored.payload() != abort.payload())
    {
        return Err("the Abort in the log is not the one that the party gave away".to_owned());
    }
    match error {
        // What did not come, or came wrong, is in the log; whom it makes the party name depends on what its connections told it.
        TallyError::Channel { .. } => Ok(format!("stopped at {}: {}", stopped.step, stopped.reason)),
        _ => {
            let step = error
                .step()
                .map_or_else(|| "input".to_owned(), |step| step.to_string());
            // Signatures may have convicted one of those whom the engine suspects.
            let suspects = error.suspects();
            let among = stopped.suspects.iter().all(|role| suspects.contains(role));
            if step == stopped.step && among && stopped.suspects.is_empty() == suspects.is_empty() {
                Ok(format!("stopped at {step}, as an honest party does: {error}"))
            } else {
                Err(format!(
                    "an honest party stops at {step} ({error}), this one says {}",
                    stopped.step
                ))
            }
        }
    }
}
