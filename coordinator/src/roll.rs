//! The roll as a file: one CSV with the columns `box`, `reference`, `online` and, if wished, `index`.
//!
//! Where voters enrol by card, the commission's file has a column `person` too: what the voter's certificates say of their holder, several
//! with spaces between where a re-issued card says something else. From the definition on the roll holds salted codes in its place, in a
//! column `code`: personal codes stand in no other file of the election, nor does anybody who is handed the roll see them.
//!
//! Without `index` the voters of a box are numbered 0, 1, 2 ... in the order of the file. With it, each box's numbers must be
//! exactly 0 to N-1 in any order. A reference (whatever the commission calls a voter) stands once in the whole roll.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::{Path, PathBuf};

use tally_proto::card::{Salt, certificate_number};
use tally_proto::ids::{BoxId, Hash32, VoterIndex};
use tally_proto::manifest::{BallotBox, Manifest};
use tally_proto::roll::{Roll, RollEntry};

use crate::error::Error;

/// The columns a roll may have.
pub const COLUMNS: [&str; 6] = ["box", "reference", "online", "index", "person", "code"];
/// The longest reference, in bytes.
pub const MAX_REFERENCE: usize = 200;
/// What programs for tables take for the beginning of a formula: also as wide letters, which some of them read alike.
const FORMULA: [char; 8] = ['=', '+', '-', '@', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'];

/// What such programs take for the end of a cell, each where its users write numbers so.
const CELL_ENDS: [char; 2] = [';', '\t'];

/// Whether programs for tables would compute a cell that begins in this text instead of showing it; what does not show, and quotes, before it do not change that
/// everywhere.
pub(crate) fn is_formula(text: &str) -> bool {
    formula(text).is_some()
}

/// What begins a formula in this text, if there is one.
pub(crate) fn formula(text: &str) -> Option<char> {
    let unseen = |c: char| {
        c.is_whitespace() || matches!(c, '"' | '\'' | '\u{feff}' | '\u{200b}'..='\u{200f}' | '\u{2060}')
    };
    text.split(CELL_ENDS)
        .filter_map(|cell| cell.trim_start_matches(unseen).chars().next())
        .find(|first| FORMULA.contains(first))
}

/// One voter of a box, at its index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Voter {
    /// The commission's name for the voter.
    pub reference: String,
    /// Whether the voter may vote online (gets a credential).
    pub online: bool,
    /// What the voter's certificates say of their holder, as the commission wrote it; gone once the codes are there.
    pub persons: Vec<String>,
    /// Salted codes for that, ascending.
    pub codes: Vec<Hash32>,
}

/// Every box's voters in index order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RollFile {
    boxes: BTreeMap<u32, Vec<Voter>>,
}

impl RollFile {
    /// The voters of a box in index order; none for a box that the file does not name.
    pub fn voters(&self, box_id: u32) -> &[Voter] {
        self.boxes.get(&box_id).map_or(&[], Vec::as_slice)
    }

    /// All voters, with their boxes.
    pub fn len(&self) -> usize {
        self.boxes.values().map(Vec::len).sum()
    }

    /// True without any voter.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The roll of a box as the manifest's objects know it, with its Merkle root.
    ///
    /// # Errors
    /// [`tally_proto::roll::RollError`]: what passes here and is refused there.
    pub fn of_box(&self, box_id: BoxId) -> Result<Roll, tally_proto::roll::RollError> {
        let entry = |v: &Voter| RollEntry {
            reference: v.reference.clone(),
            online: v.online,
            persons: v.codes.clone(),
        };
        Roll::new(self.voters(box_id.get()).iter().map(entry).collect())
    }

    /// Checks that this is the roll that the manifest was made with, box by box, and answers it; of an open roll there is nothing.
    ///
    /// # Errors
    /// [`Error::RollOfBox`].
    pub fn check(&self, manifest: &Manifest) -> Result<Vec<(BoxId, Roll)>, Error> {
        let checked = |b: &BallotBox| {
            let refused = |source| Error::RollOfBox {
                of_box: b.id(),
                source,
            };
            let roll = self.of_box(b.id()).map_err(refused)?;
            roll.check_box(b).map_err(refused)?;
            Ok((b.id(), roll))
        };
        let closed = manifest.boxes().iter().filter(|b| b.open().is_none());
        closed.map(checked).collect()
    }

    /// Where a reference stands.
    pub fn find(&self, reference: &str) -> Option<(BoxId, VoterIndex)> {
        self.boxes.iter().find_map(|(id, voters)| {
            let v = voters.iter().position(|v| v.reference == reference)?;
            Some((BoxId(*id), VoterIndex(u32::try_from(v).ok()?)))
        })
    }

    /// Whether any voter has something that certificates say.
    pub fn names_persons(&self) -> bool {
        self.boxes.values().flatten().any(|v| !v.persons.is_empty())
    }

    /// Where the certificates' own numbers name the voters: puts the form in which certificates are read in the place of what was written.
    ///
    /// # Errors
    /// [`RollError::Number`]: else that voter would be told to be on no roll.
    pub fn number_persons(&mut self) -> Result<(), RollError> {
        for voter in self.boxes.values_mut().flatten() {
            for said in &mut voter.persons {
                *said = certificate_number(said).ok_or_else(|| RollError::Number {
                    reference: voter.reference.clone(),
                    value: said.clone(),
                })?;
            }
        }
        Ok(())
    }

    /// Puts codes in the place of what certificates say.
    pub fn code(&mut self, salt: &Salt) {
        for voter in self.boxes.values_mut().flatten() {
            voter.codes = voter.persons.drain(..).map(|said| salt.person(&said)).collect();
            voter.codes.sort_unstable_by_key(|code| code.0);
        }
    }

    /// As a CSV with all columns but `person`; without `code` where there is none.
    pub fn to_csv(&self) -> String {
        let coded = self.boxes.values().flatten().any(|v| !v.codes.is_empty());
        let mut text = String::from("box,reference,online,index");
        text += if coded { ",code\n" } else { "\n" };
        for (id, voters) in &self.boxes {
            for (v, voter) in voters.iter().enumerate() {
                let reference = &voter.reference;
                let quoted = reference.contains([',', '"', '\n', '\r']);
                let quoted = if quoted {
                    &format!("\"{}\"", reference.replace('"', "\"\""))
                } else {
                    reference
                };
                text += &format!("{id},{quoted},{},{v}", if voter.online { "yes" } else { "no" });
                if coded {
                    let codes: Vec<String> = voter.codes.iter().map(|code| code.to_string()).collect();
                    text += &format!(",{}", codes.join(" "));
                }
                text.push('\n');
            }
        }
        text
    }
}

/// What is wrong with a roll.
#[derive(Debug, thiserror::Error)]
pub enum RollError {
    /// The file cannot be opened or read.
    #[error("roll {}: cannot be read: {source}; check the path and its permissions", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line is not CSV of the header's width.
    #[error("roll {}: line {line}: {source}; every line needs as many fields as the header", path.display())]
    Csv {
        /// The file.
        path: PathBuf,
        /// Where.
        line: u64,
        /// Why.
        source: csv::Error,
    },
    /// Columns are missing, unknown or repeated.
    #[error("roll {}: line 1: {problem}; the columns are box, reference, online and optionally index and person", path.display())]
    Columns {
        /// The file.
        path: PathBuf,
        /// What is wrong with them.
        problem: ColumnProblem,
    },
    /// A field that cannot be read.
    #[error("roll {}: line {line}: {field} {value:?} {must}", path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// Where.
        line: u64,
        /// Which column.
        field: &'static str,
        /// As written.
        value: String,
        /// What it must be.
        must: &'static str,
    },
    /// Not the number of a certificate, where that names voters.
    #[error(
        "roll: voter {reference:?}: person {value:?} is not the number of a certificate, which names the voters of this election: hexadecimal digits, as 9f01 or 9F:01"
    )]
    Number {
        /// Whose line.
        reference: String,
        /// As written.
        value: String,
    },
    /// A box that the election does not define.
    #[error("roll {}: line {line}: box {id} is not defined; the boxes are {known:?}", path.display())]
    UnknownBox {
        /// The file.
        path: PathBuf,
        /// Where.
        line: u64,
        /// As written.
        id: u32,
        /// The defined ones.
        known: Vec<u32>,
    },
    /// A voter twice.
    #[error(
        "roll.duplicate: roll {}: line {line}: reference {reference:?} is already on line {first}; remove one of them",
        path.display()
    )]
    DuplicateReference {
        /// The file.
        path: PathBuf,
        /// Where.
        line: u64,
        /// Where it stood first.
        first: u64,
        /// The reference.
        reference: String,
    },
    /// An index twice.
    #[error(
        "roll.duplicate: roll {}: line {line}: index {index} of box {id} is already on line {first}; number each voter once",
        path.display()
    )]
    DuplicateIndex {
        /// The file.
        path: PathBuf,
        /// Where.
        line: u64,
        /// Where it stood first.
        first: u64,
        /// The box.
        id: u32,
        /// The index.
        index: u32,
    },
    /// An index left out.
    #[error(
        "roll.gap: roll {}: line {line}: box {id} has {voters} voters and an index {index}, but none has index {missing}; number them 0 to {last}",
        path.display(), last = voters.saturating_sub(1)
    )]
    Gap {
        /// The file.
        path: PathBuf,
        /// Where the first index beyond stands.
        line: u64,
        /// The box.
        id: u32,
        /// How many voters it has.
        voters: usize,
        /// The index beyond.
        index: u32,
        /// The lowest index that nobody has.
        missing: u32,
    },
    /// More voters than a box can hold.
    #[error("roll {}: line {line}: box {id} has more than {most} voters; split it", path.display(), most = MAX_VOTERS)]
    TooMany {
        /// The file.
        path: PathBuf,
        /// Where.
        line: u64,
        /// The box.
        id: u32,
    },
}

/// What is wrong with a roll's header.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ColumnProblem {
    /// A needed column is not there.
    #[error("column {0:?} is missing")]
    Missing(&'static str),
    /// A column nobody asked for: perhaps personal data that does not belong into a roll that is handed over.
    #[error("column {0:?} is unknown: remove it")]
    Unknown(String),
    /// A column twice.
    #[error("column {0:?} is there twice")]
    Twice(String),
}

/// The most voters of one box: indices leave room for the sentinel in 31 bits.
pub const MAX_VOTERS: usize = (1 << 30) - 1;

struct Columns {
    box_id: usize,
    reference: usize,
    online: usize,
    index: Option<usize>,
    person: Option<usize>,
    code: Option<usize>,
}

struct Line {
    line: u64,
    index: Option<u32>,
    voter: Voter,
}

/// Reads and checks the roll of the boxes `known`.
///
/// # Errors
/// [`RollError`], always with the file and, where one is to blame, the line.
pub fn read(path: &Path, known: &[u32]) -> Result<RollFile, RollError> {
    let file = std::fs::File::open(path).map_err(|source| RollError::Unreadable {
        path: path.to_path_buf(),
        source,
    })?;
    parse(file, path, known)
}

/// As [`read`], from any reader; `path` is only named in errors.
///
/// # Errors
/// As [`read`].
pub fn parse(reader: impl Read, path: &Path, known: &[u32]) -> Result<RollFile, RollError> {
    let mut csv = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(reader);
    let header = csv.headers().map_err(|e| csv_error(path, e))?;
    let columns = columns(header).map_err(|problem| RollError::Columns {
        path: path.to_path_buf(),
        problem,
    })?;

    let mut boxes: BTreeMap<u32, Vec<Line>> = BTreeMap::new();
    let mut seen: HashMap<String, u64> = HashMap::new();
    let mut record = csv::StringRecord::new();
    while csv.read_record(&mut record).map_err(|e| csv_error(path, e))? {
        let line = record.position().map_or(0, csv::Position::line);
        let get = |column: usize| record.get(column).unwrap_or("");
        let wrong = |field, value: &str, must| RollError::Field {
            path: path.to_path_buf(),
            line,
            field,
            value: value.to_owned(),
            must,
        };
        let box_id: u32 = get(columns.box_id).parse().map_err(|_| {
            wrong(
                "box",
                get(columns.box_id),
                "is not a box id: write its number in the election file",
            )
        })?;
        if !known.contains(&box_id) {
            return Err(RollError::UnknownBox {
                path: path.to_path_buf(),
                line,
                id: box_id,
                known: known.to_vec(),
            });
        }
        let reference = get(columns.reference);
        if reference.is_empty() || reference.len() > MAX_REFERENCE || reference.chars().any(char::is_control)
        {
            return Err(wrong(
                "reference",
                reference,
                "must be 1 to 200 bytes without control characters",
            ));
        }
        if is_formula(reference) {
            return Err(wrong(
                "reference",
                reference,
                "must not begin with =, +, - or @: programs for tables would take it for a formula, beside the voters' codes",
            ));
        }
        let online = match get(columns.online).to_ascii_lowercase().as_str() {
            "yes" | "true" | "1" => true,
            "no" | "false" | "0" => false,
            other => return Err(wrong("online", other, "must be yes or no")),
        };
        let index = match columns.index {
            None => None,
            Some(column) => Some(get(column).parse().map_err(|_| {
                wrong(
                    "index",
                    get(column),
                    "is not a voter index: number each box's voters from 0",
                )
            })?),
        };
        let words = |column: Option<usize>| column.map_or("", get).split_whitespace();
        let persons: Vec<String> = words(columns.person).map(str::to_owned).collect();
        let codes = words(columns.code)
            .map(|code| {
                let bytes = data_encoding::HEXLOWER.decode(code.as_bytes()).ok();
                bytes.and_then(|bytes| Hash32::from_slice(&bytes).ok())
            })
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| {
                wrong(
                    "code",
                    "…",
                    "must be 64 hexadecimal digits, or several such words",
                )
            })?;
        if let Some(first) = seen.insert(reference.to_owned(), line) {
            return Err(RollError::DuplicateReference {
                path: path.to_path_buf(),
                line,
                first,
                reference: reference.to_owned(),
            });
        }
        let lines = boxes.entry(box_id).or_default();
        if lines.len() == MAX_VOTERS {
            return Err(RollError::TooMany {
                path: path.to_path_buf(),
                line,
                id: box_id,
            });
        }
        lines.push(Line {
            line,
            index,
            voter: Voter {
                reference: reference.to_owned(),
                online,
                persons,
                codes,
            },
        });
    }
    let boxes = boxes
        .into_iter()
        .map(|(id, lines)| Ok((id, in_order(path, id, lines)?)))
        .collect::<Result<_, RollError>>()?;
    Ok(RollFile { boxes })
}

fn columns(header: &csv::StringRecord) -> Result<Columns, ColumnProblem> {
    let names: Vec<&str> = header
        .iter()
        .map(|name| name.trim_start_matches('\u{feff}'))
        .collect();
    for (position, name) in names.iter().enumerate() {
        if !COLUMNS.contains(name) {
            return Err(ColumnProblem::Unknown((*name).to_owned()));
        }
        if names[..position].contains(name) {
            return Err(ColumnProblem::Twice((*name).to_owned()));
        }
    }
    let find = |wanted: &'static str| {
        names
            .iter()
            .position(|n| *n == wanted)
            .ok_or(ColumnProblem::Missing(wanted))
    };
    Ok(Columns {
        box_id: find("box")?,
        reference: find("reference")?,
        online: find("online")?,
        index: find("index").ok(),
        person: find("person").ok(),
        code: find("code").ok(),
    })
}

/// Puts a box's voters at their indices, refusing duplicates and gaps.
fn in_order(path: &Path, id: u32, mut lines: Vec<Line>) -> Result<Vec<Voter>, RollError> {
    if lines.iter().all(|l| l.index.is_none()) {
        return Ok(lines.into_iter().map(|l| l.voter).collect());
    }
    // A stable sort: of two lines with one index the later one is the one to name.
    lines.sort_by_key(|l| l.index);
    let voters = lines.len();
    let mut before: Option<(u32, u64)> = None;
    for l in &lines {
        let index = l.index.unwrap_or(u32::MAX);
        let due = before.map_or(0, |(last, _)| last + 1);
        match before {
            Some((last, first)) if last == index => {
                return Err(RollError::DuplicateIndex {
                    path: path.to_path_buf(),
                    line: l.line,
                    first,
                    id,
                    index,
                });
            }
            _ if index != due => {
                return Err(RollError::Gap {
                    path: path.to_path_buf(),
                    line: l.line,
                    id,
                    voters,
                    index,
                    missing: due,
                });
            }
            _ => before = Some((index, l.line)),
        }
    }
    Ok(lines.into_iter().map(|l| l.voter).collect())
}

fn csv_error(path: &Path, source: csv::Error) -> RollError {
    let line = source.position().map_or(1, csv::Position::line);
    if source.is_io_error() {
        return RollError::Unreadable {
            path: path.to_path_buf(),
            source: source.into(),
        };
    }
    RollError::Csv {
        path: path.to_path_buf(),
        line,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roll(text: &str) -> Result<RollFile, String> {
        parse(text.as_bytes(), Path::new("roll.csv"), &[1, 2]).map_err(|e| e.to_string())
    }

    #[test]
    fn a_roll_without_index_is_numbered_in_order() {
        let roll = roll("box,reference,online\n1,A-1,yes\n2,B-1,no\n1,A-2,no\n").expect("good");
        assert_eq!(roll.len(), 3);
        assert_eq!(
            roll.voters(1),
            [
                Voter {
                    reference: "A-1".into(),
                    online: true,
                    persons: Vec::new(),
                    codes: Vec::new(),
                },
                Voter {
                    reference: "A-2".into(),
                    online: false,
                    persons: Vec::new(),
                    codes: Vec::new(),
                }
            ]
        );
        assert_eq!(roll.voters(2).len(), 1);
        assert!(roll.voters(3).is_empty());
    }

    #[test]
    fn a_reference_that_a_program_for_tables_would_compute_is_refused() {
        for first in FORMULA {
            let error = roll(&format!("box,reference,online\n1,A-1,yes\n1,{first}B2,yes\n"));
            let error = error.expect_err("refused");
            assert!(error.contains("line 3") && error.contains("formula"), "{error}");
        }
    }

    #[test]
    fn a_byte_order_mark_spaces_and_column_order_do_not_matter() {
        let a = roll("\u{feff}online, reference ,box\nYES, A 1 ,1\n").expect("good");
        let b = roll("box,reference,online\n1,A 1,1\n").expect("good");
        assert_eq!(a, b);
    }

    #[test]
    fn an_index_column_places_voters() {
        let roll =
            roll("box,reference,online,index\n1,second,yes,1\n1,first,yes,0\n2,only,no,0\n").expect("good");
        assert_eq!(roll.voters(1)[0].reference, "first");
        assert_eq!(roll.voters(1)[1].reference, "second");
    }

    #[test]
    fn a_roll_survives_its_own_csv() {
        let text = "box,reference,online\n2,\"O'Hara, \"\"S\"\"\",yes\n1,B,no\n2,C,yes\n";
        let first = roll(text).expect("good");
        assert_eq!(roll(&first.to_csv()).expect("good"), first);
        assert_eq!(first.find("C"), Some((BoxId(2), VoterIndex(1))));
        assert_eq!(first.find("D"), None);
    }

    #[test]
    fn errors_name_file_line_value_and_remedy() {
        let cases = [
            (
                "box,reference,online\n1,A,yes\n1,B,yes\n2,A,no\n",
                "roll.duplicate: roll roll.csv: line 4: reference \"A\" is already on line 2; remove one of them",
            ),
            (
                "box,reference,online,index\n1,A,yes,0\n1,B,yes,0\n",
                "roll.duplicate: roll roll.csv: line 3: index 0 of box 1 is already on line 2; number each voter once",
            ),
            (
                "box,reference,online,index\n1,A,yes,0\n1,B,yes,2\n",
                "roll.gap: roll roll.csv: line 3: box 1 has 2 voters and an index 2, but none has index 1; number them 0 to 1",
            ),
            (
                "box,reference,online\n7,A,yes\n",
                "roll roll.csv: line 2: box 7 is not defined; the boxes are [1, 2]",
            ),
            (
                "box,reference,online\n1,A,perhaps\n",
                "roll roll.csv: line 2: online \"perhaps\" must be yes or no",
            ),
            (
                "box,reference,online\nNorth,A,yes\n",
                "roll roll.csv: line 2: box \"North\" is not a box id: write its number in the election file",
            ),
            (
                "box,reference,online\n1,,yes\n",
                "roll roll.csv: line 2: reference \"\" must be 1 to 200 bytes without control characters",
            ),
            (
                "box,reference,online,index\n1,A,yes,-1\n",
                "roll roll.csv: line 2: index \"-1\" is not a voter index: number each box's voters from 0",
            ),
            (
                "box,online\n1,yes\n",
                "roll roll.csv: line 1: column \"reference\" is missing; the columns are box, reference, online and optionally index and person",
            ),
            (
                "box,reference,online,born\n1,A,yes,1970\n",
                "roll roll.csv: line 1: column \"born\" is unknown: remove it; the columns are box, reference, online and optionally index and person",
            ),
            (
                "box,reference,online,box\n1,A,yes,1\n",
                "roll roll.csv: line 1: column \"box\" is there twice; the columns are box, reference, online and optionally index and person",
            ),
        ];
        for (text, message) in cases {
            assert_eq!(roll(text).expect_err(text), message);
        }
    }

    #[test]
    fn ragged_lines_and_broken_text_are_refused_with_their_line() {
        let ragged = roll("box,reference,online\n1,A,yes\n1,B\n").expect_err("ragged");
        assert!(ragged.starts_with("roll roll.csv: line 3: "), "{ragged}");
        let error = parse(
            &b"box,reference,online\n1,\xff,yes\n"[..],
            Path::new("roll.csv"),
            &[1],
        )
        .expect_err("not UTF-8");
        assert!(matches!(error, RollError::Csv { line: 2, .. }), "{error}");
        let missing = read(Path::new("/nonexistent/roll.csv"), &[1]).expect_err("missing");
        assert!(matches!(missing, RollError::Unreadable { .. }), "{missing}");
    }

    #[test]
    fn numbers_of_certificates_are_the_same_however_they_are_written() {
        let path = Path::new("roll.csv");
        let coded = |text: &str| {
            let mut roll = parse(text.as_bytes(), path, &[1]).expect("a roll");
            roll.number_persons()?;
            roll.code(&Salt([4; 32]));
            Ok::<_, RollError>(
                roll.of_box(BoxId(1)).expect("a roll").entries()[0]
                    .persons
                    .clone(),
            )
        };
        let line = |person: &str| format!("box,reference,online,person\n1,A-1,yes,{person}\n");
        let due = coded(&line("9f01")).expect("a number");
        assert_eq!(due, [Salt([4; 32]).person("9f01")]);
        for written in ["9F:01", "009F01", "00:9f:01"] {
            assert_eq!(coded(&line(written)).expect("a number"), due, "{written}");
        }
        let error = coded(&line("9f01 PNOEE-1")).expect_err("no number");
        assert!(matches!(error, RollError::Number { .. }), "{error}");
        assert!(
            error.to_string().contains("\"A-1\": person \"PNOEE-1\""),
            "{error}"
        );
    }

    #[test]
    fn what_certificates_say_is_kept_as_codes_only() {
        let text =
            "box,reference,online,person\n1,A-1,yes,PNOEE-38001010001\n1,A-2,yes,9f01 9f02\n1,A-3,no,\n";
        let path = Path::new("roll.csv");
        let mut roll = parse(text.as_bytes(), path, &[1]).expect("a roll");
        assert!(roll.names_persons());
        let salt = Salt([4; 32]);
        roll.code(&salt);
        assert!(!roll.names_persons());
        let stored = roll.to_csv();
        assert!(
            !stored.contains("3800101") && !stored.contains("9f01"),
            "{stored}"
        );
        assert_eq!(parse(stored.as_bytes(), path, &[1]).expect("as stored"), roll);
        let coded = roll.of_box(BoxId(1)).expect("a roll");
        assert_eq!(coded.entries()[0].persons, [salt.person("PNOEE-38001010001")]);
        assert_eq!(coded.entries()[1].persons.len(), 2);
        assert!(coded.entries()[2].persons.is_empty());
        let twice = text.replace("9f01 9f02", "PNOEE-38001010001");
        let mut twice = parse(twice.as_bytes(), path, &[1]).expect("a roll so far");
        twice.code(&salt);
        assert!(twice.of_box(BoxId(1)).is_err());
        let bad = stored.replacen(",yes,0,", ",yes,0,x", 1);
        assert!(matches!(
            parse(bad.as_bytes(), path, &[1]),
            Err(RollError::Field { field: "code", .. })
        ));
    }
}
