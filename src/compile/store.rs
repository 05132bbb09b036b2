//! The store of the fleet's limits and of revoked tokens, and whether what names one can have it.
//!
//! A limit of the fleet never becomes one of the machine for want of a store: that is an error.

use std::sync::Arc;

use crate::compile::codes;
use crate::compile::report::Report;
use crate::config::Config;
use crate::config::diagnostic::Diagnostic;
use crate::gateway::{Gateway, Store, StorePassword};

/// The store, shared with the last version where nothing changed.
pub fn compile(config: &Config, last: Option<&Gateway>, report: &Report) -> Option<Arc<Store>> {
    let stored = config.limits.iter().filter_map(|limit| limit.store.as_ref());
    let asked = config.jwts.iter().filter_map(|issuer| issuer.revoked_store.as_ref());
    let Some(redis) = &config.redis else {
        for store in asked {
            let message = "there is no `[redis]` that could be asked about tokens";
            let diagnostic = Diagnostic::error(codes::BAD_LIMIT, store.span, message);
            report.push(diagnostic.help("write `[redis]` with `address = \"127.0.0.1:6379\"`"));
        }
        for limit in stored {
            let message = "there is no `[redis]` in which this limit could be counted";
            let diagnostic = Diagnostic::error(codes::BAD_LIMIT, limit.span, message);
            report.push(diagnostic.help("write `[redis]` with `address = \"127.0.0.1:6379\"`"));
        }
        return None;
    };
    if stored.count() + asked.count() == 0 {
        let message = "no limit has `store = \"redis\"`, and no issuer a `revoked_store`";
        report.push(Diagnostic::warning(codes::UNUSED, redis.span, message));
        return None;
    }
    let store = Store {
        address: redis.address.value.clone(),
        user: redis.user.as_ref().map(|user| user.value.as_str().into()),
        password: redis.password.as_ref().map(|password| StorePassword::new(password.expose())),
        database: redis.database,
        timeout: redis.timeout,
    };
    let known = last.and_then(|last| last.store.as_ref()).filter(|known| ***known == store);
    Some(known.cloned().unwrap_or_else(|| Arc::new(store)))
}
