//! The commands over real processes, on elections of a few hundred rows.

use std::process::{Command, Output};

use serde_json::Value;

fn tally_bench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tally-bench"))
        .args(arguments)
        .output()
        .expect("the command starts")
}

/// The JSON object that ends the output.
fn report(arguments: &[&str]) -> Value {
    let output = tally_bench(arguments);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    serde_json::from_str(text.lines().last().expect("a line")).expect("JSON")
}

#[test]
fn three_audits_prove_a_tally() {
    let report = report(&["audit", "--voters", "60", "--ballots", "200", "--json"]);
    let audits = report["audits"].as_array().expect("a list");
    assert_eq!(audits.len(), 3);
    for audit in audits {
        assert!(audit["log_bytes"].as_u64().expect("a number") > 10_000, "{audit}");
        assert!(audit["peak_rss_bytes"].as_u64().expect("a number") > 0, "{audit}");
    }
}

#[test]
fn what_is_acknowledged_is_on_three_disks_when_the_servers_are_killed() {
    for (together, requests) in [("1", 3.0), ("16", 3.0 * 19.0 / 300.0)] {
        let report = report(&[
            "cast",
            "--ballots",
            "300",
            "--voters",
            "50",
            "--at-once",
            "40",
            "--together",
            together,
            "--json",
        ]);
        assert_eq!(report["ballots"], 300);
        for figure in [
            "accepted_per_second",
            "p50_ms",
            "p99_ms",
            "p999_ms",
            "cpu_us_per_ballot",
            "generator_cpu_us_per_ballot",
            "restart_seconds",
        ] {
            assert!(
                report[figure].as_f64().expect("a number") > 0.0,
                "{figure}: {report}"
            );
        }
        // A receipt that was not handed over in time is brought.
        assert!(
            report["requests_per_ballot"].as_f64() >= Some(requests - 1e-9),
            "{report}"
        );
        // So few may fit into what an empty store's file has free.
        assert!(report["disk_bytes_per_ballot"].is_f64(), "{report}");
    }
}

/// The figures are what they are on a machine that does much else: no bound of time is tested but one that nothing keeps.
fn flood(more: &[&str]) -> Vec<String> {
    let words = [
        "flood",
        "--without",
        "600",
        "--invalid",
        "600",
        "--connections",
        "8",
        "--honest",
        "8",
        "--json",
    ];
    words.iter().chain(more).map(|word| (*word).to_owned()).collect()
}

#[test]
fn a_flood_costs_no_storage_and_honest_voters_are_served() {
    let words = flood(&["--most-ms", "60000"]);
    let report = report(&words.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(report["flood_store_bytes"], serde_json::json!([0, 0, 0]));
    let answers = report["answers"].as_object().expect("by reason");
    let count = |reason: &str| answers.get(reason).and_then(Value::as_u64).unwrap_or(0);
    let sent = 2 * 600;
    assert_eq!(
        count("ticket.missing") + count("ticket.bad") + count("party.busy"),
        sent,
        "{report}"
    );
    assert!(
        count("ticket.missing") > sent / 4 && count("ticket.bad") > sent / 4,
        "{report}"
    );
    // The stores were counted after the servers were killed: these and no other.
    assert!(
        report["honest_ballots"].as_u64().expect("a number") > 8,
        "{report}"
    );
}

#[test]
fn a_mixed_flood_costs_no_storage_either_and_slow_service_is_a_failure() {
    let words = flood(&["--mix", "--most-ms", "0"]);
    let output = tally_bench(&words.iter().map(String::as_str).collect::<Vec<_>>());
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && told.contains("not less than 0 ms"),
        "{told}"
    );
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let report: Value = serde_json::from_str(text.lines().last().expect("a line")).expect("JSON");
    assert_eq!(
        report["flood_store_bytes"],
        serde_json::json!([0, 0, 0]),
        "{report}"
    );
    let answers = report["answers"].as_object().expect("by reason");
    for answer in [
        "lookup: answered",
        "checkpoint: answered",
        "manifest: answered",
        "deliver: receipt.invalid",
    ] {
        assert!(answers[answer].as_u64().expect("a number") > 100, "{report}");
    }
    let enrolments = answers.keys().filter(|answer| answer.starts_with("enrol: "));
    assert!(enrolments.count() > 0, "{report}");
}
