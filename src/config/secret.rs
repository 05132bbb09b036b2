//! Finds the literals of secrets in the text of a file, so that no source line ever shows one.
//!
//! It works on the text, not on the tree: a file with a syntax error has no tree to trust, and its lines
//! are shown all the same. It may hide too much; it must never hide too little.

use std::ops::Range;

/// Keys whose values are never shown, in this version and in later ones.
const SECRET_KEYS: [&str; 5] = ["secret", "pem", "password", "token", "key_file_password"];

/// The places of all values behind such a key, with `=` or `:`. A longer key that ends like one of them
/// (`client_secret`, or a slip of the hand that joined two lines) holds a secret as well.
pub(super) fn mask_literals(text: &str) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    for key in SECRET_KEYS {
        for (at, _) in text.match_indices(key) {
            if let Some(range) = value_behind(text, at + key.len()) {
                ranges.push(range);
            }
        }
    }
    ranges
}

/// The value that follows a key, if there is one.
fn value_behind(text: &str, at: usize) -> Option<Range<usize>> {
    let rest = text[at..].strip_prefix(['"', '\'']).unwrap_or(&text[at..]);
    let rest = rest.trim_start_matches([' ', '\t']).strip_prefix(['=', ':'])?;
    let value = rest.trim_start_matches([' ', '\t']);
    let start = text.len() - value.len();
    let length = ["\"\"\"", "'''"]
        .into_iter()
        .find_map(|quotes| {
            let inner = value.strip_prefix(quotes)?;
            Some(inner.find(quotes).map_or(value.len(), |end| end + 2 * quotes.len()))
        })
        .unwrap_or_else(|| one_line(value));
    (length > 0).then(|| start..start + length)
}

/// Length of a value that ends on its line.
fn one_line(value: &str) -> usize {
    let line = value.split('\n').next().unwrap_or("");
    let Some(quote) = line.chars().next().filter(|c| matches!(c, '"' | '\'')) else {
        return line.find([',', '}', '#']).unwrap_or(line.len());
    };
    let mut escaped = false;
    for (at, character) in line.char_indices().skip(1) {
        if character == quote && !escaped {
            return at + 1;
        }
        escaped = character == '\\' && quote == '"' && !escaped;
    }
    line.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(text: &str) -> Vec<&str> {
        mask_literals(text).into_iter().map(|range| &text[range]).collect()
    }

    #[test]
    fn every_way_to_write_a_secret_is_found() {
        assert_eq!(hidden("secret = \"a\\\"b\" # c"), ["\"a\\\"b\""]);
        assert_eq!(hidden("x = { secret='ab', y = 1 }"), ["'ab'"]);
        assert_eq!(hidden("{\"secret\": \"ab\"}"), ["\"ab\""]);
        assert_eq!(hidden("pem = \"\"\"\na\nb\"\"\"\nc = 1"), ["\"\"\"\na\nb\"\"\""]);
        assert_eq!(hidden("secret = \"open\nnext = 1"), ["\"open"]);
        assert_eq!(hidden("[jwtsecret = 'ab'\nclient_secret = 'cd'"), ["'ab'", "'cd'"]);
        assert_eq!(hidden("secret = abc\nnext = 1"), ["abc"]);
        assert_eq!(hidden("pem = '''\nrest of the file"), ["'''\nrest of the file"]);
    }

    #[test]
    fn other_words_stay_readable() {
        assert!(hidden("my_secret_thing = 1\nsecrets = 2\n# secret\nsecret").is_empty());
    }
}
