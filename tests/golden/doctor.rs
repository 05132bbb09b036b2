//! `ringway doctor` on made-up hosts: what it says, what `--fix` and `--script` write, what `--revert` leaves.
//!
//! A host is `base.host` and what another `.host` file says is different; a `.toml` of the same name is its
//! configuration. It is written into a folder of its own and never touches the machine that the test runs on.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ringway::cli::doctor::{self, Deed, Wishes};

use super::{Family, files, root};

/// What is said about each host.
const DOCTOR: Family = Family { folder: "doctor", inputs: &["host"], output: told };

/// What is written on a host on which everything is to be written.
const TUNING: [(&str, &str); 2] = [
    ("etc/sysctl.d/61-ringway-doctor.conf", "tuning/sysctl.conf"),
    ("etc/security/limits.d/61-ringway-doctor.conf", "tuning/limits.conf"),
];

/// The folder of a made-up host; it goes with the value.
struct MadeUp(PathBuf);

impl MadeUp {
    fn new(folder: &Path, name: &str, of: &str) -> MadeUp {
        let at = format!("ringway-host-{}-{of}-{name}", std::process::id());
        let host = MadeUp(std::env::temp_dir().join(at));
        let _ = fs::remove_dir_all(&host.0);
        host.apply(&folder.join("base.host"));
        host.apply(&folder.join(name));
        host
    }

    /// The host of this name, for the test `of`.
    fn named(name: &str, of: &str) -> MadeUp {
        MadeUp::new(&root().join("tests/golden/doctor"), &format!("{name}.host"), of)
    }

    fn apply(&self, path: &Path) {
        let text = fs::read_to_string(path).expect("a host");
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            if let Some(gone) = line.strip_prefix('-') {
                let gone = self.0.join(gone);
                let result =
                    if gone.is_dir() { fs::remove_dir_all(&gone) } else { fs::remove_file(&gone) };
                result.unwrap_or_else(|error| panic!("{}: {error}", gone.display()));
                continue;
            }
            let (file, text) = line.split_once(" = ").expect("`path = text`");
            let file = self.0.join(file);
            fs::create_dir_all(file.parent().expect("a folder")).expect("folders can be made");
            let text = text.replace("\\n", "\n").replace("\\t", "\t");
            fs::write(file, text).expect("files can be written");
        }
    }

    fn does(&self, deed: Deed) -> (u8, String) {
        let wishes = Wishes { root: Some(self.0.clone()), deed, ..Wishes::default() };
        let said = doctor::with(&wishes, false);
        (said.code, said.out + &said.err)
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.0.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Every file with its text.
    fn whole(&self) -> BTreeMap<PathBuf, String> {
        fn below(folder: &Path, out: &mut BTreeMap<PathBuf, String>) {
            // Folders count, too.
            out.insert(folder.to_path_buf(), String::new());
            for entry in fs::read_dir(folder).expect("a folder").flatten() {
                match entry.path() {
                    path if path.is_dir() => below(&path, out),
                    path => {
                        let text = fs::read_to_string(&path).expect("a text");
                        out.insert(path, text);
                    }
                }
            }
        }
        let mut all = BTreeMap::new();
        below(&self.0, &mut all);
        all
    }
}

impl Drop for MadeUp {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn told(folder: &Path, name: &str) -> String {
    let host = MadeUp::new(folder, name, "told");
    let config = folder.join(name).with_extension("toml");
    let wishes = Wishes {
        root: Some(host.0.clone()),
        config: config.exists().then_some(config),
        all: name == "base.host",
        ..Wishes::default()
    };
    let said = doctor::with(&wishes, false);
    let text = format!("{}{}exit code {}\n", said.out, said.err, said.code);
    text.replace(&format!("{}/", folder.display()), "")
}

#[test]
fn every_finding_is_worded_as_agreed() {
    DOCTOR.check();
}

#[test]
fn every_item_is_seen_well_and_not_well() {
    let folder = root().join("tests/golden/doctor");
    let texts: String = files(&folder)
        .iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .map(|path| fs::read_to_string(path).expect("a text"))
        .collect();
    let base = MadeUp::named("base", "items");
    let (_, json) = base.does(Deed::Json);
    let document: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let findings = document["findings"].as_array().expect("findings");
    assert!(findings.len() > 25, "{json}");
    for finding in findings {
        let item = finding["item"].as_str().expect("a name");
        assert_eq!(finding["verdict"], "ok", "{finding}");
        // Whatever huge pages are set to, Ringway switches them off for itself.
        let trouble = |verdict: &str| texts.contains(&format!("{verdict:9}{item} "));
        assert!(item == "huge_pages" || trouble("advice") || trouble("problem"), "{item}");
        for field in ["value", "wanted", "why", "verify", "risk"] {
            assert!(finding[field].as_str().is_some_and(|text| !text.is_empty()), "{finding}");
        }
    }
}

#[test]
fn no_line_but_a_command_is_wider_than_80_columns() {
    let folder = root().join("tests/golden/doctor");
    for path in files(&folder) {
        if path.extension().is_none_or(|extension| extension != "txt") {
            continue;
        }
        for line in fs::read_to_string(&path).expect("a text").lines() {
            let is_command =
                line.starts_with(&" ".repeat(11)) && !line.starts_with(&" ".repeat(12));
            assert!(is_command || line.chars().count() <= 80, "{}: {line}", path.display());
        }
    }
}

#[test]
fn the_files_of_tuning_are_those_that_fix_writes() {
    let host = MadeUp::named("untouched", "fix");
    let (code, said) = host.does(Deed::Fix);
    assert_eq!(code, 0, "{said}");
    for (written, ours) in TUNING {
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(root().join(ours), host.text(written)).expect("the file can be written");
        }
        let ours = fs::read_to_string(root().join(ours)).expect("a file of tuning/");
        assert_eq!(host.text(written), ours, "{written}");
    }
    assert_eq!(host.text("proc/sys/net/core/somaxconn"), "4096\n");
    assert_eq!(host.text("proc/sys/net/ipv4/tcp_syncookies"), "1\n");
    assert_eq!(host.text("proc/sys/net/ipv4/tcp_slow_start_after_idle"), "0\n");

    let host = MadeUp::named("systemd", "fix");
    let (code, said) = host.does(Deed::Fix);
    assert_eq!(code, 0, "{said}");
    let ours = fs::read_to_string(root().join("tuning/ringway.service")).expect("a unit");
    assert_eq!(host.text("etc/systemd/system/ringway.service"), ours);
    // Only what was wanted is set.
    assert!(!host.text("etc/sysctl.d/61-ringway-doctor.conf").contains("slow_start"));
}

#[test]
fn the_script_does_what_fix_does() {
    for name in ["untouched", "systemd", "busy", "docker"] {
        let (fixed, scripted) = (MadeUp::named(name, "fixed"), MadeUp::named(name, "scripted"));
        assert_eq!(fixed.does(Deed::Fix).0, 0);
        let (code, script) = scripted.does(Deed::Script);
        assert_eq!(code, 0);
        let ran = Command::new("sh").arg("-c").arg(&script).env("ROOT", &scripted.0).output();
        let ran = ran.expect("sh");
        assert!(ran.status.success(), "{}\n{script}", String::from_utf8_lossy(&ran.stderr));
        let _ = fs::remove_dir_all(fixed.0.join("var"));
        let below = |host: &MadeUp| -> BTreeMap<PathBuf, String> {
            let cut = |path: PathBuf| path.strip_prefix(&host.0).expect("below").to_path_buf();
            host.whole().into_iter().map(|(path, text)| (cut(path), text)).collect()
        };
        assert_eq!(below(&fixed), below(&scripted), "{name}");
    }
}

#[test]
fn revert_leaves_the_host_as_it_was() {
    for name in ["untouched", "systemd"] {
        let host = MadeUp::named(name, "revert");
        let before = host.whole();
        // A second --fix keeps what was there before the first.
        assert_eq!(host.does(Deed::Fix).0, 0);
        assert_ne!(host.whole(), before);
        assert_eq!(host.does(Deed::Fix).0, 0);
        let (code, said) = host.does(Deed::Revert);
        assert_eq!(code, 0, "{said}");
        assert_eq!(host.whole(), before, "{said}");
        let (code, said) = host.does(Deed::Revert);
        assert!(code == 0 && said.starts_with("nothing to undo"), "{said}");
    }
}

#[test]
fn revert_restores_a_file_that_stood_there() {
    let host = MadeUp::named("untouched", "stood");
    let path = host.0.join("etc/sysctl.d/61-ringway-doctor.conf");
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    fs::write(&path, "# by hand\n").expect("a file");
    assert_eq!(host.does(Deed::Fix).0, 0);
    assert_ne!(fs::read_to_string(&path).expect("a file"), "# by hand\n");
    assert_eq!(host.does(Deed::Revert).0, 0);
    assert_eq!(fs::read_to_string(&path).expect("a file"), "# by hand\n");
}

#[test]
fn revert_takes_nothing_back_that_somebody_changed_since() {
    let host = MadeUp::named("untouched", "since");
    assert_eq!(host.does(Deed::Fix).0, 0);
    let setting = "proc/sys/net/core/somaxconn";
    let file = "etc/security/limits.d/61-ringway-doctor.conf";
    fs::write(host.0.join(setting), "65535\n").expect("a file");
    fs::write(host.0.join(file), "# mine now\n").expect("a file");
    let (code, said) = host.does(Deed::Revert);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("somebody has set it to 65535"), "{said}");
    assert!(said.contains("somebody has changed it"), "{said}");
    assert_eq!(host.text(setting), "65535\n");
    assert_eq!(host.text(file), "# mine now\n");
    assert_eq!(host.text("proc/sys/net/ipv4/tcp_syncookies"), "0\n");
}

#[test]
fn a_fix_that_fails_in_the_middle_can_be_undone() {
    let host = MadeUp::named("untouched", "middle");
    let before = host.whole();
    // A folder in the place of the file: it cannot be replaced.
    let blocked = host.0.join("etc/security/limits.d/61-ringway-doctor.conf");
    fs::create_dir_all(&blocked).expect("a folder");
    let (code, said) = host.does(Deed::Fix);
    assert!(code == 1 && said.contains("error: /etc/security/limits.d"), "{said}");
    assert_eq!(host.text("proc/sys/net/core/somaxconn"), "4096\n");
    let (code, said) = host.does(Deed::Revert);
    assert_eq!(code, 0, "{said}");
    fs::remove_dir_all(host.0.join("etc/security")).expect("a folder");
    assert_eq!(host.whole(), before);
}

#[test]
fn a_journal_that_names_other_files_is_refused() {
    let host = MadeUp::named("untouched", "journal");
    let journal = host.0.join("var/lib/ringway/doctor.json");
    fs::create_dir_all(journal.parent().expect("a folder")).expect("a folder");
    for text in [
        r#"{"settings":[],"files":[{"path":"/etc/passwd","before":null,"after":""}],"folders":[]}"#,
        r#"{"settings":[{"name":"kernel.panic","before":"0","after":"1"}],"files":[],"folders":[]}"#,
        "nonsense",
    ] {
        fs::write(&journal, text).expect("a file");
        let before = host.whole();
        for deed in [Deed::Revert, Deed::Fix] {
            let (code, said) = host.does(deed);
            assert!(code == 1 && said.contains("/var/lib/ringway/doctor.json"), "{said}");
        }
        assert_eq!(host.whole(), before);
    }
}

#[test]
fn nothing_is_promised() {
    let host = MadeUp::named("untouched", "promise");
    for deed in [Deed::Tell, Deed::Json, Deed::Script] {
        let (_, said) = host.does(deed);
        let said = said.split_whitespace().collect::<Vec<&str>>().join(" ");
        assert!(
            said.contains("was measured on this machine") && said.contains("loadtest"),
            "{said}"
        );
    }
}
