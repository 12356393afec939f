//! An election from one readable TOML file and its roll: read, checked, and turned into the manifest that will be signed.
//!
//! Errors say what is wrong, with which value, on which line where one is known, and what to do. What passes here is built into
//! the checked manifest of `tally-proto`, whose own rules have the last word.

pub mod calendar;
pub mod ceilings;
mod enrolment;
mod file;
mod problem;
mod texts;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tally_proto::identity::{IdentityError, PartyIdentity, RegistrarIdentity, StationIdentity};
use tally_proto::manifest::{Network, RevokedRows, UnknownNetwork, UnknownRevokedRows};
use tally_proto::ticket::{MAX_DAYS, MAX_DRAWN, MAX_DRAWS};
use tally_proto::wire;
use toml::Spanned;

pub use problem::{DefinitionError, Problem, StationChannelProblem};

use crate::files;
use crate::roll::{self, RollFile, formula};
use calendar::{CalendarError, Opening, Zone};
use file::{BoxTable, ChannelTable, ContestTable, ElectionFile, OpeningTable, StationTable, TicketsTable};
use texts::Languages;

/// Longest text, in characters.
pub const MAX_TEXT: usize = 500;
/// Fewest options of a contest.
pub const MIN_OPTIONS: usize = 2;
/// Most options of a contest.
pub const MAX_OPTIONS: usize = 250;
/// The lowest minimum a result policy may set: below it, a result tells a voter how the others voted.
pub const LEAST_MINIMUM: u32 = 3;

/// A defined election: the manifest without roll roots, ticket keys and signatures, and the roll.
#[derive(Debug)]
pub struct Definition {
    /// As it will be signed, except for what the roll adds.
    pub manifest: wire::Manifest,
    /// Every box's voters.
    pub roll: RollFile,
    /// Where tickets are asked for: when each day of the online channel begins, which gets a key.
    pub ticket_days: Vec<u64>,
}

/// Who takes part, from their identity files.
#[derive(Debug)]
struct Participants {
    parties: Vec<wire::PartyIdentity>,
    registrars: Vec<wire::RegistrarIdentity>,
    stations: Vec<wire::StationIdentity>,
}

/// Reads and checks an election file, the identity files it names and its roll. `coordinator` is the signing coordinator;
/// `created_at_s` the Unix second of the definition.
///
/// # Errors
/// [`DefinitionError`]: the first problem found, with its place.
pub fn read(
    path: &Path,
    coordinator: wire::CoordinatorIdentity,
    created_at_s: u64,
) -> Result<Definition, DefinitionError> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| DefinitionError::new(path, None, Problem::Unreadable(e)))?;
    Reader { path, text: &text }.definition(coordinator, created_at_s)
}

struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Reader<'_> {
    /// The line, from 1, of a byte position.
    fn line(&self, position: usize) -> usize {
        1 + self
            .text
            .as_bytes()
            .iter()
            .take(position)
            .filter(|b| **b == b'\n')
            .count()
    }

    fn at<T>(&self, place: &Spanned<T>, problem: Problem) -> DefinitionError {
        DefinitionError::new(self.path, Some(self.line(place.span().start)), problem)
    }

    fn nowhere(&self, problem: Problem) -> DefinitionError {
        DefinitionError::new(self.path, None, problem)
    }

    /// A path as written, relative to the election file.
    fn beside(&self, written: &Path) -> PathBuf {
        self.path
            .parent()
            .map_or_else(|| written.to_path_buf(), |directory| directory.join(written))
    }

    fn definition(
        &self,
        coordinator: wire::CoordinatorIdentity,
        created_at_s: u64,
    ) -> Result<Definition, DefinitionError> {
        let file: ElectionFile = toml::from_str(self.text).map_err(|e| {
            let line = e.span().map(|span| self.line(span.start));
            let message = e.message().split_whitespace().collect::<Vec<_>>().join(" ");
            DefinitionError::new(self.path, line, Problem::Shape { message })
        })?;
        if tally_proto::ids::ElectionId::new(file.election.get_ref()).is_err() {
            let id = file.election.get_ref().clone();
            return Err(self.at(&file.election, Problem::ElectionId { id }));
        }
        let languages = Languages::of_title(self, file.language.as_ref(), &file.title)?;
        let title = languages.texts(self, &file.title, "the title")?;
        // Text messages begin with it, in a table.
        if let Some((text, first)) = title.iter().find_map(|text| Some((text, formula(&text.text)?))) {
            let problem = Problem::Formula {
                of: "the title".to_owned(),
                language: text.language.clone(),
                first,
            };
            return Err(self.at(&file.title, problem));
        }
        let mut contests = self.contests(&file.contest, &languages)?;
        let mut boxes = self.boxes(&file, &languages)?;
        let channels = self.channels(&file, &languages)?;
        let policy = self.policy(&file)?;
        let network = self.network(&file)?;
        let revoked_rows = self.revoked_rows(&file)?;
        let (ticket_days, ticket_allowance) = self.tickets(&file, &channels)?.unzip();
        let register = file
            .enrolment
            .as_ref()
            .map(|table| self.register(table))
            .transpose()?;
        let participants = self.participants(&file)?;
        let roll = self.roll(&file, &boxes, &policy)?;
        // A manifest's numbers rise; the file may list contests and boxes in the order that reads best.
        contests.sort_by_key(|c| c.id);
        boxes.sort_by_key(|b| b.id);
        let open = self.open_roll(&file, &policy)?;
        for b in &mut boxes {
            let there = u32::try_from(roll.voters(b.id).len()).unwrap_or(u32::MAX);
            (b.voters, b.open) = open.map_or((there, None), |(most, open)| (most, Some(open)));
        }
        let manifest = wire::Manifest {
            version: 1,
            election: file.election.get_ref().clone(),
            title,
            contests,
            boxes,
            channels,
            parties: participants.parties,
            coordinator: Some(coordinator),
            registrars: participants.registrars,
            stations: participants.stations,
            ticket_keys: Vec::new(),
            policy: Some(policy),
            created_at_s,
            offsets: Vec::new(),
            network: network.to_wire().into(),
            ticket_allowance,
            register,
            revoked_rows: revoked_rows.to_wire().into(),
        };
        Ok(Definition {
            manifest,
            roll,
            ticket_days: ticket_days.unwrap_or_default(),
        })
    }

    fn contests(
        &self,
        tables: &[Spanned<ContestTable>],
        languages: &Languages,
    ) -> Result<Vec<wire::Contest>, DefinitionError> {
        if tables.is_empty() {
            return Err(self.nowhere(Problem::Empty {
                what: "contest",
                table: "contest",
            }));
        }
        let mut ids = BTreeSet::new();
        tables
            .iter()
            .map(|table| {
                let table = table.get_ref();
                let id = self.fresh_id(&mut ids, &table.id, "contest")?;
                let title = languages.texts(self, &table.title, &format!("the title of contest {id}"))?;
                let options = table.options.get_ref();
                if !(MIN_OPTIONS..=MAX_OPTIONS).contains(&options.len()) {
                    return Err(self.at(
                        &table.options,
                        Problem::Options {
                            contest: id,
                            options: options.len(),
                        },
                    ));
                }
                let mut choices: Vec<wire::Choice> = Vec::with_capacity(options.len());
                for (i, option) in options.iter().enumerate() {
                    let name = languages.texts(self, option, &format!("option {} of contest {id}", i + 1))?;
                    for (earlier, choice) in choices.iter().enumerate() {
                        if let Some(same) = name.iter().find(|text| choice.name.contains(text)) {
                            let name = same.text.clone();
                            return Err(self.at(
                                option,
                                Problem::SameOption {
                                    contest: id,
                                    first: earlier + 1,
                                    second: i + 1,
                                    name,
                                },
                            ));
                        }
                    }
                    choices.push(wire::Choice { name });
                }
                let rule = self.rule(id, table, choices.len())?;
                Ok(wire::Contest {
                    id,
                    title,
                    options: choices,
                    rule: Some(rule),
                })
            })
            .collect()
    }

    fn rule(
        &self,
        contest: u32,
        table: &ContestTable,
        options: usize,
    ) -> Result<wire::contest::Rule, DefinitionError> {
        let max = table.max.as_ref().map(|m| *m.get_ref());
        let wrong = |options| {
            let problem = Problem::Max {
                contest,
                max,
                options,
            };
            match &table.max {
                Some(written) => self.at(written, problem),
                None => self.at(&table.rule, problem),
            }
        };
        match (table.rule.get_ref().as_str(), max) {
            ("single", None) => Ok(wire::contest::Rule::Single(wire::SingleRule {})),
            ("single", Some(_)) => Err(wrong(0)),
            ("approval", Some(max)) if max >= 1 && usize::try_from(max).is_ok_and(|m| m <= options) => {
                Ok(wire::contest::Rule::Approval(wire::ApprovalRule { max }))
            }
            ("approval", _) => Err(wrong(options)),
            (rule, _) => Err(self.at(
                &table.rule,
                Problem::Rule {
                    contest,
                    rule: rule.to_owned(),
                },
            )),
        }
    }

    fn fresh_id(
        &self,
        ids: &mut BTreeSet<u32>,
        id: &Spanned<u32>,
        what: &'static str,
    ) -> Result<u32, DefinitionError> {
        match *id.get_ref() {
            0 => Err(self.at(id, Problem::ZeroId { what })),
            number if !ids.insert(number) => Err(self.at(id, Problem::DuplicateId { what, id: number })),
            number => Ok(number),
        }
    }

    fn boxes(&self, file: &ElectionFile, languages: &Languages) -> Result<Vec<wire::Box>, DefinitionError> {
        if file.boxes.is_empty() {
            return Err(self.nowhere(Problem::Empty {
                what: "box",
                table: "box",
            }));
        }
        let known: BTreeSet<u32> = file.contest.iter().map(|c| *c.get_ref().id.get_ref()).collect();
        let mut ids = BTreeSet::new();
        let mut used = BTreeSet::new();
        let mut boxes = Vec::with_capacity(file.boxes.len());
        for table in &file.boxes {
            let BoxTable {
                id,
                name,
                contests,
                max_ballots,
            } = table.get_ref();
            let id = self.fresh_id(&mut ids, id, "box")?;
            let name = languages.texts(self, name, &format!("the name of box {id}"))?;
            let name_of_box = name.first().map(|t| t.text.clone()).unwrap_or_default();
            let mut listed = Vec::new();
            for contest in contests.get_ref() {
                let number = *contest.get_ref();
                if !known.contains(&number) {
                    return Err(self.at(
                        contest,
                        Problem::UnknownContest {
                            name_of_box,
                            id,
                            contest: number,
                        },
                    ));
                }
                if listed.contains(&number) {
                    return Err(self.at(
                        contest,
                        Problem::BoxContests {
                            name_of_box,
                            id,
                            contest: Some(number),
                        },
                    ));
                }
                listed.push(number);
                used.insert(number);
            }
            if listed.is_empty() {
                return Err(self.at(
                    contests,
                    Problem::BoxContests {
                        name_of_box,
                        id,
                        contest: None,
                    },
                ));
            }
            boxes.push(wire::Box {
                id,
                name,
                contests: listed,
                max_ballots: max_ballots.unwrap_or_default(),
                ..wire::Box::default()
            });
        }
        match file
            .contest
            .iter()
            .find(|c| !used.contains(c.get_ref().id.get_ref()))
        {
            Some(unused) => {
                let id = &unused.get_ref().id;
                Err(self.at(
                    id,
                    Problem::UnusedContest {
                        contest: *id.get_ref(),
                    },
                ))
            }
            None => Ok(boxes),
        }
    }

    fn channels(
        &self,
        file: &ElectionFile,
        languages: &Languages,
    ) -> Result<Vec<wire::Channel>, DefinitionError> {
        if file.channel.is_empty() {
            return Err(self.nowhere(Problem::Empty {
                what: "channel",
                table: "channel",
            }));
        }
        let mut channels: Vec<wire::Channel> = Vec::new();
        for table in &file.channel {
            let channel = self.channel(table.get_ref(), languages)?;
            if channels.iter().any(|c| c.kind == channel.kind) {
                let kind = kind_name(channel.kind());
                return Err(self.at(&table.get_ref().kind, Problem::ChannelTwice { kind }));
            }
            channels.push(channel);
        }
        channels.sort_by_key(|c| c.kind);
        let at_stations = file
            .channel
            .iter()
            .find(|c| matches!(c.get_ref().kind.get_ref().as_str(), "station" | "paper"));
        match (at_stations, file.station.first()) {
            (Some(channel), None) => {
                Err(self.at(channel, Problem::StationChannel(StationChannelProblem::NoStation)))
            }
            (None, Some(station)) => {
                Err(self.at(station, Problem::StationChannel(StationChannelProblem::NoChannel)))
            }
            _ => Ok(channels),
        }
    }

    fn channel(&self, table: &ChannelTable, languages: &Languages) -> Result<wire::Channel, DefinitionError> {
        let written = table.kind.get_ref();
        let kind = channel_kind(written).ok_or_else(|| {
            self.at(
                &table.kind,
                Problem::ChannelKind {
                    kind: written.clone(),
                },
            )
        })?;
        let channel = kind_name(kind);
        let wrong = |source| Problem::Calendar { channel, source };
        let name = languages.texts(self, &table.name, &format!("the name of the {channel} channel"))?;
        let zone = Zone::find(table.time_zone.get_ref()).map_err(|e| self.at(&table.time_zone, wrong(e)))?;
        let mut openings: Vec<Opening> = Vec::new();
        for opening in table.openings.get_ref() {
            openings.extend(one_opening(&zone, opening.get_ref()).map_err(|e| self.at(opening, wrong(e)))?);
        }
        let until = table.receive_until.as_ref().map(|u| u.get_ref().as_str());
        let receive_until_s =
            calendar::check_order(&zone, &openings, until).map_err(|e| match &table.receive_until {
                Some(written)
                    if matches!(e, CalendarError::ReceiveUntil { .. } | CalendarError::NotATime(_)) =>
                {
                    self.at(written, wrong(e))
                }
                _ => self.at(&table.openings, wrong(e)),
            })?;
        Ok(wire_channel(kind, name, &zone, openings, receive_until_s))
    }

    fn network(&self, file: &ElectionFile) -> Result<Network, DefinitionError> {
        let Some(written) = &file.network else {
            return Ok(Network::default());
        };
        written.get_ref().parse().map_err(|_: UnknownNetwork| {
            let network = written.get_ref().clone();
            self.at(written, Problem::Network { network })
        })
    }

    fn revoked_rows(&self, file: &ElectionFile) -> Result<RevokedRows, DefinitionError> {
        let Some(written) = &file.revoked_stations else {
            return Ok(RevokedRows::default());
        };
        written.get_ref().parse().map_err(|_: UnknownRevokedRows| {
            let rows = written.get_ref().clone();
            self.at(written, Problem::RevokedStations { rows })
        })
    }

    /// The days that get a key, and the allowance; `None` where the file asks for no tickets.
    fn tickets(
        &self,
        file: &ElectionFile,
        channels: &[wire::Channel],
    ) -> Result<Option<(Vec<u64>, wire::TicketAllowance)>, DefinitionError> {
        let Some(table) = &file.tickets else {
            return Ok(None);
        };
        let TicketsTable { per_day, draws } = *table.get_ref();
        let online = channels.iter().find(|c| c.kind() == wire::ChannelKind::Online);
        let Some(online) = online else {
            return Err(self.at(table, Problem::TicketsOffline));
        };
        let channel = kind_name(online.kind());
        let wrong = |source| self.at(table, Problem::Calendar { channel, source });
        let zone = Zone::find(&online.time_zone).map_err(wrong)?;
        let mut days = Vec::new();
        for opening in &online.openings {
            days.extend(zone.days(opening.opens_s, opening.closes_s).map_err(wrong)?);
        }
        days.dedup();
        let total = (days.len() as u64).saturating_mul(u64::from(per_day));
        if total == 0
            || total > MAX_DRAWN as u64
            || days.len() > MAX_DAYS
            || !(1..=MAX_DRAWS).contains(&draws)
        {
            let days = days.len();
            return Err(self.at(table, Problem::Tickets { days, per_day, draws }));
        }
        Ok(Some((days, wire::TicketAllowance { per_day, draws })))
    }

    fn policy(&self, file: &ElectionFile) -> Result<wire::ResultPolicy, DefinitionError> {
        let result = file.result.get_ref();
        for (key, value) in [
            ("min_voters", result.min_voters),
            ("min_submissions", result.min_submissions),
        ] {
            if value < LEAST_MINIMUM {
                return Err(self.at(&file.result, Problem::PolicyTooLow { key, value }));
            }
        }
        Ok(wire::ResultPolicy {
            open_counted_per_channel: result.counted_per_channel,
            min_voters: result.min_voters,
            min_submissions: result.min_submissions,
        })
    }

    fn roll(
        &self,
        file: &ElectionFile,
        boxes: &[wire::Box],
        policy: &wire::ResultPolicy,
    ) -> Result<RollFile, DefinitionError> {
        let source = file.roll.get_ref();
        let path = match (source.kind.get_ref().as_str(), &source.file) {
            // Nobody is on it yet.
            ("open", None) => return Ok(RollFile::default()),
            ("closed", Some(path)) if source.is_closed() => path,
            ("open" | "closed", _) => return Err(self.at(&file.roll, Problem::RollKeys)),
            (kind, _) => {
                let kind = kind.to_owned();
                return Err(self.at(&source.kind, Problem::RollKind { kind }));
            }
        };
        let known: Vec<u32> = boxes.iter().map(|b| b.id).collect();
        let roll =
            roll::read(&self.beside(path), &known).map_err(|e| self.at(&file.roll, Problem::Roll(e)))?;
        let given = roll.names_persons();
        if given != file.enrolment.is_some() {
            return Err(self.at(&file.roll, Problem::Persons { given }));
        }
        for (b, table) in boxes.iter().zip(&file.boxes) {
            let voters = roll.voters(b.id).len();
            if voters < usize::try_from(policy.min_voters).unwrap_or(usize::MAX) {
                let name_of_box = b.name.first().map(|t| t.text.clone()).unwrap_or_default();
                return Err(self.at(
                    table,
                    Problem::BoxTooSmall {
                        name_of_box,
                        id: b.id,
                        voters,
                        min: policy.min_voters,
                    },
                ));
            }
        }
        Ok(roll)
    }

    /// The most voters of an open roll and when it freezes; `None` of a closed one.
    fn open_roll(
        &self,
        file: &ElectionFile,
        policy: &wire::ResultPolicy,
    ) -> Result<Option<(u32, wire::OpenRoll)>, DefinitionError> {
        let source = file.roll.get_ref();
        if source.kind.get_ref() != "open" {
            return Ok(None);
        }
        let (Some(most), Some(freezes), Some(time_zone)) = (source.most, &source.freezes, &source.time_zone)
        else {
            return Err(self.at(&file.roll, Problem::RollKeys));
        };
        if file.enrolment.is_none() {
            return Err(self.at(&file.roll, Problem::OpenWithoutCards));
        }
        if most < policy.min_voters {
            let min = policy.min_voters;
            return Err(self.at(&file.roll, Problem::OpenTooSmall { most, min }));
        }
        let wrong = |source| Problem::Calendar {
            channel: "roll",
            source,
        };
        let zone = Zone::find(time_zone.get_ref()).map_err(|source| self.at(time_zone, wrong(source)))?;
        let freezes_s = zone
            .moment(freezes.get_ref())
            .map_err(|source| self.at(freezes, wrong(source)))?;
        Ok(Some((most, wire::OpenRoll { freezes_s })))
    }

    fn participants(&self, file: &ElectionFile) -> Result<Participants, DefinitionError> {
        let count = file.parties.get_ref().len();
        if count != 3 {
            return Err(self.at(&file.parties, Problem::Parties { count }));
        }
        let count = file.registrars.get_ref().len();
        if !(usize::from(file.enrolment.is_none())..=2).contains(&count) {
            return Err(self.at(&file.registrars, Problem::Registrars { count }));
        }
        let mut parties = Vec::with_capacity(3);
        for (place, path) in (1..).zip(file.parties.get_ref()) {
            let party = self.identity(path, PartyIdentity::from_toml)?.to_wire();
            if usize::try_from(party.index) != Ok(place) {
                let path_read = self.beside(path.get_ref());
                return Err(self.at(
                    path,
                    Problem::PartyOrder {
                        place,
                        role: party.index,
                        path: path_read,
                    },
                ));
            }
            parties.push(party);
        }
        let registrars = file
            .registrars
            .get_ref()
            .iter()
            .map(|path| Ok(self.identity(path, RegistrarIdentity::from_toml)?.to_wire()))
            .collect::<Result<_, _>>()?;
        let known: Vec<u32> = file.boxes.iter().map(|b| *b.get_ref().id.get_ref()).collect();
        let mut stations: Vec<wire::StationIdentity> = Vec::new();
        for table in &file.station {
            let StationTable {
                identity: path,
                boxes,
                openings,
            } = table.get_ref();
            let mut station = self.identity(path, StationIdentity::from_toml)?.to_wire();
            if let Some(first) = stations.iter().find(|s| s.id == station.id) {
                let (first, second) = (first.name.clone(), station.name);
                return Err(self.at(
                    path,
                    Problem::StationTwice {
                        id: station.id,
                        first,
                        second,
                    },
                ));
            }
            if let Some(unknown) = boxes.iter().find(|b| !known.contains(b.get_ref())) {
                let (station, id) = (station.name, *unknown.get_ref());
                return Err(self.at(unknown, Problem::StationBox { station, id, known }));
            }
            station.boxes = boxes
                .iter()
                .map(|b| *b.get_ref())
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect();
            station.openings = self.station_openings(file, openings)?;
            stations.push(station);
        }
        stations.sort_by_key(|s| s.id);
        Ok(Participants {
            parties,
            registrars,
            stations,
        })
    }

    /// A station's own hours, in the time zone of the channel of stations.
    fn station_openings(
        &self,
        file: &ElectionFile,
        tables: &[Spanned<OpeningTable>],
    ) -> Result<Vec<wire::Opening>, DefinitionError> {
        let (Some(first), Some(channel)) = (
            tables.first(),
            file.channel
                .iter()
                .map(Spanned::get_ref)
                .find(|c| matches!(c.kind.get_ref().as_str(), "station" | "paper")),
        ) else {
            return Ok(Vec::new());
        };
        let wrong = |source| Problem::Calendar {
            channel: "station",
            source,
        };
        let zone =
            Zone::find(channel.time_zone.get_ref()).map_err(|e| self.at(&channel.time_zone, wrong(e)))?;
        let mut openings: Vec<Opening> = Vec::new();
        for table in tables {
            openings.extend(one_opening(&zone, table.get_ref()).map_err(|e| self.at(table, wrong(e)))?);
        }
        calendar::check_order(&zone, &openings, None).map_err(|e| self.at(first, wrong(e)))?;
        Ok(openings.into_iter().map(wire_opening).collect())
    }

    fn identity<T>(
        &self,
        written: &Spanned<PathBuf>,
        parse: impl FnOnce(&str) -> Result<T, IdentityError>,
    ) -> Result<T, DefinitionError> {
        let path = self.beside(written.get_ref());
        let text = files::read_text(&path).map_err(|e| self.at(written, Problem::IdentityUnreadable(e)))?;
        parse(&text).map_err(|source| self.at(written, Problem::Identity { path, source }))
    }
}

fn one_opening(zone: &Zone, table: &OpeningTable) -> Result<Vec<Opening>, CalendarError> {
    let text = |t: &Option<Spanned<String>>| t.as_ref().map(|s| s.get_ref().clone());
    match (
        text(&table.opens),
        text(&table.closes),
        text(&table.days),
        text(&table.hours),
    ) {
        (Some(opens), Some(closes), None, None) => Ok(vec![zone.opening(&opens, &closes)?]),
        (None, None, Some(days), Some(hours)) => zone.daily(&days, &hours),
        _ => Err(CalendarError::Form),
    }
}

/// The channel kind of a word in an election file or a command.
pub fn channel_kind(word: &str) -> Option<wire::ChannelKind> {
    match word {
        "online" => Some(wire::ChannelKind::Online),
        "station" => Some(wire::ChannelKind::Station),
        "paper" => Some(wire::ChannelKind::Paper),
        _ => None,
    }
}

/// The word for a channel kind.
pub fn kind_name(kind: wire::ChannelKind) -> &'static str {
    match kind {
        wire::ChannelKind::Online => "online",
        wire::ChannelKind::Station => "station",
        wire::ChannelKind::Paper => "paper",
        wire::ChannelKind::Unspecified => "unspecified",
    }
}

/// A channel of the manifest from its calendar.
pub fn wire_channel(
    kind: wire::ChannelKind,
    name: Vec<wire::Text>,
    zone: &Zone,
    openings: Vec<Opening>,
    receive_until_s: u64,
) -> wire::Channel {
    wire::Channel {
        kind: kind.into(),
        name,
        time_zone: zone.name().to_owned(),
        openings: openings.into_iter().map(wire_opening).collect(),
        receive_until_s,
    }
}

fn wire_opening(opening: Opening) -> wire::Opening {
    wire::Opening {
        opens_local: opening.opens_local,
        closes_local: opening.closes_local,
        opens_s: opening.opens_s,
        closes_s: opening.closes_s,
    }
}
