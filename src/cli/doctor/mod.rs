//! `ringway doctor`: what this host gives to the gateway, what the configuration asks for, and what to do where
//! they differ.
//!
//! Three steps that know nothing of each other: `read.rs` brings readings (`Host`), the files of items make findings
//! of them, `show.rs` and `mend.rs` say and do. It never changes anything unless `--fix` or `--revert` tells it to.

mod bounds;
mod command;
mod demand;
mod files;
mod finding;
mod group;
mod host;
mod journal;
mod kernel;
mod machine;
mod mend;
mod place;
mod process;
mod read;
mod show;
mod sockets;
mod start;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use crate::cli::doctor::demand::Demand;
use crate::cli::doctor::finding::{Finding, Verdict};
use crate::cli::doctor::host::Host;
use crate::cli::doctor::mend::Done;
use crate::cli::doctor::read::Tree;
use crate::cli::doctor::show::Look;
use crate::cli::{CONFIG, FAILED, OK, Said, check};
use crate::control::load::{self, Machine};

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Deed {
    /// Tell the findings.
    #[default]
    Tell,
    /// Tell them as JSON.
    Json,
    /// Print a script.
    Script,
    /// Make the safe changes.
    Fix,
    /// Undo them.
    Revert,
}

/// What is asked of the command.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// The configuration; `None` looks in the default places, unless another host is looked at.
    pub config: Option<PathBuf>,
    /// The folder that holds a host's /proc, /sys and /etc; `None`: this host.
    pub root: Option<PathBuf>,
    /// The process whose limits count; `None`: our own.
    pub pid: Option<u32>,
    /// What is to be done.
    pub deed: Deed,
    /// Every field of every item.
    pub all: bool,
    /// Advice fails the command, too.
    pub strict: bool,
}

/// Looks at this host, or at the one that `wishes` names.
pub fn run(wishes: &Wishes) -> Said {
    let wants_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    with(wishes, std::io::stdout().is_terminal() && !wants_plain)
}

/// The same, with or without colours.
pub fn with(wishes: &Wishes, colours: bool) -> Said {
    let tree = Tree::new(wishes.root.as_deref());
    if let Some(root) = wishes.root.as_deref().filter(|root| !root.is_dir()) {
        let err = format!("error: {} is no folder that can be looked at\n", root.display());
        return Said { out: String::new(), err, code: FAILED };
    }
    if wishes.deed == Deed::Revert {
        return told(mend::revert(&tree));
    }
    if let Some(pid) = wishes.pid.filter(|pid| tree.text(&format!("/proc/{pid}/limits")).is_none())
    {
        let err =
            format!("error: process {pid} cannot be looked at: it is gone, or somebody else's\n");
        return Said { out: String::new(), err, code: FAILED };
    }
    let (demand, err) = match demand(wishes) {
        Ok(demand) => demand,
        Err(said) => return said,
    };
    let host = tree.host(wishes.pid);
    let findings = findings(&host, &demand);
    let out = match wishes.deed {
        Deed::Fix => return told(mend::fix(&tree, &host, &findings)),
        Deed::Revert | Deed::Tell => {
            show::text(&host, &demand, &findings, Look { all: wishes.all, colours })
        }
        Deed::Json => show::json(&host, &demand, &findings),
        Deed::Script => return Said { out: files::script(&findings), err, code: OK },
    };
    let fails = |finding: &Finding| match finding.verdict {
        Verdict::Problem => true,
        Verdict::Advice => wishes.strict,
        Verdict::Unknown | Verdict::Ok => false,
    };
    let code = if findings.iter().any(fails) { FAILED } else { OK };
    Said { out, err, code }
}

/// Everything that is to be said of a host, in the order of the items.
fn findings(host: &Host, demand: &Demand) -> Vec<Finding> {
    let mut all = Vec::new();
    kernel::judge(host, demand, &mut all);
    process::judge(host, demand, &mut all);
    sockets::judge(host, demand, &mut all);
    machine::judge(host, demand, &mut all);
    group::judge(host, demand, &mut all);
    all
}

/// What the configuration asks for, and what is to be said about it. One that was named must be good; one that
/// only lies in a default place is passed over if it is not.
fn demand(wishes: &Wishes) -> Result<(Demand, String), Said> {
    let looked_for = || Some(load::path(None)).filter(|path| path.exists());
    let is_elsewhere = wishes.root.is_some();
    let path = match &wishes.config {
        Some(path) => path.clone(),
        None => match looked_for().filter(|_| !is_elsewhere) {
            Some(path) => path,
            None => return Ok((Demand::of_defaults(), String::new())),
        },
    };
    let (compiled, found) = check::compiled(&path, &Machine);
    match compiled {
        Some(compiled) => Ok((Demand::of(named(&path), &compiled), String::new())),
        None if wishes.config.is_some() => {
            Err(Said { out: String::new(), err: found.render(), code: CONFIG })
        }
        None => {
            let err = format!(
                "note: {} has mistakes (`ringway check`) and is passed over\n\n",
                path.display()
            );
            Ok((Demand::of_defaults(), err))
        }
    }
}

fn named(path: &Path) -> String {
    path.display().to_string()
}

fn told(done: Done) -> Said {
    let code = if done.failures.is_empty() { OK } else { FAILED };
    let lines = |lines: &[String], before: &str| -> String {
        lines.iter().map(|line| format!("{before}{line}\n")).collect()
    };
    Said { out: lines(&done.lines, ""), err: lines(&done.failures, "error: "), code }
}
