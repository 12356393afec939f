//! A whole world for one election on this machine: three agencies with a party server each, a commission with its board, a registrar
//! and polling stations, all set up and driven by the commands that people would type.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use thiserror::Error;

use crate::process::{ProcessError, Program, Said, Server, free_addresses_at, run_dir};
use crate::script::{Place, Roll};
use crate::units::{self, Units, UnitsError};
use crate::utc;

const AGENCIES: [&str; 3] = [
    "National Audit Office",
    "University Computing Centre",
    "Data Protection Authority",
];

const AUDITORS: [&str; 3] = [
    "A. Abel, court of audit",
    "B. Berg, election observers",
    "C. Chen, parliament's office",
];

/// What an election is about.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Election id.
    pub election: String,
    /// Title.
    pub title: String,
    /// The one contest's options, in order.
    pub options: Vec<String>,
    /// Box names, in order; their voters are in `roll`.
    pub boxes: Vec<String>,
    /// Who is on the roll.
    pub roll: Roll,
    /// Polling stations, with ids from 1.
    pub stations: u32,
    /// Tickets a day, and draws of a voter, where online ballots need tickets.
    pub tickets: Option<(u32, u32)>,
    /// When the channels open, and when the calendar would close them: local time of UTC, `YYYY-MM-DD HH:MM:SS`.
    pub opens: String,
    /// See `opens`.
    pub closes: String,
}

/// What goes wrong with a world.
#[derive(Debug, Error)]
pub enum WorldError {
    /// A process.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The units of systemd.
    #[error(transparent)]
    Units(#[from] UnitsError),
    /// A file.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The registrar's invitations are not what was asked for.
    #[error("{path}, line {line}: {text:?} is no invitation", path = path.display())]
    Invitation {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The line's text without its code.
        text: String,
    },
}

fn file(path: &Path) -> impl FnOnce(io::Error) -> WorldError {
    let path = path.to_owned();
    move |source| WorldError::File { path, source }
}

/// The world of an election.
pub struct World {
    /// Everything lives below this directory.
    pub root: PathBuf,
    /// What the election is about.
    pub plan: Plan,
    /// The program that plays every part.
    pub program: Program,
    addresses: Addresses,
    parties: [Option<Server>; 3],
    board: Option<Server>,
    /// The servers are these, and not processes of this program.
    units: Option<Units>,
}

struct Addresses {
    public: Vec<SocketAddr>,
    peer: Vec<SocketAddr>,
    /// The public and the peer address that everybody knows.
    told: Vec<[SocketAddr; 2]>,
    board: SocketAddr,
}

impl World {
    /// Sets everybody up in `root`: keys, certificates, identities exchanged, stations and registrar certified. Starts nothing.
    ///
    /// # Errors
    /// The first command that fails, with what it printed.
    pub fn set_up(root: &Path, program: Program, plan: Plan) -> Result<Self, WorldError> {
        Self::set_up_with(root, program, plan, &[])
    }

    /// Like [`World::set_up`]; the keys of the parties in `split` (0 based) are split among three officials, two of whom unlock them. Their
    /// sheets are in `sheets-N`, the recovery kit is `party-N.kit`.
    ///
    /// # Errors
    /// The first command that fails, with what it printed.
    pub fn set_up_with(
        root: &Path,
        program: Program,
        plan: Plan,
        split: &[usize],
    ) -> Result<Self, WorldError> {
        Self::set_up_behind(root, program, plan, split, |_, listens| Ok(listens))
    }

    /// Like [`World::set_up_with`]; everybody is told another address of a party's listener than where it listens: what `before` gives for party
    /// `i` (0 based) and where it listens, at the same IP address. It is asked for the public and the peer listener of each.
    ///
    /// # Errors
    /// The first command that fails, or what `before` fails with.
    pub fn set_up_behind(
        root: &Path,
        program: Program,
        plan: Plan,
        split: &[usize],
        mut before: impl FnMut(usize, SocketAddr) -> io::Result<SocketAddr>,
    ) -> Result<Self, WorldError> {
        fs::create_dir_all(root).map_err(file(root))?;
        let (mut public, mut peer, mut told) = (Vec::new(), Vec::new(), Vec::new());
        for i in 0..3 {
            let [one, other] = free_addresses_at(party_ip(i))?;
            public.push(one);
            peer.push(other);
            told.push([
                before(i, one).map_err(file(root))?,
                before(i, other).map_err(file(root))?,
            ]);
        }
        let [board, _] = free_addresses_at(Ipv4Addr::LOCALHOST)?;
        let addresses = Addresses {
            public,
            peer,
            told,
            board,
        };
        let root = root.to_owned();
        let world = Self {
            root,
            plan,
            program,
            addresses,
            parties: [None, None, None],
            board: None,
            units: None,
        };
        world.init_everybody(split)?;
        Ok(world)
    }

    /// Sets everybody up as units of this machine's systemd, with the files and addresses that an operator would choose: the parties in `/etc/tally`, on
    /// 127.0.0.1 to 127.0.0.3, ports 7443 and 7444, each as a user of its own. Starts nothing.
    ///
    /// # Errors
    /// The machine has something of the tally already, or is not root's to change; the first command that fails.
    pub fn set_up_units(program: &Program, plan: Plan) -> Result<Self, WorldError> {
        let (units, program) = Units::install(program)?;
        let at = |port| (1..=3).map(move |last| SocketAddr::from(([127, 0, 0, last], port)));
        let (public, peer): (Vec<_>, Vec<_>) = (at(7443).collect(), at(7444).collect());
        let told = public.iter().zip(&peer).map(|(one, other)| [*one, *other]);
        let world = Self {
            root: units::ROOT.into(),
            plan,
            program: program.as_user(Some(Units::commission()?)),
            addresses: Addresses {
                told: told.collect(),
                public,
                peer,
                board: SocketAddr::from(([127, 0, 0, 1], 7400)),
            },
            parties: [None, None, None],
            board: None,
            units: None,
        };
        world.init_everybody(&[])?;
        units.give()?;
        Ok(Self {
            units: Some(units),
            ..world
        })
    }

    /// The units of systemd that the servers are, where they are.
    #[must_use]
    pub fn units(&self) -> Option<&Units> {
        self.units.as_ref()
    }

    fn init_everybody(&self, split: &[usize]) -> Result<(), WorldError> {
        self.init_agencies(split)?;
        self.init_commission()?;
        self.exchange_identities()
    }

    fn init_agencies(&self, split: &[usize]) -> Result<(), WorldError> {
        for (i, agency) in AGENCIES.into_iter().enumerate() {
            let (public, peer) = (self.addresses.public[i], self.addresses.peer[i]);
            let (number, dir) = ((i + 1).to_string(), party_dir(i));
            let [public_url, peer_url] = self.addresses.told[i].map(|told| format!("https://{told}"));
            let (public, peer) = (public.to_string(), peer.to_string());
            let (sheets, kit) = (format!("sheets-{number}"), format!("{dir}.kit"));
            let ceremony = [
                "--officials",
                "3",
                "--threshold",
                "2",
                "--sheets",
                &sheets,
                "--kit",
                &kit,
            ];
            let ceremony: &[&str] = if split.contains(&i) { &ceremony } else { &[] };
            self.run(
                &[
                    [
                        "party",
                        "init",
                        "--dir",
                        &dir,
                        "--party",
                        &number,
                        "--agency",
                        agency,
                        "--public-address",
                        &public_url,
                        "--peer-address",
                        &peer_url,
                        "--public-listen",
                        &public,
                        "--peer-listen",
                        &peer,
                    ]
                    .as_slice(),
                    ceremony,
                ]
                .concat(),
                "",
            )?;
        }
        Ok(())
    }

    fn init_commission(&self) -> Result<(), WorldError> {
        let board = format!("https://{}", self.addresses.board);
        self.run(
            &[
                "coordinator",
                "--dir",
                "coordinator",
                "init",
                "--name",
                "Election Commission",
                "--address",
                &board,
            ],
            "",
        )?;
        self.run(&["registrar", "--dir", "registrar", "init", "--name", "post"], "")?;
        let request = self.find("registrar", "request")?;
        let out = self.root.join("registrar/tls.pem");
        self.certify(&request, "registrar:post", &out)?;
        for id in 1..=self.plan.stations {
            let (dir, number) = (station_dir(id), id.to_string());
            let name = format!("Polling station {id}");
            self.run(
                &[
                    "client", "station", "init", "--dir", &dir, "--id", &number, "--name", &name,
                ],
                "",
            )?;
            let request = self.find(&dir, "request")?;
            let out = self.root.join(&dir).join("tls.certificate.pem");
            self.certify(&request, &format!("station:{id}"), &out)?;
        }
        Ok(())
    }

    fn certify(&self, request: &Path, role: &str, out: &Path) -> Result<(), WorldError> {
        let (request, out) = (text(request), text(out));
        self.run(
            &[
                "coordinator",
                "--dir",
                "coordinator",
                "certify",
                &request,
                "--role",
                role,
                "--out",
                &out,
            ],
            "",
        )?;
        Ok(())
    }

    /// Hands every identity file to everybody who needs it, as agencies do by mail and telephone.
    ///
    /// # Errors
    /// A file that is not there.
    pub fn exchange_identities(&self) -> Result<(), WorldError> {
        let commission = self.find("coordinator", "identity.toml")?;
        for to in 0..3 {
            let others = self.root.join(party_dir(to)).join("others");
            copy(&commission, &others.join("coordinator.identity.toml"))?;
            for from in (0..3).filter(|&from| from != to) {
                let name = format!("party-{}.identity.toml", from + 1);
                copy(&self.root.join(party_dir(from)).join(&name), &others.join(&name))?;
            }
        }
        Ok(())
    }

    /// Starts the three party servers and the commission's board.
    ///
    /// # Errors
    /// A server that does not come up, with the end of its log.
    pub fn start(&mut self) -> Result<(), WorldError> {
        for i in 0..3 {
            self.start_party(i)?;
        }
        if let Some(units) = &self.units {
            return Ok(units.start_board()?);
        }
        let listen = self.addresses.board.to_string();
        let words = [
            "coordinator",
            "--dir",
            "coordinator",
            "serve",
            "--listen",
            &listen,
        ];
        self.board = Some(
            self.program
                .serve("board", &self.root, &words, &[self.addresses.board])?,
        );
        Ok(())
    }

    /// Starts party server `i` (0 based), or starts it again.
    ///
    /// # Errors
    /// It does not come up.
    pub fn start_party(&mut self, i: usize) -> Result<(), WorldError> {
        if let Some(units) = &self.units {
            return Ok(units.start(i)?);
        }
        let words = unit_words(i);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let listens = [self.addresses.public[i], self.addresses.peer[i]];
        self.parties[i] = Some(self.program.serve(&party_dir(i), &self.root, &words, &listens)?);
        Ok(())
    }

    /// Pulls the plug of party server `i` (0 based), which must be running: in service or in its start.
    ///
    /// # Errors
    /// It had ended by itself, with the end of its log.
    pub fn strike_party(&mut self, i: usize) -> Result<(), WorldError> {
        match self.parties[i].take() {
            Some(mut server) => {
                server.check_runs()?;
                server.kill();
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Starts party server `i` (0 based) again and does not wait until it listens.
    ///
    /// # Errors
    /// The operating system refuses.
    pub fn begin_party(&mut self, i: usize) -> Result<(), WorldError> {
        let config = format!("{}/party.toml", party_dir(i));
        let words = ["party", "run", "--config", &config];
        self.parties[i] = Some(self.program.serve(&party_dir(i), &self.root, &words, &[])?);
        Ok(())
    }

    /// Waits until party server `i` (0 based) listens, if there is one.
    ///
    /// # Errors
    /// It does not come up.
    pub fn await_party(&mut self, i: usize) -> Result<(), WorldError> {
        if let Some(server) = &mut self.parties[i] {
            for address in [self.addresses.public[i], self.addresses.peer[i]] {
                server.await_listening(address)?;
            }
        }
        Ok(())
    }

    /// What the machine of party `i` (0 based) noted in its memory is gone, as after a boot or on another machine. The server must not run.
    ///
    /// # Errors
    /// The operating system refuses.
    pub fn boot_machine(&self, i: usize) -> std::io::Result<()> {
        std::fs::remove_dir_all(run_dir(&self.root, &party_dir(i)))
    }

    /// Pulls the plug of party server `i` (0 based).
    ///
    /// # Panics
    /// The units of systemd cannot be told.
    pub fn kill_party(&mut self, i: usize) {
        if let Some(units) = &self.units {
            units.kill(i).unwrap_or_else(|error| panic!("{error}"));
        }
        if let Some(server) = self.parties[i].take() {
            server.kill();
        }
    }

    /// Takes the process of party server `i` (0 based) out of this world's hands.
    pub fn take_party(&mut self, i: usize) -> Option<Server> {
        self.parties[i].take()
    }

    /// Starts party server `i` (0 based) by another line than the unit's, which ends in the unit's words.
    ///
    /// # Errors
    /// It does not come up.
    pub fn start_party_by(&mut self, i: usize, program: &Program, before: &[&str]) -> Result<(), WorldError> {
        let words = unit_words(i);
        let words: Vec<&str> = before
            .iter()
            .copied()
            .chain(words.iter().map(String::as_str))
            .collect();
        let listens = [self.addresses.public[i], self.addresses.peer[i]];
        self.parties[i] = Some(program.serve(&party_dir(i), &self.root, &words, &listens)?);
        Ok(())
    }

    /// Sets an option of party `i` (0 based), which stands in its configuration as a comment, or was set by this before; it counts from the
    /// next start on.
    ///
    /// # Errors
    /// The file has no such option, or cannot be written.
    pub fn configure(&self, i: usize, key: &str, value: &str) -> Result<(), WorldError> {
        let path = self.party_config(i);
        let text = fs::read_to_string(&path).map_err(file(&path))?;
        let starts = [format!("# {key} = "), format!("{key} = ")];
        let mut found = false;
        let lines: Vec<String> = text
            .lines()
            .map(|line| {
                if starts.iter().any(|start| line.starts_with(start.as_str())) {
                    found = true;
                    return format!("{key} = {value}");
                }
                line.to_owned()
            })
            .collect();
        if !found {
            return Err(file(&path)(io::ErrorKind::NotFound.into()));
        }
        write(&path, &(lines.join("\n") + "\n"))
    }

    /// The log of party server `i` (0 based): of all its processes, one after the other.
    #[must_use]
    pub fn party_log(&self, i: usize) -> PathBuf {
        self.root.join(format!("{}.log", party_dir(i)))
    }

    /// The configuration of party server `i` (0 based).
    #[must_use]
    pub fn party_config(&self, i: usize) -> PathBuf {
        self.root.join(party_dir(i)).join("party.toml")
    }

    /// Has party server `i` (0 based) stop in order.
    ///
    /// # Errors
    /// It cannot be told.
    pub fn stop_party(&mut self, i: usize) -> Result<(), WorldError> {
        match (&self.units, self.parties[i].take()) {
            (Some(units), _) => Ok(units.stop(i)?),
            (None, Some(server)) => Ok(server.stop()?),
            (None, None) => Ok(()),
        }
    }

    /// Has an auditor of their own audit the newest session of a box at each party, whose servers must be stopped; the statements.
    ///
    /// # Errors
    /// The first audit that cannot be made or finds something, with what it printed.
    pub fn audit(&self, box_id: u32) -> Result<Vec<PathBuf>, WorldError> {
        let of_box = box_id.to_string();
        let mut statements = Vec::new();
        for (i, auditor) in AUDITORS.into_iter().enumerate() {
            let dir = party_dir(i);
            let (key, config) = (format!("{dir}/auditor.key"), format!("{dir}/party.toml"));
            // Statements are for everybody, the party's directory is not.
            let out = format!("{dir}.box-{box_id}.audit");
            if !self.root.join(&key).exists() {
                self.run(&["party", "audit-key", "--out", &key], "")?;
            }
            self.run(
                &[
                    "party",
                    "audit",
                    "--config",
                    &config,
                    "--election",
                    &self.plan.election,
                    "--box",
                    &of_box,
                    "--auditor",
                    auditor,
                    "--key",
                    &key,
                    "--out",
                    &out,
                ],
                "",
            )?;
            let out = self.root.join(out);
            self.hand_to_commission(&out)?;
            statements.push(out);
        }
        Ok(statements)
    }

    /// Process ids of the party servers that run.
    #[must_use]
    pub fn party_ids(&self) -> Vec<u32> {
        self.parties.iter().flatten().map(Server::id).collect()
    }

    /// Defines the election and brings it into force: file and roll written, signed, published, countersigned by three operators who
    /// type its id, completed.
    ///
    /// # Errors
    /// The first command that fails.
    pub fn define(&self) -> Result<(), WorldError> {
        self.define_edited(|election, roll| (election, roll)).map(drop)
    }

    /// [`World::define`] with the texts of the election file and the roll changed by `edit`; and what the operators were shown.
    ///
    /// # Errors
    /// The first command that fails.
    pub fn define_edited(
        &self,
        edit: impl FnOnce(String, String) -> (String, String),
    ) -> Result<String, WorldError> {
        let dir = self.root.join("election");
        fs::create_dir_all(&dir).map_err(file(&dir))?;
        let (toml, roll) = edit(self.election_toml()?, self.roll_csv());
        write(&dir.join("election.toml"), &toml)?;
        write(&dir.join("roll.csv"), &roll)?;
        self.hand_to_commission(&dir)?;
        let election = self.plan.election.clone();
        let typed = format!("{election}\n");
        self.coordinator(&["define", "election/election.toml"], "")?;
        self.coordinator(&["publish", &election], &typed)?;
        let shown = self.countersign()?;
        self.coordinator(&["complete", &election], &typed)?;
        Ok(shown)
    }

    /// Every operator countersigns what waits, typing the election's id.
    ///
    /// # Errors
    /// The first that is refused.
    pub fn countersign(&self) -> Result<String, WorldError> {
        let mut shown = String::new();
        for i in 0..3 {
            let config = format!("{}/party.toml", party_dir(i));
            shown += &self.run(
                &["party", "countersign", "--config", &config],
                &format!("{}\n", self.plan.election),
            )?;
        }
        Ok(shown)
    }

    /// Closes all channels early, by orders that three operators countersign, and gives the moment at which nothing more is taken. It lies
    /// ahead far enough for all these commands, by how long one took.
    ///
    /// # Errors
    /// The first command that fails.
    pub fn close(&self, reason: &str) -> Result<SystemTime, WorldError> {
        let (_, until) = self.close_and_receive(reason, Duration::from_secs(1))?;
        Ok(until)
    }

    /// Like [`World::close`], and what waits at stations is taken for so long after the close: the first moment after the close, and the first at which
    /// nothing more is taken.
    ///
    /// # Errors
    /// The first command that fails.
    pub fn close_and_receive(
        &self,
        reason: &str,
        from_stations: Duration,
    ) -> Result<(SystemTime, SystemTime), WorldError> {
        let channels = if self.plan.stations > 0 { 3 } else { 1 };
        let began = Instant::now();
        // What is asked is not changed by asking.
        self.coordinator(&["signatures", &self.plan.election], "")?;
        // An order's moment lies three seconds ahead of its last signature at least.
        let commands = (began.elapsed() * 20).max(Duration::from_millis(1500)) * channels;
        let ahead = Duration::from_secs(4) + commands;
        let at = SystemTime::now() + ahead;
        let second = Duration::from_secs(1);
        let at_text = utc::second(at);
        let typed = format!("{}\n", self.plan.election);
        for channel in ["online", "station", "paper"].into_iter().take(channels as usize) {
            let grace = if channel == "online" {
                second
            } else {
                from_stations
            };
            let until_text = utc::second(at + grace);
            let words = [
                "order",
                &self.plan.election,
                "--reason",
                reason,
                "close",
                "--channel",
                channel,
                "--at",
                &at_text,
                "--receive-until",
                &until_text,
            ];
            self.coordinator(&words, &typed)?;
            self.countersign()?;
            self.coordinator(&["complete", &self.plan.election], &typed)?;
        }
        Ok((at + second, at + from_stations.max(second) + second))
    }

    fn election_toml(&self) -> Result<String, WorldError> {
        let plan = &self.plan;
        let list = |items: &[String]| {
            items
                .iter()
                .map(|item| format!("    {item:?},\n"))
                .collect::<String>()
        };
        // What agencies, registrar and stations handed to the commission: copies, for it reads nobody's directory.
        let handed = |from: PathBuf, name: String| -> Result<String, WorldError> {
            copy(&from, &self.root.join("election").join(&name))?;
            Ok(name)
        };
        let parties = (0..3)
            .map(|i| {
                let name = format!("party-{}.identity.toml", i + 1);
                handed(self.root.join(party_dir(i)).join(&name), name)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let registrar = handed(
            self.find("registrar", "identity.toml")?,
            "registrar.identity.toml".to_owned(),
        )?;
        let mut toml = format!(
            "election = {:?}\nlanguage = \"en\"\ntitle = {:?}\nparties = [\n{}]\nregistrars = [{registrar:?}]\n\n\
             [roll]\nfile = \"roll.csv\"\nkind = \"closed\"\n\n\
             [result]\ncounted_per_channel = true\nmin_voters = 10\nmin_submissions = 10\n\n\
             [[contest]]\nid = 1\ntitle = {:?}\nrule = \"single\"\noptions = [\n{}]\n",
            plan.election,
            plan.title,
            list(&parties),
            plan.title,
            list(&plan.options)
        );
        if let Some((per_day, draws)) = plan.tickets {
            toml += &format!("\n[tickets]\nper_day = {per_day}\ndraws = {draws}\n");
        }
        for (id, name) in (1..).zip(&plan.boxes) {
            toml += &format!("\n[[box]]\nid = {id}\nname = {name:?}\ncontests = [1]\n");
        }
        let kinds = [
            ("online", "Internet"),
            ("station", "Polling station"),
            ("paper", "Paper"),
        ];
        for (kind, name) in kinds.into_iter().take(if plan.stations > 0 { 3 } else { 1 }) {
            toml += &format!(
                "\n[[channel]]\nkind = {kind:?}\nname = {name:?}\ntime_zone = \"UTC\"\nopenings = [{{ opens = {:?}, closes = {:?} }}]\n",
                plan.opens, plan.closes
            );
        }
        for id in 1..=plan.stations {
            let identity = handed(
                self.find(&station_dir(id), "identity.toml")?,
                format!("station-{id}.identity.toml"),
            )?;
            toml += &format!("\n[[station]]\nidentity = {identity:?}\n");
        }
        Ok(toml)
    }

    fn roll_csv(&self) -> String {
        let mut csv = String::from("box,reference,online\n");
        for (id, &voters) in (1..).zip(&self.plan.roll.boxes) {
            for v in 0..voters {
                csv += &format!("{id},{},yes\n", reference(Place { box_id: id, v }));
            }
        }
        csv
    }

    /// Issues credentials and gives the invitations by place on the roll.
    ///
    /// # Errors
    /// The registrar fails, or its file is not what it should be.
    pub fn issue(&self) -> Result<BTreeMap<Place, String>, WorldError> {
        let manifest = text(&self.manifest_file()?);
        let roll = format!("coordinator/elections/{}/roll.csv", self.plan.election);
        let out = self.root.join("invitations.csv");
        self.run(
            &[
                "registrar",
                "--dir",
                "registrar",
                "issue",
                "--manifest",
                &manifest,
                "--roll",
                &roll,
                "--out",
                &text(&out),
            ],
            &format!("{}\n", self.plan.election),
        )?;
        if self.plan.tickets.is_some() {
            let hashes = format!("registrar/issued/{}/draw-hashes.csv", self.plan.election);
            self.coordinator(&["tickets", &self.plan.election, "--hashes", &hashes], "")?;
        }
        let places: BTreeMap<String, Place> = (1..)
            .zip(&self.plan.roll.boxes)
            .flat_map(|(box_id, &voters)| (0..voters).map(move |v| Place { box_id, v }))
            .map(|place| (reference(place), place))
            .collect();
        let csv = fs::read_to_string(&out).map_err(file(&out))?;
        let mut invitations = BTreeMap::new();
        for (line, row) in (1..).zip(csv.lines()).skip(1) {
            let mut fields = row.split(',');
            let found = fields.next().and_then(|r| places.get(r)).zip(fields.next());
            let Some((&place, code)) = found else {
                let text = row.split(',').next().unwrap_or_default().to_owned();
                return Err(WorldError::Invitation {
                    path: out,
                    line,
                    text,
                });
            };
            invitations.insert(place, code.to_owned());
        }
        Ok(invitations)
    }

    /// The election's signed manifest.
    ///
    /// # Errors
    /// There is none yet.
    pub fn manifest_file(&self) -> Result<PathBuf, WorldError> {
        self.find(
            &format!("coordinator/elections/{}", self.plan.election),
            "manifest",
        )
    }

    /// The signed result bundle.
    ///
    /// # Errors
    /// There is none yet.
    pub fn bundle_file(&self) -> Result<PathBuf, WorldError> {
        self.find(&format!("coordinator/elections/{}", self.plan.election), "bundle")
    }

    /// The directories of the stations, by id.
    #[must_use]
    pub fn station_dirs(&self) -> BTreeMap<u32, PathBuf> {
        (1..=self.plan.stations)
            .map(|id| (id, self.root.join(station_dir(id))))
            .collect()
    }

    /// The commission takes over the stations' closing statements.
    ///
    /// # Errors
    /// One is refused.
    pub fn take_statements(&self, statements: &BTreeMap<u32, String>) -> Result<String, WorldError> {
        let mut words = vec!["sign-ins".to_owned(), self.plan.election.clone()];
        for (id, statement) in statements {
            let path = self.root.join(format!("closing-{id}"));
            fs::write(&path, statement).map_err(file(&path))?;
            words.push(text(&path));
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.coordinator(&words, "")
    }

    /// Seals all boxes although no station has handed in a closing statement.
    ///
    /// # Errors
    /// It fails.
    pub fn seal_without_statements(&self) -> Result<String, WorldError> {
        let stations: Vec<String> = (1..=self.plan.stations).map(|id| id.to_string()).collect();
        let named = stations.iter().flat_map(|id| ["--without-statement", id]);
        let words: Vec<&str> = ["seal", &self.plan.election].into_iter().chain(named).collect();
        self.coordinator(&words, &format!("{}\n", self.plan.election))
    }

    /// Runs a coordinator's command with `typed` on its standard input.
    ///
    /// # Errors
    /// It fails.
    pub fn coordinator(&self, words: &[&str], typed: &str) -> Result<String, WorldError> {
        let words: Vec<&str> = ["coordinator", "--dir", "coordinator"]
            .into_iter()
            .chain(words.iter().copied())
            .collect();
        self.run(&words, typed)
    }

    /// Runs a coordinator's command, however it ends.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn attempt(&self, words: &[&str], typed: &str) -> Result<Said, WorldError> {
        let words: Vec<&str> = ["coordinator", "--dir", "coordinator"]
            .into_iter()
            .chain(words.iter().copied())
            .collect();
        Ok(self.program.attempt(&self.root, &words, typed)?)
    }

    /// Runs a command in the world's directory with `typed` on its standard input.
    ///
    /// # Errors
    /// It fails.
    pub fn run(&self, words: &[&str], typed: &str) -> Result<String, WorldError> {
        // A party's files are not the commission's.
        if words.first() == Some(&"party") {
            let operator = self.program.clone().as_user(None);
            return Ok(operator.run(&self.root, words, typed)?);
        }
        Ok(self.program.run(&self.root, words, typed)?)
    }

    /// What this program wrote for the commission is the commission's, where it is another user.
    fn hand_to_commission(&self, path: &Path) -> Result<(), WorldError> {
        match &self.units {
            Some(units) => Ok(units.give_to_commission(path)?),
            None => Ok(()),
        }
    }

    /// The one file directly in `dir` whose name holds `part`.
    fn find(&self, dir: &str, part: &str) -> Result<PathBuf, WorldError> {
        let dir = self.root.join(dir);
        let mut found: Vec<PathBuf> = fs::read_dir(&dir)
            .map_err(file(&dir))?
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| {
                path.file_name()
                    .is_some_and(|name| name.to_string_lossy().contains(part))
            })
            .collect();
        found.sort();
        found
            .into_iter()
            .next()
            .ok_or_else(|| file(&dir.join(part))(io::ErrorKind::NotFound.into()))
    }
}

/// What systemd runs as a party: the demonstration's parties are started by the same line.
const UNIT: &str = include_str!("../../deploy/systemd/tally-party@.service");

/// The words after the program in the unit's `ExecStart`, for party `i` (0 based) in its directory here.
fn unit_words(i: usize) -> Vec<String> {
    let line = UNIT
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart=/usr/local/bin/tally "))
        .expect("the unit starts the party");
    line.split_whitespace()
        .map(|word| word.replace("/etc/tally/party-%i", &party_dir(i)))
        .collect()
}

/// Each party has an address of its own; all of 127.0.0.0/8 is this machine on Linux, elsewhere they share the one that is.
fn party_ip(i: usize) -> Ipv4Addr {
    let own = Ipv4Addr::new(127, 0, 0, i as u8 + 1);
    match std::net::TcpListener::bind((own, 0)) {
        Ok(_) => own,
        Err(_) => Ipv4Addr::LOCALHOST,
    }
}

fn party_dir(i: usize) -> String {
    format!("party-{}", i + 1)
}

fn station_dir(id: u32) -> String {
    format!("station-{id}")
}

fn reference(place: Place) -> String {
    format!("B{}-{:06}", place.box_id, place.v + 1)
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn copy(from: &Path, to: &Path) -> Result<(), WorldError> {
    fs::copy(from, to).map(drop).map_err(file(from))
}

fn write(path: &Path, text: &str) -> Result<(), WorldError> {
    fs::write(path, text).map_err(file(path))
}
