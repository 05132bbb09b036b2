//! `workers`: how many threads, or on which cores.
//!
//! A list of cores is in the form of cpuset(7): `0-3,8`. Whether the process may use those cores is found
//! out when it starts, never here.

use crate::config::codes;
use crate::config::defaults::WORKERS_MAX;
use crate::config::diagnostic::Diagnostic;
use crate::config::reader::{Reader, integer_of, wrong_type};
use crate::config::span::Spanned;
use crate::config::tree::Kind;

/// Which worker threads there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Workers {
    /// One per core that the process may use.
    Auto,
    /// So many, on the first of those cores.
    Count(usize),
    /// One on each of these cores, ascending, each once.
    Cores(Vec<usize>),
}

/// Largest number of a core: Linux' own bound, `CONFIG_NR_CPUS`, is at most 8192.
const CORE_MAX: usize = 8191;

/// Reads `workers`.
pub(super) fn read(reader: &Reader<'_>) -> Spanned<Workers> {
    let auto = Spanned::built_in(Workers::Auto);
    let Some(node) = reader.node("workers") else { return auto };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match &node.kind {
        Kind::Text(text) if text == "auto" => Spanned::new(Workers::Auto, node.span),
        Kind::Text(text) if !(node.substituted && digits(text)) => match cores(text) {
            Some(cores) => Spanned::new(Workers::Cores(cores), node.span),
            None => {
                let message = "this is not a list of cores";
                let diagnostic = Diagnostic::error(codes::BAD_CORES, node.span, message);
                let help =
                    "write `\"auto\"`, a number without quotes, or a list of cores: `\"0-3,8\"`";
                reader.log.push(diagnostic.help(help));
                auto
            }
        },
        Kind::Text(_) | Kind::Integer(_) | Kind::Float(_) => {
            let count = integer_of(node, 1, WORKERS_MAX, reader.log);
            count.map_or(auto, |count| count.map(|count| Workers::Count(count as usize)))
        }
        _ => {
            wrong_type(reader.log, node, "\"auto\", a number or a list of cores", "");
            auto
        }
    }
}

/// A list of cores, ascending, each once.
fn cores(text: &str) -> Option<Vec<usize>> {
    let mut cores = Vec::new();
    for item in text.split(',') {
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        let first: usize = first.trim().parse().ok()?;
        let last: usize = last.trim().parse().ok()?;
        if first > last || last > CORE_MAX {
            return None;
        }
        cores.extend(first..=last);
    }
    cores.sort_unstable();
    cores.dedup();
    (cores.len() <= WORKERS_MAX as usize).then_some(cores)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_cores_has_ranges() {
        assert_eq!(cores("0-3,8"), Some(vec![0, 1, 2, 3, 8]));
        assert_eq!(cores("8, 1-2,2"), Some(vec![1, 2, 8]));
        for bad in ["", "a", "3-1", "1,", "-1", "0-99999", "0-"] {
            assert_eq!(cores(bad), None, "{bad}");
        }
    }
}
