//! Alarms and clocks.

use crate::{Runtime, Timer};
use gamekeeper_core::base::Mono;
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

/// Every case of this page.
pub async fn all<R: Runtime>(runtime: &R) {
    clock_goes_forward(runtime).await;
    sleep_is_never_early(runtime).await;
    unarmed_alarm_is_silent(runtime).await;
    alarm_in_the_past_rings_at_once(runtime).await;
    alarm_rings_once_and_not_early(runtime).await;
    alarm_can_be_moved_both_ways(runtime).await;
    disarmed_alarm_is_silent(runtime).await;
}

/// The monotonic clock never goes back and moves while one sleeps.
pub async fn clock_goes_forward<R: Runtime>(runtime: &R) {
    let before = runtime.now().mono;
    assert!(runtime.now().mono >= before);
    runtime.sleep_until(before.plus_ms(2)).await;
    assert!(runtime.now().mono > before);
}

/// A sleep lasts until its instant, and no time at all when that is past.
pub async fn sleep_is_never_early<R: Runtime>(runtime: &R) {
    let until = runtime.now().mono.plus_ms(20);
    runtime.sleep_until(until).await;
    assert!(runtime.now().mono >= until);
    runtime.sleep_until(Mono(0)).await;
}

/// A fresh alarm does not ring.
pub async fn unarmed_alarm_is_silent<R: Runtime>(runtime: &R) {
    assert_eq!(look(&mut runtime.timer()), Poll::Pending);
}

/// An instant that has come already rings, also when it is the origin of time.
pub async fn alarm_in_the_past_rings_at_once<R: Runtime>(runtime: &R) {
    let mut timer = runtime.timer();
    for past in [runtime.now().mono, Mono(0)] {
        timer.arm(Some(past));
        ring(&mut timer).await;
    }
}

/// One arming, one ring, not before its time.
pub async fn alarm_rings_once_and_not_early<R: Runtime>(runtime: &R) {
    let mut timer = runtime.timer();
    let at = runtime.now().mono.plus_ms(20);
    timer.arm(Some(at));
    assert_eq!(look(&mut timer), Poll::Pending, "it rang 20 ms early");
    ring(&mut timer).await;
    assert!(runtime.now().mono >= at);
    assert_eq!(look(&mut timer), Poll::Pending, "it rang twice");
}

/// Only the last arming counts, be it earlier or later than the one before.
pub async fn alarm_can_be_moved_both_ways<R: Runtime>(runtime: &R) {
    let mut timer = runtime.timer();
    let now = runtime.now().mono;
    timer.arm(Some(now.plus_ms(3_600_000)));
    assert_eq!(look(&mut timer), Poll::Pending);
    timer.arm(Some(now.plus_ms(10)));
    ring(&mut timer).await;
    assert!(runtime.now().mono < now.plus_ms(3_600_000), "not moved");

    let now = runtime.now().mono;
    timer.arm(Some(now.plus_ms(5)));
    assert_eq!(look(&mut timer), Poll::Pending);
    timer.arm(Some(now.plus_ms(40)));
    ring(&mut timer).await;
    assert!(
        runtime.now().mono >= now.plus_ms(40),
        "the first arming rang"
    );
}

/// `arm(None)` takes the alarm back; it can be armed again.
pub async fn disarmed_alarm_is_silent<R: Runtime>(runtime: &R) {
    let mut timer = runtime.timer();
    let now = runtime.now().mono;
    timer.arm(Some(now.plus_ms(5)));
    assert_eq!(look(&mut timer), Poll::Pending);
    timer.arm(None);
    runtime.sleep_until(now.plus_ms(20)).await;
    assert_eq!(look(&mut timer), Poll::Pending);
    timer.arm(Some(now.plus_ms(30)));
    ring(&mut timer).await;
}

async fn ring(timer: &mut impl Timer) {
    poll_fn(|cx| timer.poll_due(cx)).await;
}

fn look(timer: &mut impl Timer) -> Poll<()> {
    timer.poll_due(&mut Context::from_waker(Waker::noop()))
}
