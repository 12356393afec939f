//! Who is on an open roll so far, as stations look voters up: what each party states under its signature, and the list that comes of it.
//!
//! ```text
//! head of P_j     = signature over (tag, election, box, j, moment, numbers, root)
//! root            RFC 6962 over leaves (tag', v, name), v rising; a number that P_j has not accepted a record for has no leaf
//! ```
//!
//! A line counts where **two** heads hold it: one of these parties is honest, and has seen a card of that name take that number. So no list stands on
//! the word of whoever carries it, and no party alone keeps anybody off it, or puts anybody on. Of what only one head holds the list has the leaf
//! and no name.
//!
//! The list is a text of lines with tabs between their parts, for people and programs:
//!
//! ```text
//! tally open roll   1   <election>   <box>
//! <v>   <name>   <parties, as 123 or 13>                       v rising
//! <v>            <party>   <leaf, 64 hexadecimal digits>
//! head   <party>   <moment, Unix seconds>   <signature, 128 hexadecimal digits>
//! ```
//!
//! # Security
//! It names people: for the commission and its stations. How new it is stands in the heads; a list of yesterday lacks who enrolled today.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use data_encoding::HEXLOWER;
use thiserror::Error;

use crate::envelope::{PublicKey, SignatureBytes, Signer};
use crate::ids::{BoxId, ElectionId, Hash32, Role, RoleExt as _, UnixSeconds, VoterIndex};
use crate::layout::{Writer, tag};
use crate::manifest::{MAX_VOTERS, Manifest};
use crate::merkle::{Frontier, leaf_hash};
use crate::wire;

/// Longest name in bytes, as parties write it.
pub const MAX_NAME_BYTES: usize = 1 << 15;
/// Largest list in bytes.
pub const MAX_BYTES: u64 = 1 << 33;
const TITLE: &str = "tally open roll\t1";
/// Heads that must hold a line.
const HEADS: usize = 2;

/// Why a list, or what a party states, is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OpenRollError {
    /// A line that is none.
    #[error("line {0} is none of such a list")]
    Line(usize),
    /// Of another election or box.
    #[error("it is the list of another election or box")]
    Other,
    /// Numbers do not rise.
    #[error("{0}'s numbers do not rise, or are beyond the roll")]
    Numbers(Role),
    /// A name twice under one head.
    #[error("{party} has given one person two numbers, {first} and {second}")]
    Twice {
        /// Whose head.
        party: Role,
        /// The lower one.
        first: VoterIndex,
        /// The higher one.
        second: VoterIndex,
    },
    /// A name that cannot stand in a line.
    #[error("a name is 1 to {MAX_NAME_BYTES} bytes without control characters")]
    Name,
    /// A signature that does not verify over these lines.
    #[error("what stands here is not what {0} has signed: a line was changed, left out or added")]
    Signature(Role),
    /// Too few heads.
    #[error("it bears the signatures of {0} of the parties, and two are needed")]
    Heads(usize),
}

/// What a party has signed of its numbers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Head {
    /// When, by its clock.
    pub at: UnixSeconds,
    /// Over the leaves.
    pub signature: SignatureBytes,
}

/// What is not signed with each head: which list it is of.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The election.
    pub election: &'a ElectionId,
    /// Its box.
    pub of_box: BoxId,
}

/// The name as it stands in a list: what the card says, with control characters written out.
pub fn name_of(said: &str) -> String {
    let mut name = String::with_capacity(said.len());
    for c in said.chars() {
        if c.is_control() {
            name.extend(c.escape_unicode());
        } else {
            name.push(c);
        }
    }
    name
}

fn leaf(v: u32, name: &str) -> Hash32 {
    let layout = Writer::new(tag::OPEN_ROLL_NAME).u32(v).text(name);
    leaf_hash(layout.as_bytes())
}

fn message(of: Subject<'_>, party: Role, at: UnixSeconds, leaves: &Frontier) -> Writer {
    Writer::new(tag::OPEN_ROLL_HEAD)
        .election(of.election)
        .ballot_box(of.of_box)
        .u8(party.index())
        .u64(at.get())
        .u64(leaves.size())
        .fixed(&leaves.root().0)
}

impl Head {
    /// Signs the numbers that `party` has accepted records for, with their names.
    pub fn sign(
        of: Subject<'_>,
        party: Role,
        at: UnixSeconds,
        names: &BTreeMap<u32, String>,
        signer: &Signer,
    ) -> Self {
        let leaves = frontier(names.iter().map(|(v, name)| leaf(*v, name)));
        let signature = signer.sign_layout(&message(of, party, at, &leaves));
        Self { at, signature }
    }

    fn verifies(&self, of: Subject<'_>, party: Role, leaves: &Frontier, key: &PublicKey) -> bool {
        let message = message(of, party, self.at, leaves);
        key.verify(message.as_bytes(), &self.signature)
    }

    /// From the wire; `None` for what is none.
    pub fn from_wire(wire: &wire::OpenRollHead) -> Option<Self> {
        Some(Self {
            at: UnixSeconds(wire.at_s),
            signature: SignatureBytes::from_slice(&wire.signature).ok()?,
        })
    }

    /// To the wire.
    pub fn to_wire(&self) -> wire::OpenRollHead {
        wire::OpenRollHead {
            at_s: self.at.get(),
            signature: self.signature.0.to_vec(),
        }
    }
}

fn frontier(leaves: impl IntoIterator<Item = Hash32>) -> Frontier {
    let mut frontier = Frontier::new();
    for leaf in leaves {
        frontier.push(leaf);
    }
    frontier
}

/// What one party states: its numbers with their names, and its head.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Told {
    names: BTreeMap<u32, String>,
    head: Head,
}

impl Told {
    /// Checks what `party` has sent.
    ///
    /// # Errors
    /// [`OpenRollError`]: each of them that party's fault.
    pub fn new(
        of: Subject<'_>,
        party: Role,
        key: &PublicKey,
        entries: impl IntoIterator<Item = (u32, String)>,
        head: Head,
    ) -> Result<Self, OpenRollError> {
        let mut checked = Checked::default();
        let mut names = BTreeMap::new();
        for (v, name) in entries {
            if !(1..=MAX_NAME_BYTES).contains(&name.len()) || name.chars().any(char::is_control) {
                return Err(OpenRollError::Name);
            }
            checked.push(party, v, leaf(v, &name), Some(&name))?;
            names.insert(v, name);
        }
        if head.verifies(of, party, &checked.leaves, key) {
            Ok(Self { names, head })
        } else {
            Err(OpenRollError::Signature(party))
        }
    }
}

/// The leaves of one party, as they come.
struct Checked {
    leaves: Frontier,
    next: u32,
    seen: BTreeMap<String, u32>,
}

impl Default for Checked {
    fn default() -> Self {
        Self {
            leaves: Frontier::new(),
            next: 0,
            seen: BTreeMap::new(),
        }
    }
}

impl Checked {
    fn push(&mut self, party: Role, v: u32, leaf: Hash32, name: Option<&str>) -> Result<(), OpenRollError> {
        if v < self.next || v >= MAX_VOTERS {
            return Err(OpenRollError::Numbers(party));
        }
        self.next = v + 1;
        self.leaves.push(leaf);
        if let Some(first) = name.and_then(|name| self.seen.insert(name.to_owned(), v)) {
            return Err(OpenRollError::Twice {
                party,
                first: VoterIndex(first),
                second: VoterIndex(v),
            });
        }
        Ok(())
    }
}

/// A line of a list.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Line {
    v: u32,
    leaf: Hash32,
    /// Where two parties have it.
    name: Option<String>,
    by: [bool; 3],
}

/// Somebody whom two or three parties have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OnOpenRoll<'a> {
    /// The number.
    pub voter: VoterIndex,
    /// What the card says.
    pub name: &'a str,
    /// The party that has signed its roll without this line, if one has.
    pub missing_at: Option<Role>,
}

/// A list whose heads hold what stands in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenRollList {
    lines: Vec<Line>,
    heads: [Option<Head>; 3],
}

impl OpenRollList {
    /// Of what the parties have told, each checked by [`Told::new`].
    ///
    /// # Errors
    /// [`OpenRollError::Heads`].
    pub fn join(told: [Option<Told>; 3]) -> Result<Self, OpenRollError> {
        let mut by_leaf: BTreeMap<(u32, &str), [bool; 3]> = BTreeMap::new();
        for (slot, told) in told.iter().enumerate() {
            for (v, name) in told.iter().flat_map(|told| &told.names) {
                by_leaf.entry((*v, name.as_str())).or_default()[slot] = true;
            }
        }
        let line = |((v, name), by): ((u32, &str), [bool; 3])| Line {
            v,
            leaf: leaf(v, name),
            name: (count(by) >= HEADS).then(|| name.to_owned()),
            by,
        };
        let lines = by_leaf.into_iter().map(line).collect();
        let heads = told.map(|told| told.map(|told| told.head));
        enough(&heads)?;
        Ok(Self { lines, heads })
    }

    /// Reads a list and checks that it is of this box, and exactly what its heads hold.
    ///
    /// # Errors
    /// [`OpenRollError`].
    pub fn decode(text: &str, manifest: &Manifest, of_box: BoxId) -> Result<Self, OpenRollError> {
        let election = manifest.election();
        let of = Subject { election, of_box };
        let mut rows = (1..).zip(text.lines());
        if rows.next().map(|(_, line)| line) != Some(title(of).as_str()) {
            return Err(OpenRollError::Other);
        }
        let (mut lines, mut heads) = (Vec::new(), [const { None }; 3]);
        let mut parties: [Checked; 3] = Default::default();
        for (number, row) in rows {
            let parts: Vec<&str> = row.split('\t').collect();
            let wrong = || OpenRollError::Line(number);
            if let ["head", party, at, signature] = parts.as_slice() {
                let (party, head) = read_head(party, at, signature).ok_or_else(wrong)?;
                if heads[party.slot()].replace(head).is_some() {
                    return Err(wrong());
                }
                continue;
            }
            let line = read_line(&parts).ok_or_else(wrong)?;
            for party in Role::ALL.into_iter().filter(|party| line.by[party.slot()]) {
                parties[party.slot()].push(party, line.v, line.leaf, line.name.as_deref())?;
            }
            lines.push(line);
        }
        let keys = manifest.party_keys();
        for party in Role::ALL {
            let (slot, own) = (party.slot(), &parties[party.slot()]);
            let holds = match &heads[slot] {
                Some(head) => head.verifies(of, party, &own.leaves, &keys[slot]),
                None => own.leaves.size() == 0,
            };
            if !holds {
                return Err(OpenRollError::Signature(party));
            }
        }
        enough(&heads)?;
        Ok(Self { lines, heads })
    }

    /// The text of the list.
    pub fn encode(&self, of: Subject<'_>) -> String {
        let mut text = title(of) + "\n";
        for line in &self.lines {
            let by: String = Role::ALL
                .iter()
                .filter(|party| line.by[party.slot()])
                .map(|party| party.number().to_string())
                .collect();
            let _ = match &line.name {
                Some(name) => writeln!(text, "{}\t{name}\t{by}", line.v),
                None => writeln!(text, "{}\t\t{by}\t{}", line.v, HEXLOWER.encode(&line.leaf.0)),
            };
        }
        for party in Role::ALL {
            if let Some(head) = &self.heads[party.slot()] {
                let signature = HEXLOWER.encode(&head.signature.0);
                let _ = writeln!(text, "head\t{}\t{}\t{signature}", party.number(), head.at.get());
            }
        }
        text
    }

    /// Everybody whom two parties have, by number.
    pub fn voters(&self) -> impl Iterator<Item = OnOpenRoll<'_>> {
        self.lines.iter().filter_map(|line| {
            let lacking = |party: &Role| self.heads[party.slot()].is_some() && !line.by[party.slot()];
            Some(OnOpenRoll {
                voter: VoterIndex(line.v),
                name: line.name.as_deref()?,
                missing_at: Role::ALL.into_iter().find(lacking),
            })
        })
    }

    /// The party whose head is not there: of whom it has the list says nothing. Whom one other party leaves out is not on the list then.
    pub fn without(&self) -> Option<Role> {
        Role::ALL
            .into_iter()
            .find(|party| self.heads[party.slot()].is_none())
    }

    /// The numbers that this party has not, or has for somebody else, though both others agree on them.
    pub fn missing_at(&self, party: Role) -> Vec<VoterIndex> {
        let missing = self.voters().filter(|on| on.missing_at == Some(party));
        missing.map(|on| on.voter).collect()
    }

    /// Numbers that one party alone has: enrolments that were not finished. Without those that another has for somebody else.
    pub fn unfinished(&self) -> usize {
        let numbers = self.lines.chunk_by(|one, next| one.v == next.v);
        numbers
            .filter(|of| matches!(of, [line] if line.name.is_none()))
            .count()
    }

    /// Numbers under which no two parties have the same person, and more than one has somebody.
    pub fn differing(&self) -> Vec<VoterIndex> {
        let numbers = self.lines.chunk_by(|one, next| one.v == next.v);
        let differ = numbers.filter(|of| of.len() > 1 && of.iter().all(|line| line.name.is_none()));
        differ.map(|of| VoterIndex(of[0].v)).collect()
    }

    /// When the list was true: of the two newest heads the older one.
    pub fn as_of(&self) -> UnixSeconds {
        let mut moments: Vec<UnixSeconds> = self.heads.iter().flatten().map(|head| head.at).collect();
        moments.sort_unstable();
        moments.into_iter().rev().nth(HEADS - 1).unwrap_or_default()
    }
}

fn title(of: Subject<'_>) -> String {
    format!("{TITLE}\t{}\t{}", of.election, of.of_box)
}

fn count(by: [bool; 3]) -> usize {
    by.into_iter().filter(|has| *has).count()
}

fn enough(heads: &[Option<Head>; 3]) -> Result<(), OpenRollError> {
    match heads.iter().flatten().count() {
        0..HEADS => Err(OpenRollError::Heads(heads.iter().flatten().count())),
        _ => Ok(()),
    }
}

fn read_head(party: &str, at: &str, signature: &str) -> Option<(Role, Head)> {
    let party = Role::from_number(canonical(party)?).ok()?;
    let signature = HEXLOWER.decode(signature.as_bytes()).ok()?;
    let at: u64 = at.parse().ok().filter(|number: &u64| number.to_string() == at)?;
    let head = Head {
        at: UnixSeconds(at),
        signature: SignatureBytes::from_slice(&signature).ok()?,
    };
    Some((party, head))
}

fn canonical(number: &str) -> Option<u32> {
    number
        .parse()
        .ok()
        .filter(|parsed: &u32| parsed.to_string() == number)
}

fn read_line(parts: &[&str]) -> Option<Line> {
    let (v, by) = (canonical(parts.first()?)?, parties(parts.get(2)?)?);
    match parts {
        [_, name, _] if count(by) >= HEADS => {
            let fits = (1..=MAX_NAME_BYTES).contains(&name.len()) && !name.chars().any(char::is_control);
            fits.then(|| Line {
                v,
                leaf: leaf(v, name),
                name: Some((*name).to_owned()),
                by,
            })
        }
        [_, "", _, hash] if count(by) == 1 => {
            let hash = HEXLOWER.decode(hash.as_bytes()).ok()?;
            Some(Line {
                v,
                leaf: Hash32::from_slice(&hash).ok()?,
                name: None,
                by,
            })
        }
        _ => None,
    }
}

fn parties(text: &str) -> Option<[bool; 3]> {
    let mut by = [false; 3];
    for number in text.chars() {
        let party = Role::from_number(number.to_digit(10)?).ok()?;
        if std::mem::replace(&mut by[party.slot()], true) {
            return None;
        }
    }
    Some(by)
}

#[cfg(test)]
mod tests;
