//! Commands as an operator pastes them into a shell, as root.
//!
//! A text of the host never stands in one as it is: a name that a shell would read as more than a name is quoted.

use std::fmt::Display;

use crate::cli::doctor::files::UNIT_PATH;
use crate::cli::doctor::host::Host;

/// The commands that set a kernel setting of the network namespace, now and at the next start; in a container it is
/// whoever starts it that can.
pub fn set(host: &Host, name: &str, value: impl Display) -> String {
    if host.container {
        return format!("docker run --sysctl '{name}={value}' …");
    }
    set_and_keep(name, &value.to_string())
}

/// The commands for a kernel setting that all network namespaces share: from a container it cannot be set.
pub fn set_for_all(host: &Host, name: &str, value: impl Display) -> String {
    if host.container {
        return format!("sysctl -w {name}={value}   # on the machine that runs the container");
    }
    set_and_keep(name, &value.to_string())
}

fn set_and_keep(name: &str, value: &str) -> String {
    let last = name.rsplit('.').next().unwrap_or(name);
    format!(
        "sysctl -w {}\necho '{name} = {value}' > /etc/sysctl.d/62-ringway-{last}.conf   # for the next start",
        quoted(&format!("{name}={value}"))
    )
}

/// The commands that add a line to the unit and restart the gateway.
pub fn drop_in(name: &str, line: &str) -> String {
    format!(
        "mkdir -p {UNIT_PATH}.d\nprintf '[Service]\\n{line}\\n' > {UNIT_PATH}.d/{name}.conf\nsystemctl daemon-reload && systemctl restart ringway"
    )
}

/// A word of a shell.
pub fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.,:=@%+-/".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_would_read_as_more_than_a_word_is_quoted() {
        assert_eq!(quoted("enp1s0f0np0"), "enp1s0f0np0");
        assert_eq!(quoted("eth0.100@if3"), "eth0.100@if3");
        assert_eq!(quoted("$(id)"), "'$(id)'");
        assert_eq!(quoted("a'b"), "'a'\\''b'");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn a_setting_is_kept_for_the_next_start() {
        let host = Host::default();
        let said = set(&host, "net.ipv4.ip_local_port_range", "10240 65535");
        assert_eq!(
            said,
            "sysctl -w 'net.ipv4.ip_local_port_range=10240 65535'\necho 'net.ipv4.ip_local_port_range = 10240 65535' > /etc/sysctl.d/62-ringway-ip_local_port_range.conf   # for the next start"
        );
        let inside = Host { container: true, ..Host::default() };
        assert!(set(&inside, "net.core.somaxconn", 4096).starts_with("docker run --sysctl"));
        assert!(set_for_all(&inside, "fs.file-max", 5).ends_with("runs the container"));
    }
}
