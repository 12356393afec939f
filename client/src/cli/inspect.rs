//! The second device's command, and what the first one shows it.

use std::path::PathBuf;

use clap::Args;
use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};
use serde_json::json;
use tally_proto::disclosure::Disclosure;
use tally_proto::identity::Fingerprint;
use tally_proto::ids::RoleExt;
use zeroize::Zeroizing;

use super::voter::{fault_json, load_election, moment};
use super::{Console, Failure, LanguageArg, ManifestArg, Outcome};
use crate::connections::Connections;
use crate::election::Election;
use crate::form::in_language;
use crate::inspect::{Inspected, inspect};

/// Erases a terminal and what can be scrolled back to, and goes to its top.
const ERASE: &str = "\u{1b}[H\u{1b}[2J\u{1b}[3J";

/// Shows the check code once, as a picture and as text; erased from the screen as soon as the voter is done.
pub(super) fn show_code(disclosure: Disclosure, console: &mut Console<'_>) -> Result<(), Failure> {
    let text = disclosure.to_text();
    match picture(&text) {
        Some(picture) => console.tell(&picture),
        None => console.tell("(This ballot's check code is too long for a picture.)"),
    }
    console.tell(&text);
    console.tell(
        "On another device: `tally client inspect`. It shows what this ballot holds, to whoever reads the code; not that it is yours, \
         nor that it counts.",
    );
    if console.interactive {
        console.ask(
            "Press Enter when the other device has it; it is then erased from this screen:",
            "",
        )?;
        console.tell(ERASE);
    }
    Ok(())
}

/// The QR code in half blocks, with the quiet zone that scanners need; none where it does not fit the largest.
fn picture(text: &str) -> Option<Zeroizing<String>> {
    let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
    // The crate's "dark" is what is drawn. Light modules are: on the usual dark terminal the picture is dark on light as it should be.
    let drawn = code
        .render::<Dense1x2>()
        .dark_color(Dense1x2::Light)
        .light_color(Dense1x2::Dark)
        .quiet_zone(true)
        .build();
    Some(Zeroizing::new(drawn))
}

#[derive(Args)]
pub(crate) struct Inspect {
    #[command(flatten)]
    manifest: ManifestArg,
    /// The manifest's fingerprint, from the commission's own page or letter: refused if the file is another. Without it compare
    /// what is shown.
    #[arg(long, value_name = "CODE")]
    fingerprint: Option<String>,
    /// File with the check code that the other device showed, `-` for standard input. Default: asked for.
    #[arg(long, value_name = "FILE")]
    code: Option<PathBuf>,
    #[command(flatten)]
    language: LanguageArg,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

/// The text of a check code from a file, standard input or a person.
pub(super) fn read_code(file: Option<&PathBuf>, console: &mut Console<'_>) -> Result<Disclosure, Failure> {
    let text = match file {
        None => console.ask("The check code that the other device shows:", "give --code FILE")?,
        Some(path) if path.as_os_str() == "-" => console.line()?,
        Some(path) => Zeroizing::new(std::fs::read_to_string(path).map_err(|source| Failure::File {
            path: path.clone(),
            source,
        })?),
    };
    Ok(Disclosure::parse(&text)?)
}

/// Refuses a manifest that has not the fingerprint that was told.
fn compare(election: &Election, told: &str) -> Result<(), Failure> {
    let has = Fingerprint::of_hash(&election.manifest_hash());
    let plain = |text: &str| -> String {
        let upper = text
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .map(|c| c.to_ascii_uppercase());
        upper
            .collect::<String>()
            .replace('O', "0")
            .replace(['I', 'L'], "1")
    };
    if plain(told) == plain(has.as_str()) {
        Ok(())
    } else {
        Err(Failure::OtherFingerprint { has })
    }
}

impl Inspect {
    pub(super) async fn run(self, console: &mut Console<'_>) -> Result<Outcome, Failure> {
        let election = load_election(&self.manifest)?;
        match &self.fingerprint {
            Some(told) => compare(&election, told)?,
            None => console.tell(&format!(
                "Compare this manifest's fingerprint with the commission's: {}",
                Fingerprint::of_hash(&election.manifest_hash())
            )),
        }
        let disclosure = read_code(self.code.as_ref(), console)?;
        let connections = Connections::open(&election)?;
        let inspected = inspect(&election, &connections, &disclosure).await?;
        let languages = self.language.list();
        if self.json {
            console.say(&inspected_json(&inspected, &disclosure, &languages).to_string());
        } else {
            let agencies: Vec<&str> = inspected
                .held_by()
                .iter()
                .map(|party| election.party(*party).agency())
                .collect();
            console.say(&format!(
                "A ballot of {}, cast {}, as {} hold it:\n{}",
                in_language(inspected.form().box_name(), &languages),
                moment(inspected.cast_at().0),
                super::voter::join(&agencies),
                inspected
                    .choices()
                    .confirmation(inspected.form(), &languages)
                    .trim_end()
            ));
            for fault in inspected.faults() {
                console.tell(&format!("Beside that: {fault}"));
            }
            console.tell(
                "This is what one ballot holds. Whose it is, and whether it counts or a later one does, nobody can see.",
            );
        }
        Ok(Outcome::Done)
    }
}

fn inspected_json(inspected: &Inspected, disclosure: &Disclosure, languages: &[String]) -> serde_json::Value {
    json!({
        "digest": disclosure.digest().to_string(),
        "box": disclosure.of_box().get(),
        "cast_at_s": inspected.cast_at().0,
        "held_by": inspected.held_by().iter().map(|party| party.number()).collect::<Vec<_>>(),
        "choices": inspected.choices().shown(inspected.form(), languages),
        "faults": inspected.faults().iter().map(fault_json).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_code_fits_a_terminal_of_80_columns() {
        // One contest of six options; the alphabet is that of the QR code's alphanumeric mode.
        let text = format!("{}{}", tally_proto::disclosure::CHECK_PREFIX, "7Z".repeat(196));
        let picture = picture(&text).expect("it fits");
        assert!(
            picture.lines().all(|line| line.chars().count() <= 80),
            "{}",
            picture.as_str()
        );
        assert!(picture.lines().count() <= 40);
        assert!(super::picture(&"A".repeat(5000)).is_none());
    }
}
