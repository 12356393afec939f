//! The three-party shuffle of whole rows.
//!
//! H1 = P_1 holds (A, B), H2 = P_2 (B, C), H3 = P_3 (C, A); x = A ^ B ^ C. From pairwise PRSS: permutations pi12, pi23,
//! pi31, masks Z12, Z23, Z31 and fresh shares A~ (H3, H1), B~ (H1, H2).
//!
//! - H1: X1 = pi12(A ^ B) ^ Z12, X2 = pi31(X1) ^ Z31, to H2.
//! - H2: Y1 = pi12(C) ^ Z12, to H3; C1 = pi23(X2) ^ Z23 ^ B~, to H3.
//! - H3: Y2 = pi31(Y1) ^ Z31, C2 = pi23(Y2) ^ Z23 ^ A~, to H2. C~ = C1 ^ C2.
//!
//! The paper masks before it permutes, pi(x ^ Z): the same, as Z and pi(Z) are equally uniform, and both of its holders draw it. Here the
//! rows that a check needs later stay as they were. The result is a sharing of pi23(pi31(pi12(x))); no party knows all three permutations. Four row-messages in all, two
//! rounds. Source: Araki et al., CCS 2021, section 5.2. Against a malicious party every row carries a tag ([`tags`]), and nothing
//! comes out before the tags are checked.

mod tags;

use zeroize::{Zeroize, Zeroizing};

use crate::channel::{Label, Scope};
use crate::error::TallyError;
use crate::gates::Gates;
use crate::link::{put_words, words};
use crate::prss::Purpose;
use crate::role::{Neighbour, Role};

/// Words of rows in one message.
const MESSAGE_WORDS: usize = 32 * 1024;

/// A party's two shares of a table of rows, each `width` words.
pub(crate) struct Table {
    pub(crate) width: usize,
    pub(crate) own: Vec<u64>,
    pub(crate) next: Vec<u64>,
}

impl Drop for Table {
    fn drop(&mut self) {
        self.own.zeroize();
        self.next.zeroize();
    }
}

/// Rows in an order that nobody knows, checked. Only [`shuffle`] makes one; the steps after it take nothing else.
pub(crate) struct Shuffled(Table);

impl std::ops::Deref for Shuffled {
    type Target = Table;

    fn deref(&self) -> &Table {
        &self.0
    }
}

#[cfg(test)]
impl Shuffled {
    /// Rows that a test puts in place of shuffled ones.
    pub(crate) fn of(table: Table) -> Self {
        Self(table)
    }
}

/// Shuffles the rows by a permutation that nobody knows. Rows come out one word wider where they carry a tag.
///
/// # Errors
/// A message is missing or malformed, or the tags show that a row was altered, lost or repeated.
pub(crate) fn shuffle(gates: &mut Gates<'_>, scope: Scope, table: Table) -> Result<Shuffled, TallyError> {
    if !gates.is_checked() {
        return Ok(Shuffled(permute(gates, scope, table, &mut None)?));
    }
    let (table, keys) = tags::append(gates, scope, table)?;
    let mut kept = Some(Kept::default());
    let table = permute(gates, scope, table, &mut kept)?;
    tags::check(gates, scope, keys, &table, kept.unwrap_or_default())?;
    Ok(Shuffled(table))
}

/// Words of rows on their way; wiped on drop.
type Rows = Zeroizing<Vec<u64>>;

/// What a party keeps of the rows on their way, to check their tags: P_1 X1, P_2 Y1 and X2, P_3 Y1 and Y2.
#[derive(Default)]
struct Kept {
    /// X1 at P_1, Y1 at P_2 and P_3.
    first: Rows,
    /// X2 at P_2, Y2 at P_3.
    second: Rows,
}

/// The shuffle without checks; what the checks need goes to `kept` if it is there.
fn permute(
    gates: &mut Gates<'_>,
    scope: Scope,
    mut table: Table,
    kept: &mut Option<Kept>,
) -> Result<Table, TallyError> {
    let width = table.width;
    let length = table.own.len();
    let mut own = Zeroizing::new(std::mem::take(&mut table.own));
    let next = Zeroizing::new(std::mem::take(&mut table.next));
    gates.link.count_round();
    gates.link.count_round();
    let (mut own, mut next) = match gates.role() {
        Role::P1 => {
            crate::share::xor(&mut own, &next);
            let x1 = pass(gates, scope, Neighbour::Next, &own, next, width);
            let mut x2 = pass(gates, scope, Neighbour::Prev, &x1, own, width);
            send(gates, Neighbour::Next, scope, 0, &x2)?;
            fill(gates, scope, Neighbour::Prev, &mut x2);
            let mut share = reuse(x1, kept, |kept| &mut kept.first);
            fill(gates, scope, Neighbour::Next, &mut share);
            (x2, share)
        }
        Role::P2 => {
            let y1 = pass(gates, scope, Neighbour::Prev, &next, own, width);
            send(gates, Neighbour::Next, scope, 0, &y1)?;
            let mut x2 = next;
            receive(gates, Neighbour::Prev, scope, 0, &mut x2)?;
            let c1 = reuse(y1, kept, |kept| &mut kept.first);
            let mut c1 = pass(gates, scope, Neighbour::Next, &x2, c1, width);
            let mut share = reuse(x2, kept, |kept| &mut kept.second);
            fill(gates, scope, Neighbour::Prev, &mut share);
            crate::share::xor(&mut c1, &share);
            exchange(gates, Neighbour::Next, scope, 1, &mut c1)?;
            (share, c1)
        }
        Role::P3 => {
            let mut y1 = own;
            receive(gates, Neighbour::Prev, scope, 0, &mut y1)?;
            let y2 = pass(gates, scope, Neighbour::Next, &y1, next, width);
            let c2 = reuse(y1, kept, |kept| &mut kept.first);
            let mut c2 = pass(gates, scope, Neighbour::Prev, &y2, c2, width);
            let mut share = reuse(y2, kept, |kept| &mut kept.second);
            fill(gates, scope, Neighbour::Next, &mut share);
            crate::share::xor(&mut c2, &share);
            exchange(gates, Neighbour::Prev, scope, 1, &mut c2)?;
            (c2, share)
        }
    };
    debug_assert!(own.len() == length && next.len() == length);
    Ok(Table {
        width,
        own: std::mem::take(&mut own),
        next: std::mem::take(&mut next),
    })
}

/// A buffer as long as `rows`, whose content is to be overwritten: `rows` itself, unless it is among what is kept.
fn reuse(rows: Rows, kept: &mut Option<Kept>, place: impl FnOnce(&mut Kept) -> &mut Rows) -> Rows {
    match kept {
        Some(kept) => {
            let fresh = Zeroizing::new(vec![0; rows.len()]);
            *place(kept) = rows;
            fresh
        }
        None => rows,
    }
}

/// pi(rows) ^ Z with the permutation and the mask shared with `with`, in the buffer `out`, whose content is of no more use.
fn pass(
    gates: &mut Gates<'_>,
    scope: Scope,
    with: Neighbour,
    rows: &[u64],
    mut out: Rows,
    width: usize,
) -> Rows {
    let order = Zeroizing::new(
        gates
            .prss
            .stream(with, Purpose::Permutation, scope)
            .permutation(rows.len().checked_div(width).unwrap_or(0)),
    );
    match width {
        1 => gather::<1>(rows, &order, &mut out),
        2 => gather::<2>(rows, &order, &mut out),
        3 => gather::<3>(rows, &order, &mut out),
        4 => gather::<4>(rows, &order, &mut out),
        5 => gather::<5>(rows, &order, &mut out),
        _ => {
            for (row, &from) in out.chunks_exact_mut(width).zip(order.iter()) {
                row.copy_from_slice(&rows[from as usize * width..][..width]);
            }
        }
    }
    gates.prss.stream(with, Purpose::Mask, scope).mask(&mut out);
    out
}

/// Row i of `out` is row order[i] of `rows`, for rows of W words.
fn gather<const W: usize>(rows: &[u64], order: &[u32], out: &mut [u64]) {
    let (rows, _) = rows.as_chunks::<W>();
    let (out, _) = out.as_chunks_mut::<W>();
    for (row, &from) in out.iter_mut().zip(order) {
        *row = rows[from as usize];
    }
}

/// Overwrites `out` with the fresh share known to `with` and this party.
fn fill(gates: &mut Gates<'_>, scope: Scope, with: Neighbour, out: &mut [u64]) {
    gates.prss.stream(with, Purpose::Share, scope).fill(out);
}

/// The message that carries the words from `from` on.
fn label(scope: Scope, leg: u32, from: usize) -> Label {
    Label {
        scope: Scope { chunk: leg, ..scope },
        round: (from / MESSAGE_WORDS) as u32,
    }
}

fn send(
    gates: &mut Gates<'_>,
    to: Neighbour,
    scope: Scope,
    leg: u32,
    rows: &[u64],
) -> Result<(), TallyError> {
    for (i, part) in rows.chunks(MESSAGE_WORDS).enumerate() {
        let mut message = gates.link.buffer(8 * part.len());
        put_words(&mut message, part);
        gates
            .link
            .send(to, label(scope, leg, i * MESSAGE_WORDS), message)?;
    }
    Ok(())
}

fn receive(
    gates: &mut Gates<'_>,
    from: Neighbour,
    scope: Scope,
    leg: u32,
    out: &mut [u64],
) -> Result<(), TallyError> {
    for (i, part) in out.chunks_mut(MESSAGE_WORDS).enumerate() {
        let message = gates
            .link
            .recv(from, label(scope, leg, i * MESSAGE_WORDS), 8 * part.len())?;
        for (word, value) in part.iter_mut().zip(words(&message)) {
            *word = value;
        }
        gates.link.recycle(message);
    }
    Ok(())
}

/// Sends `rows` and XORs the other's into it, message by message so that neither has to buffer all of it.
fn exchange(
    gates: &mut Gates<'_>,
    with: Neighbour,
    scope: Scope,
    leg: u32,
    rows: &mut [u64],
) -> Result<(), TallyError> {
    for (i, part) in rows.chunks_mut(MESSAGE_WORDS).enumerate() {
        let label = label(scope, leg, i * MESSAGE_WORDS);
        let mut message = gates.link.buffer(8 * part.len());
        put_words(&mut message, part);
        gates.link.send(with, label, message)?;
        let message = gates.link.recv(with, label, 8 * part.len())?;
        for (word, value) in part.iter_mut().zip(words(&message)) {
            *word ^= value;
        }
        gates.link.recycle(message);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
