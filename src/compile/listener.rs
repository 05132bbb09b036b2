//! Listeners: addresses, spelling policy, bounds and times.
//!
//! Nothing is bound here.

use crate::compile::Compiler;
use crate::config::{self, Spelling};
use crate::gateway::listener::Listener;
use crate::http::h1::parse::HeadLimits;
use crate::route::spelling::{Delimiter, DotSegments, EmptySegments, PathSpelling};

impl Compiler<'_> {
    pub(super) fn listeners(&mut self) -> Vec<Listener> {
        self.config.listeners.iter().map(listener).collect()
    }
}

fn listener(listener: &config::Listener) -> Listener {
    let limits = &listener.limits;
    Listener {
        address: listener.address.value.clone(),
        trusted: listener.trusted_proxies.iter().map(|network| network.value).collect(),
        spelling: PathSpelling {
            dot_segments: match listener.path.dot_segments {
                Spelling::Refuse => DotSegments::Refuse,
                Spelling::Keep => DotSegments::Keep,
                Spelling::Normalise => DotSegments::Resolve,
            },
            empty_segments: match listener.path.empty_segments {
                Spelling::Refuse => EmptySegments::Refuse,
                Spelling::Keep => EmptySegments::Keep,
                Spelling::Normalise => EmptySegments::Merge,
            },
            encoded_slash: delimiter(listener.path.encoded_slash),
            semicolon: delimiter(listener.path.semicolon),
        },
        head_limits: HeadLimits {
            head_bytes_max: limits.head_bytes_max as u32,
            fields_max: limits.fields_max as u32,
            target_bytes_max: limits.target_bytes_max as u32,
        },
        head_timeout: listener.timeout.head,
        idle_timeout: listener.timeout.idle,
        body_timeout: listener.timeout.body,
    }
}

fn delimiter(spelling: Spelling) -> Delimiter {
    match spelling {
        Spelling::Refuse | Spelling::Normalise => Delimiter::Refuse,
        Spelling::Keep => Delimiter::Keep,
    }
}
