//! A summary from a checked bundle.

use tally_proto::bundle::BoxReport;
use tally_proto::calendar::ChannelKind;
use tally_proto::ids::BoxId;
use tally_proto::manifest::{self, Manifest};

use super::{BoxFigures, ContestFigures, ContestInBox, Rule, Summary};
use crate::bundle::Checked;
use crate::definition::calendar::Zone;

impl Summary {
    /// The figures of a bundle that holds, with texts in `language` where the election has it.
    pub fn of(checked: &Checked, language: &str) -> Self {
        let manifest = checked.manifest.manifest();
        let report = &checked.report;
        let has = |language: &str| manifest.title().iter().any(|(l, _)| l == language);
        let first = manifest.title().iter().next().map_or("en", |(l, _)| l);
        let language = if has(language) { language } else { first };
        Self {
            election: report.election.to_string(),
            language: language.to_owned(),
            title: manifest.title().get(language).to_owned(),
            manifest_hash: report.manifest_hash.to_string(),
            coordinator: manifest.coordinator().name().to_owned(),
            published_at: local_time(manifest, report.published_at.get()),
            agencies: manifest.parties().each_ref().map(|p| p.agency().to_owned()),
            boxes: report.boxes.iter().map(|b| box_figures(b, language)).collect(),
            corrections: report.corrections as u64,
            left_out: report
                .missing
                .iter()
                .map(|id| box_name(manifest, *id, language))
                .collect(),
            contests: manifest
                .contests()
                .iter()
                .filter_map(|c| contest(c, &report.boxes, language))
                .collect(),
        }
    }
}

fn box_name(manifest: &Manifest, id: BoxId, language: &str) -> String {
    manifest
        .ballot_box(id)
        .map_or_else(|| format!("box {id}"), |b| b.name().get(language).to_owned())
}

/// The moment in the zone of the first channel, which is the commission's own.
fn local_time(manifest: &Manifest, unix_s: u64) -> String {
    let online = manifest
        .channel(ChannelKind::Online)
        .or(manifest.channels().first());
    let zone = online.and_then(|c| Zone::find(c.time_zone()).ok());
    zone.map_or_else(|| format!("Unix second {unix_s}"), |zone| zone.show(unix_s))
}

fn box_figures(b: &BoxReport, language: &str) -> BoxFigures {
    BoxFigures {
        id: b.of_box.get(),
        name: b.name.get(language).to_owned(),
        voters: b.seal.voters.into(),
        online: b.seal.counts.online,
        station: b.seal.counts.station,
        paper: b.seal.counts.paper,
        excluded: b.seal.exclusions.len() as u64,
        counted: b.result.counted().map(|c| (c.online, c.station)),
        result_signed_by: b.signers.iter().map(|role| role.index()).collect(),
        // A Seal without all three signatures is no Seal.
        seal_signed_by: vec![1, 2, 3],
    }
}

/// A contest's figures; `None` for one that no box of the bundle voted on.
fn contest(contest: &manifest::Contest, boxes: &[BoxReport], language: &str) -> Option<ContestFigures> {
    let in_boxes: Vec<ContestInBox> = boxes
        .iter()
        .filter_map(|b| {
            let result = b.result.contests().iter().find(|c| c.contest == contest.id())?;
            Some(ContestInBox {
                box_id: b.of_box.get(),
                totals: result.totals.clone(),
                spoilt: result.spoilt,
            })
        })
        .collect();
    (!in_boxes.is_empty()).then(|| ContestFigures {
        id: contest.id().get(),
        title: contest.title().get(language).to_owned(),
        rule: match contest.rule() {
            manifest::Rule::Single => Rule::Single,
            manifest::Rule::Approval { max } => Rule::Approval { max },
        },
        options: contest
            .options()
            .iter()
            .map(|o| o.get(language).to_owned())
            .collect(),
        boxes: in_boxes,
    })
}
