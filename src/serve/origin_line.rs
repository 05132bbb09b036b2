//! The connections of one core to one endpoint that speaks HTTP/2, and who waits for a place on them.
//!
//! The oldest connection with room is taken first, so that the others may become idle and end. When none has room one
//! more is made, never two at once; who comes meanwhile waits for it and for places that are given back, the
//! first first. What an endpoint was found to speak (RFC 7301) is remembered for a while. Nobody waits for ever: who
//! waits has a deadline of his own.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::base::limits::{H2_ORIGIN_CONNECTIONS_MAX, H2_ORIGIN_GROW_PAUSE, H2_ORIGIN_HTTP1_KNOWN};
use crate::base::time::Instant;
use crate::exchange::fault::Fault;
use crate::serve::origin_link::Link;

/// One endpoint.
#[derive(Default)]
pub struct Line {
    links: RefCell<Vec<Rc<Link>>>,
    /// Whether a connection is being made.
    dialling: Cell<bool>,
    /// Until when no further connection is tried, after one could not be made beside others.
    pause_until: Cell<Option<Instant>>,
    /// Until when it is taken to speak nothing but HTTP/1.1.
    http1_until: Cell<Option<Instant>>,
    waiting: RefCell<VecDeque<Rc<Waiter>>>,
}

/// What somebody is called for.
#[derive(Clone, Copy, Debug)]
pub enum Call {
    /// There may be a place.
    Look,
    /// There is no connection.
    Failed(Fault),
}

#[derive(Default)]
struct Waiter {
    call: Cell<Option<Call>>,
    waker: RefCell<Option<Waker>>,
}

impl Waiter {
    fn tell(&self, call: Call) {
        self.call.set(Some(call));
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

impl Line {
    /// Whether it is known to speak nothing but HTTP/1.1.
    pub fn is_http1(&self, now: Instant) -> bool {
        self.http1_until.get().is_some_and(|until| until > now)
    }

    /// It was found to speak HTTP/1.1.
    pub fn note_http1(&self, now: Instant) {
        self.http1_until.set(Some(now + H2_ORIGIN_HTTP1_KNOWN));
    }

    /// A connection with room that is not too old. Who was not called does not pass who waits.
    pub fn find(&self, now: Instant, age_max: Duration, was_called: bool) -> Option<Rc<Link>> {
        let mut links = self.links.borrow_mut();
        links.retain(|link| {
            let young = link.made_at() + age_max > now;
            if !young {
                link.retire();
            }
            young && link.is_usable()
        });
        if !was_called && !self.waiting.borrow().is_empty() {
            return None;
        }
        links.iter().find(|link| link.room() > 0).cloned()
    }

    /// Leave to make one more connection.
    pub fn dial(self: &Rc<Self>, now: Instant) -> Option<Dialling> {
        let paused = self.pause_until.get().is_some_and(|until| until > now);
        if !paused {
            self.pause_until.set(None);
        }
        let full = self.links.borrow().len() >= H2_ORIGIN_CONNECTIONS_MAX;
        if paused || full || self.dialling.replace(true) {
            return None;
        }
        Some(Dialling { line: self.clone() })
    }

    /// Whether a connection is being made.
    pub fn is_dialling(&self) -> bool {
        self.dialling.get()
    }

    /// Whether there is none that takes streams, now or later.
    pub fn is_empty(&self) -> bool {
        !self.links.borrow().iter().any(|link| link.is_usable())
    }

    /// Adds a connection.
    pub fn add(&self, link: Rc<Link>) {
        self.links.borrow_mut().push(link);
    }

    /// Calls as many as there is room for, and one who may make room.
    pub fn call(&self) {
        if self.waiting.borrow().is_empty() {
            return;
        }
        let links = self.links.borrow();
        let room: u32 = links.iter().map(|link| link.room()).sum();
        let usable = links.iter().filter(|link| link.is_usable()).count();
        drop(links);
        let may_grow = usable < H2_ORIGIN_CONNECTIONS_MAX && self.pause_until.get().is_none();
        let dialler = u32::from(may_grow && !self.dialling.get());
        (0..room.max(dialler)).for_each(|_| self.call_one(Call::Look));
    }

    fn call_one(&self, call: Call) {
        let waiter = self.waiting.borrow_mut().pop_front();
        if let Some(waiter) = waiter {
            waiter.tell(call);
        }
    }

    /// Waits to be called.
    pub fn wait(self: &Rc<Self>) -> Place {
        let waiter = Rc::new(Waiter::default());
        self.waiting.borrow_mut().push_back(waiter.clone());
        Place { line: self.clone(), waiter }
    }

    /// No more streams are opened here.
    pub fn retire(&self) {
        self.links.borrow().iter().for_each(|link| link.retire());
    }
}

/// Somebody makes a connection. Dropped without a word, somebody else may try.
pub struct Dialling {
    line: Rc<Line>,
}

impl Dialling {
    /// There is none: all who waited for it are told. Whether there are others all the same.
    pub fn failed(self, fault: Fault, now: Instant) -> bool {
        if !self.line.is_empty() {
            self.line.pause_until.set(Some(now + H2_ORIGIN_GROW_PAUSE));
            return true;
        }
        let waiting = std::mem::take(&mut *self.line.waiting.borrow_mut());
        waiting.iter().for_each(|waiter| waiter.tell(Call::Failed(fault)));
        false
    }

    /// It speaks HTTP/1.1: everybody makes his own.
    pub fn found_http1(self, now: Instant) {
        self.line.note_http1(now);
        let waiting = std::mem::take(&mut *self.line.waiting.borrow_mut());
        waiting.iter().for_each(|waiter| waiter.tell(Call::Look));
    }
}

impl Drop for Dialling {
    fn drop(&mut self) {
        self.line.dialling.set(false);
        self.line.call();
    }
}

/// A place in the line; dropping it leaves the line.
pub struct Place {
    line: Rc<Line>,
    waiter: Rc<Waiter>,
}

impl Future for Place {
    type Output = Call;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Call> {
        if let Some(call) = self.waiter.call.take() {
            return Poll::Ready(call);
        }
        *self.waiter.waker.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(Call::Look) = self.waiter.call.take() {
            // Called and gone: whoever is next is called instead.
            return self.line.call();
        }
        let mut waiting = self.line.waiting.borrow_mut();
        waiting.retain(|waiter| !Rc::ptr_eq(waiter, &self.waiter));
    }
}
