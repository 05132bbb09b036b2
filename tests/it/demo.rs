//! `ringway demo` as a stranger sees it: one screen, lines to paste that show what they promise, Ctrl-C.
//!
//! The test pastes the printed lines into a shell, exactly as printed.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use crate::support::PATIENCE;

struct Demo {
    child: Child,
    lines: mpsc::Receiver<String>,
    /// Held until the screen is there: a demo looks for free ports before it binds them, and another one
    /// that starts in between is told so and ends.
    starting: Option<File>,
}

impl Demo {
    fn start() -> Demo {
        let starting = File::create(std::env::temp_dir().join("ringway-it-demo.lock")).unwrap();
        starting.lock().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_ringway"))
            .arg("demo")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().expect("piped above"));
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Demo { child, lines, starting: Some(starting) }
    }

    /// Lines of the first screen until `count` of them can be pasted and do something. Each is given with
    /// the line that sets the token in front, as a person's shell would remember it.
    fn lines_to_paste(&mut self, count: usize) -> Vec<String> {
        let (mut found, mut token) = (Vec::new(), String::new());
        while found.len() < count {
            let line = self.lines.recv_timeout(PATIENCE).unwrap_or_else(|_| {
                panic!("the first screen has {count} lines to paste, not only {found:#?}")
            });
            let text = line.trim();
            if text.starts_with("TOKEN=") {
                token = text.to_string();
            } else if text.starts_with("curl ") || text.starts_with("for ") {
                found.push(format!("{token}\n{text}"));
            }
        }
        self.starting = None;
        found
    }

    fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").arg("-c").arg(kill).status().unwrap().success());
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn paste(line: &str) -> String {
    let output = Command::new("bash").arg("-c").arg(line).output().expect("bash and curl");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_printed_lines_show_the_dashboard_a_401_a_429_and_a_partial_answer() {
    let mut demo = Demo::start();
    let lines = demo.lines_to_paste(4);
    let answers: Vec<String> = lines.iter().map(|line| paste(line)).collect();
    let shows = |what: &str| answers.iter().any(|answer| answer.contains(what));
    assert!(shows("\"user\"") && shows("\"orders\""), "{lines:#?}\n{answers:#?}");
    assert!(shows("401"), "{lines:#?}\n{answers:#?}");
    assert!(shows("429"), "{lines:#?}\n{answers:#?}");
    assert!(shows("gateway-partial"), "{lines:#?}\n{answers:#?}");
}

#[test]
fn ctrl_c_ends_it_with_success() {
    let mut demo = Demo::start();
    demo.lines_to_paste(1);
    demo.signal("INT");
    let mut status = None;
    crate::support::eventually("the demo to end", || {
        status = demo.child.try_wait().unwrap();
        status.is_some()
    });
    assert!(status.is_some_and(|status| status.success()), "{status:?}");
}

#[test]
fn two_demos_at_once_do_not_disturb_each_other() {
    let mut first = Demo::start();
    let one = first.lines_to_paste(1);
    let mut second = Demo::start();
    let two = second.lines_to_paste(1);
    assert!(paste(&one[0]).contains("\"user\"") && paste(&two[0]).contains("\"user\""));
}
