//! What is printed for an official: whose share it is, what to do with it, its five lines, and the same as a QR code.

use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};
use zeroize::Zeroizing;

use super::share::{LINES, Share, ShareError};

/// Room for a sheet: one allocation, no copies left behind.
const ROOM: usize = 16 << 10;

/// The sheet of `share`, for a party that `agency` runs.
///
/// # Security
/// The share itself: for its official's eyes, and to be erased.
pub fn text(agency: &str, share: &Share) -> Zeroizing<String> {
    let (number, terms) = (share.number(), share.terms());
    let (needed, officials) = (terms.threshold(), terms.officials());
    let mut text = Zeroizing::new(String::with_capacity(ROOM));
    let head = format!(
        "KEY SHARE {number} OF {officials}                                        SECRET\n\
         Party {} of the tally: {agency}\n\
         Ceremony {}\n\n\
         Name of the official: ______________________________  Date: ______________\n\n\
         Any {needed} of the {officials} officials unlock this party's keys together. With fewer nobody can:\n\
         if too many sheets are lost, what is sealed with these keys is lost.\n\n\
         - Keep this sheet where only you can get it, away from the party's machine,\n  \
           from the recovery kit and from the other officials' sheets.\n\
         - Show it to nobody, photograph it with nothing, type it only into\n  \
           `party unseal`, `party officials` or `party restore` on the party's own machine.\n\
         - If it is lost, or somebody may have seen it, say so at once: the officials\n  \
           are then changed (`party officials replace`), and this sheet becomes useless.\n\n",
        share.party().index(),
        share.ceremony(),
    );
    text.push_str(&head);
    let lines = share.text();
    for (number, line) in (1..).zip(lines.lines()) {
        text.push_str(&format!("      {number}:  "));
        text.push_str(line);
        text.push('\n');
    }
    text.push_str(
        "\nThe letters I, L, O and U do not occur; 0 is a zero and 1 a one. Each line is\n\
         checked by itself: a mistyped line is asked for again.\n\nThe same to scan:\n\n",
    );
    if let Some(code) = qr(&lines) {
        text.push_str(&code);
    }
    text.push('\n');
    text
}

/// The share's lines as a QR code of characters: capitals, digits and hyphens, so the code is small. `None` never happens for a share's text.
fn qr(lines: &str) -> Option<Zeroizing<String>> {
    let joined = Zeroizing::new(lines.replace('\n', "-"));
    let code = QrCode::with_error_correction_level(joined.as_bytes(), EcLevel::M).ok()?;
    Some(Zeroizing::new(
        code.render::<Dense1x2>()
            .dark_color(Dense1x2::Light)
            .light_color(Dense1x2::Dark)
            .build(),
    ))
}

/// Reads a share from a sheet, or from its lines alone.
///
/// # Errors
/// [`ShareError`].
pub fn read(text: &str) -> Result<Share, ShareError> {
    let mut found = Zeroizing::new(String::with_capacity(text.len()));
    let mut next = 1;
    for line in text.lines() {
        if let Some((number, rest)) = line.trim_start().split_once(':')
            && next <= LINES
            && number.parse() == Ok(next)
        {
            found.push_str(rest);
            next += 1;
        }
    }
    Share::parse(if next > LINES { &found } else { text })
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;
    use tally_proto::ids::Role;

    use super::*;
    use crate::officials::{Terms, UnlockKey};

    #[test]
    fn a_sheet_is_read_back_and_fits_a_page() {
        let mut rng = StdRng::seed_from_u64(5);
        let key = UnlockKey::generate(&mut rng);
        let terms = Terms::new(5, 3).expect("terms");
        let (shares, _) = key.split(Role::P3, terms, &mut rng).expect("split");
        for share in &shares {
            let sheet = text("Data Protection Authority", share);
            assert!(sheet.capacity() == ROOM, "it never grew: {}", sheet.len());
            assert!(sheet.lines().count() < 60, "{}", sheet.lines().count());
            assert!(sheet.lines().all(|line| line.chars().count() <= 90));
            let read = read(&sheet).expect("read");
            assert_eq!(read.value(), share.value());
            assert_eq!(super::read(&share.text()).expect("read").number(), share.number());
            assert!(sheet.contains(&format!("KEY SHARE {} OF 5", share.number())));
            assert!(sheet.contains("Any 3 of the 5"));
            // The code is there: rows of half blocks.
            assert!(sheet.lines().filter(|line| line.contains('█')).count() > 15);
        }
        let mut mistyped = text("A", &shares[0]).replace("3:  ", "3:  7");
        assert!(matches!(read(&mistyped), Err(ShareError::Length { .. })));
        mistyped.clear();
        assert!(matches!(read(&mistyped), Err(ShareError::Length { found: 0 })));
    }
}
