//! Every option of the configuration file, once: the file that `init` writes, the check and the parser are made from this table.

/// What a value must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A whole number within bounds, both included.
    Number { min: u64, max: u64 },
    /// A file or directory; relative to the configuration file.
    Path,
    /// A file or directory; relative to the configuration file. Empty: none.
    PathOrNone,
    /// A directory; relative to `data_dir`.
    DataPath,
    /// Exactly so many paths.
    Paths(usize),
    /// An IP address and port to listen on.
    Listen,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A tracing filter.
    Filter,
    /// Empty for off, a port of the loopback address, or an address and port.
    OperatorListen,
    /// Empty for off, or an http:// address.
    Collector,
}

/// One option.
#[derive(Debug)]
pub(super) struct Setting {
    /// Table it stands in; empty at the top.
    pub(super) table: &'static str,
    pub(super) key: &'static str,
    pub(super) kind: Kind,
    /// TOML text of the value when the option is left out; none: it must be given.
    pub(super) default: Option<&'static str>,
    /// What it does, for the person who edits the file.
    pub(super) doc: &'static str,
}

impl Setting {
    /// `table.key`, or the key alone at the top.
    pub(super) fn name(&self) -> String {
        if self.table.is_empty() {
            self.key.to_owned()
        } else {
            format!("{}.{}", self.table, self.key)
        }
    }
}

const fn required(table: &'static str, key: &'static str, kind: Kind, doc: &'static str) -> Setting {
    Setting {
        table,
        key,
        kind,
        default: None,
        doc,
    }
}

const fn optional(
    table: &'static str,
    key: &'static str,
    kind: Kind,
    default: &'static str,
    doc: &'static str,
) -> Setting {
    Setting {
        table,
        key,
        kind,
        default: Some(default),
        doc,
    }
}

pub(super) const SETTINGS: &[Setting] = &[
    required(
        "",
        "party",
        Kind::Number { min: 1, max: 3 },
        "Which of the three parties this is: 1, 2 or 3.",
    ),
    optional(
        "",
        "data_dir",
        Kind::Path,
        "\"data\"",
        "Directory of the store. Back it up; it holds shares sealed under storage_key. All else that the server writes lies below it unless \
         told otherwise. Under deploy/systemd it is /var/lib/tally/party-N: a service may not write where its configuration is.",
    ),
    optional(
        "",
        "session_logs",
        Kind::DataPath,
        "\"sessions\"",
        "Directory of the sealed logs of tally sessions; a relative path starts at data_dir. A session is always logged: without its log a \
         result cannot be audited. Some 300 bytes a row. Keep them \
         until the result is final, then destroy them: unlike the store, they hold the tally's messages, which only keep their secrets \
         from bounded computing power.",
    ),
    optional(
        "",
        "revocation_lists",
        Kind::Path,
        "\"revocation\"",
        "Directory of the revocation lists (DER or PEM) of the authorities whose cards voters enrol with. Fetch new ones before the old ones \
         end: without a good list nobody enrols (card.revocation-list). Of an \
         authority that splits its list all parts lie here together. Files that change are read again by themselves.",
    ),
    required(
        "listen",
        "public",
        Kind::Listen,
        "Where voters connect (server TLS): address and port. Port 0 takes any free one.",
    ),
    required(
        "listen",
        "peer",
        Kind::Listen,
        "Where the other parties, the coordinator, registrars, stations and this party's operator connect (mutual TLS).",
    ),
    optional(
        "keys",
        "signing_key",
        Kind::Path,
        "\"keys/signing.key\"",
        "Ed25519 seed, 32 bytes: signs receipts, checkpoints, Lists, Seals and Results.",
    ),
    optional(
        "keys",
        "hpke_key",
        Kind::Path,
        "\"keys/hpke.key\"",
        "X25519 private key, 32 bytes: opens the shares sealed to this party.",
    ),
    optional(
        "keys",
        "storage_key",
        Kind::Path,
        "\"keys/storage.key\"",
        "32 bytes: seals shares in the store. Keep it on another medium than the backups of data_dir.",
    ),
    optional(
        "keys",
        "sealed",
        Kind::PathOrNone,
        "\"\"",
        "The sealed key file that `party init --officials` writes. When it is given, the three keys above are not read: they are in it, and \
         the server starts locked until enough officials have given their shares (`party unseal`).",
    ),
    optional(
        "keys",
        "holder",
        Kind::DataPath,
        "\"holder\"",
        "Directory of the socket of `party hold-keys`, which keeps the key of the sealed file in memory; made with mode 700; a relative path \
         starts at data_dir. Used with `sealed` only. A short path: the system allows about 100 bytes.",
    ),
    optional(
        "tls",
        "certificate",
        Kind::Path,
        "\"tls/party.pem\"",
        "Certificate of both listeners and towards the other parties (role: party), issued by this party's CA. With keys.sealed it stands \
         for no role and is shown while the keys are locked; the one with the role is in the sealed file.",
    ),
    optional("tls", "key", Kind::Path, "\"tls/party.key\"", "Its private key."),
    optional(
        "tls",
        "operator_certificate",
        Kind::Path,
        "\"tls/operator.pem\"",
        "Certificate of `party countersign` and `party status` (role: operator). Not read by the server.",
    ),
    optional(
        "tls",
        "operator_key",
        Kind::Path,
        "\"tls/operator.key\"",
        "Its private key. May live on the operator's own machine.",
    ),
    optional(
        "identities",
        "own",
        Kind::Path,
        "\"identity.toml\"",
        "This party's public identity file, the one handed to the others.",
    ),
    required(
        "identities",
        "others",
        Kind::Paths(2),
        "Identity files of the other two parties, as handed over; compare fingerprints by phone.",
    ),
    required(
        "identities",
        "coordinator",
        Kind::Path,
        "Identity file of the coordinator; compare its fingerprint by phone.",
    ),
    optional(
        "intake",
        "max_submission_bytes",
        Kind::Number {
            min: 1024,
            max: 1 << 20,
        },
        "16384",
        "Largest submission taken, bytes. A ballot is below 1500.",
    ),
    optional(
        "intake",
        "check_threads",
        Kind::Number { min: 0, max: 1024 },
        "0",
        "Threads that open and check submissions; 0: one for each processor.",
    ),
    optional(
        "intake",
        "check_queue",
        Kind::Number { min: 1, max: 1 << 20 },
        "4096",
        "Submissions that may wait for such a thread; more are refused as party.busy.",
    ),
    optional(
        "intake",
        "held_ballots",
        Kind::Number { min: 1, max: 1 << 20 },
        "10000",
        "Ballots dated 2 to 60 s ahead that may be held unanswered; at the bound one of the network with most gives way, else the new one is \
         refused as party.busy.",
    ),
    optional(
        "intake",
        "batch",
        Kind::Number { min: 1, max: 65536 },
        "1024",
        "Most ballots written in one transaction. A receipt leaves only after its transaction is on disk.",
    ),
    optional(
        "intake",
        "wait_for_others_ms",
        Kind::Number { min: 0, max: 10_000 },
        "500",
        "Milliseconds for which the answer to a ballot waits for the other parties' receipts, so that the voter need not bring them; 0: not at all.",
    ),
    optional(
        "intake",
        "cache_mib",
        Kind::Number { min: 1, max: 65_536 },
        "64",
        "MiB of the store that the process keeps in memory; it grows so far while ballots come in, and no further. The system caches the file besides.",
    ),
    optional(
        "intake",
        "disk_reserve_mib",
        Kind::Number { min: 0, max: 1 << 20 },
        "64",
        "Free MiB on the volume of data_dir below which nothing more is taken (store.full), so that sealing keeps room; intake goes on by \
         itself when there is more.",
    ),
    optional(
        "mirror",
        "every_ms",
        Kind::Number { min: 10, max: 60_000 },
        "1000",
        "Milliseconds between two looks at each other party's log, and how often this party's own moves on for them.",
    ),
    optional(
        "mirror",
        "grace_ms",
        Kind::Number { min: 0, max: 600_000 },
        "5000",
        "How old an entry of another party's log must be before its ballot is asked for: voters send it to all three at about the same time.",
    ),
    optional(
        "mirror",
        "marks",
        Kind::PathOrNone,
        "\"\"",
        "Directory in memory, outside of every backup, where the lengths of this party's logs are noted: after a mere kill they show that the \
         store is the newest there was, without the others. Empty: the service's RUNTIME_DIRECTORY, else /dev/shm.",
    ),
    optional(
        "server",
        "max_requests_per_connection",
        Kind::Number { min: 1, max: 100_000 },
        "1024",
        "Requests served at once on one connection of the peer listener; the others of that connection wait.",
    ),
    optional(
        "server",
        "uncountersigned_elections",
        Kind::Number { min: 1, max: 1 << 20 },
        "1024",
        "Published elections that this party's operator has not countersigned; when there are more the oldest is forgotten, and the commission may \
         publish it again.",
    ),
    optional(
        "server",
        "uncountersigned_mib",
        Kind::Number { min: 1, max: 1 << 20 },
        "1024",
        "MiB of their manifests and rolls; when there are more the oldest is forgotten, and none is taken that has more by itself. None is taken \
         that would leave less room on the volume than twice intake.disk_reserve_mib.",
    ),
    optional(
        "server",
        "shutdown_notice_s",
        Kind::Number { min: 0, max: 600 },
        "0",
        "Seconds after a stop signal in which health checks are told NOT_SERVING and requests are still served: for a load balancer in front of \
         this server, which looks at health now and then.",
    ),
    optional(
        "server",
        "shutdown_grace_s",
        Kind::Number { min: 0, max: 3600 },
        "10",
        "Seconds that requests under way may take to end after a stop signal.",
    ),
    optional(
        "public",
        "max_connections",
        Kind::Number { min: 1, max: 1 << 20 },
        "4096",
        "Connections open at once; at the bound the longest idle one of the network with most gives way to a network with fewer, else the new one is \
         closed. Give the process that many open files and some hundred more. Of the peer listener those count that have not yet shown who calls.",
    ),
    optional(
        "public",
        "max_connections_per_address",
        Kind::Number { min: 1, max: 1 << 20 },
        "512",
        "Connections open at once from one IPv4 address or one IPv6 /64; more are closed at once. Voters behind one router share an address, \
         and a voter's device has one connection, for a few seconds.",
    ),
    optional(
        "public",
        "max_requests",
        Kind::Number { min: 1, max: 1 << 20 },
        "4096",
        "Requests under way at once over all connections; at the bound one of the network with most gives way to a network with fewer, else the new one \
         is refused as party.busy.",
    ),
    optional(
        "public",
        "max_requests_per_connection",
        Kind::Number { min: 1, max: 100_000 },
        "256",
        "Requests under way at once on one connection; more are refused by HTTP/2. A relay that carries many voters has several connections.",
    ),
    optional(
        "public",
        "handshake_s",
        Kind::Number { min: 1, max: 3600 },
        "10",
        "Seconds within which a TLS handshake must be done; also on the peer listener.",
    ),
    optional(
        "public",
        "idle_s",
        Kind::Number { min: 1, max: 86_400 },
        "120",
        "Seconds without a request under way after which a connection is closed, whatever drips in.",
    ),
    optional(
        "public",
        "message_s",
        Kind::Number { min: 1, max: 3600 },
        "10",
        "Seconds within which a request's message must have arrived; slower ones are refused as message.too-slow.",
    ),
    optional(
        "public",
        "max_given_up",
        Kind::Number { min: 1, max: 1 << 20 },
        "256",
        "Requests that a connection may give up unanswered; from then on it is closed when it gives up more than it lets be answered.",
    ),
    optional(
        "alarms",
        "disk_mib",
        Kind::Number { min: 0, max: 1 << 30 },
        "1024",
        "Free MiB on the volumes of data_dir and session_logs below which disk.low is raised.",
    ),
    optional(
        "alarms",
        "certificate_days",
        Kind::Number { min: 0, max: 3650 },
        "21",
        "Days before the end of tls.certificate at which certificate.expires is raised.",
    ),
    optional(
        "alarms",
        "party_lost_s",
        Kind::Number { min: 1, max: 86_400 },
        "120",
        "Seconds without an answer after which party.lost is raised; the others are asked every 10 s.",
    ),
    optional(
        "alarms",
        "behind_entries",
        Kind::Number { min: 1, max: 1 << 40 },
        "100000",
        "Entries of another party's logs that this one has still to look at, from which on party.behind is raised: more than heavy voting leaves \
         behind for some seconds.",
    ),
    optional(
        "alarms",
        "seal_minutes",
        Kind::Number { min: 0, max: 525_600 },
        "60",
        "Minutes after the last submission's end at which seal.pending is raised for a box that is not sealed.",
    ),
    optional(
        "alarms",
        "revocation_list_minutes",
        Kind::Number { min: 0, max: 525_600 },
        "360",
        "Minutes before the end of a revocation list at which card.list-ends is raised, while anybody may enrol with the cards of its authority.",
    ),
    optional(
        "telemetry",
        "metrics",
        Kind::OperatorListen,
        "\"\"",
        "Where Prometheus reads GET /metrics over plain HTTP: a port, on 127.0.0.1, or \"ADDRESS:PORT\" on the operators' network. Empty: nowhere.",
    ),
    optional(
        "telemetry",
        "otlp",
        Kind::Collector,
        "\"\"",
        "OpenTelemetry collector that takes traces as OTLP over HTTP, as \"http://127.0.0.1:4318\". Empty: no traces leave the process.",
    ),
    optional(
        "telemetry",
        "journal",
        Kind::DataPath,
        "\"journal\"",
        "Directory of the journal: what people did and what the party decided, one JSON object a line; a relative path starts at data_dir.",
    ),
    optional(
        "telemetry",
        "journal_mib",
        Kind::Number { min: 1, max: 4096 },
        "64",
        "MiB of a journal file after which the next one begins. None is ever removed.",
    ),
    optional(
        "log",
        "format",
        Kind::Word(&["text", "json"]),
        "\"text\"",
        "Log lines for people (text) or for machines (json), on standard error.",
    ),
    optional(
        "log",
        "filter",
        Kind::Filter,
        "\"info\"",
        "What to log: error, warn, info, debug, trace, or by module as in \"info,tally_party=debug\".",
    ),
];

/// Said above each table in the written file.
pub(super) const TABLES: &[(&str, &str)] = &[
    ("listen", "Two listeners."),
    (
        "keys",
        "Secret keys, one a file, readable by this server's user only.",
    ),
    ("tls", "Certificates (PEM) and their private keys (PEM)."),
    (
        "identities",
        "Who takes part. Identity files are public; what matters is that they are the right ones.",
    ),
    ("intake", "Taking ballots and credential records."),
    ("mirror", "Following the other parties' logs."),
    ("server", "Connections and stopping."),
    (
        "public",
        "What the public listener bears from anybody, so that voters are served while somebody floods it.",
    ),
    ("alarms", "When `party status` and the metrics raise an alarm."),
    (
        "telemetry",
        "What operators' machines read. Neither figures, traces nor journal hold a digest, a voter or an address.",
    ),
    (
        "log",
        "Logging. Bodies of messages are never logged, nor addresses next to ballots.",
    ),
];

/// The commented configuration file. `given` holds (name, TOML value) of the options to write out; all others stand as comments with
/// their defaults.
pub(super) fn document(given: &[(&str, String)]) -> String {
    let mut text = String::from(
        "# Configuration of a party server. Every option is listed; those commented out show their default.\n\
         # Relative paths start at the directory of this file. Check a change with `party check-config`.\n",
    );
    let mut table = "";
    for setting in SETTINGS {
        if setting.table != table {
            table = setting.table;
            let about = TABLES
                .iter()
                .find(|(name, _)| *name == table)
                .map_or("", |(_, about)| about);
            text += &format!("\n# {about}\n[{table}]\n");
        }
        text += &format!("\n# {}\n", setting.doc);
        let name = setting.name();
        match (given.iter().find(|(given, _)| *given == name), setting.default) {
            (Some((_, value)), _) => text += &format!("{} = {value}\n", setting.key),
            (None, Some(default)) => text += &format!("# {} = {default}\n", setting.key),
            (None, None) => text += &format!("# {} = (must be given)\n", setting.key),
        }
    }
    text
}
