//! A world whose parties have somebody before them who reads along, the voter's two homes, and all that is to be seen of a command there.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use prost::Message as _;
use tally_party::config::Config;
use tally_party::keys;
use tally_proto::connect::{self, Dial};
use tally_proto::disclosure::CHECK_PREFIX;
use tally_proto::identity::Address;
use tally_proto::reason::Class;
use tally_proto::refusal::Refusal;
use tally_proto::wire;
use tally_tests::process::Program;
use tally_tests::script::Roll;
use tally_tests::utc;
use tally_tests::world::{Plan, World};
use tokio::task::JoinHandle;
use tonic::transport::{Identity, ServerTlsConfig};

use super::{CODE, DEVICES, ELECTION, VOTERS};
use crate::world::front;
use crate::world::liar::Answer;

/// In place of the name of a request that a party put off.
const PUT_OFF: &str = "put off";

/// What a party was asked and answered.
type Calls = Arc<Mutex<Vec<Call>>>;

/// A request: its name and length, and for what was cast or looked up the answer's length, or the refusal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Call {
    name: String,
    length: usize,
    answer: String,
}

/// Everything that somebody could see of one command.
#[derive(Debug, PartialEq, Eq)]
struct Trace {
    exit: Option<i32>,
    /// What is said, without what differs from ballot to ballot.
    out: Vec<String>,
    err: Vec<String>,
    /// By party, where it was accepted.
    casts: [usize; 3],
    /// By file below the voter's home.
    files: BTreeMap<String, About>,
}

/// What a file system says of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct About {
    length: u64,
    mode: u32,
    /// Of the file with the code, where it tells no moment of its writing: when it was read last.
    read: Option<SystemTime>,
}

impl About {
    /// Neither when it was written nor when it was read.
    pub(super) fn tells_no_moment(&self) -> bool {
        self.read == Some(no_moment())
    }
}

/// What stands for no moment in the times of files.
fn no_moment() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(946_684_800)
}

/// What a command said that the next one is given.
pub(super) struct Said {
    pub(super) out: String,
    pub(super) err: String,
}

/// What each party was asked. How often a clock or a log is asked depends on how fast this machine is.
type Asked = [BTreeSet<Call>; 3];

/// Whether a log is asked for these depends on what the other parties have seen of it by then.
const OF_LOGS: [&str; 4] = ["Checkpoint", "Mirrored", "Inclusion", "Consistency"];

/// `refused`: two refusals are enough, so the third party is asked in time or not.
fn assert_asked_alike(step: &str, refused: bool, one: &Asked, other: &Asked) {
    let by_haste = |name: &str| OF_LOGS.contains(&name) || name == "Deliver" || (refused && name == "Cast");
    for (one, other) in one.iter().zip(other) {
        let names: BTreeSet<&str> = one.iter().chain(other).map(|call| call.name.as_str()).collect();
        for name in names {
            let [one, other] = [one, other]
                .map(|calls| -> Vec<&Call> { calls.iter().filter(|call| call.name == name).collect() });
            let unsure = by_haste(name) && (one.is_empty() || other.is_empty());
            assert!(unsure || one == other, "{step}: {one:?}, {other:?}");
        }
    }
}

pub(super) struct Scene {
    pub(super) world: World,
    calls: [Calls; 3],
    serving: Vec<JoinHandle<()>>,
}

impl Drop for Scene {
    fn drop(&mut self) {
        for serving in &self.serving {
            serving.abort();
        }
    }
}

/// What is in a file, which does not say afterwards that this test read it.
pub(super) fn read_unmarked(path: &Path) -> String {
    use std::io::Read as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let flag = rustix::fs::OFlags::NOATIME.bits().cast_signed();
    let opened = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(flag)
        .open(path);
    let mut text = String::new();
    opened
        .and_then(|mut file| file.read_to_string(&mut text))
        .expect("readable");
    text
}

impl Scene {
    /// Parties whose public listeners are behind somebody who reads along, and an election that opens when it is in force.
    /// `define` brings it into force; `ahead`: how long what is done until then and what it does otherwise than [`World::define`] may take.
    pub(super) fn new(root: &Path, ahead: Duration, define: impl FnOnce(&World)) -> (Self, SystemTime) {
        connect::install_tls_provider();
        let begun = Instant::now();
        let now = SystemTime::now();
        let plan = Plan {
            election: ELECTION.to_owned(),
            title: "Quay 2027".to_owned(),
            options: ["Ada", "Ben", "Cleo"].map(str::to_owned).to_vec(),
            boxes: vec!["Harbour".to_owned()],
            roll: Roll { boxes: vec![VOTERS] },
            stations: 0,
            tickets: None,
            opens: String::new(),
            closes: utc::second(now + Duration::from_secs(24 * 3600)),
        };
        let program = Program::at(env!("CARGO_BIN_EXE_tally-tests"));
        let mut listeners: Vec<(TcpListener, SocketAddr)> = Vec::new();
        let mut asked = 0;
        let world = World::set_up_behind(root, program, plan, &[], |_, listens| {
            asked += 1;
            // Of each party first the public listener, then the peers'.
            if asked % 2 == 0 {
                return Ok(listens);
            }
            let listener = TcpListener::bind((listens.ip(), 0))?;
            listener.set_nonblocking(true)?;
            let told = listener.local_addr()?;
            listeners.push((listener, listens));
            Ok(told)
        });
        let mut world = world.expect("everybody is set up");
        let calls: [Calls; 3] = Default::default();
        let mut serving = Vec::new();
        for (i, (listener, listens)) in listeners.into_iter().enumerate() {
            serving.push(read_along(&world, i, listener, listens, Arc::clone(&calls[i])));
        }
        world.start().expect("the servers run");
        // As long again as the commands until now took, which are more than those until the opening.
        let opens = SystemTime::now() + 2 * begun.elapsed() + ahead;
        world.plan.opens = utc::second(opens);
        define(&world);
        (
            Self {
                world,
                calls,
                serving,
            },
            opens + Duration::from_secs(1),
        )
    }

    pub(super) fn home(&self, device: &str) -> PathBuf {
        self.world.root.join("home").join(device)
    }

    /// The same words in either home; what is seen must be the same. What each said.
    pub(super) fn alike(&self, step: &str, exit: i32, words: &[&str]) -> [Said; 2] {
        let done = DEVICES.map(|device| self.trace(device, words));
        let [(one, asked, said), (other, of_both, of_other)] = done;
        assert_eq!(one.exit, Some(exit), "{step}: {}{}", said.out, said.err);
        assert!(
            asked.iter().filter(|calls| !calls.is_empty()).count() >= 2,
            "{step}: hardly anybody was asked anything"
        );
        assert_eq!(one, other, "{step}");
        assert_asked_alike(step, exit != 0, &asked, &of_both);
        [said, of_other]
    }

    /// A command of the voter's, in that home, with what is typed: how it ended, and what it said.
    pub(super) fn client(&self, device: &str, words: &[&str], typed: &str) -> (Option<i32>, Said) {
        let home = self.home(device);
        let mut child = Command::new(self.world.program.path())
            .arg("client")
            .args(words)
            .current_dir(&home)
            .env("HOME", &home)
            .env("TMPDIR", &home)
            .env("LANG", "C")
            .env_remove("XDG_STATE_HOME")
            .env_remove("TALLY_CLIENT_STATE")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the client runs");
        let mut input = child.stdin.take().expect("an input");
        // Who asks for nothing may have ended already.
        let _ = input.write_all(typed.as_bytes());
        drop(input);
        let done = child.wait_with_output().expect("it ends");
        let said = Said {
            out: String::from_utf8(done.stdout).expect("text"),
            err: String::from_utf8(done.stderr).expect("text"),
        };
        (done.status.code(), said)
    }

    /// All that lies in that home.
    pub(super) fn files(&self, device: &str) -> BTreeMap<String, About> {
        let home = self.home(device);
        let mut files = BTreeMap::new();
        list(&home, &home, &mut files);
        files
    }

    fn trace(&self, device: &str, words: &[&str]) -> (Trace, Asked, Said) {
        for calls in &self.calls {
            held(calls).clear();
        }
        let (exit, said) = self.client(device, words, "");
        let calls = self.calls.each_ref().map(|calls| {
            let (put_off, calls): (Vec<Call>, Vec<Call>) =
                held(calls).iter().cloned().partition(|call| call.name == PUT_OFF);
            assert!(put_off.len() <= 5, "{device} {words:?}: {put_off:?}");
            calls
        });
        let casts = calls
            .each_ref()
            .map(|calls| calls.iter().filter(|call| call.name == "Cast").count());
        let trace = Trace {
            exit,
            out: masked(&said.out),
            err: masked(&said.err),
            casts: if exit == Some(0) { casts } else { [0; 3] },
            files: self.files(device),
        };
        (trace, calls.map(|calls| calls.into_iter().collect()), said)
    }
}

fn held<T>(lock: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves party `i` at `listener` with its own certificate, as one that sees into the connection would, and notes what passes.
fn read_along(
    world: &World,
    i: usize,
    listener: TcpListener,
    to: SocketAddr,
    calls: Calls,
) -> JoinHandle<()> {
    let config = Config::load(&world.party_config(i)).expect("a configuration");
    let own = keys::own_identity(&config).expect("an identity");
    let address = Address::new("listen", &format!("https://{to}")).expect("an address");
    let dial = Dial {
        address: &address,
        anchor: own.anchor(),
        leaf: None,
    };
    let honest = dial.channel().expect("a channel");
    let [certificate, key] = [&config.tls.party.certificate, &config.tls.party.key]
        .map(|path| std::fs::read(path).expect("readable"));
    let tls = ServerTlsConfig::new().identity(Identity::from_pem(certificate, key));
    let note = move |name: &str, asked: &[u8], answer: Answer| {
        // A party that asks for patience says something of itself; how often, depends on how fast this machine is.
        let put_off = match &answer {
            Err(status) => Refusal::from_status(status),
            Ok(_) => None,
        };
        let put_off = put_off.filter(|refusal| refusal.reason.class() == Class::Retry);
        let name = match put_off {
            Some(refusal) => {
                eprintln!("{name} was put off: {refusal}");
                PUT_OFF
            }
            None => name,
        };
        let told = match &answer {
            _ if !matches!(name, "Cast" | "Lookup") => String::new(),
            // Whose receipts a party has by then depends on how fast this machine is.
            Ok(parts) if name == "Cast" => {
                let replies = parts
                    .iter()
                    .map(|part| wire::CastReply::decode(&**part).expect("a reply"));
                let receipts = replies.filter_map(|reply| reply.receipt);
                format!(
                    "{} bytes",
                    receipts.map(|receipt| receipt.encoded_len()).sum::<usize>()
                )
            }
            Ok(parts) => format!("{} bytes", parts.iter().map(Vec::len).sum::<usize>()),
            Err(status) => numbers_masked(&format!("{:?}", Refusal::from_status(status))),
        };
        let mut calls = held(&calls);
        let mut one = |name: &str, length| {
            calls.push(Call {
                name: name.to_owned(),
                length,
                answer: told.clone(),
            });
        };
        match name {
            // Receipts of the others go by one or by two, as they come.
            "DeliverAll" => {
                let all = wire::Receipts::decode(asked).expect("receipts");
                for receipt in all.receipts {
                    one("Deliver", receipt.encoded_len());
                }
            }
            name => one(name, asked.len()),
        }
        drop(calls);
        answer
    };
    let note: Arc<front::Lie> = Arc::new(note);
    let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
    front::serve(honest, Arc::new(Mutex::new(note)), listener, Some(tls))
}

fn list(directory: &Path, home: &Path, into: &mut BTreeMap<String, About>) {
    for entry in std::fs::read_dir(directory).expect("readable") {
        let path = entry.expect("an entry").path();
        let about = path.metadata().expect("there");
        let name = path
            .strip_prefix(home)
            .expect("below")
            .to_string_lossy()
            .into_owned();
        // A kept receipt is named by its ballot.
        let name = match name.strip_suffix("receipt.json") {
            Some(name) => format!("a receipt, {} characters", name.len()),
            None => name,
        };
        let timeless = name == CODE && about.modified().expect("a time") == no_moment();
        let file = About {
            length: if about.is_dir() { 0 } else { about.len() },
            mode: about.permissions().mode(),
            read: timeless.then(|| about.accessed().expect("a time")),
        };
        into.insert(name, file);
        if about.is_dir() {
            list(&path, home, into);
        }
    }
}

/// Every number as one digit.
fn numbers_masked(text: &str) -> String {
    let mut masked = String::new();
    for c in text.chars() {
        match c {
            '0'..='9' if masked.ends_with('0') => {}
            '0'..='9' => masked.push('0'),
            c => masked.push(c),
        }
    }
    masked
}

/// The lines without what belongs to one ballot, of which the length stays, and without what depends on how fast the parties answer: two refusals
/// are enough, so the third party's comes in time or not.
fn masked(text: &str) -> Vec<String> {
    let by_haste = [
        "has accepted your ballot.",
        "Waiting for the third as well",
        "This device has just cast a ballot",
    ];
    let mut lines = Vec::new();
    for line in text.lines() {
        if by_haste.iter().any(|part| line.contains(part)) {
            continue;
        }
        // The check code as a picture.
        if line.contains(['█', '▀', '▄']) {
            lines.push(format!("<a picture, {} characters>", line.chars().count()));
            continue;
        }
        let of_ballot = |word: &str| {
            let hex = |part: &str| part.len() == 64 && part.chars().all(|c| c.is_ascii_hexdigit());
            word.starts_with(CHECK_PREFIX) || word.split([':', '-']).any(hex)
        };
        // Which of the others have seen a log by now is a matter of moments.
        let line = ["cosigned by", ", as "]
            .iter()
            .find_map(|from| Some(line.split_once(from)?.0.trim_end_matches(", ")))
            .unwrap_or(line);
        let words: Vec<String> = line
            .split(' ')
            .map(|word| {
                if of_ballot(word) {
                    format!("<{} characters>", word.chars().count())
                } else {
                    numbers_masked(word)
                }
            })
            .collect();
        let line = words.join(" ");
        match line.split_once(" refused: ") {
            Some((_, refused)) if lines.iter().any(|line: &String| line == refused) => {}
            Some((_, refused)) => lines.push(refused.to_owned()),
            None => lines.push(line),
        }
    }
    lines
}
