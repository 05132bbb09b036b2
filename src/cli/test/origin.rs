//! The upstreams of a test: they answer what the test says and keep what they received.
//!
//! Each connection carries one request, so that a `refuse` in a list of answers always finds a connection to
//! refuse. An upstream never makes up an answer: one of which the test says nothing fails the test.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::base::address::Address;
use crate::base::buffer::BufferPool;
use crate::cli::test::message::{Message, Wire};
use crate::config::test::{Answer, Content, Failure, Line, Rule, Told};
use crate::runtime::simulated::{Bound, Simulated, SimulatedStream};
use crate::runtime::{Listener, Runtime, Stream};

/// A request that an upstream received.
#[derive(Clone, Debug)]
pub(super) struct Received {
    pub(super) upstream: Rc<str>,
    pub(super) method: String,
    pub(super) target: String,
    pub(super) message: Message,
    /// Whether the test says what is answered to it.
    pub(super) told: bool,
}

/// What upstreams answer now, and what they have received.
#[derive(Default)]
pub(super) struct Script {
    /// Of the step, then of the test.
    levels: [RefCell<Vec<Played>>; 2],
    received: RefCell<Vec<Received>>,
}

/// Answers of one upstream, and how many of each rule's were given.
struct Played {
    told: Told,
    given: Vec<Cell<usize>>,
}

impl Played {
    fn new(told: &Told) -> Self {
        let given = told.rules.iter().map(|_| Cell::new(0)).collect();
        Self { told: told.clone(), given }
    }

    /// The next answer of a rule.
    fn next(&self, index: usize) -> &Answer {
        let answers = &self.told.rules[index].answers;
        &answers[self.given[index].get().min(answers.len() - 1)]
    }
}

impl Script {
    /// What holds in the whole test.
    pub(super) fn begin_test(&self, told: &[Told]) {
        *self.levels[1].borrow_mut() = told.iter().map(Played::new).collect();
    }

    /// What holds in this step.
    pub(super) fn begin_step(&self, told: &[Told]) {
        *self.levels[0].borrow_mut() = told.iter().map(Played::new).collect();
    }

    /// What was received since this was last taken.
    pub(super) fn take_received(&self) -> Vec<Received> {
        self.received.take()
    }

    /// Looks at what is said of an upstream, in this step or else in the test.
    fn with<T>(&self, upstream: &str, look: impl Fn(&Played) -> Option<T>) -> Option<T> {
        for level in &self.levels {
            let level = level.borrow();
            if let Some(played) = level.iter().find(|played| played.told.upstream.value == upstream)
            {
                return look(played);
            }
        }
        None
    }

    /// Whether the next connection to this upstream is refused; it is then counted as an answer.
    pub(super) fn refuses(&self, upstream: &str) -> bool {
        let refused = self.with(upstream, |played| {
            let of_all = played.told.rules.iter().position(|rule| rule.to.is_none())?;
            let refuses = played.next(of_all).fail == Some(Failure::Refuse);
            if refuses {
                played.given[of_all].set(played.given[of_all].get() + 1);
            }
            Some(refuses)
        });
        refused.unwrap_or(false)
    }

    /// The answer to a request, which is kept.
    fn answer(&self, upstream: &Rc<str>, message: Message) -> Option<Answer> {
        let mut words = message.first.split(' ').map(str::to_owned);
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let answer = self.with(upstream, |played| {
            let fits = |rule: &Rule| rule.to.as_ref().is_none_or(|to| fits(to, &method, &target));
            let index = played.told.rules.iter().position(fits)?;
            let answer = played.next(index).clone();
            played.given[index].set(played.given[index].get() + 1);
            Some(answer)
        });
        let (upstream, told) = (upstream.clone(), answer.is_some());
        self.received.borrow_mut().push(Received { upstream, method, target, message, told });
        answer
    }
}

/// Whether an answer's key is for this request. A key without a query is for any.
fn fits(key: &Line, method: &str, target: &str) -> bool {
    let path = target.split('?').next().unwrap_or_default();
    let of_target = match key.target.strip_suffix('*') {
        Some(lead) => target.starts_with(lead),
        None if key.target.contains('?') => target == key.target,
        None => path == key.target,
    };
    of_target && key.method.as_deref().is_none_or(|wanted| wanted == method)
}

/// Answers at `address` for an upstream.
pub(super) fn start(
    host: &Simulated,
    address: &Address,
    socket: Bound,
    upstream: Rc<str>,
    script: &Rc<Script>,
) {
    let Ok(listener) = host.listen(address, socket) else { return };
    let (runtime, script) = (host.clone(), script.clone());
    host.spawn(async move {
        while let Some(accepted) = listener.accept().await {
            if let Ok(stream) = accepted {
                runtime.spawn(serve(runtime.clone(), stream, upstream.clone(), script.clone()));
            }
        }
    });
}

async fn serve(host: Simulated, stream: SimulatedStream, upstream: Rc<str>, script: Rc<Script>) {
    let pool = BufferPool::new(8);
    let mut wire = Wire::new(&stream, &pool);
    let Some(message) = wire.request().await else { return };
    let head_only = message.first.starts_with("HEAD ");
    let Some(answer) = script.answer(&upstream, message) else {
        return stream.reset_on_close();
    };
    if !answer.after.is_zero() {
        host.sleep_until(host.now() + answer.after).await;
    }
    match answer.fail {
        Some(Failure::Silence) => std::future::pending().await,
        Some(Failure::Reset | Failure::Refuse) => stream.reset_on_close(),
        Some(Failure::Cut) => {
            let whole = bytes(&answer, false);
            let head = whole.windows(4).position(|four| four == b"\r\n\r\n").map_or(0, |at| at + 4);
            wire.send(&whole[..head + (whole.len() - head) / 2]).await;
        }
        None => wire.send(&bytes(&answer, head_only)).await,
    }
}

/// An answer as it is sent.
fn bytes(answer: &Answer, head_only: bool) -> Vec<u8> {
    let body = answer.body.as_ref().map(Content::text).unwrap_or_default();
    let mut out = format!("HTTP/1.1 {} Told\r\n", answer.status);
    let has = |name: &str| answer.headers.iter().any(|field| field.0 == name);
    if answer.body.as_ref().is_some_and(Content::is_json) && !has("content-type") {
        out.push_str("content-type: application/json\r\n");
    }
    for (name, value) in &answer.headers {
        out.push_str(&format!("{name}: {value}\r\n"));
    }
    // What is cut has to be missing something.
    let short = usize::from(answer.fail == Some(Failure::Cut) && body.is_empty());
    if !matches!(answer.status, 204 | 304) && !has("content-length") {
        out.push_str(&format!("content-length: {}\r\n", body.len() + short));
    }
    out.push_str("connection: close\r\n\r\n");
    if !head_only {
        out.push_str(&body);
    }
    out.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_for_its_method_its_path_and_any_query_it_does_not_name() {
        let fits = |method: Option<&str>, target: &str, asked: &str| {
            let key = Line { method: method.map(str::to_owned), target: target.to_owned() };
            super::fits(&key, "GET", asked)
        };
        for (method, target, asked) in [
            (None, "/a", "/a"),
            (Some("GET"), "/a", "/a?x=1"),
            (None, "/a?x=1", "/a?x=1"),
            (None, "/a/*", "/a/b/c?x=1"),
            (None, "/*", "/"),
        ] {
            assert!(fits(method, target, asked), "{target} {asked}");
        }
        for (method, target, asked) in [
            (Some("POST"), "/a", "/a"),
            (None, "/a", "/a/"),
            (None, "/a?x=1", "/a?x=2"),
            (None, "/a?x=1", "/a"),
            (None, "/a/*", "/a"),
        ] {
            assert!(!fits(method, target, asked), "{target} {asked}");
        }
    }
}
