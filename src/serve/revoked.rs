//! Asks the store whether a proven token is revoked, and acts on what it says.
//!
//! It never asks a store that is away, and never waits for longer than its `timeout`: the limits' own connection is
//! used, in whose pipeline the question is one more (`serve/store.rs`).

use crate::exchange::Exchange;
use crate::exchange::fault::Fault;
use crate::net::resp;
use crate::policy::bearer::Bearer;
use crate::policy::revoked_store::{RevokedSaid, SCRIPT};
use crate::policy::{Env, Verdict};
use crate::runtime::Runtime;
use crate::serve::{Core, store};

/// Asks about the token that the exchange's identity is from.
///
/// # Errors
/// It is revoked, or nobody can say.
pub async fn ask<R: Runtime>(
    core: &Core<R>,
    bearer: &Bearer,
    x: &mut Exchange,
) -> Result<(), Fault> {
    let said = match bearer.revocation_question(x) {
        Some(asked) => {
            let write = |out: &mut Vec<u8>| {
                let issued = asked.issued.as_bytes();
                let (token, subject) = (&asked.token, &asked.subject);
                resp::command(out, &[b"EVAL", SCRIPT.as_bytes(), b"2", token, subject, issued]);
            };
            match store::put(core, write).await {
                Some(0) => RevokedSaid::Fine,
                Some(_) => RevokedSaid::Revoked,
                None => RevokedSaid::Away,
            }
        }
        None => RevokedSaid::Away,
    };
    let (now, wall) = (core.runtime.now(), core.runtime.wall());
    let verdict = core.shard(|shard| {
        let env = &mut Env { now, wall, rng: &mut shard.rng, slots: &mut shard.slots };
        bearer.settle_revocation(x, said, env)
    });
    match verdict {
        Verdict::Refuse(fault) => Err(fault),
        _ => Ok(()),
    }
}
