//! Invitations for people: sheets for the printer and texts for telephones, in the voter's language.
//!
//! A page of sheets is HTML that fetches nothing and runs nothing: one sheet of paper a voter, with the link as a QR code and the code to
//! type in numbered groups, as refusals of mistyped codes name them. A decoy's sheet is made by the same function: nothing on a sheet depends
//! on the credential but the code and its picture.
//!
//! # Security
//! A page is as secret as the codes on it. Texts given from outside (titles, references, addresses) are escaped wherever they stand.

use std::fmt::Write as _;

use qrcode::{Color, EcLevel, QrCode};
use zeroize::Zeroizing;

use super::Part;
use crate::manifest::Manifest;

mod phrases;

use phrases::{Phrases, phrases};

const STYLE: &str = "@page{size:A4;margin:20mm}*{box-sizing:border-box}body{font:12pt/1.45 Georgia,'Times New Roman',serif;color:#000;\
background:#fff;margin:0}section{break-after:page;break-inside:avoid;max-width:170mm;margin:0 auto;padding:6mm 0}\
section:last-of-type{break-after:auto}h1{font-size:17pt;line-height:1.25;margin:0 0 3mm}.to{white-space:pre-line;min-height:28mm;margin:0 0 8mm}\
.both{display:flex;gap:9mm;align-items:flex-start;margin:6mm 0}.both svg{width:44mm;height:44mm;flex:none}\
.code{display:grid;grid-template-columns:repeat(4,auto);gap:3mm 6mm;justify-content:start;margin:0;padding:0;list-style:none}\
.code li{font:14pt/1.1 'Courier New',monospace;letter-spacing:.06em;white-space:nowrap;margin:0}\
.code small{display:block;font:7pt/1.2 sans-serif;letter-spacing:0;color:#444}ol.how{padding-left:6mm;margin:0}ol.how li{margin:0 0 1.5mm}\
.note{border-top:.3mm solid #000;padding-top:3mm;margin-top:7mm;font-size:10.5pt}\
@media screen{body{background:#ddd}section{background:#fff;padding:20mm;margin:8mm auto;max-width:210mm}}";

/// Longest text of one sheet, in bytes: what is longer is refused before anything is written.
pub const MAX_SHEET_BYTES: usize = 64 << 10;

/// Why a sheet cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SheetError {
    /// The manifest has no such box.
    #[error("the invitation is of box {0}, which the election does not have")]
    NoBox(u32),
    /// The code of a text message, for a sheet.
    #[error("this is the code of a text message: it goes out as a text, not on paper")]
    IsMessage,
    /// A code that does not go out as a text.
    #[error("this is the code of a letter: it goes out on paper, not as a text message")]
    IsLetter,
    /// Texts that are too long.
    #[error("the texts of one sheet are longer than {MAX_SHEET_BYTES} bytes")]
    TooLong,
}

/// Whose sheet, and in which language.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Addressee {
    /// What the roll calls the voter.
    pub reference: String,
    /// Name and address, in lines; none where the envelope says it.
    pub address: Vec<String>,
    /// Languages, the best first; what there is none for is English.
    pub languages: Vec<String>,
}

/// The beginning of a page of sheets.
pub fn head(manifest: &Manifest) -> String {
    let title = escaped(manifest.title().default_text());
    format!(
        "<!DOCTYPE html>\n<html><head><meta charset=\"utf-8\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <title>{title}</title><style>{STYLE}</style></head><body>\n"
    )
}

/// The end of a page.
pub const FOOT: &str = "</body></html>\n";

/// One voter's sheet: a whole invitation, or the letter's half.
///
/// # Errors
/// [`SheetError`].
pub fn sheet(
    manifest: &Manifest,
    addressee: &Addressee,
    part: &Part,
) -> Result<Zeroizing<String>, SheetError> {
    let (of_box, split) = match part {
        Part::Whole(invitation) => (invitation.of_box(), false),
        Part::Letter(letter) => (letter.of_box(), true),
        Part::Message(_) => return Err(SheetError::IsMessage),
    };
    let of_box = manifest
        .ballot_box(of_box)
        .ok_or(SheetError::NoBox(of_box.get()))?;
    let (language, words) = phrases(&addressee.languages);
    let given = addressee.reference.len() + addressee.address.iter().map(String::len).sum::<usize>();
    if given > MAX_SHEET_BYTES / 16 {
        return Err(SheetError::TooLong);
    }
    // Never grown: a string that grows leaves its old content behind.
    let mut out = Zeroizing::new(String::with_capacity(MAX_SHEET_BYTES));
    let mut add = |text: &str| -> Result<(), SheetError> {
        if out.len() + text.len() > out.capacity() {
            return Err(SheetError::TooLong);
        }
        out.push_str(text);
        Ok(())
    };
    add(&format!("<section lang=\"{language}\"><h1>"))?;
    add(&escaped(manifest.title().best_of(&addressee.languages)))?;
    add("</h1><p class=\"to\">")?;
    add(&escaped(&addressee.address.join("\n")))?;
    add("</p><p>")?;
    add(words.voter)?;
    add(" <strong>")?;
    add(&escaped(&addressee.reference))?;
    add("</strong> \u{b7} ")?;
    add(&escaped(of_box.name().best_of(&addressee.languages)))?;
    add("</p>")?;
    if split {
        add(&format!("<p><strong>{}</strong></p>", words.split))?;
    }
    add("<div class=\"both\">")?;
    // In capitals the picture is a third smaller, and links are read in either case.
    let link = Zeroizing::new(part.to_link().to_uppercase());
    add(&picture(&link).ok_or(SheetError::TooLong)?)?;
    add("<ul class=\"code\">")?;
    for (number, group) in (1..).zip(part.to_code().split('-')) {
        add("<li>")?;
        add(group)?;
        add(&format!("<small>{number}</small></li>"))?;
    }
    add("</ul></div><ol class=\"how\">")?;
    for step in words.how {
        add(&format!("<li>{step}</li>"))?;
    }
    add("</ol><p class=\"note\">")?;
    add(words.note)?;
    add("</p></section>\n")?;
    Ok(out)
}

/// A page of one sheet.
///
/// # Errors
/// [`SheetError`].
pub fn page(
    manifest: &Manifest,
    addressee: &Addressee,
    part: &Part,
) -> Result<Zeroizing<String>, SheetError> {
    let (head, sheet) = (head(manifest), sheet(manifest, addressee, part)?);
    let mut page = Zeroizing::new(String::with_capacity(head.len() + sheet.len() + FOOT.len()));
    page.push_str(&head);
    page.push_str(&sheet);
    page.push_str(FOOT);
    Ok(page)
}

/// The text message with the message's half, in the first of `languages` that there is.
///
/// # Errors
/// [`SheetError::IsLetter`].
pub fn message(
    manifest: &Manifest,
    languages: &[String],
    part: &Part,
) -> Result<Zeroizing<String>, SheetError> {
    if !matches!(part, Part::Message(_)) {
        return Err(SheetError::IsLetter);
    }
    let (_, Phrases { text, .. }) = phrases(languages);
    let title = manifest
        .title()
        .best_of(languages)
        .replace(|c: char| c.is_control(), " ");
    let code = part.to_code();
    let mut out = Zeroizing::new(String::with_capacity(title.len() + text.len() + code.len()));
    for (i, piece) in text.split("{}").enumerate() {
        match i {
            0 => {}
            1 => out.push_str(&title),
            _ => out.push_str(&code),
        }
        out.push_str(piece);
    }
    Ok(out)
}

/// For the inside of an element or of a quoted attribute.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Marks that turn the direction of what follows, and other controls, are not for paper.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {}
            c if c.is_control() && c != '\n' => {}
            c => out.push(c),
        }
    }
    out
}

/// A QR code as an SVG element: one path, a run of dark modules a step.
fn picture(link: &str) -> Option<Zeroizing<String>> {
    let code = QrCode::with_error_correction_level(link.as_bytes(), EcLevel::M).ok()?;
    let (width, colors) = (
        code.width(),
        Zeroizing::new(
            code.to_colors()
                .iter()
                .map(|c| *c == Color::Dark)
                .collect::<Vec<_>>(),
        ),
    );
    let side = width + 8;
    let mut svg = Zeroizing::new(String::with_capacity(16 * width * width + 512));
    svg.push_str(&format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {side} {side}\" role=\"img\" aria-label=\"QR\" shape-rendering=\"crispEdges\">\
         <rect width=\"{side}\" height=\"{side}\" fill=\"#fff\"/><path d=\""
    ));
    for (y, row) in colors.chunks(width).enumerate() {
        let mut x = 0;
        while x < width {
            let run = row.iter().skip(x).take_while(|dark| **dark).count();
            if run > 0 {
                let _ = write!(svg, "M{} {}h{run}v1h-{run}z", x + 4, y + 4);
            }
            x += run.max(1);
        }
    }
    svg.push_str("\"/></svg>");
    Some(svg)
}

#[cfg(test)]
mod tests;
