//! A limit on waiting that costs nothing when it is not reached.
//!
//! Most waits end long before their limit, and a world's timers cannot always be taken back.
//! So one alarm serves all waits of an actor: it is armed for the first limit and moved on
//! only when it rings too early for the wait of the moment.

use gamekeeper_core::base::Mono;
use gamekeeper_runtime::{Runtime, Timer};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

/// See the module's head.
pub(crate) struct Alarm<R: Runtime> {
    rt: R,
    timer: R::Timer,
    armed: Option<Mono>,
}

impl<R: Runtime> Alarm<R> {
    pub(crate) fn new(rt: R) -> Alarm<R> {
        Alarm {
            timer: rt.timer(),
            rt,
            armed: None,
        }
    }

    /// Waits for something at most so many milliseconds; `None` when that was too short.
    pub(crate) async fn limit<T>(&mut self, ms: u64, work: impl Future<Output = T>) -> Option<T> {
        let deadline = self.rt.now().mono.plus_ms(ms);
        let mut work = pin!(work);
        poll_fn(|cx| {
            if let Poll::Ready(value) = work.as_mut().poll(cx) {
                return Poll::Ready(Some(value));
            }
            while self.rt.now().mono < deadline {
                if self.armed.is_none_or(|armed| armed > deadline) {
                    self.timer.arm(Some(deadline));
                    self.armed = Some(deadline);
                }
                if self.timer.poll_due(cx).is_pending() {
                    return Poll::Pending;
                }
                self.armed = None;
            }
            Poll::Ready(None)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gamekeeper_runtime::TokioRuntime;
    use std::future::{pending, ready};

    #[tokio::test]
    async fn a_wait_ends_with_its_work_or_at_its_own_limit_never_before() {
        let rt = TokioRuntime::new();
        let mut alarm = Alarm::new(rt.clone());
        assert_eq!(alarm.limit(20, ready(7)).await, Some(7));
        let since = rt.now().mono;
        // Armed for 30 ms by the second wait, moved on by the third.
        let short = rt.sleep_until(since.plus_ms(10));
        assert_eq!(alarm.limit(30, short).await, Some(()));
        assert_eq!(alarm.limit(50, pending::<()>()).await, None);
        assert!(rt.now().mono.ms_since(since) >= 60);
        assert_eq!(alarm.limit(0, pending::<()>()).await, None);
    }
}
