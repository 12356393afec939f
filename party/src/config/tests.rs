use super::options::SETTINGS;
use super::*;

fn required() -> Vec<(&'static str, String)> {
    vec![
        ("party", "2".into()),
        ("listen.public", "\"127.0.0.1:0\"".into()),
        ("listen.peer", "\"[::1]:7444\"".into()),
        ("identities.others", "[\"a.toml\", \"/etc/b.toml\"]".into()),
        ("identities.coordinator", "\"c.toml\"".into()),
    ]
}

fn problems(text: &str) -> Vec<String> {
    match Config::parse(text, Path::new("")) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn the_written_file_is_taken_with_defaults_as_commented() {
    let text = Config::document(&required());
    let config = Config::parse(&text, Path::new("/srv/party")).expect("taken");
    assert_eq!(config.party, Role::P2);
    assert_eq!(config.data_dir, Path::new("/srv/party/data"));
    assert_eq!(
        config.identities.others,
        [PathBuf::from("/srv/party/a.toml"), PathBuf::from("/etc/b.toml")]
    );
    assert_eq!(config.listen_peer.port(), 7444);
    assert_eq!(config.intake.batch, 1024);
    assert_eq!(config.keys.sealed, None);
    let sealed = text.replace("# sealed = \"\"", "sealed = \"keys/sealed.keys\"");
    let sealed = Config::parse(&sealed, Path::new("/srv/party")).expect("taken");
    assert_eq!(
        sealed.keys.sealed.as_deref(),
        Some(Path::new("/srv/party/keys/sealed.keys"))
    );
    assert_eq!(config.log_format, LogFormat::Text);
}

#[test]
fn every_option_is_in_the_written_file_and_its_commented_default_is_taken() {
    let text = Config::document(&required());
    for setting in SETTINGS {
        assert!(text.contains(setting.doc), "{}", setting.name());
    }
    // Taking the comment signs off the defaults changes nothing.
    let uncommented: String = text
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest)
                if SETTINGS
                    .iter()
                    .any(|s| rest.starts_with(&format!("{} = ", s.key))) =>
            {
                format!("{rest}\n")
            }
            _ => format!("{line}\n"),
        })
        .collect();
    assert_ne!(text, uncommented);
    let one = Config::parse(&text, Path::new("d")).expect("taken");
    let two = Config::parse(&uncommented, Path::new("d")).expect("taken");
    assert_eq!(format!("{one:?}"), format!("{two:?}"));
}

#[test]
fn all_that_is_wrong_is_said_with_its_line() {
    let text = "party = 4\n\
                wallpaper = \"red\"\n\
                [listen]\n\
                public = \"localhost\"\n\
                peer = 7\n\
                [intake]\n\
                bach = 3\n\
                held_ballots = 0\n\
                [log]\n\
                format = \"xml\"\n\
                filter = \"tally=loud\"\n\
                [identities]\n\
                others = [\"only-one.toml\"]\n";
    assert_eq!(
        problems(text),
        [
            "line 1: party: is 4, but must be from 1 to 3",
            "line 2: wallpaper: is not an option; the file that `party init` writes lists all",
            "line 4: listen.public: is \"localhost\", but an IP address and port are needed, as \"0.0.0.0:7443\"",
            "line 5: listen.peer: is a value of type integer; an address and port in quotes is needed",
            "line 7: intake.bach: is not an option; did you mean intake.batch?",
            "line 8: intake.held_ballots: is 0, but must be from 1 to 1048576",
            "line 10: log.format: is \"xml\", but must be one of text, json",
            "line 11: log.filter: is \"tally=loud\", which is no filter: error parsing level filter: expected one of \"off\", \
             \"error\", \"warn\", \"info\", \"debug\", \"trace\", or a number 0-5",
            "line 13: identities.others: must be a list of 2 paths in quotes",
            "identities.coordinator: is missing; give it: Identity file of the coordinator; compare its fingerprint by phone.",
        ]
    );
}

#[test]
fn broken_toml_is_said_with_its_line() {
    let found = problems("party = 1\nlisten = {\n\"\n");
    assert!(
        found
            .iter()
            .any(|problem| problem.starts_with("line ") && problem.contains("not TOML")),
        "{found:?}"
    );
}

#[test]
fn a_missing_file_names_the_remedy() {
    let error = Config::load(Path::new("/nowhere/party.toml")).expect_err("missing");
    assert!(
        error.to_string().contains("/nowhere/party.toml") && error.to_string().contains("party init"),
        "{error}"
    );
}

#[test]
fn telemetry_is_off_unless_given_and_stays_on_this_machine_unless_told() {
    let with = |line: &str| {
        let text = Config::document(&required());
        let text = text.replace("[telemetry]\n", &format!("[telemetry]\n{line}\n"));
        Config::parse(&text, Path::new("d")).map(|config| config.telemetry)
    };
    let off = with("").expect("taken");
    assert_eq!((off.metrics, &off.otlp), (None, &None));
    assert_eq!(off.journal, Path::new("d/data/journal"));
    assert_eq!(off.journal_bytes, 64 << 20);
    let given = |address: &str| with(&format!("metrics = {address:?}")).expect("taken").metrics;
    assert_eq!(given("9464"), Some(([127, 0, 0, 1], 9464).into()));
    assert_eq!(given("10.1.2.3:9464"), Some(([10, 1, 2, 3], 9464).into()));
    let collector = |address: &str| with(&format!("otlp = {address:?}")).map(|telemetry| telemetry.otlp);
    let collector_at = |authority: &str, path: &str| {
        Some(Collector {
            authority: authority.to_owned(),
            path: path.to_owned(),
        })
    };
    assert_eq!(
        collector("http://otel"),
        Ok(collector_at("otel:4318", "/v1/traces"))
    );
    assert_eq!(collector("http://[::1]:99/x"), Ok(collector_at("[::1]:99", "/x")));
    for bad in [
        "https://otel:4318",
        "otel:4318",
        "http://",
        "http://a:b",
        "http://u@h:1",
        "http://h:1/a b",
    ] {
        let problems = collector(bad).expect_err("refused");
        assert!(
            problems[0].to_string().contains("telemetry.otlp: is"),
            "{bad}: {problems:?}"
        );
    }
    assert!(with("metrics = \"everywhere\"").is_err());
}

#[test]
fn the_sample_for_systemd_is_taken() {
    let sample = include_str!("../../../deploy/samples/party.toml");
    let config = Config::parse(sample, Path::new("/etc/tally/party-1")).expect("taken");
    assert_eq!(
        config.keys.signing,
        Path::new("/etc/tally/party-1/keys/signing.key")
    );
    assert_eq!(
        config.telemetry.journal,
        Path::new("/var/lib/tally/party-1/journal")
    );
    for line in [
        "ExecStart=/usr/local/bin/tally party run --config /etc/tally/party-%i/party.toml",
        "StateDirectory=tally/party-%i",
        "ProtectSystem=strict",
        "NoNewPrivileges=yes",
        "LimitCORE=0",
    ] {
        assert!(PARTY.lines().any(|found| found == line), "{line}");
    }
}

const PARTY: &str = include_str!("../../../deploy/systemd/tally-party@.service");
const HOLDER: &str = include_str!("../../../deploy/systemd/tally-keys@.service");

/// What a unit says, for that party; the last of several.
fn said(unit: &str, key: &str, party: u32) -> Option<String> {
    let value = unit
        .lines()
        .filter_map(|line| line.strip_prefix(key)?.strip_prefix('='))
        .next_back();
    value.map(|value| value.replace("%i", &party.to_string()))
}

#[test]
fn every_path_that_is_written_lies_below_the_directories_of_its_unit() {
    // What `init` writes there is tested beside it.
    let directory = Path::new("/etc/tally/party-1");
    let text = Config::document(&required())
        .replace("# data_dir = \"data\"", "data_dir = \"/var/lib/tally/party-1\"");
    let sample = include_str!("../../../deploy/samples/party.toml");
    for text in [text.as_str(), sample] {
        let config = Config::parse(text, directory).expect("taken");
        // A new option with a path belongs into one of these, or is only read.
        let written: &[(&str, &Path)] = &[
            ("data_dir", &config.data_dir),
            ("session_logs", &config.session_logs),
            ("telemetry.journal", &config.telemetry.journal),
            ("keys.holder", &config.keys.holder),
        ];
        // In memory: the service's RUNTIME_DIRECTORY, which the server's unit has.
        let in_memory = ["mirror.marks"];
        let read = [
            "revocation_lists",
            "keys.signing_key",
            "keys.hpke_key",
            "keys.storage_key",
            "keys.sealed",
            "tls.certificate",
            "tls.key",
            "tls.operator_certificate",
            "tls.operator_key",
            "identities.own",
            "identities.others",
            "identities.coordinator",
        ];
        let mut paths: Vec<String> = (SETTINGS.iter())
            .filter(|setting| {
                use options::Kind::{DataPath, Path, PathOrNone, Paths};
                matches!(setting.kind, Path | PathOrNone | DataPath | Paths(_))
            })
            .map(options::Setting::name)
            .collect();
        let written_names = written.iter().map(|(name, _)| *name);
        let mut known: Vec<String> = written_names
            .chain(in_memory)
            .chain(read)
            .map(str::to_owned)
            .collect();
        paths.sort_unstable();
        known.sort_unstable();
        assert_eq!(paths, known);
        for (unit, of_unit) in [
            (PARTY, &["data_dir", "session_logs", "telemetry.journal"][..]),
            (HOLDER, &["keys.holder"]),
        ] {
            assert_eq!(said(unit, "ProtectSystem", 1).as_deref(), Some("strict"));
            let state = Path::new("/var/lib").join(said(unit, "StateDirectory", 1).expect("a directory"));
            for (name, path) in written.iter().filter(|(name, _)| of_unit.contains(name)) {
                assert!(
                    path.starts_with(&state),
                    "{name}: {} is not below {}",
                    path.display(),
                    state.display()
                );
            }
        }
        let runtime = said(PARTY, "RuntimeDirectory", 1).expect("for mirror.marks");
        assert_eq!(runtime, "tally/party-1");
        // The server asks the holder: both mean the same socket, of the same user.
        for key in ["User", "Group", "StateDirectory"] {
            assert_eq!(said(PARTY, key, 1), said(HOLDER, key, 1), "{key}");
        }
    }
    // The repair of a large store after a kill is not cut short.
    assert_eq!(said(PARTY, "TimeoutStartSec", 1).as_deref(), Some("infinity"));
    assert_eq!(said(PARTY, "Type", 1).as_deref(), Some("notify"));
}

/// Whoever runs this on a machine without systemd says so with this.
const WITHOUT: &str = "TALLY_TESTS_WITHOUT_SYSTEMD";

#[test]
#[cfg(target_os = "linux")]
fn systemd_understands_every_line_of_both_units() {
    let directory = tempfile::tempdir().expect("a directory");
    let verify = |unit: &str, name: &str| {
        // The program need only be there.
        let program = std::env::current_exe().expect("this program");
        let text = unit.replace("/usr/local/bin/tally", &program.display().to_string());
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("written");
        let said = std::process::Command::new("systemd-analyze")
            .args(["verify", "--man=no"])
            .arg(&path)
            .output()?;
        let told = String::from_utf8_lossy(&said.stderr).into_owned();
        Ok::<_, std::io::Error>((said.status.success(), told))
    };
    let said = verify(PARTY, "tally-party@1.service");
    if said.is_err() && std::env::var_os(WITHOUT).is_some() {
        return;
    }
    let said = said.unwrap_or_else(|error| {
        panic!(
            "systemd-analyze does not run: {error}; install systemd, or set {WITHOUT}=1 where there is none"
        )
    });
    assert_eq!(said, (true, String::new()));
    let said = verify(HOLDER, "tally-keys@1.service").expect("it ran before");
    assert_eq!(said, (true, String::new()));
    // It would have said so.
    let wrong = PARTY.replace("WatchdogSec=", "WatchdogSecs=");
    let (_, told) = verify(&wrong, "wrong@1.service").expect("it ran before");
    assert!(told.contains("WatchdogSecs"), "{told}");
}
