//! Ballots of ranked elections in BLT format, read for their first preferences.

use thiserror::Error;

/// The real ballots that the demonstration counts: Inverleith ward, City of Edinburgh council, 2022 (see `data/README.md`).
pub const INVERLEITH_2022: &str = include_str!("../data/edinburgh_2022_ward5.blt");

/// A ranked election as far as first preferences go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ranked {
    /// Title of the election, as written in the file.
    pub title: String,
    /// Candidates in the order of their numbers, which start at 1.
    pub candidates: Vec<Candidate>,
    /// The first preference of every ballot: a candidate's number.
    pub first_preferences: Vec<u32>,
}

/// A candidate of a BLT file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Name, as written in the file.
    pub name: String,
    /// Party, as written in the file; empty where there is none.
    pub party: String,
}

/// What is wrong with a BLT file; lines are counted from 1.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum BltError {
    /// A line that should hold numbers does not.
    #[error("line {line}: '{found}' is not a whole number")]
    Number {
        /// Where.
        line: usize,
        /// What stands there.
        found: String,
    },
    /// A preference for a candidate that the first line does not announce.
    #[error("line {line}: preference {found}, but there are {candidates} candidates")]
    Preference {
        /// Where.
        line: usize,
        /// The number.
        found: u32,
        /// How many candidates the first line announces.
        candidates: u32,
    },
    /// The file ends early.
    #[error("the file ends before {missing}")]
    Short {
        /// What is missing.
        missing: &'static str,
    },
}

/// Reads a BLT file.
///
/// # Errors
/// [`BltError`] names the line and what stands there.
pub fn parse(text: &str) -> Result<Ranked, BltError> {
    let mut lines = text.lines().enumerate().map(|(i, l)| (i + 1, l.trim()));
    let (line, head) = lines.next().ok_or(BltError::Short {
        missing: "its first line",
    })?;
    let head = numbers(line, head)?;
    let candidates = *head.first().ok_or(BltError::Short {
        missing: "the number of candidates",
    })?;
    let mut first_preferences = Vec::new();
    loop {
        let (line, row) = lines.next().ok_or(BltError::Short {
            missing: "the line '0' after the ballots",
        })?;
        let row = numbers(line, row)?;
        let (Some(&count), first) = (row.first(), row.get(1).copied().unwrap_or(0)) else {
            continue;
        };
        if count == 0 {
            break;
        }
        if first > candidates {
            return Err(BltError::Preference {
                line,
                found: first,
                candidates,
            });
        }
        if first > 0 {
            first_preferences.extend(std::iter::repeat_n(first, count as usize));
        }
    }
    let mut names = Vec::with_capacity(candidates as usize);
    for _ in 0..candidates {
        let (_, row) = lines.next().ok_or(BltError::Short {
            missing: "the candidates' names",
        })?;
        names.push(candidate(row));
    }
    let (_, title) = lines.next().ok_or(BltError::Short { missing: "the title" })?;
    Ok(Ranked {
        title: title.trim_matches('"').trim().to_owned(),
        candidates: names,
        first_preferences,
    })
}

fn numbers(line: usize, row: &str) -> Result<Vec<u32>, BltError> {
    let number = |word: &str| {
        word.parse().map_err(|_| BltError::Number {
            line,
            found: word.to_owned(),
        })
    };
    row.split_whitespace().map(number).collect()
}

/// `"Name ""Party"""`, quotes doubled inside quotes.
fn candidate(row: &str) -> Candidate {
    let row = row.strip_prefix('"').unwrap_or(row);
    let row = row.strip_suffix('"').unwrap_or(row);
    let mut parts = row.split("\"\"").map(str::trim);
    let name = parts.next().unwrap_or_default().to_owned();
    Candidate {
        name,
        party: parts.next().unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_real_ward_has_the_published_first_preferences() {
        let ward = parse(INVERLEITH_2022).expect("the project's own copy is well formed");
        assert_eq!(ward.first_preferences.len(), 13_416);
        let mut totals = [0_u32; 10];
        for &first in &ward.first_preferences {
            totals[first as usize - 1] += 1;
        }
        assert_eq!(totals, [1714, 853, 96, 53, 17, 1836, 1684, 2641, 3117, 1405]);
        assert_eq!(ward.title, "Ward 5 - Inverleith");
        assert_eq!(ward.candidates[8].name, "Hal OSLER");
        assert_eq!(ward.candidates[8].party, "Scottish Liberal Democrats");
    }

    #[test]
    fn errors_name_the_line() {
        let text = "2 1\n1 x 0\n0\n";
        assert_eq!(
            parse(text),
            Err(BltError::Number {
                line: 2,
                found: "x".to_owned()
            })
        );
        let text = "2 1\n1 3 0\n0\n\"A\"\n\"B\"\n\"T\"\n";
        assert_eq!(
            parse(text),
            Err(BltError::Preference {
                line: 2,
                found: 3,
                candidates: 2
            })
        );
        assert_eq!(
            parse("2 1\n1 2 0\n"),
            Err(BltError::Short {
                missing: "the line '0' after the ballots"
            })
        );
    }
}
