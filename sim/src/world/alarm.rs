//! The one primitive of time: *wake this waker at t*, and what is built on it.
//!
//! madsim's `Sleep` has a floor of 1 ms when it is made, but none when it is reset; each
//! pending poll of it adds a timer that cannot be taken back. So one `Sleep` serves the
//! whole world, it is polled exactly once per alarm, and whoever waits remembers when its
//! earliest alarm rings and arms no second one for a later time.

use super::lock;
use madsim::time::{Instant, Sleep, TimeHandle};
use std::future::Future;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// An instant that does not come.
pub(super) const NEVER: u64 = u64::MAX;

/// True time and alarms on it.
pub(super) struct Alarms {
    time: TimeHandle,
    origin: Instant,
    sleep: Mutex<Sleep>,
}

impl Alarms {
    /// Needs to be called inside the executor's context.
    pub(super) fn new() -> Alarms {
        let time = TimeHandle::current();
        let origin = time.now_instant() - time.elapsed();
        let sleep = Mutex::new(time.sleep(Duration::ZERO));
        Alarms {
            time,
            origin,
            sleep,
        }
    }

    /// True nanoseconds since the world began.
    pub(super) fn now_ns(&self) -> u64 {
        self.time.elapsed().as_nanos() as u64
    }

    /// Wakes at a true instant; at once when it is past.
    pub(super) fn wake_at(&self, at_ns: u64, waker: &Waker) {
        if at_ns == NEVER {
            return;
        }
        let mut sleep = lock(&self.sleep);
        let mut sleep = Pin::new(&mut *sleep);
        sleep
            .as_mut()
            .reset(self.origin + Duration::from_nanos(at_ns));
        if sleep.poll(&mut Context::from_waker(waker)).is_ready() {
            waker.wake_by_ref();
        }
    }
}

/// Somebody who waits: the waker, and when the earliest alarm armed for it rings.
#[derive(Debug, Default)]
pub(super) struct Waiter {
    waker: Option<Waker>,
    rings_ns: u64,
}

impl Waiter {
    /// Waits from now on, and is woken at `at_ns` at the latest.
    pub(super) fn wait(&mut self, alarms: &Alarms, cx: &Context<'_>, now_ns: u64, at_ns: u64) {
        match &self.waker {
            Some(known) if known.will_wake(cx.waker()) => {}
            Some(_) | None => {
                self.waker = Some(cx.waker().clone());
                self.rings_ns = 0;
            }
        }
        self.ring_at(alarms, now_ns, at_ns);
    }

    /// Something will come at `at_ns`: whoever waits is woken then.
    pub(super) fn ring_at(&mut self, alarms: &Alarms, now_ns: u64, at_ns: u64) {
        let armed = self.rings_ns > now_ns && self.rings_ns <= at_ns;
        if let Some(waker) = &self.waker
            && !armed
            && at_ns != NEVER
        {
            self.rings_ns = at_ns;
            alarms.wake_at(at_ns, waker);
        }
    }

    /// Nobody waits any more.
    pub(super) fn forget(&mut self) {
        self.rings_ns = 0;
        self.waker = None;
    }
}

/// Waits for a true instant. For the conductor of a world, not for its hosts.
pub(super) struct Until<'a> {
    pub(super) alarms: &'a Alarms,
    pub(super) at_ns: u64,
    pub(super) waiter: Waiter,
}

impl Future for Until<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let now_ns = this.alarms.now_ns();
        if now_ns >= this.at_ns {
            return Poll::Ready(());
        }
        this.waiter.wait(this.alarms, cx, now_ns, this.at_ns);
        Poll::Pending
    }
}
