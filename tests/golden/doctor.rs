//! `ringway doctor` on made-up hosts: what it says, what `--fix` and `--script` write, what `--revert` leaves.
//!
//! A host is `base.host` and what another `.host` file says is different; a `.toml` of the same name is its
//! configuration. It is written into a folder of its own and never touches the machine that the test runs on.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
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

    /// Everything that stands there: mode, owner and group.
    fn modes(&self) -> BTreeMap<PathBuf, (u32, u32, u32)> {
        fn below(at: &Path, out: &mut BTreeMap<PathBuf, (u32, u32, u32)>) {
            let found = fs::symlink_metadata(at).expect("something");
            out.insert(at.to_path_buf(), (found.mode(), found.uid(), found.gid()));
            if found.is_dir() {
                let entries = fs::read_dir(at).expect("a folder").flatten();
                entries.for_each(|entry| below(&entry.path(), out));
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
    // A folder in the place where the file is written before it is put in its place.
    let blocked = host.0.join("etc/security/limits.d/61-ringway-doctor.conf.new");
    fs::create_dir_all(&blocked).expect("a folder");
    let (code, said) = host.does(Deed::Fix);
    assert!(code == 1 && said.contains("error: /etc/security/limits.d"), "{said}");
    assert!(said.contains("doctor --revert"), "{said}");
    assert_eq!(host.text("proc/sys/net/core/somaxconn"), "4096\n");
    let (code, said) = host.does(Deed::Revert);
    assert_eq!(code, 0, "{said}");
    fs::remove_dir_all(host.0.join("etc/security")).expect("a folder");
    assert_eq!(host.whole(), before);
}

#[test]
fn what_could_not_be_put_back_is_never_replaced() {
    const LIMITS: &str = "etc/security/limits.d/61-ringway-doctor.conf";
    type Put = (&'static str, fn(&Path));
    let puts: [Put; 5] = [
        (LIMITS, |at| symlink("/etc/hostname", at).expect("a link")),
        (LIMITS, |at| fs::create_dir(at).expect("a folder")),
        (LIMITS, |at| fs::write(at, b"a\xff\n").expect("a file")),
        ("etc/sysctl.d/61-ringway-doctor.conf", |at| symlink("/dev/null", at).expect("a link")),
        ("proc/sys/net/core/somaxconn", |at| {
            let elsewhere = at.with_extension("elsewhere");
            fs::rename(at, &elsewhere).expect("a file");
            symlink(elsewhere, at).expect("a link");
        }),
    ];
    for (path, put) in puts {
        let host = MadeUp::named("untouched", "way");
        let at = host.0.join(path);
        fs::create_dir_all(at.parent().expect("a folder")).expect("a folder");
        put(&at);
        let (modes, settings) = (host.modes(), host.text("proc/sys/net/core/somaxconn"));
        let (code, said) = host.does(Deed::Fix);
        assert!(code == 1 && said.contains(path) && said.contains("nothing was changed"), "{said}");
        assert_eq!(host.modes(), modes, "{said}");
        assert_eq!(host.text("proc/sys/net/core/somaxconn"), settings, "{said}");
        assert!(host.does(Deed::Revert).1.starts_with("nothing to undo"));
    }
    // On the way to a file, where it would lead out of the folder.
    let host = MadeUp::named("untouched", "lead");
    symlink(std::env::temp_dir(), host.0.join("etc/sysctl.d")).expect("a link");
    let (code, said) = host.does(Deed::Fix);
    assert!(code == 1 && said.contains("/etc/sysctl.d is a link"), "{said}");
    assert!(!std::env::temp_dir().join("61-ringway-doctor.conf").exists());
}

#[test]
fn revert_gives_a_file_back_to_whom_it_was() {
    let host = MadeUp::named("untouched", "modes");
    let path = host.0.join("etc/sysctl.d/61-ringway-doctor.conf");
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    fs::write(&path, "# a secret\n").expect("a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("a mode");
    // Only root can give a file away.
    let _ = std::os::unix::fs::chown(&path, Some(4711), Some(4712));
    let before = host.modes();
    let (code, said) = host.does(Deed::Fix);
    assert_eq!(code, 0, "{said}");
    let modes = host.modes();
    let mode = |path: &str| modes[&host.0.join(path)].0 & 0o777;
    assert_eq!(mode("etc/sysctl.d/61-ringway-doctor.conf"), 0o644);
    assert_eq!(mode("etc/security/limits.d"), 0o755);
    // What stood in a file that others may not read is in it.
    assert_eq!(mode("var/lib/ringway-doctor/journal.json"), 0o600);
    assert_eq!(host.does(Deed::Revert).0, 0);
    assert_eq!(host.modes(), before);
}

#[test]
fn a_unit_in_use_is_not_taken_away() {
    let host = MadeUp::named("systemd", "use");
    assert_eq!(host.does(Deed::Fix).0, 0);
    let link = host.0.join("etc/systemd/system/multi-user.target.wants/ringway.service");
    fs::create_dir_all(link.parent().expect("a folder")).expect("a folder");
    symlink("/etc/systemd/system/ringway.service", &link).expect("a link");
    let (code, said) = host.does(Deed::Revert);
    assert!(code == 1 && said.contains("systemctl disable --now ringway"), "{said}");
    assert!(host.text("etc/systemd/system/ringway.service").contains("ExecStart="));
    fs::remove_file(link).expect("the link");
    let (code, said) = host.does(Deed::Revert);
    assert!(code == 0 && said.contains("daemon-reload"), "{said}");
    assert!(!host.0.join("etc/systemd/system/ringway.service").exists());
}

#[test]
fn a_later_file_that_wins_at_the_next_start_is_named() {
    let host = MadeUp::named("untouched", "later");
    let put = |path: &str, text: &str| {
        let at = host.0.join(path);
        fs::create_dir_all(at.parent().expect("a folder")).expect("a folder");
        fs::write(at, text).expect("a file");
    };
    put("etc/sysctl.d/10-first.conf", "net.ipv4.tcp_slow_start_after_idle = 1\n");
    put("usr/lib/sysctl.d/99-late.conf", "net.core.somaxconn = 1024\n");
    put("etc/sysctl.conf", "net/ipv4/tcp_syncookies=1\n");
    let (code, said) = host.does(Deed::Fix);
    assert_eq!(code, 0, "{said}");
    let notes: Vec<&str> = said.lines().filter(|line| line.starts_with("note")).collect();
    assert_eq!(
        notes,
        [
            "note     /usr/lib/sysctl.d/99-late.conf sets net.core.somaxconn = 1024, and wins at the next start"
        ]
    );
}

#[test]
fn a_host_with_hostile_texts_steers_neither_terminal_nor_shell() {
    let host = MadeUp::named("cards", "hostile");
    let put = |path: &str, text: &str| {
        let at = host.0.join(path);
        fs::create_dir_all(at.parent().expect("a folder")).expect("a folder");
        fs::write(at, text).expect("a file");
    };
    put("proc/sys/kernel/osrelease", "5.0\x1b]0;owned\x07\r\n");
    put("proc/sys/net/ipv4/tcp_congestion_control", "x\ntouch owned\n");
    put("proc/sys/net/ipv4/ip_local_reserved_ports", "1;touch owned,`id`\n");
    put("sys/class/net/e;$(id)/device/vendor", "1\n");
    put("sys/class/net/e;$(id)/queues/rx-0/rps_cpus", "0\n");
    put("proc/net/sockstat", "TCP: inuse 1 orphan 0 tw");
    // Nobody writes into this pipe.
    let pipe = host.0.join("proc/meminfo");
    fs::remove_file(&pipe).expect("a file");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
    for deed in [Deed::Tell, Deed::Json, Deed::Script] {
        let (_, said) = host.does(deed);
        assert!(!said.contains(|char: char| char.is_control() && char != '\n'), "{said}");
        assert!(!said.contains("-L e;$(id)") && !said.contains("`id`"), "{said}");
    }
    let (_, script) = host.does(Deed::Script);
    assert!(script.contains("ethtool -L 'e;$(id)' combined"), "{script}");
    let comment = |line: &&str| line.contains("owned") && !line.starts_with('#');
    assert_eq!(script.lines().find(comment), None, "{script}");
}

#[test]
fn a_root_that_is_no_folder_is_a_mistake() {
    let root = Some(PathBuf::from("/etc/hostname/nowhere"));
    let said = doctor::with(&Wishes { root, ..Wishes::default() }, false);
    assert_eq!((said.code, said.out.as_str()), (1, ""), "{}", said.err);
    assert!(said.err.contains("/etc/hostname/nowhere"), "{}", said.err);
}

/// A journal in its place, with this text.
fn journal(host: &MadeUp, text: &str) -> PathBuf {
    let journal = host.0.join("var/lib/ringway-doctor/journal.json");
    fs::create_dir_all(journal.parent().expect("a folder")).expect("a folder");
    fs::write(&journal, text).expect("a file");
    for (path, mode) in [(journal.parent().expect("a folder"), 0o755), (&journal, 0o600)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
    }
    journal
}

#[test]
fn a_journal_that_names_anything_else_is_refused() {
    let host = MadeUp::named("untouched", "journal");
    for text in [
        r#"{"settings":[],"files":[{"path":"/etc/passwd","before":null,"after":""}],"folders":[]}"#,
        r#"{"settings":[{"name":"kernel.panic","before":"0","after":"1"}],"files":[],"folders":[]}"#,
        r#"{"settings":[{"name":"net.core.somaxconn","before":"1\nx","after":"128"}],"files":[],"folders":[]}"#,
        r#"{"settings":[],"files":[],"folders":["/srv"]}"#,
        r#"{"settings":[],"files":[],"folders":["/etc/sysctl.d/../../srv"]}"#,
        r#"{"settings":[],"files":[],"folders":["/"]}"#,
        "nonsense",
    ] {
        journal(&host, text);
        fs::create_dir_all(host.0.join("srv")).expect("a folder");
        let before = host.whole();
        for deed in [Deed::Revert, Deed::Fix] {
            let (code, said) = host.does(deed);
            assert!(code == 1 && said.contains("ringway-doctor/journal.json"), "{said}");
        }
        assert_eq!(host.whole(), before);
    }
}

#[test]
fn a_journal_that_somebody_else_could_have_written_is_not_trusted() {
    const UNIT: &str = "[Service]\nExecStart=/bin/evil\n";
    let host = MadeUp::named("untouched", "trust");
    let text = format!(
        r#"{{"settings":[],"files":[{{"path":"/etc/systemd/system/ringway.service","before":{{"text":{UNIT:?},"mode":420,"owner":0,"group":0}},"after":""}}],"folders":[]}}"#
    );
    let unit = host.0.join("etc/systemd/system/ringway.service");
    fs::create_dir_all(unit.parent().expect("a folder")).expect("a folder");
    fs::write(&unit, "").expect("a file");
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
    };
    let refused = || {
        for deed in [Deed::Revert, Deed::Fix] {
            let (code, said) = host.does(deed);
            let why = ["not trusted", "is a link"];
            assert!(code == 1 && why.iter().any(|why| said.contains(why)), "{said}");
        }
        assert_eq!(host.text("etc/systemd/system/ringway.service"), "");
    };
    let path = journal(&host, &text);
    mode(&path, 0o662);
    refused();
    mode(&path, 0o600);
    let folder = path.parent().expect("a folder").to_path_buf();
    mode(&folder, 0o775);
    refused();
    mode(&folder, 0o755);
    let elsewhere = host.0.join("elsewhere");
    fs::rename(&folder, &elsewhere).expect("a folder");
    symlink(&elsewhere, &folder).expect("a link");
    refused();
    fs::remove_file(&folder).expect("a link");
    fs::rename(&elsewhere, &folder).expect("a folder");
    // Only root can give it away.
    if std::os::unix::fs::chown(&path, Some(4711), None).is_ok() {
        refused();
        std::os::unix::fs::chown(&path, Some(0), None).expect("it is root's again");
    }
    // The folder of the gateway itself is none where a journal is looked for.
    let gateways = host.0.join("var/lib/ringway");
    fs::rename(&folder, &gateways).expect("a folder");
    assert!(host.does(Deed::Revert).1.starts_with("nothing to undo"));
    // And the same journal is good where nobody else could have written it.
    fs::rename(&gateways, &folder).expect("a folder");
    let owner = fs::metadata(&host.0).expect("a folder").uid();
    if owner == 0 {
        assert_eq!(host.does(Deed::Revert).0, 0);
        assert_eq!(host.text("etc/systemd/system/ringway.service"), UNIT);
    }
}

#[test]
fn two_at_once_do_not_take_each_others_work_for_what_was_before() {
    let host = MadeUp::named("untouched", "two");
    assert_eq!(host.does(Deed::Fix).0, 0);
    let other = fs::File::open(host.0.join("var/lib/ringway-doctor")).expect("a folder");
    other.lock().expect("the lock");
    fs::write(host.0.join("proc/sys/net/core/somaxconn"), "128\n").expect("a file");
    for deed in [Deed::Fix, Deed::Revert] {
        let (code, said) = host.does(deed);
        assert!(code == 1 && said.contains("another `ringway doctor`"), "{said}");
    }
    assert_eq!(host.text("proc/sys/net/core/somaxconn"), "128\n");
    drop(other);
    assert_eq!(host.does(Deed::Revert).0, 0);
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
