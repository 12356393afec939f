//! Looks for known secrets in everything that an election has written: raw, as hex, as base64 at any alignment, as decimal lists.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD, Encoding, HEXLOWER, HEXUPPER};

/// Shorter things turn up by chance.
const SHORTEST: usize = 8;

/// One way in which a secret may be written.
#[derive(Debug, Clone)]
struct Needle {
    secret: usize,
    form: &'static str,
    bytes: Vec<u8>,
}

/// Where a secret turned up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leak {
    /// The file.
    pub file: PathBuf,
    /// Where in it.
    pub offset: usize,
    /// What leaked.
    pub secret: String,
    /// How it was written.
    pub form: &'static str,
}

/// Known secrets and where each may be.
#[derive(Debug, Default)]
pub struct Secrets {
    names: Vec<String>,
    homes: Vec<Vec<PathBuf>>,
    /// By their first bytes.
    needles: HashMap<[u8; SHORTEST], Vec<Needle>>,
}

impl Secrets {
    /// A secret of bytes that may be in the files or directories `homes` only.
    ///
    /// # Panics
    /// It is so short that it would be found by chance.
    pub fn add(&mut self, name: &str, bytes: &[u8], homes: &[&Path]) {
        assert!(bytes.len() >= SHORTEST, "{name} is too short to look for");
        let secret = self.begin(name, homes);
        self.needle(secret, "raw", bytes.to_vec());
        self.needle(secret, "hex", HEXLOWER.encode(bytes).into_bytes());
        self.needle(secret, "HEX", HEXUPPER.encode(bytes).into_bytes());
        for (form, encoding) in [("base64", BASE64_NOPAD), ("base64url", BASE64URL_NOPAD)] {
            for alignment in 0..3 {
                let text = aligned(&encoding, bytes, alignment);
                // A short secret between two others has few characters of its own.
                if text.len() >= SHORTEST {
                    self.needle(secret, form, text);
                }
            }
        }
        let list = |separator: &str| {
            let numbers: Vec<String> = bytes.iter().map(u8::to_string).collect();
            numbers.join(separator).into_bytes()
        };
        self.needle(secret, "list", list(", "));
        self.needle(secret, "list", list(","));
    }

    /// A secret that is text, as it stands.
    pub fn add_text(&mut self, name: &str, text: &str, homes: &[&Path]) {
        let secret = self.begin(name, homes);
        self.needle(secret, "text", text.as_bytes().to_vec());
    }

    fn begin(&mut self, name: &str, homes: &[&Path]) -> usize {
        self.names.push(name.to_owned());
        self.homes
            .push(homes.iter().map(|home| home.to_path_buf()).collect());
        self.names.len() - 1
    }

    fn needle(&mut self, secret: usize, form: &'static str, bytes: Vec<u8>) {
        let Some(first) = bytes.first_chunk() else { return };
        self.needles
            .entry(*first)
            .or_default()
            .push(Needle { secret, form, bytes });
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Everything of the secrets in `bytes`, which stand in `file`.
    #[must_use]
    pub fn find(&self, file: &Path, bytes: &[u8]) -> Vec<Leak> {
        let mut leaks = Vec::new();
        for (offset, window) in bytes.windows(SHORTEST).enumerate() {
            let Some(needles) = window.first_chunk().and_then(|first| self.needles.get(first)) else {
                continue;
            };
            for needle in needles {
                let at_home = || {
                    self.homes[needle.secret]
                        .iter()
                        .any(|home| file.starts_with(home))
                };
                if bytes[offset..].starts_with(&needle.bytes) && !at_home() {
                    leaks.push(Leak {
                        file: file.to_owned(),
                        offset,
                        secret: self.names[needle.secret].clone(),
                        form: needle.form,
                    });
                }
            }
        }
        leaks
    }

    /// Everything of the secrets in the files below `directory`, and how many bytes were looked at.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn find_below(&self, directory: &Path) -> io::Result<(Vec<Leak>, u64)> {
        let (mut leaks, mut looked_at) = (Vec::new(), 0);
        for file in files_below(directory)? {
            let bytes = fs::read(&file)?;
            looked_at += bytes.len() as u64;
            leaks.extend(self.find(&file, &bytes));
        }
        Ok((leaks, looked_at))
    }
}

/// All files below a directory, in order.
///
/// # Errors
/// A directory cannot be read.
pub fn files_below(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        match entry.file_type()? {
            kind if kind.is_dir() => found.extend(files_below(&entry.path())?),
            kind if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
    found.sort();
    Ok(found)
}

/// The characters that stand for `bytes` alone, where they begin `alignment` bytes after a multiple of three.
fn aligned(encoding: &Encoding, bytes: &[u8], alignment: usize) -> Vec<u8> {
    let shifted: Vec<u8> = std::iter::repeat_n(0, alignment)
        .chain(bytes.iter().copied())
        .collect();
    let text = encoding.encode(&shifted).into_bytes();
    // A character holds six bits; those that share bits with a neighbour are left out.
    let first = (alignment * 8).div_ceil(6);
    let end = shifted.len() * 8 / 6;
    text[first..end].to_vec()
}

/// Lines in which a voter stands beside a ballot: a voter's reference, or the word for one, and the beginning of a digest.
#[must_use]
pub fn links(text: &str, references: &[String], digests: &[String]) -> Vec<String> {
    let short = |digest: &String| digest.get(..8).unwrap_or(digest).to_owned();
    let digests: Vec<String> = digests.iter().map(short).collect();
    let beside = |line: &&str| {
        let lower = line.to_lowercase();
        let voter =
            lower.contains("voter") || lower.contains("index") || references.iter().any(|r| line.contains(r));
        voter && digests.iter().any(|digest| lower.contains(digest))
    };
    text.lines().filter(beside).map(str::to_owned).collect()
}

/// How far apart a voter and a ballot may be that are told together.
#[derive(Debug, Clone, Copy)]
pub enum Span {
    /// So many bytes, whatever lines they are on.
    Bytes(usize),
    /// On one page of so many bytes, as rows of one table are.
    Page(usize),
}

/// Places at which a ballot's digest stands, raw, as hex or as base64, with a voter's reference beside it.
#[must_use]
pub fn together(bytes: &[u8], references: &[String], digests: &[[u8; 32]], span: Span) -> Vec<usize> {
    let mut known = Secrets::default();
    for digest in digests {
        // Whatever is cut off is mostly its end.
        known.add("a digest", &digest[..12], &[]);
    }
    let named = |near: &[u8]| {
        let is_in = |reference: &String| {
            let mut windows = near.windows(reference.len().max(1));
            windows.any(|window| window == reference.as_bytes())
        };
        references.iter().any(is_in)
    };
    let near = |offset: usize| match span {
        Span::Bytes(reach) => (offset.saturating_sub(reach), offset + reach),
        Span::Page(size) => (offset / size * size, offset / size * size + size),
    };
    let found = known
        .find(Path::new(""), bytes)
        .into_iter()
        .map(|leak| leak.offset);
    found
        .filter(|offset| {
            let (from, to) = near(*offset);
            named(&bytes[from..to.min(bytes.len())])
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_planted_secret_is_found_and_only_outside_its_home() {
        let secret: Vec<u8> = (0..32).map(|i| (i * 37 + 11) as u8).collect();
        let mut secrets = Secrets::default();
        secrets.add("key", &secret, &[Path::new("keys")]);
        secrets.add_text("code", "ABCD-EFGH-1234", &[]);
        let embedded: Vec<u8> = [b"x".as_slice(), &secret, b"yz"].concat();
        let numbers: Vec<String> = secret.iter().map(u8::to_string).collect();
        for (form, planted) in [
            ("raw", embedded.clone()),
            ("hex", HEXLOWER.encode(&embedded).into_bytes()),
            ("HEX", HEXUPPER.encode(&embedded).into_bytes()),
            ("base64", BASE64_NOPAD.encode(&secret).into_bytes()),
            ("base64", BASE64_NOPAD.encode(&embedded).into_bytes()),
            ("base64", BASE64_NOPAD.encode(&embedded[1..]).into_bytes()),
            ("list", format!("{secret:?}").into_bytes()),
            ("list", numbers.join(",").into_bytes()),
            ("text", b"code: ABCD-EFGH-1234.".to_vec()),
        ] {
            let hay: Vec<u8> = [b"a line before ".as_slice(), &planted, b" and one after"].concat();
            let found = secrets.find(Path::new("party.log"), &hay);
            assert!(found.iter().any(|leak| leak.form == form), "{form}: {found:?}");
            let mut spoilt = planted.clone();
            let middle = spoilt.len() / 2;
            spoilt[middle] ^= 4;
            let found = secrets.find(Path::new("party.log"), &spoilt);
            assert_eq!(found, [], "{form}: another text is no leak");
        }
        assert_eq!(secrets.find(Path::new("keys/a"), &embedded), []);
        assert_eq!(secrets.len(), 2);
    }

    #[test]
    fn a_voter_beside_a_digest_is_found() {
        let (references, digests) = (["B1-000007".to_owned()], ["0123456789abcdef".to_owned()]);
        let find = |text: &str| links(text, &references, &digests).len();
        assert_eq!(find("ballot 01234567 accepted\nvoter 7 registered\n"), 0);
        assert_eq!(find("ballot 01234567 of B1-000007"), 1);
        assert_eq!(find("digest=0123456789ABCDEF voter=7"), 1);
    }

    #[test]
    fn a_voter_and_a_digest_over_two_lines_or_in_one_page_are_found_in_any_form() {
        let digest: [u8; 32] = std::array::from_fn(|i| (i * 37 + 11) as u8);
        let (references, digests) = (["B1-000007".to_owned()], [digest]);
        let hex = HEXLOWER.encode(&digest).into_bytes();
        let base64 = BASE64_NOPAD.encode(&digest).into_bytes();
        for form in [&digest[..], &hex, &base64] {
            let text = [b"{\"ballot\": \"", form, b"\",\n \"of\": \"B1-000007\"}\n"].concat();
            let find = |bytes: &[u8], span| together(bytes, &references, &digests, span).len();
            assert_eq!(find(&text, Span::Bytes(200)), 1);
            let other = [b"{\"ballot\": \"", form, b"\",\n \"of\": \"B1-000008\"}\n"].concat();
            assert_eq!(find(&other, Span::Bytes(200)), 0);
            let apart = [form, &[b' '; 300], b"B1-000007"].concat();
            assert_eq!(find(&apart, Span::Bytes(200)), 0);
            assert_eq!(find(&apart, Span::Page(4096)), 1);
            let paged = [form, &vec![0; 4096 - form.len()], b"B1-000007"].concat();
            assert_eq!(find(&paged, Span::Page(4096)), 0);
        }
    }
}
