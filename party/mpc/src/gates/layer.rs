//! Layers: one round of ANDs over whole columns, cut into messages of which a few are under way at a time.

use std::collections::VecDeque;

use super::{BLOCK, Gates, MESSAGE_WORDS, Pending, Tape};
use crate::error::TallyError;
use crate::link::words;
use crate::share::{Column, Pair};

/// Messages of a layer sent ahead of those received.
const AHEAD: usize = 4;

/// Where the factors of a layer are and where its products go.
trait Layer {
    /// Length of each column, in words.
    fn lengths(&self) -> Vec<usize>;
    /// The factors of the words `from..to` of a column.
    fn factors(&self, column: usize, from: usize, to: usize) -> (Pair<'_>, Pair<'_>);
    /// The column that takes the products.
    fn product(&mut self, column: usize) -> &mut Column;
}

/// Products beside their factors.
struct Beside<'p> {
    pairs: &'p [(&'p Column, &'p Column)],
    out: Vec<Column>,
}

impl Layer for Beside<'_> {
    fn lengths(&self) -> Vec<usize> {
        self.out.iter().map(Column::words).collect()
    }

    fn factors(&self, column: usize, from: usize, to: usize) -> (Pair<'_>, Pair<'_>) {
        let (x, y) = self.pairs[column];
        (x.pair().range(from, to), y.pair().range(from, to))
    }

    fn product(&mut self, column: usize) -> &mut Column {
        &mut self.out[column]
    }
}

/// Products in place of the first factor.
struct InPlace<'p> {
    xs: &'p mut [Column],
    ys: &'p [Column],
}

impl Layer for InPlace<'_> {
    fn lengths(&self) -> Vec<usize> {
        self.xs.iter().map(Column::words).collect()
    }

    fn factors(&self, column: usize, from: usize, to: usize) -> (Pair<'_>, Pair<'_>) {
        (
            self.xs[column].pair().range(from, to),
            self.ys[column].pair().range(from, to),
        )
    }

    fn product(&mut self, column: usize) -> &mut Column {
        &mut self.xs[column]
    }
}

/// A range of words of a column.
type Part = (usize, usize, usize);

impl Gates<'_> {
    /// x AND y for pairs of columns of equal length, all in one round.
    pub(crate) fn and(
        &mut self,
        tape: &mut Tape,
        pairs: &[(&Column, &Column)],
    ) -> Result<Vec<Column>, TallyError> {
        let out = pairs.iter().map(|(x, _)| Column::zero(x.words())).collect();
        let mut layer = Beside { pairs, out };
        self.layer(tape, &mut layer)?;
        Ok(layer.out)
    }

    /// One AND.
    pub(crate) fn and1(&mut self, tape: &mut Tape, x: &Column, y: &Column) -> Result<Column, TallyError> {
        Ok(self
            .and(tape, &[(x, y)])?
            .pop()
            .expect("one product for one pair"))
    }

    /// x &= y for the columns of two lists of the same shape, all in one round.
    pub(crate) fn and_assign(
        &mut self,
        tape: &mut Tape,
        xs: &mut [Column],
        ys: &[Column],
    ) -> Result<(), TallyError> {
        self.layer(tape, &mut InPlace { xs, ys })
    }

    fn layer(&mut self, tape: &mut Tape, layer: &mut impl Layer) -> Result<(), TallyError> {
        let messages = cut(&layer.lengths());
        if !messages.is_empty() {
            self.begin_round()?;
        }
        let mut under_way = VecDeque::new();
        for parts in &messages {
            let bytes = parts.iter().map(|(_, from, to)| 8 * (to - from)).sum();
            let mut message = self.link.buffer(bytes);
            let mut at = 0;
            for &(column, from, to) in parts {
                for start in (from..to).step_by(BLOCK) {
                    let end = to.min(start + BLOCK);
                    let (x, y) = layer.factors(column, start, end);
                    let bytes = 8 * (end - start);
                    self.and_block(tape, x, y, &mut message[at..at + bytes]);
                    layer.product(column).a[start..end].copy_from_slice(&tape.z[..end - start]);
                    at += bytes;
                }
            }
            under_way.push_back((self.send_products(tape, message)?, parts));
            if under_way.len() > AHEAD
                && let Some((pending, parts)) = under_way.pop_front()
            {
                self.take_in(layer, pending, parts)?;
            }
        }
        for (pending, parts) in under_way {
            self.take_in(layer, pending, parts)?;
        }
        self.begin_proofs(tape.scope);
        Ok(())
    }

    /// Stores the next party's shares of the products of one message.
    fn take_in(
        &mut self,
        layer: &mut impl Layer,
        pending: Pending,
        parts: &[Part],
    ) -> Result<(), TallyError> {
        let message = self.recv_products(pending)?;
        let mut products = words(&message);
        for &(column, from, to) in parts {
            for (b, z) in layer.product(column).b[from..to].iter_mut().zip(&mut products) {
                *b = z;
            }
        }
        drop(products);
        self.link.recycle(message);
        Ok(())
    }
}

/// Cuts columns of those lengths into messages.
fn cut(lengths: &[usize]) -> Vec<Vec<Part>> {
    let mut messages = Vec::new();
    let mut parts = Vec::new();
    let mut filled = 0;
    for (column, &length) in lengths.iter().enumerate() {
        let mut from = 0;
        while from < length {
            let to = length.min(from + MESSAGE_WORDS - filled);
            parts.push((column, from, to));
            filled += to - from;
            from = to;
            if filled == MESSAGE_WORDS {
                messages.push(std::mem::take(&mut parts));
                filled = 0;
            }
        }
    }
    if !parts.is_empty() {
        messages.push(parts);
    }
    messages
}
