//! "Did you mean": the nearest of the words that would have been right.
//!
//! The distance is optimal string alignment (insert, delete, replace, swap neighbours), as cargo and
//! clang use. A suggestion is never made for a word that has little in common with it: a wrong hint
//! costs more than none.

/// Longest word that is compared. Unit: characters. Longer ones have no typo to find.
const WORD_CHARS_MAX: usize = 64;

/// The candidate nearest to `word`, if it is near: at most a third of the letters differ.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower: Vec<char> = word.to_lowercase().chars().collect();
    if lower.len() > WORD_CHARS_MAX {
        return None;
    }
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let letters: Vec<char> = candidate.to_lowercase().chars().collect();
        if letters.len() > WORD_CHARS_MAX || candidate == word {
            continue;
        }
        let far = distance(&lower, &letters);
        let allowed = (lower.len().max(letters.len()) / 3).max(1);
        // Two words of one or two letters are always within one edit of each other; only the same
        // letters in another case are near then.
        let near = if lower.len() <= 2 { far == 0 } else { far <= allowed };
        if near && best.is_none_or(|(least, _)| far < least) {
            best = Some((far, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Most edits that make a slip of the pen of a word that is right in itself.
const SLIP_EDITS_MAX: usize = 2;

/// The candidate that `word` is a slip of the pen of, where any word could be meant: stricter than
/// [`nearest`], and nothing for a candidate itself, in either case.
pub fn slip<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    if candidates.iter().any(|candidate| candidate.eq_ignore_ascii_case(word)) {
        return None;
    }
    let letters = |text: &str| text.to_lowercase().chars().collect::<Vec<_>>();
    nearest(word, candidates.iter().copied())
        .filter(|near| distance(&letters(word), &letters(near)) <= SLIP_EDITS_MAX)
}

/// Edits between two words.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut above: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut next = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = row[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            next[j] = replaced.min(row[j] + 1).min(next[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                next[j] = next[j].min(above[j - 2] + 1);
            }
        }
        above = std::mem::replace(&mut row, next);
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_finds_its_word() {
        let keys = ["timeout", "match", "forward", "limit"];
        assert_eq!(nearest("timout", keys), Some("timeout"));
        assert_eq!(nearest("mathc", keys), Some("match"));
        assert_eq!(nearest("Forward", keys), Some("forward"));
    }

    #[test]
    fn a_strange_word_finds_nothing() {
        assert_eq!(nearest("certificate", ["timeout", "match"]), None);
        assert_eq!(nearest("ab", ["cd", "ac"]), None);
        assert_eq!(nearest(&"x".repeat(10_000), ["x"]), None);
    }

    #[test]
    fn a_slip_is_near_and_never_the_word_itself() {
        let fields = ["x-forwarded-for", "true-client-ip", "fastly-client-ip"];
        assert_eq!(slip("x-forwared-for", &fields), Some("x-forwarded-for"));
        for other in ["X-Forwarded-For", "x-client-ip", "fly-client-ip", "x-original-for"] {
            assert_eq!(slip(other, &fields), None, "{other}");
        }
    }

    #[test]
    fn swapped_neighbours_are_one_edit() {
        let word = |text: &str| text.chars().collect::<Vec<_>>();
        assert_eq!(distance(&word("ab"), &word("ba")), 1);
        assert_eq!(distance(&word(""), &word("abc")), 3);
    }
}
