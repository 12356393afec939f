//! The closing of a station: what was cast against the sheet, and the signed statement.

use tally_proto::ids::{StationId, UnixSeconds};
use tally_proto::sign_ins::{BoxSignIns, MAX_WORDS, SignIns};

use super::{AtWork, Reply, ask, choose, deliver};
use crate::cli::Failure;
use crate::form::in_language;
use crate::station::StationError;

impl AtWork<'_, '_> {
    /// The closing: counts against the sheet, the difference, the signed statement.
    pub(super) async fn close(&mut self) -> Result<(), Failure> {
        deliver(&self.counter).await;
        let counts = self.counter.lock().await.status().counts;
        let mut boxes = Vec::new();
        for of in self.election.manifest().boxes() {
            let own = counts
                .iter()
                .find(|(id, _)| *id == of.id())
                .map(|(_, of)| *of)
                .unwrap_or_default();
            let in_book = self.book.count(of.id());
            if own.all() == 0 && in_book == 0 {
                continue;
            }
            let question = format!(
                "Box {} {}: how many signatures are on the sheet?",
                of.id(),
                in_language(of.name(), &self.languages)
            );
            let Some(signed_in) = choose(self.console, &question, u64::from(of.voters()))? else {
                return Ok(());
            };
            let of_box = BoxSignIns {
                of_box: of.id().get(),
                signed_in,
                electronic: own.electronic,
                paper: own.paper,
            };
            self.console.say(&format!(
                "Box {}: {} electronic and {} paper, {} votes; {signed_in} signatures, {in_book} in the book. {}",
                of.id(),
                own.electronic,
                own.paper,
                own.all(),
                difference(&of_box)
            ));
            boxes.push(of_box);
        }
        let different = boxes.iter().any(|of| of.electronic + of.paper != of.signed_in);
        let mut remark = String::new();
        if different {
            match ask(
                self.console,
                "What explains the difference? One line for the commission (Enter alone: nothing):",
            )? {
                Reply::End => return Ok(()),
                Reply::Text(text) => {
                    remark = text
                        .chars()
                        .filter(|c| !c.is_control())
                        .take(MAX_WORDS / 4)
                        .collect()
                }
            }
        }
        if choose(
            self.console,
            "1: close the station and sign this statement. 0: back, nothing is closed.",
            1,
        )? != Some(1)
        {
            self.console.say("The station stays open.");
            return Ok(());
        }
        let (now, _) = self.counter.lock().await.time().await?;
        let statement = SignIns {
            election: self.election.id().clone(),
            manifest: self.election.manifest_hash(),
            station: StationId(self.station),
            officer: self.book.officer().to_owned(),
            opened_at: UnixSeconds(self.book.opened_at_s()),
            closed_at: now,
            remark,
            boxes,
        };
        let text = self.counter.lock().await.sign(&statement)?;
        let own = self
            .arguments
            .dir
            .join(format!("{}.sign-ins", self.election.id()));
        for place in [Some(own), self.arguments.statement.clone()]
            .into_iter()
            .flatten()
        {
            crate::disk::replace(&crate::disk::RealDisk, &place, text.as_bytes()).map_err(|source| {
                StationError::Io {
                    path: place.clone(),
                    source,
                }
            })?;
            self.console
                .say(&format!("The closing statement is in {}.", place.display()));
        }
        self.book.set_closed(Some(now.0)).map_err(StationError::from)?;
        self.console
            .say("The station is closed. Hand the statement to the commission.");
        Ok(())
    }
}

fn difference(of: &BoxSignIns) -> String {
    let votes = of.electronic + of.paper;
    match (of.surplus(), of.signed_in.saturating_sub(votes)) {
        (0, 0) => "They are equal.".to_owned(),
        (0, missing) => format!("{missing} signed in without a vote."),
        (surplus, _) => {
            format!("{surplus} VOTES TOO MANY: the commission cannot seal before this is explained.")
        }
    }
}
