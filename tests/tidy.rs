//! The house rules that a machine can check, over the text of the source; no dependency but `std`.
//!
//! A failure reads like a compiler error: what, where, and the rule's reason. An exception is a line in a
//! table below with its own reason, and never a comment in the file that breaks the rule.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Who may import whom: a folder of `src` and the folders below it that it may name.
///
/// The five rooms (route, policy, upstream, aggregate, observe) are strangers to each other, so that each
/// can be read, tested and replaced alone.
const LAYERS: &[(&str, &str)] = &[
    ("base", ""),
    ("http", "base"),
    ("tls", "base"),
    ("exchange", "base http"),
    ("route", "base http exchange"),
    ("policy", "base http exchange"),
    ("upstream", "base http exchange tls"),
    ("aggregate", "base http exchange"),
    ("observe", "base http exchange"),
    ("gateway", "base http exchange route policy upstream aggregate observe tls"),
    ("config", "base"),
    ("compile", "base http exchange config gateway route policy upstream aggregate observe tls"),
    ("runtime", "base"),
    ("net", "base runtime"),
    ("serve", "base http exchange route policy upstream aggregate observe gateway runtime net tls"),
    ("worker", "base policy upstream observe gateway runtime net serve"),
    // admin shows what control hands it and calls nothing of control, so it stands below.
    (
        "control",
        "base http config compile gateway upstream policy observe runtime net worker admin \
         tls",
    ),
    ("admin", "base http config gateway observe runtime net"),
    (
        "cli",
        "base http exchange route policy upstream aggregate observe gateway config compile runtime \
         net serve worker control admin",
    ),
];

/// Where the layers' table is knowingly not followed: file, the folder it imports, the reason.
const LAYER_EXCEPTIONS: &[(&str, &str, &str)] = &[];

/// Files longer than the bound, because they are tables.
const LONG_FILES: &[(&str, &str)] =
    &[("src/base/limits.rs", "the table of every bound in the program, which is one place")];

/// Functions longer than the bound, because they are tables.
const LONG_FUNCTIONS: &[(&str, &str)] = &[];

/// Where atomics may stand besides the two files that exist for them.
const ATOMICS: &[(&str, &str)] = &[
    ("src/base/shared.rs", "the words that cores share"),
    ("src/observe/metrics.rs", "one writer per core, summed on reading"),
];

/// Limits that nobody outside can meet, and why: they are not in docs/limits.md.
const INTERNAL_LIMITS: &[(&str, &str)] = &[
    ("ATTEMPTS_RECORDED_MAX", "the product of two others"),
    ("GIVE_UP_LOOKS_MAX", "work of one look for idle connections"),
    ("GIVE_UP_BATCH_MAX", "as above"),
    ("GCRA_SKEW_MAX", "how far the clocks of cores differ, not what anybody may do"),
    ("GCRA_EVICTION_MARGIN", "as above"),
];

/// Lines of a file without its tests.
const FILE_LINES_MAX: usize = 600;
/// Lines of a function, signature and closing brace included.
const FUNCTION_LINES_MAX: usize = 70;

/// Rooms whose calls must stay visible to the optimiser and to the reader.
const WITHOUT_DYN: &str = "base http exchange route policy upstream aggregate serve";
/// Rooms on a request's path: no core may wait for another there.
const WITHOUT_LOCKS: &str = "base http exchange route policy upstream aggregate gateway net serve";

const FORBIDDEN_NAMES: &str = "util utils helper helpers common misc ctx mgr manager impl";

/// What may stand at the top of the repository.
const TOP_LEVEL: &str = "Cargo.toml Cargo.lock LICENSE README.md ARCHITECTURE.md CONTRIBUTING.md \
    SECURITY.md CHANGELOG.md rust-toolchain.toml rustfmt.toml clippy.toml deny.toml src benches \
    loadtest tests tuning docs examples target .ci .git .gitignore .config build.rs";

struct Source {
    /// From the project's root, with forward slashes.
    path: String,
    text: String,
    /// Lines with comments and the content of simple strings taken out.
    code: Vec<String>,
    /// Index of the first line of its tests.
    tests_from: usize,
}

impl Source {
    fn room(&self) -> &str {
        let below = self.path.strip_prefix("src/").unwrap_or_default();
        below.split_once('/').map_or(below.trim_end_matches(".rs"), |(room, _)| room)
    }

    fn is_test(&self) -> bool {
        self.path.ends_with("/tests.rs") || self.path.contains("/tests/")
    }

    /// Numbered lines that are part of the program, not of its tests.
    fn program(&self) -> impl Iterator<Item = (usize, &str)> {
        let end = if self.is_test() { 0 } else { self.tests_from };
        self.code[..end].iter().enumerate().map(|(index, line)| (index + 1, line.as_str()))
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &Path, out: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.map(Result::unwrap) {
        let path = entry.path();
        match path.is_dir() {
            true if path.file_name().is_some_and(|name| name == "target") => {}
            true => files(&path, out),
            false => out.push(path),
        }
    }
    out.sort();
}

fn sources(folder: &str) -> Vec<Source> {
    let mut paths = Vec::new();
    files(&root().join(folder), &mut paths);
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    paths.iter().map(|path| read(path)).collect()
}

fn read(path: &Path) -> Source {
    let text = fs::read_to_string(path).unwrap();
    let code: Vec<String> = text.lines().map(without_comments_and_strings).collect();
    let tests_from = tests_from(&code);
    let path = path.strip_prefix(root()).unwrap().to_str().unwrap().to_string();
    Source { path, text, code, tests_from }
}

/// Where the tests of a file begin: they stand at its end. A module of tests in a file of its own may be named anywhere,
/// and what stands behind its name is still the program.
fn tests_from(code: &[String]) -> usize {
    let begins = |pair: &[String]| pair[0] == "#[cfg(test)]" && !pair[1].ends_with(';');
    code.windows(2).position(begins).unwrap_or(code.len())
}

/// One line without its comment and its string contents, so that words in them are not taken for code.
fn without_comments_and_strings(line: &str) -> String {
    let (mut out, mut in_string, mut escaped) = (String::new(), false, false);
    let mut characters = line.trim_end().chars().peekable();
    while let Some(c) = characters.next() {
        match (in_string, c) {
            (true, _) if escaped => escaped = false,
            (true, '\\') => escaped = true,
            (true, '"') => in_string = false,
            (true, _) => continue,
            (false, '"') => in_string = !out.ends_with('\''),
            (false, '/') if characters.peek() == Some(&'/') => break,
            (false, _) => {}
        }
        out.push(c);
    }
    out.truncate(out.trim_end().len());
    out
}

struct Report(Vec<String>);

impl Report {
    fn new() -> Report {
        Report(Vec::new())
    }

    fn add(&mut self, what: &str, path: &str, line: usize, reason: &str) {
        self.0.push(format!("error: {what}\n  --> {path}:{line}\n   = {reason}\n"));
    }

    #[track_caller]
    fn finish(self) {
        assert!(self.0.is_empty(), "\n{}\n{} found", self.0.join("\n"), self.0.len());
    }
}

fn has(list: &str, word: &str) -> bool {
    list.split_ascii_whitespace().any(|known| known == word)
}

/// The words that stand behind every `before` of the line: `crate::{a, b::c}` gives a and b.
fn behind(line: &str, before: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in line.match_indices(before) {
        let rest = &line[at + before.len()..];
        let end = |text: &str| {
            text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len())
        };
        match rest.strip_prefix('{') {
            None => found.push(rest[..end(rest)].to_string()),
            Some(group) => {
                let items = group.split(',').map(|item| item.trim_matches([' ', '}', ';']));
                found.extend(items.map(|item| item[..end(item)].to_string()));
            }
        }
    }
    found
}

/// Lines with their numbers from 0; an import over several lines is one.
fn statements(code: &[String]) -> Vec<(usize, String)> {
    let mut out: Vec<(usize, String)> = Vec::new();
    let mut open = false;
    for (index, line) in code.iter().enumerate() {
        match out.last_mut() {
            Some((_, last)) if open => last.push_str(line.trim()),
            _ => out.push((index, line.clone())),
        }
        let starts = line.trim_start().trim_start_matches("pub ").starts_with("use ");
        open = (open || starts) && !line.ends_with(';');
    }
    out
}

#[test]
fn imports_follow_the_table_of_layers() {
    let mut report = Report::new();
    for source in sources("src") {
        let Some((room, allowed)) = LAYERS.iter().find(|(room, _)| *room == source.room()) else {
            continue;
        };
        for (index, line) in statements(&source.code) {
            for target in behind(&line, "crate::") {
                let known = LAYERS.iter().any(|(name, _)| *name == target);
                let excepted = LAYER_EXCEPTIONS
                    .iter()
                    .any(|(path, what, _)| *path == source.path && *what == target);
                if known && target != *room && !has(allowed, &target) && !excepted {
                    let what = format!("`{room}` may not import `{target}`");
                    let reason = format!("the table of layers lets it import only: {allowed}");
                    report.add(&what, &source.path, index + 1, &reason);
                }
            }
        }
    }
    report.finish();
}

#[test]
fn every_folder_of_src_has_its_row_in_the_table() {
    let mut report = Report::new();
    for source in sources("src") {
        let top = matches!(source.path.as_str(), "src/main.rs" | "src/lib.rs");
        if !top && !LAYERS.iter().any(|(room, _)| *room == source.room()) {
            report.add("a folder without a layer", &source.path, 1, "add a row to LAYERS");
        }
    }
    report.finish();
}

#[test]
fn files_and_functions_fit_in_a_readers_head() {
    let mut report = Report::new();
    for source in sources("src") {
        let count = source.program().count();
        let listed = |table: &[(&str, &str)]| table.iter().any(|(path, _)| *path == source.path);
        if count > FILE_LINES_MAX && !listed(LONG_FILES) {
            let what = format!("{count} lines without tests");
            report.add(&what, &source.path, count, "one idea a file, at most 600 lines");
        }
        let lines: Vec<(usize, &str)> = source.program().collect();
        for (at, (number, line)) in lines.iter().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let words = line.trim_start().split('(').next().unwrap_or_default();
            if !words.split_ascii_whitespace().any(|word| word == "fn") || line.ends_with(';') {
                continue;
            }
            let end = format!("{}}}", " ".repeat(indent));
            let length = lines[at..].iter().position(|(_, line)| *line == end).map_or(0, |n| n + 1);
            if length > FUNCTION_LINES_MAX && !listed(LONG_FUNCTIONS) {
                let what = format!("a function of {length} lines");
                report.add(&what, &source.path, *number, "parents branch, helpers compute: 70");
            }
        }
    }
    report.finish();
}

#[test]
fn every_file_opens_with_an_essay_that_says_never() {
    let mut report = Report::new();
    for folder in ["src", "tests", "benches", "examples", "loadtest"] {
        for source in sources(folder) {
            if source.path.starts_with("tests/fuzz/") {
                continue;
            }
            let essay: Vec<&str> =
                source.text.lines().take_while(|line| line.starts_with("//!")).collect();
            if essay.is_empty() {
                report.add("no `//!` essay", &source.path, 1, "what is this, and what never?");
            // "never", or "nothing here ever".
            } else if folder == "src" && !source.is_test() && !essay.join(" ").contains("ever") {
                let reason = "say what this file must never do; that is how rooms stay apart";
                report.add("an essay without a `never`", &source.path, 1, reason);
            }
        }
    }
    report.finish();
}

#[test]
fn things_that_belong_to_one_place_stay_there() {
    let mut report = Report::new();
    let forbid =
        |report: &mut Report, words: &[&str], allowed: &dyn Fn(&Source) -> bool, reason| {
            for source in sources("src").iter().filter(|source| !allowed(source)) {
                for (number, line) in source.program() {
                    for word in words.iter().filter(|word| line.contains(**word)) {
                        report.add(&format!("`{word}` here"), &source.path, number, reason);
                    }
                }
            }
        };
    let in_runtime = |source: &Source| source.room() == "runtime";
    forbid(&mut report, &["monoio"], &in_runtime, "only runtime/ names monoio");
    let is_clock = |source: &Source| source.path == "src/runtime/clock.rs";
    let clocks = ["Instant::now", "SystemTime::now", "clock_gettime"];
    forbid(&mut report, &clocks, &is_clock, "the time is a parameter; runtime/clock.rs reads it");
    let is_entropy = |source: &Source| source.path == "src/runtime/entropy.rs";
    let dice = ["getrandom", "SystemRandom", "RandomState", "rand::fill"];
    forbid(&mut report, &dice, &is_entropy, "randomness is a parameter; runtime/entropy.rs asks");
    let may_share = |source: &Source| ATOMICS.iter().any(|(path, _)| *path == source.path);
    let atomics = ["sync::atomic", "AtomicU", "AtomicI", "AtomicBool", "AtomicPtr"];
    forbid(&mut report, &atomics, &may_share, "cores share only what base/shared.rs names");
    let may_dyn = |source: &Source| !has(WITHOUT_DYN, source.room());
    forbid(&mut report, &["dyn "], &may_dyn, "closed sets are enums on the path of a request");
    let may_lock = |source: &Source| !has(WITHOUT_LOCKS, source.room());
    forbid(&mut report, &["Mutex", "RwLock"], &may_lock, "no core waits for another");
    let nowhere = |_: &Source| false;
    forbid(&mut report, &[".unwrap()"], &nowhere, "expect(\"why this holds\"), or handle it");
    forbid(&mut report, &["todo!", "unimplemented!", "dbg!"], &nowhere, "finish it");
    report.finish();
}

#[test]
fn no_promise_is_left_in_a_comment() {
    let mut report = Report::new();
    for source in sources("src") {
        for (index, line) in source.text.lines().enumerate() {
            for word in ["TODO", "FIXME", "XXX", "HACK"] {
                if line.contains(word) {
                    report.add(&format!("`{word}`"), &source.path, index + 1, "open an issue");
                }
            }
        }
    }
    report.finish();
}

#[test]
fn imports_stand_in_three_blocks() {
    let mut report = Report::new();
    for source in sources("src") {
        let mut last = 0;
        for (number, line) in source.program() {
            let Some(path) = line.strip_prefix("use ") else { continue };
            let first = path.split([':', ' ', ';']).next().unwrap_or_default();
            let rank = match first {
                "std" | "core" | "alloc" => 0,
                "crate" | "super" | "self" => 2,
                _ => 1,
            };
            if rank < last {
                let reason = "std, then crates, then ours";
                report.add(&format!("`use {first}` too late"), &source.path, number, reason);
            }
            last = last.max(rank);
        }
    }
    report.finish();
}

#[test]
fn every_file_is_part_of_the_crate() {
    let mut report = Report::new();
    for source in sources("src") {
        let path = Path::new(&source.path);
        let stem = path.file_stem().unwrap().to_str().unwrap();
        if matches!(source.path.as_str(), "src/lib.rs" | "src/main.rs") {
            continue;
        }
        let (name, folder) = match stem {
            "mod" => (
                path.parent().unwrap().file_name().unwrap().to_str().unwrap(),
                path.parent().unwrap().parent().unwrap(),
            ),
            _ => (stem, path.parent().unwrap()),
        };
        let beside = folder.with_extension("rs");
        let parents = [folder.join("mod.rs"), folder.join("lib.rs"), beside];
        let declares = |parent: &PathBuf| {
            let text = fs::read_to_string(root().join(parent)).unwrap_or_default();
            text.lines().any(|line| line.trim().ends_with(&format!("mod {name};")))
        };
        if !parents.iter().any(declares) {
            report.add("a file that no module declares", &source.path, 1, "rustc never sees it");
        }
    }
    report.finish();
}

#[test]
fn no_file_has_a_name_that_says_nothing() {
    let mut report = Report::new();
    for folder in ["src", "tests", "benches", "loadtest"] {
        for source in sources(folder) {
            let name = source.path.rsplit('/').next().unwrap().trim_end_matches(".rs");
            if name.split('_').any(|word| has(FORBIDDEN_NAMES, word)) {
                report.add(&format!("the name `{name}`"), &source.path, 1, "name what it does");
            }
        }
    }
    report.finish();
}

#[test]
fn every_limit_is_used_and_explained() {
    let mut report = Report::new();
    let limits = read(&root().join("src/base/limits.rs"));
    let others: Vec<Source> =
        sources("src").into_iter().filter(|source| source.path != limits.path).collect();
    let lines: Vec<&str> = limits.text.lines().collect();
    for (index, line) in lines.iter().enumerate() {
        let Some(rest) = line.strip_prefix("pub const ") else { continue };
        let name = rest.split(':').next().unwrap_or_default();
        let uses = |source: &Source| source.code.iter().any(|line| line.contains(name));
        let feeds_another = lines.iter().enumerate().any(|(other, line)| {
            other != index && line.starts_with("pub const") && line.contains(name)
        });
        if !feeds_another && !others.iter().any(uses) {
            report.add(&format!("`{name}` is not used"), &limits.path, index + 1, "bound it");
        }
        if !lines[index.saturating_sub(1)].starts_with("///") {
            report.add(&format!("`{name}` without a reason"), &limits.path, index + 1, "say why");
        }
    }
    report.finish();
}

#[test]
fn every_limit_stands_in_the_page_of_limits() {
    let mut report = Report::new();
    let limits = read(&root().join("src/base/limits.rs"));
    let page = fs::read_to_string(root().join("docs/limits.md")).unwrap();
    for (index, line) in limits.text.lines().enumerate() {
        let Some(rest) = line.strip_prefix("pub const ") else { continue };
        let name = rest.split(':').next().unwrap_or_default();
        let internal = INTERNAL_LIMITS.iter().any(|(known, _)| *known == name);
        if page.contains(&format!("`{name}`")) == internal {
            let what = format!("`{name}` is not in docs/limits.md, or is and is called internal");
            report.add(
                &what,
                &limits.path,
                index + 1,
                "say its name, default, reason, and what is seen",
            );
        }
    }
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    let names: Vec<&str> = rows.filter_map(|row| row.split(" | ").next()).collect();
    for (index, name) in names.iter().enumerate() {
        if names[..index].contains(name) {
            report.add(
                &format!("{name} stands twice"),
                "docs/limits.md",
                1,
                "one row for one limit",
            );
        }
    }
    report.finish();
}

#[test]
fn the_top_of_the_repository_is_as_planned() {
    let mut report = Report::new();
    for entry in fs::read_dir(root()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !has(TOP_LEVEL, &name) {
            report.add("nobody expects this here", &name, 1, "a place for everything");
        }
    }
    report.finish();
}

#[test]
fn documents_name_only_paths_that_exist() {
    let mut report = Report::new();
    for document in ["ARCHITECTURE.md", "README.md", "CONTRIBUTING.md"] {
        let text = fs::read_to_string(root().join(document)).unwrap_or_default();
        let mut seen = BTreeSet::new();
        for (index, line) in text.lines().enumerate() {
            let names = line.split('`').skip(1).step_by(2).filter(|name| is_path(name));
            for name in names.filter(|name| seen.insert(name.to_string())) {
                let name = name.trim_start_matches("./").trim_end_matches('/');
                let places = [root().join(name), root().join("src").join(name)];
                let as_file = root().join("src").join(format!("{name}.rs"));
                if !places.iter().any(|place| place.exists()) && !as_file.exists() {
                    let what = format!("`{name}` does not exist");
                    report.add(&what, document, index + 1, "a map of what is not there misleads");
                }
            }
        }
    }
    report.finish();
}

/// Whether a word in backticks means a place of this repository.
fn is_path(name: &str) -> bool {
    let starts = LAYERS
        .iter()
        .map(|(room, _)| *room)
        .chain(["src", "tests", "benches", "loadtest", "docs", "examples", "tuning", ".", ".ci"]);
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "/_.-".contains(c));
    let first = name.split('/').next().unwrap_or_default();
    plain && name.contains('/') && starts.into_iter().any(|start| start == first)
}
