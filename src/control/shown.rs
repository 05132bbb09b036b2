//! What the admin listener shows of the running process.
//!
//! It is handed numbers and words, and never asks a core: whoever looks at metrics holds nobody up.

use std::sync::{Arc, Mutex, PoisonError};

use crate::admin::{Purging, Readiness, State};
use crate::base::shared::Word;
use crate::control::acme::Board;
use crate::control::certificates::Certificates;
use crate::observe::plan::LabelBook;
use crate::observe::prometheus::{self, CertificateEnd};
use crate::observe::snapshot::Registry;
use crate::policy::store::{Machine, Purge};

/// What the admin listener shows.
pub(super) struct Shown {
    pub(super) registry: Registry,
    pub(super) book: Mutex<LabelBook>,
    pub(super) draining: Word,
    /// The store of responses, the same for the whole life of the process.
    responses: Option<Arc<Machine>>,
    certificates: Mutex<Vec<CertificateEnd>>,
    /// What came of obtaining certificates.
    pub(super) board: Arc<Board>,
}

impl Shown {
    pub(super) fn new(
        registry: Registry,
        book: LabelBook,
        responses: Option<Arc<Machine>>,
    ) -> Self {
        let (book, draining) = (Mutex::new(book), Word::new(0));
        let (certificates, board) = (Mutex::default(), Arc::default());
        Self { registry, book, draining, responses, certificates, board }
    }

    pub(super) fn show(&self, certificates: &Certificates) {
        let ends = certificates.ends();
        *self.certificates.lock().unwrap_or_else(PoisonError::into_inner) = ends;
    }

    pub(super) fn requests_finished(&self) -> u64 {
        let book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        self.registry.snapshot(&book).requests_finished()
    }
}

impl State for Shown {
    fn readiness(&self) -> Readiness {
        let control = &self.registry.control;
        let (wanted, running) = (control.workers_wanted.read(), control.workers_running.read());
        if self.draining.load() != 0 {
            Readiness::NotReady("draining".into())
        } else if running < wanted {
            Readiness::NotReady(format!("{running} of {wanted} workers run"))
        } else {
            Readiness::Ready
        }
    }

    fn metrics(&self) -> String {
        let book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = prometheus::render(&self.registry.snapshot(&book));
        let ends = self.certificates.lock().unwrap_or_else(PoisonError::into_inner);
        prometheus::append_certificates(&mut text, &ends);
        prometheus::append_obtained(&mut text, &self.board.lines());
        text
    }

    fn purge(&self, what: Purging<'_>) {
        let purge = match what {
            Purging::All => Purge::All,
            Purging::Key(key) => Purge::key(key),
            Purging::Prefix(prefix) => Purge::prefix(prefix),
            Purging::Tag(tag) => Purge::Tag(tag.into()),
        };
        self.responses.iter().for_each(|responses| responses.purge(&purge));
    }
}
