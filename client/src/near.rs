//! Names that nearly match what somebody typed, for error messages that help.

/// How many names are suggested at most.
const SUGGESTIONS: usize = 3;

/// A name as it is compared: lower case, inner runs of white space as one blank, none at the ends.
pub(crate) fn fold(name: &str) -> String {
    name.split_whitespace()
        .map(str::to_lowercase)
        .collect::<Vec<_>>()
        .join(" ")
}

/// The names closest to `given`, best first: those at a small edit distance (a third of the length, at least two) and
/// those that contain what was typed.
pub(crate) fn suggest<'a>(given: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let given = fold(given);
    let limit = (given.chars().count() / 3).max(2);
    let mut found: Vec<(usize, &str)> = names
        .into_iter()
        .filter_map(|name| {
            let folded = fold(name);
            let contained = given.chars().count() >= 3 && folded.contains(&given);
            let away = distance(&given, &folded);
            (contained || away <= limit).then_some((if contained { 0 } else { away }, name))
        })
        .collect();
    found.sort();
    found.dedup_by_key(|(_, name)| *name);
    found
        .into_iter()
        .take(SUGGESTIONS)
        .map(|(_, name)| name.to_owned())
        .collect()
}

/// `, did you mean "a" or "b"?`, or nothing when there is nothing near.
pub(crate) fn hint(suggestions: &[String]) -> String {
    let quoted: Vec<String> = suggestions.iter().map(|name| format!("\"{name}\"")).collect();
    match quoted.split_last() {
        None => String::new(),
        Some((last, [])) => format!("; did you mean {last}?"),
        Some((last, rest)) => format!("; did you mean {} or {last}?", rest.join(", ")),
    }
}

/// Edit distance with transpositions of neighbours (optimal string alignment).
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().collect();
    let right: Vec<char> = right.chars().collect();
    let width = right.len() + 1;
    let mut before: Vec<usize> = vec![0; width];
    let mut above: Vec<usize> = (0..width).collect();
    for (i, a) in left.iter().enumerate() {
        let mut row = Vec::with_capacity(width);
        row.push(i + 1);
        for (j, b) in right.iter().enumerate() {
            let mut best = (above[j] + usize::from(a != b))
                .min(above[j + 1] + 1)
                .min(row[j] + 1);
            if i > 0 && j > 0 && *a == right[j - 1] && left[i - 1] == *b {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_the_textbook() {
        for (left, right, expected) in [
            ("", "", 0),
            ("abc", "", 3),
            ("kitten", "sitting", 3),
            ("ab", "ba", 1),
            ("größe", "grösse", 2),
        ] {
            assert_eq!(distance(left, right), expected, "{left} -> {right}");
        }
    }

    #[test]
    fn suggests_misspellings_and_parts_but_not_strangers() {
        let names = ["Maria Schmidt", "Marta Schmitt", "Jan Novak", "Agnieszka Wolna"];
        assert_eq!(suggest("maria schmit", names), ["Maria Schmidt", "Marta Schmitt"]);
        assert_eq!(suggest("NOVAK", names), ["Jan Novak"]);
        assert!(suggest("Zebra", names).is_empty());
        assert_eq!(
            hint(&suggest("jan  novka", names)),
            "; did you mean \"Jan Novak\"?"
        );
        assert_eq!(hint(&[]), "");
    }
}
