//! The matrix of troubles names tests that there are.

use std::fs;
use std::path::Path;

const MATRIX: &str = include_str!("MATRIX.md");

#[test]
fn every_trouble_of_the_matrix_has_its_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let rows: Vec<Vec<&str>> = MATRIX
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| trouble |"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    assert!(rows.len() > 20, "{} troubles", rows.len());
    for row in rows {
        let [trouble, shown, test] = row[..] else {
            panic!("{row:?}")
        };
        let test: Vec<&str> = test.split('`').collect();
        let [_, file, _, name, _] = test[..] else {
            panic!("{trouble}: {test:?}")
        };
        assert!(!shown.is_empty(), "{trouble}");
        let source = fs::read_to_string(root.join(file));
        let source = source.unwrap_or_else(|error| panic!("{trouble}: {file}: {error}"));
        // The function, with a test's attribute before it.
        let (before, _) = source
            .split_once(&format!("fn {name}()"))
            .unwrap_or_else(|| panic!("{trouble}: {file} has no test {name}"));
        let before: Vec<&str> = before.lines().rev().take(4).collect();
        assert!(
            before
                .iter()
                .any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test")),
            "{trouble}: {name} is no test"
        );
    }
}
