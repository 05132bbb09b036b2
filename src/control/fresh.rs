//! Starts what keeps keys and lists fresh, and tells what comes of it.
//!
//! A source that fails never ends the process: it is told, and what was there before stays.

use crate::compile::{self, Compiled, KeysFrom, WatchedList};
use crate::control::hashing;
use crate::control::keys::{KeyEvent, KeyEventKind, KeyOrigin, KeySource, Keys};
use crate::control::lists::{ListEvent, Lists};
use crate::control::tell::Tell;
use crate::observe::event::Event;

/// Starts fetching keys.
pub(super) fn start_keys(compiled: &Compiled, tell: &Tell) -> Option<Keys> {
    let tell = tell.clone();
    let source = |keys: &compile::Keys| KeySource {
        cell: keys.cell.clone(),
        from: match &keys.from {
            KeysFrom::Url(url) => KeyOrigin::Url(url.clone()),
            KeysFrom::Discovery(issuer) => KeyOrigin::Discovery(issuer.clone()),
            KeysFrom::File(path) => KeyOrigin::File(path.clone()),
            KeysFrom::Fixed => KeyOrigin::Fixed,
        },
        refresh: keys.refresh,
        name: keys.name.clone(),
        permitted: keys.permitted.clone(),
    };
    let sources = compiled.keys.iter().map(source).collect();
    Keys::start(sources, move |event| tell_of_keys(&tell, &event)).ok()
}

/// Starts watching lists.
pub(super) fn start_lists(compiled: &Compiled, tell: &Tell) -> Option<Lists> {
    let tell = tell.clone();
    let told = move |watched: &WatchedList, event: ListEvent| {
        let (list, file) = (watched.name.as_str(), &*watched.path.display().to_string());
        match event {
            ListEvent::Loaded { entries } => tell.event(&Event::ListLoaded { list, file, entries }),
            ListEvent::Failed { why } => tell.event(&Event::ListFailed { list, file, why: &why }),
        }
    };
    Lists::start(compiled.lists.clone(), told).ok().flatten()
}

/// Starts the threads that check passwords, where there is a new queue of them.
///
/// # Errors
/// No thread can be started.
pub(super) fn start_hashing(compiled: &mut Compiled, cores: usize) -> Result<(), String> {
    let Some(taken) = compiled.passwords.take() else { return Ok(()) };
    let started = hashing::start(&taken, cores);
    started.map_err(|error| format!("no thread for passwords: {error}"))
}

fn tell_of_keys(tell: &Tell, event: &KeyEvent) {
    let set = event.source.as_str();
    match &event.what {
        KeyEventKind::Loaded { keys, .. } => tell.event(&Event::KeysFetched { set, keys: *keys }),
        KeyEventKind::Failed { why, kept, .. } => {
            let kept = usize::from(*kept);
            tell.event(&Event::KeysFailed { set, why: &why.to_string(), kept });
        }
        // Said as a warning when the configuration was compiled.
        KeyEventKind::Insecure => {}
    }
}
