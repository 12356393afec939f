//! The ceremony: sheets are handed out, and nothing is built on the key before enough of what was handed out was read back.

use std::path::PathBuf;

use tally_proto::secret_file::{self, SecretFileError};

use super::desk::{self, DeskError, Lines};
use super::share::Share;
use super::sheet;
use super::split::{Collected, Public, SplitError, check_all};

/// How sheets reach their officials.
#[derive(Clone, Debug)]
pub enum Sheets {
    /// One after the other on this terminal, each to be copied by hand by its official, alone.
    Screen,
    /// As files in a directory that is made, mode 700, to be printed and erased.
    Directory(PathBuf),
}

/// Why a ceremony did not end well. Nothing was written but sheets, which are useless then.
#[derive(Debug, thiserror::Error)]
pub enum CeremonyError {
    /// Reading shares back.
    #[error("the ceremony did not end; its shares are useless, begin again: {0}")]
    ReadBack(#[from] DeskError),
    /// The shares.
    #[error(transparent)]
    Split(#[from] SplitError),
    /// The directory of the sheets exists, or cannot be made.
    #[error("{}: {source}; give a directory that does not exist yet", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A sheet's file.
    #[error(transparent)]
    File(#[from] SecretFileError),
}

/// Hands out the sheets of `shares` and has enough of them read back: from paper on the screen's keyboard, or from the files on disk, all
/// of them.
///
/// # Errors
/// [`CeremonyError`].
pub fn hand_out(
    agency: &str,
    shares: &[Share],
    public: &Public,
    sheets: &Sheets,
    lines: &mut impl Lines,
) -> Result<(), CeremonyError> {
    check_all(shares, public)?;
    match sheets {
        Sheets::Screen => on_screen(agency, shares, public, lines),
        Sheets::Directory(path) => in_files(agency, shares, public, path.clone(), lines),
    }
}

fn on_screen(
    agency: &str,
    shares: &[Share],
    public: &Public,
    lines: &mut impl Lines,
) -> Result<(), CeremonyError> {
    let ended = || CeremonyError::ReadBack(DeskError::Ended);
    let terminal = |error: std::io::Error| CeremonyError::ReadBack(error.into());
    lines.show(&format!(
            "{} officials get a share each; {} of them will be needed. One after the other comes to this screen alone, with a pen and a \
             blank sheet.\n",
            public.terms.officials(),
            public.terms.threshold()
        )).map_err(terminal)?;
    for share in shares {
        let number = share.number();
        let prompt = format!("Official {number}: when you are alone at the screen, press Enter. ");
        if !lines.enter(&prompt).map_err(terminal)? {
            return Err(ended());
        }
        lines.clear().map_err(terminal)?;
        lines.show(&sheet::text(agency, share)).map_err(terminal)?;
        let there = lines
            .enter("Copy everything, compare it line by line, then press Enter: the screen is wiped. ")
            .map_err(terminal)?;
        lines.clear().map_err(terminal)?;
        if !there {
            return Err(ended());
        }
    }
    lines
        .show(
            "Now it is tried whether the sheets work: as many officials as it takes type theirs, from paper.\n",
        )
        .map_err(terminal)?;
    desk::collect(public, &[], lines)?;
    lines
        .show("The sheets make the key. The ceremony is done.\n")
        .map_err(terminal)?;
    Ok(())
}

fn in_files(
    agency: &str,
    shares: &[Share],
    public: &Public,
    directory: PathBuf,
    lines: &mut impl Lines,
) -> Result<(), CeremonyError> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(&directory)
        .map_err(|source| CeremonyError::Directory {
            path: directory.clone(),
            source,
        })?;
    let path = |number: u8| directory.join(format!("official-{number}.txt"));
    for share in shares {
        secret_file::create(&path(share.number()), sheet::text(agency, share).as_bytes())?;
    }
    let mut collected = Collected::new(public.clone());
    for share in shares {
        collected
            .add(desk::from_file(&path(share.number()))?)
            .map_err(CeremonyError::Split)?;
    }
    collected.combine()?;
    lines
        .show(&format!(
            "{} sheets are in {} and were read back. Print each for its official, alone; then erase the directory (shred -u, then rmdir). \
             Whoever has read {} of them has this party's keys.\n",
            shares.len(),
            directory.display(),
            public.terms.threshold()
        ))
        .map_err(|error| CeremonyError::ReadBack(error.into()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;
    use tally_proto::ids::Role;

    use super::*;
    use crate::officials::desk::Piped;
    use crate::officials::{Terms, UnlockKey};

    fn made() -> (Vec<Share>, Public) {
        let mut rng = StdRng::seed_from_u64(6);
        let key = UnlockKey::generate(&mut rng);
        key.split(Role::P1, Terms::new(3, 2).expect("terms"), &mut rng)
            .expect("split")
    }

    #[test]
    fn on_the_screen_it_ends_only_when_enough_sheets_were_read_back() {
        let (shares, public) = made();
        let pages = "\n".repeat(6);
        let typed = format!(
            "{pages}{}\n{}\n",
            shares[2].text().as_str(),
            shares[0].text().as_str()
        );
        let mut piped = Piped(typed.as_bytes(), Vec::new());
        hand_out("Agency", &shares, &public, &Sheets::Screen, &mut piped).expect("done");
        let said = String::from_utf8(piped.1).expect("text");
        assert!(said.contains("The ceremony is done"));
        for share in &shares {
            assert!(said.contains(share.text().lines().next().expect("a line")));
        }
        // One sheet is not enough, nor are pages that nobody turned.
        for typed in [
            format!("{pages}{}\n", shares[1].text().as_str()),
            "\n\n\n".to_owned(),
        ] {
            let mut piped = Piped(typed.as_bytes(), Vec::new());
            let ended = hand_out("Agency", &shares, &public, &Sheets::Screen, &mut piped);
            assert!(
                matches!(ended, Err(CeremonyError::ReadBack(DeskError::Ended))),
                "{ended:?}"
            );
        }
    }

    #[test]
    fn files_are_private_and_an_old_directory_is_not_written_to() {
        use std::os::unix::fs::PermissionsExt as _;
        let (shares, public) = made();
        let root = tempfile::tempdir().expect("directory");
        let sheets = Sheets::Directory(root.path().join("sheets"));
        let mut piped = Piped(&b""[..], Vec::new());
        hand_out("Agency", &shares, &public, &sheets, &mut piped).expect("done");
        let mode =
            |path: &std::path::Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode(&root.path().join("sheets")), 0o700);
        assert_eq!(mode(&root.path().join("sheets/official-3.txt")), 0o600);
        assert!(matches!(
            hand_out("Agency", &shares, &public, &sheets, &mut piped),
            Err(CeremonyError::Directory { .. })
        ));
    }
}
