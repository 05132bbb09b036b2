//! Filters of system calls as container engines and systemd put them in force: real ones (seccomp(2)), installed
//! between fork and exec, so that the program under test never knows. They never reach the test's own process.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// A program for the kernel's filter machine.
#[derive(Clone)]
pub struct Filter {
    program: Vec<libc::sock_filter>,
    /// Whether memory can never become executable (MemoryDenyWriteExecute= of systemd).
    without_new_code: bool,
}

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
/// Places in struct seccomp_data: the call's number, and the lower half of its first argument.
const NUMBER: u32 = 0;
const FIRST_ARGUMENT: u32 = 16;

fn step(code: u16, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

impl Filter {
    /// These calls fail with this error and all others pass: what a container engine's default profile does.
    pub fn refusing(calls: &[libc::c_long], error: i32) -> Filter {
        let mut program = vec![step(LOAD, NUMBER, 0, 0)];
        for call in calls {
            program.push(step(EQUAL, *call as u32, 0, 1));
            program.push(step(RETURN, libc::SECCOMP_RET_ERRNO | error as u32, 0, 0));
        }
        program.push(step(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0));
        Filter { program, without_new_code: false }
    }

    /// What a unit of systemd says: only the calls of its SystemCallFilter= pass, any other ends the process;
    /// sockets are of its RestrictAddressFamilies= only; memory never becomes executable.
    pub fn of_unit(unit: &str) -> Filter {
        let line = |name: &str| {
            let found = unit.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            found.unwrap_or_else(|| panic!("no {name}= in the unit")).split(' ')
        };
        let numbers = numbers();
        let mut names = BTreeSet::new();
        line("SystemCallFilter").for_each(|word| expand(word, &mut names));
        let mut program = vec![step(LOAD, NUMBER, 0, 0)];
        let families: Vec<u32> = line("RestrictAddressFamilies").map(family).collect();
        program.push(step(EQUAL, libc::SYS_socket as u32, 0, families.len() as u8 * 2 + 2));
        program.push(step(LOAD, FIRST_ARGUMENT, 0, 0));
        for family in families {
            program.push(step(EQUAL, family, 0, 1));
            program.push(step(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0));
        }
        program.push(step(RETURN, libc::SECCOMP_RET_ERRNO | libc::EAFNOSUPPORT as u32, 0, 0));
        for number in names.iter().filter_map(|name| numbers.get(name.as_str())) {
            program.push(step(EQUAL, *number, 0, 1));
            program.push(step(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0));
        }
        program.push(step(RETURN, libc::SECCOMP_RET_KILL_PROCESS, 0, 0));
        assert!(program.len() > 400, "the groups of systemd are large");
        Filter { program, without_new_code: unit.contains("MemoryDenyWriteExecute=yes") }
    }

    /// Puts the filter in force for the program that `command` starts.
    #[expect(unsafe_code, reason = "the kernel takes filters by prctl(2), between fork and exec")]
    pub fn apply(self, command: &mut Command) {
        let install = move || {
            let (on, none): (libc::c_ulong, libc::c_ulong) = (1, 0);
            let program = libc::sock_fprog {
                len: self.program.len() as u16,
                filter: self.program.as_ptr().cast_mut(),
            };
            // SAFETY: prctl is safe between fork and exec; the kernel copies the program while it is called.
            let result = unsafe {
                // Kernels before 6.3 do not know it, and systemd does without there, too.
                if self.without_new_code {
                    libc::prctl(libc::PR_SET_MDWE, on, none, none, none);
                }
                match libc::prctl(libc::PR_SET_NO_NEW_PRIVS, on, none, none, none) {
                    0 => libc::prctl(
                        libc::PR_SET_SECCOMP,
                        libc::SECCOMP_MODE_FILTER as libc::c_ulong,
                        &raw const program,
                    ),
                    failed => failed,
                }
            };
            if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
        };
        // SAFETY: the closure calls prctl only; it neither allocates nor takes a lock.
        unsafe { command.pre_exec(install) };
    }
}

fn family(name: &str) -> u32 {
    (match name {
        "AF_UNIX" => libc::AF_UNIX,
        "AF_INET" => libc::AF_INET,
        "AF_INET6" => libc::AF_INET6,
        other => panic!("the family {other} is not known here"),
    }) as u32
}

/// A word of SystemCallFilter=: a call, or a group as this machine's systemd has it.
fn expand(word: &str, names: &mut BTreeSet<String>) {
    if !word.starts_with('@') {
        names.insert(word.to_owned());
        return;
    }
    let output = Command::new("systemd-analyze").args(["syscall-filter", word]).output();
    let output = output.expect("systemd-analyze (Debian: systemd)");
    assert!(output.status.success(), "{word}: {}", String::from_utf8_lossy(&output.stderr));
    for line in String::from_utf8(output.stdout).unwrap().lines().skip(1) {
        let line = line.trim();
        if !line.is_empty() && !line.starts_with('#') {
            expand(line, names);
        }
    }
}

/// The numbers of calls, from the kernel's headers.
fn numbers() -> BTreeMap<String, u32> {
    const PLACES: [&str; 2] =
        ["/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "/usr/include/asm-generic/unistd.h"];
    let is_x86 = cfg!(target_arch = "x86_64");
    let place = if is_x86 { PLACES[0] } else { PLACES[1] };
    let text = fs::read_to_string(place).expect("the kernel's headers (Debian: linux-libc-dev)");
    let number = |line: &str| {
        let (name, number) = line.strip_prefix("#define __NR_")?.split_once(' ')?;
        Some((name.to_owned(), number.trim().parse().ok()?))
    };
    let all: BTreeMap<String, u32> = text.lines().filter_map(number).collect();
    assert_eq!(all["io_uring_setup"], libc::SYS_io_uring_setup as u32);
    all
}
