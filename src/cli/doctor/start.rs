//! What becomes of a kernel setting at the next start of the host: the last file that names it counts
//! (sysctl.d(5)).
//!
//! It never changes a file of somebody else's: it names the one that will win.

use std::collections::BTreeMap;

use crate::cli::doctor::files::{SETTINGS_PATH, setting};
use crate::cli::doctor::read::Tree;

/// Folders of settings, the one that counts first where a file's name is in several.
const FOLDERS: [&str; 4] =
    ["/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d"];
/// What sysctl(8) reads after all of them.
const LAST: &str = "/etc/sysctl.conf";

/// A line for each setting that another file sets to something else after ours.
pub fn overruled<'a>(tree: &Tree, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let files = later(tree);
    let wins = |name: &str| {
        let wanted = setting(name)?.value;
        let says = |(path, text): &(String, String)| Some((path.clone(), value(text, name)?));
        let (path, value) = files.iter().rev().find_map(says)?;
        let line = || format!("note     {path} sets {name} = {value}, and wins at the next start");
        (value != wanted).then(line)
    };
    names.filter_map(wins).collect()
}

/// The files that are read after ours, in that order, each with its text.
fn later(tree: &Tree) -> Vec<(String, String)> {
    let ours = SETTINGS_PATH.rsplit('/').next().unwrap_or_default();
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    for folder in FOLDERS {
        let names = tree.names(folder).into_iter();
        for name in names.filter(|name| name.ends_with(".conf") && name.as_str() > ours) {
            let path = format!("{folder}/{name}");
            found.entry(name).or_insert(path);
        }
    }
    let last = std::iter::once(LAST.to_owned());
    let read = |path: String| tree.text(&path).map(|text| (path, text));
    found.into_values().chain(last).filter_map(read).collect()
}

/// What a file sets this to, the last line of it: `-net/core/somaxconn=128`, too.
fn value(text: &str, name: &str) -> Option<String> {
    let of = |line: &str| {
        let (key, value) = line.trim().trim_start_matches('-').split_once('=')?;
        (key.trim().replace('/', ".") == name).then(|| value.trim().to_owned())
    };
    text.lines().rev().find_map(of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_counts_however_it_is_written() {
        let text = "# net.core.somaxconn = 1\nnet.core.somaxconn=2\n -net/core/somaxconn = 3 \nx\n";
        assert_eq!(value(text, "net.core.somaxconn").as_deref(), Some("3"));
        assert_eq!(value(text, "net.core"), None);
    }
}
