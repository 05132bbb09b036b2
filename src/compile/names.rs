//! Names to ids, with "did you mean" for those that nothing has.
//!
//! Every name that is asked for is noted; who was never asked for is told about in the end. A wrong name
//! that several routes have from one place (`[default]`) is told about once.

use std::cell::RefCell;
use std::collections::HashSet;

use crate::compile::{Compiler, codes};
use crate::config::diagnostic::Diagnostic;
use crate::config::suggest::nearest;
use crate::config::{Config, Span, Text};

/// What a name may stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Sort {
    Upstream,
    Jwt,
    Limit,
}

impl Sort {
    fn word(self) -> &'static str {
        match self {
            Self::Upstream => "upstream",
            Self::Jwt => "jwt",
            Self::Limit => "limit",
        }
    }
}

/// All names of a configuration.
pub(super) struct Names<'a> {
    upstreams: Vec<&'a Text>,
    jwts: Vec<&'a Text>,
    limits: Vec<&'a Text>,
    used: RefCell<HashSet<(Sort, usize)>>,
    told: RefCell<HashSet<Span>>,
}

impl<'a> Names<'a> {
    pub(super) fn of(config: &'a Config) -> Self {
        Self {
            upstreams: config.upstreams.iter().map(|upstream| &upstream.name).collect(),
            jwts: config.jwts.iter().map(|jwt| &jwt.name).collect(),
            limits: config.limits.iter().map(|limit| &limit.name).collect(),
            used: RefCell::default(),
            told: RefCell::default(),
        }
    }

    fn list(&self, sort: Sort) -> &[&'a Text] {
        match sort {
            Sort::Upstream => &self.upstreams,
            Sort::Jwt => &self.jwts,
            Sort::Limit => &self.limits,
        }
    }
}

impl Compiler<'_> {
    /// The index of a name, or an error that points at it.
    pub(super) fn resolve(&mut self, sort: Sort, name: &Text) -> Option<usize> {
        let list = self.names.list(sort);
        if let Some(index) = list.iter().position(|known| known.value == name.value) {
            self.names.used.borrow_mut().insert((sort, index));
            return Some(index);
        }
        if !self.names.told.borrow_mut().insert(name.span) {
            return None;
        }
        let near = nearest(&name.value, list.iter().map(|known| known.value.as_str()));
        let near = near.and_then(|near| list.iter().find(|known| known.value == near)).copied();
        let word = sort.word();
        let message = format!("unknown {word} `{}`", name.value);
        let mut diagnostic = Diagnostic::error(codes::UNKNOWN_NAME, name.span, message)
            .label(format!("no `[{word}.{}]` has this name", name.value));
        diagnostic = match near {
            Some(known) => {
                let place = self.found.sources.place(known.span);
                diagnostic.help(format!("did you mean `{}`? ({place})", known.value))
            }
            None => diagnostic.help(format!("add a table `[{word}.{}]`", name.value)),
        };
        self.found.push(diagnostic);
        None
    }

    /// Warns about names that nothing uses.
    pub(super) fn unused_names(&mut self) {
        let mut unused = Vec::new();
        for sort in [Sort::Upstream, Sort::Jwt, Sort::Limit] {
            for (index, name) in self.names.list(sort).iter().enumerate() {
                if !self.names.used.borrow().contains(&(sort, index)) {
                    let message = format!("{} `{}` is used by no route", sort.word(), name.value);
                    unused.push(Diagnostic::warning(codes::UNUSED, name.span, message));
                }
            }
        }
        for diagnostic in unused {
            self.found.push(diagnostic);
        }
    }
}
