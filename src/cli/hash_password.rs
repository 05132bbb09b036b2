//! `ringway hash-password`: keeps a password, and prints the line for a file of users.
//!
//! The password is read from standard input, never from the command line, so that it stands in no history and no list
//! of processes, and is
//! written nowhere. Without a configuration: the line fits any `[basic.NAME]`.

use std::io::{BufRead, IsTerminal};

use crate::base::limits::BASIC_BYTES_MAX;
use crate::cli::{FAILED, OK, Said, USAGE};
use crate::policy::password::{Cost, Kept, USUAL};
use crate::runtime::entropy;

/// What is asked for.
pub struct Wishes {
    /// Whose it is.
    pub user: String,
    /// Memory of a check. Unit: MiB.
    pub memory_mib: Option<u32>,
    /// Passes over it.
    pub passes: Option<u32>,
}

/// Reads a password from standard input and keeps it.
pub fn run(wishes: &Wishes) -> Said {
    let failed =
        |code, err: &str| Said { out: String::new(), err: format!("error: {err}\n"), code };
    let user = &wishes.user;
    if user.is_empty()
        || user.starts_with('#')
        || user.contains(|c: char| c == ':' || c.is_control())
        || user.trim() != user
    {
        return failed(USAGE, "a name has no colon, no blanks around it and no `#` in front");
    }
    let input = std::io::stdin();
    if input.is_terminal() {
        eprintln!(
            "password, which is shown as you type (or: printf %s PASSWORD | ringway hash-password …):"
        );
    }
    let mut password = String::new();
    if input.lock().read_line(&mut password).is_err() {
        return failed(FAILED, "the password cannot be read, or is no text");
    }
    let password = password.trim_end_matches(['\r', '\n']);
    if password.is_empty() || password.len() > BASIC_BYTES_MAX / 2 {
        return failed(USAGE, "a password has 1 to 512 bytes, on the first line of standard input");
    }
    if password.contains(char::is_control) {
        return failed(USAGE, "a password with control characters cannot be sent (RFC 7617 §2)");
    }
    let mut salt = [0; 16];
    for eight in salt.chunks_exact_mut(8) {
        eight.copy_from_slice(&entropy::seed().to_ne_bytes());
    }
    let memory_kib = wishes.memory_mib.map_or(USUAL.memory_kib, |mib| mib.saturating_mul(1024));
    let cost = Cost { memory_kib, passes: wishes.passes.unwrap_or(USUAL.passes), ..USUAL };
    match Kept::make(password.as_bytes(), &salt, cost) {
        Ok(kept) => Said { out: format!("{user}:{kept}\n"), err: String::new(), code: OK },
        Err(why) => failed(USAGE, why),
    }
}
