//! Between the driver and one reader task: the driver may pause or end it, and wake it.
//!
//! The driver holds the [`Keeper`], the reader the [`Gate`]. Dropping the keeper ends the
//! reader, so no reader outlives its entry in the driver's tables, however that entry goes.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

#[derive(Default)]
struct State {
    paused: bool,
    closed: bool,
    waker: Option<Waker>,
}

type Shared = Arc<Mutex<State>>;

/// The driver's side.
pub(crate) struct Keeper(Shared);

/// The reader's side.
pub(crate) struct Gate(Shared);

/// A gate that is open.
pub(crate) fn gate() -> (Keeper, Gate) {
    let shared = Shared::default();
    (Keeper(shared.clone()), Gate(shared))
}

impl Keeper {
    /// Stops the reader before its next read, or lets it go on.
    pub(crate) fn pause(&self, paused: bool) {
        change(&self.0, |state| state.paused = paused);
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        change(&self.0, |state| state.closed = true);
    }
}

impl Gate {
    /// Pending while paused; then whether the reader may go on.
    pub(crate) fn poll_pass(&self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut state = lock(&self.0);
        register(&mut state, cx);
        match (state.closed, state.paused) {
            (true, _) => Poll::Ready(false),
            (false, true) => Poll::Pending,
            (false, false) => Poll::Ready(true),
        }
    }

    /// Waits until the keeper is gone.
    pub(crate) async fn closed(&self) {
        poll_fn(|cx| {
            let mut state = lock(&self.0);
            register(&mut state, cx);
            if state.closed {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }
}

fn register(state: &mut State, cx: &Context<'_>) {
    match &mut state.waker {
        Some(waker) => waker.clone_from(cx.waker()),
        empty => *empty = Some(cx.waker().clone()),
    }
}

/// The waker is called after the lock is given back: it may run scheduler code.
fn change(shared: &Shared, change: impl FnOnce(&mut State)) {
    let waker = {
        let mut state = lock(shared);
        change(&mut state);
        state.waker.take()
    };
    if let Some(waker) = waker {
        waker.wake();
    }
}

fn lock(shared: &Shared) -> MutexGuard<'_, State> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(gate: &Gate) -> Poll<bool> {
        gate.poll_pass(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_paused_reader_waits_and_a_closed_one_ends() {
        let (keeper, gate) = gate();
        assert_eq!(pass(&gate), Poll::Ready(true));
        keeper.pause(true);
        assert_eq!(pass(&gate), Poll::Pending);
        keeper.pause(false);
        assert_eq!(pass(&gate), Poll::Ready(true));
        keeper.pause(true);
        drop(keeper);
        assert_eq!(pass(&gate), Poll::Ready(false));
    }
}
