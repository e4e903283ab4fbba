//! What a driver shares with the handles of its session: the state, and the watch events on
//! their way to the application.
//!
//! Plain mutexes held for a few instructions, wakers woken outside of them in the order they
//! came: no channel of a library whose wake-up order is drawn at random (that would break
//! replay in the simulator).

use crate::limits::EVENTS_MAX;
use crate::session::{State, Watched};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Shared {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: State,
    state_waiters: Vec<Waker>,
    events: VecDeque<Watched>,
    events_wanted: bool,
    event_reader: Option<Waker>,
    event_writer: Option<Waker>,
}

impl Shared {
    pub(crate) fn new() -> Arc<Shared> {
        Arc::new(Shared {
            inner: Mutex::new(Inner {
                state: State::Connecting,
                state_waiters: Vec::new(),
                events: VecDeque::new(),
                events_wanted: true,
                event_reader: None,
                event_writer: None,
            }),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic elsewhere leaves plain data here, whole after every statement.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn state(&self) -> State {
        self.lock().state
    }

    /// Publishes a state; an end also ends the events.
    pub(crate) fn set_state(&self, state: State) {
        let mut inner = self.lock();
        inner.state = state;
        let mut wake = std::mem::take(&mut inner.state_waiters);
        if state.is_over() {
            wake.extend(inner.event_reader.take());
        }
        drop(inner);
        wake.into_iter().for_each(Waker::wake);
    }

    /// Ready with the state once it satisfies `wanted` or is an end.
    pub(crate) async fn wait_state(&self, wanted: impl Fn(State) -> bool) -> State {
        poll_fn(|cx| {
            let mut inner = self.lock();
            if inner.state.is_over() || wanted(inner.state) {
                return Poll::Ready(inner.state);
            }
            let known = inner.state_waiters.iter();
            if !known.into_iter().any(|w| w.will_wake(cx.waker())) {
                inner.state_waiters.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await
    }

    /// True when another event may be pushed; otherwise the caller is woken when it may.
    pub(crate) fn has_room(&self, cx: &Context<'_>) -> bool {
        let mut inner = self.lock();
        let room = inner.events.len() < EVENTS_MAX;
        inner.event_writer = (!room).then(|| cx.waker().clone());
        room
    }

    /// Hands an event to the application; asks [`Shared::has_room`] first.
    pub(crate) fn push_event(&self, event: Watched) {
        let mut inner = self.lock();
        if !inner.events_wanted {
            return;
        }
        assert!(inner.events.len() < EVENTS_MAX, "pushed without room");
        inner.events.push_back(event);
        let wake = inner.event_reader.take();
        drop(inner);
        wake.into_iter().for_each(Waker::wake);
    }

    /// The next event, `None` when the session is over and nothing is left.
    pub(crate) fn poll_event(&self, cx: &Context<'_>) -> Poll<Option<Watched>> {
        let mut inner = self.lock();
        if let Some(event) = inner.events.pop_front() {
            let wake = inner.event_writer.take();
            drop(inner);
            wake.into_iter().for_each(Waker::wake);
            return Poll::Ready(Some(event));
        }
        if inner.state.is_over() {
            return Poll::Ready(None);
        }
        inner.event_reader = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Nobody will take events any more.
    pub(crate) fn close_events(&self) {
        let mut inner = self.lock();
        inner.events_wanted = false;
        inner.events.clear();
        let wake = inner.event_writer.take();
        drop(inner);
        wake.into_iter().for_each(Waker::wake);
    }
}

/// The watch events of one session, in the order the server sent them.
///
/// Take them or drop this: a session whose events are neither taken nor declined stops
/// reading after [`EVENTS_MAX`] of them.
#[derive(Debug)]
pub struct Events {
    pub(crate) shared: Arc<Shared>,
}

impl Events {
    /// The next event; `None` once the session is over.
    pub async fn next(&mut self) -> Option<Watched> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The same as a poll, for callers that wait for several things.
    pub fn poll_next(&mut self, cx: &Context<'_>) -> Poll<Option<Watched>> {
        self.shared.poll_event(cx)
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.shared.close_events();
    }
}
