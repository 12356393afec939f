//! One party's part of a session, run again over its log with the same engine.
//!
//! The channel gives the engine what the log holds, in order, and hashes what the engine sends; the notary compares every statement
//! that an honest party signs with the one in the log. Nothing leaves, nothing is signed.

use std::cell::RefCell;
use std::rc::Rc;

use tally_mpc::{Binding, Outcome, Seeds, Statement, TallyError, TallyInput, TallyParams, tally};
use tally_proto::audit::{ChannelRecord, Stated};
use tally_proto::envelope::PublicKey;
use tally_proto::ids::{Hash32, Role};

use super::tape::{Divergence, ReplayChannel, ReplayNotary, Tape};
use crate::session::log::{Entry, LogError, Reader};

/// What a replay found.
pub struct Replayed {
    /// What the engine returned.
    pub outcome: Result<Outcome, TallyError>,
    /// The first places where the log is not an honest party's: of what it took, and of what it signed.
    pub divergences: Vec<Divergence>,
    /// Statements of this party that are what an honest party signs.
    pub statements: u32,
    /// Messages taken from the log.
    pub messages: u64,
    /// The log ended before the engine did.
    pub ran_out: bool,
    /// To the next party, to the previous, from the next, from the previous.
    pub channels: [ChannelRecord; 4],
    /// The statement at the last barrier that was passed or failed.
    pub agreed: Option<Statement>,
    /// The last statements that the parties signed, this one's and the neighbours'.
    pub stated: Vec<Stated>,
    /// The entry that ends the log, if there is one.
    pub end: Option<Entry>,
}

/// What a replay needs besides the log, whose engine part `log` stands before.
pub struct Setup<'a> {
    /// The two pairs' seeds.
    pub seeds: &'a Seeds,
    /// What they are bound to.
    pub binding: &'a Binding,
    /// The parties' keys.
    pub keys: &'a [PublicKey; 3],
    /// The session's id.
    pub session_id: Hash32,
    /// This party's input.
    pub input: TallyInput,
    /// Whose part.
    pub own: Role,
    /// The parameters of the run.
    pub params: &'a TallyParams,
}

/// Runs the part again.
///
/// # Errors
/// The log does not open or decode; what is wrong with its content is in [`Replayed`].
pub fn replay(log: Reader, setup: Setup<'_>) -> Result<(Replayed, Reader), LogError> {
    let Setup {
        seeds,
        binding,
        keys,
        session_id,
        input,
        own,
        params,
    } = setup;
    let tape = Rc::new(RefCell::new(Tape::new(log, own, binding)));
    let mut channel = ReplayChannel::new(Rc::clone(&tape));
    let mut notary = ReplayNotary::new(Rc::clone(&tape), keys, session_id);
    let outcome = tally(seeds, binding, input, &mut channel, &mut notary, &mut (), params);
    drop(channel);
    let signed = notary.into_signed();
    let tape = Rc::into_inner(tape)
        .expect("the engine's channel and notary are gone")
        .into_inner();
    let (taken, log) = tape.finish()?;
    let replayed = Replayed {
        outcome,
        divergences: taken.divergences,
        statements: signed.statements,
        messages: taken.messages,
        ran_out: taken.ran_out,
        channels: taken.channels,
        agreed: signed.agreed,
        stated: signed.stated,
        end: taken.end,
    };
    Ok((replayed, log))
}
