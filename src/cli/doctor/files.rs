//! The files that `--fix` writes and `--script` prints; those of `tuning/` are the same, and a test compares them.
//!
//! It never decides what is to be changed and never writes anything.

use std::fmt::Write;

use crate::cli::doctor::finding::{Change, Finding, Verdict};

/// A kernel setting that is safe to change for everybody on the host.
pub struct Setting {
    /// Its name.
    pub name: &'static str,
    /// The value wanted.
    pub value: &'static str,
    /// What it is, for the file.
    about: &'static str,
}

/// Every kernel setting that `--fix` may change, in the order of the file.
pub const SETTINGS: &[Setting] = &[
    Setting {
        name: "net.core.somaxconn",
        value: "4096",
        about: "Connections that wait to be accepted, for each listening socket.",
    },
    Setting {
        name: "net.ipv4.tcp_syncookies",
        value: "1",
        about: "When the queue of handshakes is full, cookies take its place.",
    },
    Setting {
        name: "net.ipv4.tcp_slow_start_after_idle",
        value: "0",
        about: "A kept connection starts to send at the speed that it had.",
    },
];

/// Where the kernel settings are written.
pub const SETTINGS_PATH: &str = "/etc/sysctl.d/61-ringway-doctor.conf";
/// Where the limit of open files is written.
pub const LIMITS_PATH: &str = "/etc/security/limits.d/61-ringway-doctor.conf";
/// Where the unit of systemd is written.
pub const UNIT_PATH: &str = "/etc/systemd/system/ringway.service";
/// The link that `systemctl enable` makes of it.
pub const UNIT_WANTED_PATH: &str = "/etc/systemd/system/multi-user.target.wants/ringway.service";

/// The limit of open files for logins (limits.conf(5)).
pub const LIMITS: &str = include_str!("../../../tuning/limits.conf");
/// The unit of systemd.
pub const UNIT: &str = include_str!("../../../tuning/ringway.service");

/// The setting of this name.
pub fn setting(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

/// The file of kernel settings with those that `wanted` names.
pub fn settings(wanted: impl Fn(&str) -> bool) -> String {
    let mut text = String::from(
        "# Kernel settings for a host that runs Ringway, as `ringway doctor --fix` writes them.\n\
         # Effect, risk and source of each: tuning/README.md. None was measured on your machine: loadtest/ does that.\n",
    );
    for Setting { name, value, about } in SETTINGS.iter().filter(|setting| wanted(setting.name)) {
        let _ = write!(text, "\n# {about}\n{name} = {value}\n");
    }
    text
}

/// Where a kernel setting is, below the root.
pub fn place(name: &str) -> String {
    format!("/proc/sys/{}", name.replace('.', "/"))
}

/// A shell script that does what `--fix` does, and shows as comments what only a person can decide.
pub fn script(findings: &[Finding]) -> String {
    let mut text = String::from(
        "#!/bin/sh\n\
         # What `ringway doctor --fix` would change on this host. Run it as root; $ROOT is put in front of each path.\n\
         # `--fix` also remembers the values before, for `--revert`. Nothing here was measured on this machine:\n\
         # loadtest/run before and after says what it brings.\n\
         set -eu\numask 022\nROOT=${ROOT:-}\n",
    );
    let changes: Vec<Change> = findings.iter().filter_map(|finding| finding.change).collect();
    let is_wanted = |name: &str| changes.contains(&setting_change(name));
    if SETTINGS.iter().any(|setting| is_wanted(setting.name)) {
        text.push_str(&written(SETTINGS_PATH, &settings(is_wanted)));
        for setting in SETTINGS.iter().filter(|setting| is_wanted(setting.name)) {
            let _ = writeln!(text, "echo {} > \"$ROOT{}\"", setting.value, place(setting.name));
        }
    }
    for change in changes {
        match change {
            Change::Limits => text.push_str(&written(LIMITS_PATH, LIMITS)),
            Change::Unit => text.push_str(&written(UNIT_PATH, UNIT)),
            Change::Setting(_) => {}
        }
    }
    let open = |finding: &&Finding| finding.change.is_none() && finding.verdict != Verdict::Ok;
    for finding in findings.iter().filter(open) {
        let Some(command) = &finding.command else { continue };
        let _ = write!(
            text,
            "\n# {} ({}), for you to decide: {}\n",
            finding.item,
            finding.verdict.word(),
            finding.risk
        );
        command.lines().for_each(|line| text.push_str(&format!("#   {line}\n")));
    }
    text
}

fn setting_change(name: &str) -> Change {
    Change::Setting(setting(name).map_or("", |setting| setting.name))
}

/// The lines of a script that write a file.
fn written(path: &str, content: &str) -> String {
    let folder = path.rsplit_once('/').map_or("/", |(folder, _)| folder);
    format!(
        "\nmkdir -p \"$ROOT{folder}\"\ncat > \"$ROOT{path}\" <<'END_OF_FILE'\n{content}END_OF_FILE\n"
    )
}
