//! The beginning of a connection to the store: who we are, which database, and the limits' script.
//!
//! Everything goes out in one piece, and nobody asks anything before all of it was answered. What the store says of a
//! refusal is never told: its own words may speak of the inside.

use super::{CLOSED, Lost, NO_BUFFER};
use crate::base::limits::STORE_AGAIN_AFTER;
use crate::gateway::Store;
use crate::net::resp::{self, Reply};
use crate::policy::fleet::SCRIPT;
use crate::runtime::{Runtime, Stream};
use crate::serve::Core;

/// A connection that has proven who it is, uses its database and knows the script.
pub(super) async fn connect<R: Runtime>(core: &Core<R>, store: &Store) -> Result<R::Stream, Lost> {
    let slot = core.deadlines.slot();
    let until = core.runtime.now() + store.timeout.max(STORE_AGAIN_AFTER);
    let stream = slot.within(until, core.runtime.connect(&store.address)).await??;
    let mut out = Vec::new();
    match (&store.user, &store.password) {
        (Some(user), Some(password)) => {
            resp::command(&mut out, &[b"AUTH", user.as_bytes(), password.expose().as_bytes()]);
        }
        (None, Some(password)) => {
            resp::command(&mut out, &[b"AUTH", password.expose().as_bytes()]);
        }
        _ => {}
    }
    let mut digits = itoa::Buffer::new();
    if store.database > 0 {
        resp::command(&mut out, &[b"SELECT", digits.format(store.database).as_bytes()]);
    }
    resp::command(&mut out, &[b"SCRIPT", b"LOAD", SCRIPT.as_bytes()]);
    let mut buf = core.buffer().map_err(|_| NO_BUFFER)?;
    if !buf.put(&out) {
        return Err("user and password are too long".into());
    }
    let (sent, mut buf) = slot.within(until, stream.write_all(buf)).await?;
    sent?;
    buf.clear();
    loop {
        let room = buf.spare();
        let (read, filled) = slot.within(until, stream.read(buf, room)).await?;
        buf = filled;
        if read? == 0 {
            return Err(CLOSED.into());
        }
        while let Some((reply, used)) = resp::reply(buf.data())? {
            match reply {
                Reply::Fine => buf.consume(used),
                Reply::Text { back, len } => {
                    let text = &buf.data()[used - back..used - back + len];
                    core.store.state.borrow_mut().script = text.to_vec();
                    return Ok(stream);
                }
                // Its own words may tell of the inside.
                _ => {
                    return Err(
                        "it refuses the user, the password, the database or the script".into()
                    );
                }
            }
        }
    }
}
