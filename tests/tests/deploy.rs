//! The samples for containers, read and held against the program: every command, flag, probe, port, address, path and key in them exists.
//!
//! No container engine runs here: what is checked is that they say what the program and its files are.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use tally_party::config::Config;
use tally_party::keys;
use tally_tests::process::Program;
use yaml_rust2::{Yaml, YamlLoader};

const COMPOSE: &str = include_str!("../../deploy/compose/compose.yaml");
const CLUSTER: [&str; 3] = [
    include_str!("../../deploy/kubernetes/party-1.yaml"),
    include_str!("../../deploy/kubernetes/party-2.yaml"),
    include_str!("../../deploy/kubernetes/party-3.yaml"),
];
const IMAGE: &str = include_str!("../../deploy/Dockerfile");
const PAGE: &str = include_str!("../../deploy/containers.md");
const MANIFEST: &str = include_str!("../../Cargo.toml");
/// Where the image has the program.
const TALLY: &str = "/usr/local/bin/tally";

fn program() -> Program {
    Program::at(env!("CARGO_BIN_EXE_tally-tests"))
}

/// Files of the three parties, made by the lines of the page, and their configurations.
struct Files {
    directory: tempfile::TempDir,
    configs: [Config; 3],
}

impl Files {
    fn made() -> Files {
        let directory = tempfile::tempdir().expect("a directory");
        let lines: Vec<&str> = PAGE
            .lines()
            .filter_map(|line| line.trim().strip_prefix("tally party init "))
            .collect();
        assert_eq!(lines.len(), 3, "one for each party");
        for line in lines {
            let words: Vec<String> = words(line);
            let words: Vec<&str> = ["party", "init"]
                .into_iter()
                .chain(words.iter().map(String::as_str))
                .collect();
            program()
                .run(directory.path(), &words, "")
                .expect("the page's line works");
        }
        for to in 1..=3 {
            for from in (1..=3).filter(|from| *from != to) {
                let name = format!("party-{from}.identity.toml");
                let others = directory.path().join(format!("party-{to}/others"));
                std::fs::copy(
                    directory.path().join(format!("party-{from}")).join(&name),
                    others.join(&name),
                )
                .expect("handed over");
            }
        }
        let config =
            |n: usize| Config::load(&directory.path().join(format!("party-{n}/party.toml"))).expect("sound");
        let configs = [config(1), config(2), config(3)];
        Files { directory, configs }
    }

    fn of(&self, n: usize) -> PathBuf {
        self.directory.path().join(format!("party-{n}"))
    }
}

/// Words as a shell splits them, double quotes only.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (i, part) in line.split('"').enumerate() {
        match i % 2 {
            0 => words.extend(part.split_whitespace().map(str::to_owned)),
            _ => words.push(part.to_owned()),
        }
    }
    words
}

fn list(yaml: &Yaml) -> Vec<String> {
    let items = yaml.as_vec().unwrap_or_else(|| panic!("a list, not {yaml:?}"));
    items.iter().map(text).collect()
}

fn text(yaml: &Yaml) -> String {
    match yaml {
        Yaml::String(text) => text.clone(),
        Yaml::Integer(number) => number.to_string(),
        other => panic!("text, not {other:?}"),
    }
}

fn one<'a>(documents: &'a [Yaml], kind: &str) -> &'a Yaml {
    let mut found = documents
        .iter()
        .filter(|document| document["kind"].as_str() == Some(kind));
    let one = found.next().unwrap_or_else(|| panic!("no {kind}"));
    assert!(found.next().is_none(), "two of {kind}");
    one
}

/// The program takes these words: `--help` behind them is reached only when it knows all of them.
fn is_taken(words: &[String]) {
    let with_help: Vec<&str> = words.iter().map(String::as_str).chain(["--help"]).collect();
    let said = program()
        .attempt(Path::new("."), &with_help, "")
        .expect("it runs");
    assert!(
        said.status.success() && said.out.contains("Usage:"),
        "{words:?}: {said:?}"
    );
    let asked = words.get(1).expect("a command");
    assert!(
        said.out.contains(&format!("party {asked}")),
        "{words:?} is the help of another command: {}",
        said.out
    );
}

/// Seconds of `40s`.
fn seconds(text: &str) -> u64 {
    text.strip_suffix('s')
        .and_then(|number| number.parse().ok())
        .unwrap_or_else(|| panic!("{text:?} are no seconds"))
}

/// What a stop takes at most must fit into the patience of who stops.
fn stops_within(config: &Config, patience_s: u64) {
    let needs = config.server.shutdown_notice_s + config.server.shutdown_grace_s;
    assert!(
        needs + 10 < patience_s,
        "{needs} s do not fit into {patience_s} s"
    );
}

fn config_path(words: &[String]) -> &str {
    let at = words
        .iter()
        .position(|word| word == "--config")
        .expect("--config");
    &words[at + 1]
}

#[test]
fn a_wrong_flag_in_a_sample_would_be_found() {
    let taken = |line: &str| std::panic::catch_unwind(|| is_taken(&words(line))).is_ok();
    assert!(taken("party run --config party.toml"));
    assert!(!taken("party run --configuration party.toml"));
    assert!(!taken("party start --config party.toml"));
    assert!(!taken("party health --alive"));
}

#[test]
fn the_compose_sample_runs_what_the_program_has_on_files_that_init_makes() {
    let files = Files::made();
    let documents = YamlLoader::load_from_str(COMPOSE).expect("YAML");
    let [document] = documents.as_slice() else {
        panic!("one document")
    };
    let services = document["services"].as_hash().expect("services");
    let names: Vec<String> = services.keys().map(text).collect();
    assert_eq!(names, ["party-1", "party-2", "party-3"]);
    let mut mounted = BTreeSet::new();
    for (n, (name, service)) in (1..).zip(names.iter().zip(services.values())) {
        let config = &files.configs[n - 1];
        let own = keys::own_identity(config).expect("an identity");
        let command = list(&service["command"]);
        is_taken(&command);
        let at = format!("/etc/tally/{name}");
        assert_eq!(config_path(&command), format!("{at}/party.toml"));
        assert!(files.of(n).join("party.toml").exists());

        let health = list(&service["healthcheck"]["test"]);
        assert_eq!(health[..2], ["CMD", TALLY]);
        is_taken(&health[2..]);
        assert_eq!(config_path(&health), config_path(&command));
        assert!(
            seconds(&text(&service["healthcheck"]["timeout"])) >= 10,
            "the command's own patience"
        );
        stops_within(config, seconds(&text(&service["stop_grace_period"])));

        // What everybody is told is where the container is, and it listens there.
        let address = text(&service["networks"]["tally"]["ipv4_address"]);
        let told = [own.public_address(), own.peer_address()];
        assert!(
            told.iter().all(|told| told.host() == address),
            "{told:?} are not at {address}"
        );
        let ports = [config.listen_public.port(), config.listen_peer.port()];
        assert_eq!(list(&service["expose"]), ports.map(|port| port.to_string()));
        assert_eq!(told.map(|told| told.port()), ports);

        // Its own directory without writing, its own volume where the store goes, and nothing else.
        let volumes = list(&service["volumes"]);
        assert_eq!(
            volumes,
            [format!("./{name}:{at}:ro"), format!("{name}-data:{at}/data")]
        );
        assert_eq!(config.data_dir, files.of(n).join("data"));
        assert!(
            document["volumes"]
                .as_hash()
                .expect("volumes")
                .keys()
                .any(|known| text(known) == format!("{name}-data"))
        );
        assert!(
            volumes.iter().all(|volume| mounted.insert(volume.clone())),
            "shared: {volumes:?}"
        );
        assert!(
            IMAGE.contains(&format!("{at}/data")),
            "a new volume belongs to whom the image says"
        );
        assert_eq!(text(&service["user"]), "65532:65532");
        assert_eq!(service["read_only"].as_bool(), Some(true));
        assert_eq!(list(&service["cap_drop"]), ["ALL"]);
        assert_eq!(text(&service["image"]), image());
        assert_eq!(text(&service["build"]["dockerfile"]), "deploy/Dockerfile");
    }
}

/// The image's name with the workspace's version.
fn image() -> String {
    let version = MANIFEST
        .split("[workspace.package]")
        .nth(1)
        .and_then(|rest| rest.split('"').nth(1));
    format!("tally:{}", version.expect("a version"))
}

#[test]
fn the_image_is_built_with_this_compiler_and_holds_the_program_where_the_samples_call_it() {
    let line = |start: &str| {
        let mut found = IMAGE.lines().filter(|line| line.starts_with(start));
        found.next().unwrap_or_else(|| panic!("no line {start}"))
    };
    let rust = MANIFEST
        .split("rust-version = \"")
        .nth(1)
        .and_then(|rest| rest.split('"').next());
    assert!(line("FROM rust:").starts_with(&format!("FROM rust:{}-", rust.expect("a version"))));
    assert_eq!(
        line("RUN cargo"),
        "RUN cargo build --release --locked --bin tally"
    );
    assert!(
        MANIFEST.contains("name = \"tally\"\npath = \"deploy/tally/main.rs\""),
        "the executable of that name"
    );
    assert_eq!(
        line("COPY --from=build"),
        format!("COPY --from=build /src/target/release/tally {TALLY}")
    );
    assert_eq!(line("ENTRYPOINT"), format!("ENTRYPOINT [\"{TALLY}\"]"));
    assert_eq!(line("USER"), "USER 65532:65532");
    assert!(
        PAGE.contains("They were\nnot run"),
        "the page says what nobody has seen"
    );
    assert!(IMAGE.contains(&format!("-t {} .", image())));
}

#[test]
fn the_cluster_samples_mount_what_the_configuration_names_and_no_more() {
    let files = Files::made();
    for (n, sample) in (1..).zip(CLUSTER) {
        let config = &files.configs[n - 1];
        let documents = YamlLoader::load_from_str(sample).expect("YAML");
        assert_eq!(documents.len(), 3);
        let namespace = format!("tally-party-{n}");
        assert_eq!(text(&one(&documents, "Namespace")["metadata"]["name"]), namespace);
        let (service, set) = (one(&documents, "Service"), one(&documents, "StatefulSet"));
        for document in [service, set] {
            assert_eq!(text(&document["metadata"]["namespace"]), namespace);
        }
        assert_eq!(
            set["spec"]["replicas"].as_i64(),
            Some(1),
            "two of one party would convict it"
        );
        let pod = &set["spec"]["template"]["spec"];
        let label = text(&set["spec"]["template"]["metadata"]["labels"]["app"]);
        for selector in [
            &service["spec"]["selector"],
            &set["spec"]["selector"]["matchLabels"],
        ] {
            assert_eq!(text(&selector["app"]), label);
        }
        stops_within(
            config,
            u64::try_from(pod["terminationGracePeriodSeconds"].as_i64().expect("seconds")).expect("seconds"),
        );

        let party = &pod["containers"][0];
        let arguments = list(&party["args"]);
        is_taken(&arguments);
        let at = format!("/etc/tally/party-{n}");
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            let command = list(&party[probe]["exec"]["command"]);
            assert_eq!(command[0], TALLY);
            is_taken(&command[1..]);
            assert_eq!(config_path(&command), format!("{at}/party.toml"), "{probe}");
            assert_eq!(
                command.iter().any(|word| word == "--live"),
                probe != "readinessProbe"
            );
            assert!(party[probe]["timeoutSeconds"].as_i64() >= Some(10));
        }
        assert_eq!(config_path(&arguments), format!("{at}/party.toml"));
        let ports: BTreeMap<String, i64> = party["ports"]
            .as_vec()
            .expect("ports")
            .iter()
            .map(|port| {
                (
                    text(&port["name"]),
                    port["containerPort"].as_i64().expect("a port"),
                )
            })
            .collect();
        let listens = [("public", config.listen_public), ("peer", config.listen_peer)];
        for (name, listens) in listens {
            assert_eq!(ports[name], i64::from(listens.port()));
        }
        let own = keys::own_identity(config).expect("an identity");
        for port in service["spec"]["ports"].as_vec().expect("ports") {
            let told = match text(&port["targetPort"]).as_str() {
                "public" => own.public_address().port(),
                "peer" => own.peer_address().port(),
                other => panic!("{other}"),
            };
            assert_eq!(port["port"].as_i64(), Some(i64::from(told)));
        }

        let given = pod["volumes"].as_vec().expect("volumes");
        let secret = given
            .iter()
            .find(|volume| text(&volume["name"]) == "given")
            .expect("the Secret");
        let items = secret["secret"]["items"].as_vec().expect("items");
        let paths: BTreeSet<PathBuf> = items
            .iter()
            .map(|item| files.of(n).join(text(&item["path"])))
            .collect();
        let mut named: BTreeSet<PathBuf> = [
            &config.keys.signing,
            &config.keys.hpke,
            &config.keys.storage,
            &config.tls.party.certificate,
            &config.tls.party.key,
            &config.identities.own,
            &config.identities.coordinator,
        ]
        .into_iter()
        .chain(&config.identities.others)
        .cloned()
        .collect();
        named.insert(files.of(n).join("party.toml"));
        assert_eq!(paths, named, "neither the authority's key nor the operator's");
        for path in &named {
            // The commission's comes from the commission.
            let theirs = path.ends_with("coordinator.identity.toml");
            assert!(theirs || path.exists(), "init makes no {}", path.display());
        }
        if n == 1 {
            for item in items {
                let key = text(&item["key"]);
                let path = format!("party-1/{}", text(&item["path"]));
                assert!(
                    PAGE.contains(&format!("--from-file={key}={path}")),
                    "the page does not put {key} there"
                );
            }
            assert!(PAGE.contains(&format!(
                "--namespace {namespace} create secret generic {} ",
                text(&secret["secret"]["secretName"])
            )));
        }
        let mounts: BTreeMap<String, String> = party["volumeMounts"]
            .as_vec()
            .expect("mounts")
            .iter()
            .map(|mount| (text(&mount["name"]), text(&mount["mountPath"])))
            .collect();
        assert_eq!(mounts["files"], at);
        assert_eq!(mounts["data"], format!("{at}/data"));
        assert_eq!(config.data_dir, files.of(n).join("data"));
        for container in [party, &pod["initContainers"][0]] {
            assert_eq!(text(&container["image"]), image());
        }
        assert!(list(&pod["initContainers"][0]["command"])[2].contains(&format!("/given/* {at}/")));
    }
}
