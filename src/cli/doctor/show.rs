//! Findings as text for people and as JSON for programs.
//!
//! It never writes a line of more than 80 columns, but for commands, which are to be copied whole, and never
//! colours unless it is told that somebody looks.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::cli::doctor::demand::Demand;
use crate::cli::doctor::finding::{Finding, Verdict};
use crate::cli::doctor::host::Host;
use crate::cli::doctor::machine::ranges;
use crate::cli::doctor::process::counted;
use crate::cli::version::VERSION;

/// What is said wherever something is recommended.
pub const NOTE: &str = "Nothing here was measured on this machine, and nothing is promised: these are what the kernel's documentation and our own tests say. `loadtest/run` before and after a change says what it brings here.";

/// Columns of a line.
const WIDTH: usize = 80;
/// Columns of the verdict and of the item's name.
const VERDICT: usize = 9;
const NAME: usize = 16;
/// Where the text of a detail begins.
const DETAIL: usize = 18;

/// How findings are shown.
#[derive(Clone, Copy, Default)]
pub struct Look {
    /// Every field also of what is as it should be.
    pub all: bool,
    /// With colours.
    pub colours: bool,
}

/// Findings as text: what is wrong first, with all that is needed to decide; then what is well, a line each.
pub fn text(host: &Host, demand: &Demand, findings: &[Finding], look: Look) -> String {
    let mut out = head(host, demand);
    let mut sorted: Vec<&Finding> = findings.iter().collect();
    sorted.sort_by_key(|finding| finding.verdict);
    let mut was_long = false;
    for finding in sorted {
        let is_long = look.all || matches!(finding.verdict, Verdict::Problem | Verdict::Advice);
        if is_long || was_long {
            out.push('\n');
        }
        was_long = is_long;
        line(&mut out, finding, look.colours);
        if is_long {
            details(&mut out, finding);
        }
    }
    out.push('\n');
    out.push_str(&wrapped(&summary(findings, look.all), 0));
    out
}

fn head(host: &Host, demand: &Demand) -> String {
    let kernel = host.kernel.as_deref().unwrap_or("of unknown version");
    let cpus = &host.process.cpus;
    let place = match (host.container, host.process.id) {
        (true, _) => ", in a container",
        (false, Some(_)) => ", for a running process",
        (false, None) => "",
    };
    let of =
        format!("Linux {kernel}, {} ({}){place}", counted(cpus.len() as u64, "CPU"), ranges(cpus));
    let mut text = wrapped(&of, 0);
    match &demand.source {
        // Not broken: it is a name.
        Some(path) => {
            let _ = writeln!(text, "configuration {path}");
        }
        None => text.push_str(NO_CONFIGURATION),
    }
    if let (None, Some(first)) = (host.process.id, host.gateways.first()) {
        let _ = writeln!(text, "a gateway runs here: --pid {first} looks at its limits");
    }
    text
}

const NO_CONFIGURATION: &str =
    "no configuration: the defaults are asked for (-c FILE takes yours)\n";

fn line(out: &mut String, finding: &Finding, colours: bool) {
    let word = finding.verdict.word();
    let colour = match finding.verdict {
        _ if !colours => "",
        Verdict::Problem => "\x1b[1;31m",
        Verdict::Advice => "\x1b[33m",
        Verdict::Unknown => "\x1b[2m",
        Verdict::Ok => "\x1b[32m",
    };
    let plain = if colours { "\x1b[0m" } else { "" };
    let gap = " ".repeat(VERDICT - word.len());
    let value = wrapped(&finding.value, VERDICT + NAME);
    let _ = write!(out, "{colour}{word}{plain}{gap}{:NAME$}{}", finding.item, value.trim_start());
}

fn details(out: &mut String, finding: &Finding) {
    let label = |out: &mut String, label: &str, text: &str| {
        let gap = DETAIL - VERDICT;
        let text = wrapped(text, DETAIL);
        let _ = write!(out, "{:VERDICT$}{label:gap$}{}", "", text.trim_start());
    };
    label(out, "wanted", &finding.wanted);
    label(out, "why", &finding.why);
    label(out, "verify", &finding.verify);
    label(out, "risk", &finding.risk);
    let Some(command) = &finding.command else { return };
    let title = if finding.change.is_some() { "command (or --fix)" } else { "command" };
    let _ = writeln!(out, "{:VERDICT$}{title}", "");
    for command in command.lines() {
        let _ = writeln!(out, "{:width$}{command}", "", width = VERDICT + 2);
    }
}

fn summary(findings: &[Finding], all: bool) -> String {
    let count =
        |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count() as u64;
    let mut text = format!(
        "{}, {} with advice, {} unknown, {} ok.",
        counted(count(Verdict::Problem), "problem"),
        count(Verdict::Advice),
        count(Verdict::Unknown),
        count(Verdict::Ok)
    );
    let fixable = findings.iter().filter(|finding| finding.change.is_some()).count();
    if fixable > 0 {
        let _ = write!(
            text,
            " `ringway doctor --fix`, as root, changes {fixable} of these and can be undone by --revert; --script prints what it would do."
        );
    }
    if !all {
        text.push_str(" --all explains every item.");
    }
    format!("{text}\n{NOTE}")
}

/// Words in lines of at most 80 columns, each behind `indent` spaces.
fn wrapped(text: &str, indent: usize) -> String {
    let mut out = String::new();
    for paragraph in text.split('\n') {
        let mut line = " ".repeat(indent);
        for word in paragraph.split(' ').filter(|word| !word.is_empty()) {
            let is_empty = line.len() == indent;
            if !is_empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
                let _ = writeln!(out, "{line}");
                line = " ".repeat(indent);
            }
            if line.len() > indent {
                line.push(' ');
            }
            line.push_str(word);
        }
        let _ = writeln!(out, "{line}");
    }
    out
}

/// Findings as JSON.
pub fn json(host: &Host, demand: &Demand, findings: &[Finding]) -> String {
    let one = |finding: &Finding| {
        json!({
            "item": finding.item,
            "verdict": finding.verdict.word(),
            "value": finding.value,
            "wanted": finding.wanted,
            "why": finding.why,
            "verify": finding.verify,
            "risk": finding.risk,
            "command": finding.command,
            "fixable": finding.change.is_some(),
        })
    };
    let findings: Vec<Value> = findings.iter().map(one).collect();
    let document = json!({
        "ringway": VERSION,
        "kernel": host.kernel,
        "cpus": host.process.cpus,
        "container": host.container,
        "configuration": demand.source,
        "findings": findings,
        "note": NOTE,
    });
    format!("{document:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_broken_between_words_and_never_inside() {
        let long = "x".repeat(100);
        let text = wrapped(&format!("one {long} two {}", "word ".repeat(40)), 4);
        assert!(text.lines().all(|line| line.len() <= WIDTH || line.trim() == long), "{text}");
        assert!(text.lines().all(|line| line.starts_with("    ") && !line.starts_with("     ")));
    }
}
