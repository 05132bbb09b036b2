//! Where two texts or two JSON values differ, in lines that a person reads at once.
//!
//! What is shown is bounded however large the texts are, and holds no control character of theirs.

use serde_json::Value;

/// Lines of a diff that are shown.
const LINES_MAX: usize = 40;
/// Lines shown before and behind a change.
const AROUND: usize = 3;
/// Characters of a line that are shown.
const CHARS_MAX: usize = 160;
/// Differing paths that are named.
const PATHS_MAX: usize = 5;
/// Pairs of lines that are compared at most: beyond, all old lines stand before all new ones.
const PAIRS_MAX: usize = 1_000_000;

/// A text without control characters, cut to a line of a terminal.
pub(super) fn shown(text: &str) -> String {
    let mut out = String::new();
    for (count, character) in text.chars().enumerate() {
        if count == CHARS_MAX {
            out.push('…');
            break;
        }
        match character {
            control if control.is_control() => out.extend(control.escape_default()),
            other => out.push(other),
        }
    }
    out
}

/// The paths at which two values differ: "at `user.name`: expected "Ada", but it is "Bob"".
pub(super) fn paths(expected: &Value, actual: &Value) -> Vec<String> {
    let mut found = Vec::new();
    walk(String::new(), Some(expected), Some(actual), &mut found);
    let more = found.len().saturating_sub(PATHS_MAX);
    found.truncate(PATHS_MAX);
    if more > 0 {
        found.push(format!("and at {more} more"));
    }
    found
}

fn walk(path: String, expected: Option<&Value>, actual: Option<&Value>, found: &mut Vec<String>) {
    match (expected, actual) {
        (Some(Value::Object(expected)), Some(Value::Object(actual))) => {
            let step = |name: &str| match path.is_empty() {
                true => name.to_owned(),
                false => format!("{path}.{name}"),
            };
            for (name, value) in expected {
                walk(step(name), Some(value), actual.get(name), found);
            }
            for (name, value) in actual.iter().filter(|(name, _)| !expected.contains_key(*name)) {
                walk(step(name), None, Some(value), found);
            }
        }
        (Some(Value::Array(expected)), Some(Value::Array(actual))) => {
            for index in 0..expected.len().max(actual.len()) {
                let step = format!("{path}[{index}]");
                walk(step, expected.get(index), actual.get(index), found);
            }
        }
        (expected, actual) if expected == actual => {}
        (expected, actual) => {
            let text = |value: Option<&Value>| match value {
                Some(value) => shown(&value.to_string()),
                None => "nothing".to_owned(),
            };
            let place = if path.is_empty() { "the whole".to_owned() } else { format!("`{path}`") };
            found.push(format!(
                "at {place}: expected {}, but it is {}",
                text(expected),
                text(actual)
            ));
        }
    }
}

/// What happened to a line.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    Same,
    Gone,
    New,
}

/// Both texts as one, line by line: `-` expected, `+` what it is.
pub(super) fn lines(expected: &str, actual: &str) -> Vec<String> {
    let expected: Vec<&str> = expected.lines().collect();
    let actual: Vec<&str> = actual.lines().collect();
    let marked = marked(&expected, &actual);
    let near = |index: usize| {
        let from = index.saturating_sub(AROUND);
        let to = (index + AROUND + 1).min(marked.len());
        marked[from..to].iter().any(|(mark, _)| *mark != Mark::Same)
    };
    let mut out = Vec::new();
    let mut skipped = false;
    for (index, (mark, line)) in marked.iter().enumerate() {
        if !near(index) {
            skipped = true;
            continue;
        }
        if std::mem::take(&mut skipped) {
            out.push("  ⋮".to_owned());
        }
        if out.len() >= LINES_MAX {
            out.push("  … and more".to_owned());
            return out;
        }
        let sign = match mark {
            Mark::Same => ' ',
            Mark::Gone => '-',
            Mark::New => '+',
        };
        out.push(format!("{sign} {}", shown(line)));
    }
    out
}

fn marked<'t>(expected: &[&'t str], actual: &[&'t str]) -> Vec<(Mark, &'t str)> {
    let head = expected.iter().zip(actual).take_while(|(a, b)| a == b).count();
    let (a, b) = (&expected[head..], &actual[head..]);
    let tail = a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count();
    let (a, b) = (&a[..a.len() - tail], &b[..b.len() - tail]);
    let mut out: Vec<(Mark, &str)> =
        expected[..head].iter().map(|line| (Mark::Same, *line)).collect();
    if a.len().saturating_mul(b.len()) > PAIRS_MAX {
        out.extend(a.iter().map(|line| (Mark::Gone, *line)));
        out.extend(b.iter().map(|line| (Mark::New, *line)));
    } else {
        out.extend(longest_common(a, b));
    }
    let rest = &expected[expected.len() - tail..];
    out.extend(rest.iter().map(|line| (Mark::Same, *line)));
    out
}

/// The middle by the longest common subsequence.
fn longest_common<'t>(a: &[&'t str], b: &[&'t str]) -> Vec<(Mark, &'t str)> {
    let width = b.len() + 1;
    let mut table = vec![0u32; (a.len() + 1) * width];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            table[i * width + j] = match a[i] == b[j] {
                true => table[(i + 1) * width + j + 1] + 1,
                false => table[(i + 1) * width + j].max(table[i * width + j + 1]),
            };
        }
    }
    let (mut i, mut j, mut out) = (0, 0, Vec::new());
    while i < a.len() || j < b.len() {
        let both = i < a.len() && j < b.len();
        if both && a[i] == b[j] {
            out.push((Mark::Same, a[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == b.len() || both && table[(i + 1) * width + j] >= table[i * width + j + 1] {
            out.push((Mark::Gone, a[i]));
            i += 1;
        } else {
            out.push((Mark::New, b[j]));
            j += 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_differ_at_paths() {
        let expected =
            json!({ "user": { "name": "Ada" }, "orders": [{ "id": 1 }, { "id": 2 }], "a": 1 });
        let actual =
            json!({ "user": { "name": "Bob" }, "orders": [{ "id": 1 }], "b": null, "a": 1 });
        assert_eq!(
            paths(&expected, &actual),
            [
                "at `user.name`: expected \"Ada\", but it is \"Bob\"",
                "at `orders[1]`: expected {\"id\":2}, but it is nothing",
                "at `b`: expected nothing, but it is null",
            ]
        );
        assert!(paths(&actual, &actual).is_empty());
        assert_eq!(paths(&json!([1, 2, 3, 4, 5, 6, 7]), &json!([])).len(), PATHS_MAX + 1);
    }

    #[test]
    fn lines_are_marked_and_what_is_far_is_left_out() {
        let expected = (0..30).map(|n| format!("{n}\n")).collect::<String>();
        let actual = expected.replace("\n20\n", "\nx\ny\n");
        let diff = lines(&expected, &actual);
        let expected =
            ["  ⋮", "  17", "  18", "  19", "- 20", "+ x", "+ y", "  21", "  22", "  23"];
        assert_eq!(diff, expected);
    }

    #[test]
    fn what_is_shown_is_bounded_and_plain() {
        let many = "a\n".repeat(5000);
        let other = "b\n".repeat(5000);
        assert_eq!(lines(&many, &other).len(), LINES_MAX + 1);
        assert_eq!(shown("a\u{1b}[31m\tb"), "a\\u{1b}[31m\\tb");
        assert_eq!(shown(&"ä".repeat(500)).chars().count(), CHARS_MAX + 1);
    }
}
