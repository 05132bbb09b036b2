//! `${VAR}`, `${VAR:-default}` and `${file:/path}` in texts, replaced after parsing.
//!
//! What is put in can therefore never change the shape of the document. `$${` is a literal `${`. A
//! replaced value is remembered as such and never quoted in an error; a value is replaced once, what it
//! holds itself is never replaced again.

use std::ops::Range;
use std::path::Path;

use crate::config::codes;
use crate::config::diagnostic::Diagnostic;
use crate::config::include::{Surroundings, unreadable};
use crate::config::span::Text;
use crate::config::tree::{Kind, Log, Node};

/// Largest file that is put into a value. Unit: bytes. A PEM bundle has a few KiB.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Replaces in all texts below a node.
pub(super) fn substitute(node: &mut Node, around: &dyn Surroundings, log: &Log) {
    match &mut node.kind {
        Kind::Text(text) => {
            if !text.contains("${") {
                return;
            }
            let text = Text::new(std::mem::take(text), node.span);
            node.substituted = true;
            // An error was reported: the readers pass over the value in silence.
            node.kind = replaced(&text, around, log).map_or(Kind::Unset, Kind::Text);
        }
        Kind::Array(list) => list.iter_mut().for_each(|item| substitute(item, around, log)),
        Kind::Table(entries) => {
            entries.iter_mut().for_each(|entry| substitute(&mut entry.node, around, log));
        }
        _ => {}
    }
}

fn replaced(text: &Text, around: &dyn Surroundings, log: &Log) -> Option<String> {
    let value = text.value.as_str();
    let mut result = String::with_capacity(value.len());
    let mut at = 0;
    let mut good = true;
    while let Some(found) = value[at..].find("${") {
        let start = at + found;
        if value[..start].ends_with('$') && start > at {
            result.push_str(&value[at..start]);
            result.push('{');
            at = start + 2;
            continue;
        }
        result.push_str(&value[at..start]);
        let Some(length) = value[start..].find('}') else {
            let problem = Problem {
                code: codes::SUBSTITUTION,
                message: "`${` is not closed by `}`".into(),
                help: "a literal `${` is written `$${`".into(),
            };
            report(problem, text, start..value.len(), log);
            return None;
        };
        let end = start + length + 1;
        match one(&value[start + 2..end - 1], around) {
            Ok(value) => result.push_str(&value),
            Err(problem) => {
                report(problem, text, start..end, log);
                good = false;
            }
        }
        at = end;
    }
    result.push_str(&value[at..]);
    good.then_some(result)
}

/// What templates begin with: values of a request, which are not there when a file is read.
const TEMPLATES: [&str; 7] = ["header.", "jwt.", "path.", "query.", "client.", "request.", "key."];

struct Problem {
    code: &'static str,
    message: String,
    help: String,
}

fn report(problem: Problem, text: &Text, range: Range<usize>, log: &Log) {
    let span = log.sources().inside(text, range);
    log.push(Diagnostic::error(problem.code, span, problem.message).help(problem.help));
}

/// The value of what stands between `${` and `}`.
fn one(inside: &str, around: &dyn Surroundings) -> Result<String, Problem> {
    if let Some(path) = inside.strip_prefix("file:") {
        return file(path, around);
    }
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(word) || name.starts_with(|c: char| c.is_ascii_digit())
    {
        return Err(Problem {
            code: codes::SUBSTITUTION,
            message: "this is not the name of a variable".into(),
            help: if TEMPLATES.iter().any(|first| inside.starts_with(first)) {
                "what a request says is written without the `$`: `{header.x}`"
            } else {
                "write `${VAR}`, `${VAR:-default}` or `${file:/path}`; a literal `${` is written `$${`"
            }
            .into(),
        });
    }
    let value = around.variable(name);
    // As in a shell, `:-` also stands in for a variable that is set but empty.
    match (value, default) {
        (Some(value), None) => Ok(value),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(Problem {
            code: codes::UNSET,
            message: format!("the environment variable `{name}` is not set"),
            help: format!("set it, or give a default: `${{{name}:-default}}`"),
        }),
    }
}

/// The text of a file without its last line break, which editors add and secrets do not have.
fn file(path: &str, around: &dyn Surroundings) -> Result<String, Problem> {
    if !path.starts_with('/') {
        return Err(Problem {
            code: codes::SUBSTITUTION,
            message: format!("the path `{path}` is not absolute"),
            help: "write the whole path: `${file:/run/secrets/name}`".into(),
        });
    }
    match around.file(Path::new(path), FILE_BYTES_MAX) {
        Ok(text) => {
            let text = text.strip_suffix('\n').unwrap_or(&text);
            Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
        }
        Err(error) => Err(Problem {
            code: codes::UNSET,
            message: format!("the file `{path}` cannot be read: {}", unreadable(&error)),
            help: "the process must be able to read it when the configuration is loaded".into(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::span::Span;
    use crate::config::testing::World;

    fn run(value: &str) -> Result<String, String> {
        let world =
            World::default().variable("A", "one").variable("EMPTY", "").file("/s", "hush\n");
        let log = Log::new();
        let file = log.add("f", format!("'{value}'"));
        let span = Span::new(file, 0..value.len() + 2);
        let mut node = Node::new(span, Kind::Text(value.into()));
        substitute(&mut node, &world, &log);
        match node.kind {
            Kind::Text(text) => Ok(text),
            _ => Err(log.finish().render()),
        }
    }

    #[test]
    fn variables_defaults_and_files_are_put_in() {
        assert_eq!(run("x ${A} y ${A}").as_deref(), Ok("x one y one"));
        assert_eq!(run("${NONE:-two}").as_deref(), Ok("two"));
        assert_eq!(run("${EMPTY:-two}").as_deref(), Ok("two"));
        assert_eq!(run("${EMPTY}").as_deref(), Ok(""));
        assert_eq!(run("${A:-two}").as_deref(), Ok("one"));
        assert_eq!(run("${file:/s}").as_deref(), Ok("hush"));
        assert_eq!(run("$${A} $ {").as_deref(), Ok("${A} $ {"));
    }

    #[test]
    fn what_is_unset_is_an_error_at_its_place() {
        let errors = run("ab ${NONE} ${A} ${ALSO}").expect_err("unset");
        assert!(errors.contains("f:1:5") && errors.contains("f:1:18"), "{errors}");
        for bad in ["${", "${A", "${}", "${a b}", "${1}", "${file:rel}", "${file:/none}"] {
            assert!(run(bad).is_err(), "{bad}");
        }
    }
}
