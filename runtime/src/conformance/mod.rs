//! What every [`Runtime`](crate::Runtime) must do, as tests: one body, two arms.
//!
//! The arm on tokio is in this crate's `tests`, the simulator's in `sim`. What is not
//! promised is not tested: how fast, in what pieces bytes arrive, what a lost machine looks
//! like from the other side. Each function panics with what is wrong.

pub mod disk;
pub mod network;
pub mod timers;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

/// Waits for both, polling the left one first.
async fn both<A: Future, B: Future>(left: A, right: B) -> (A::Output, B::Output) {
    let (mut left, mut right) = (pin!(left), pin!(right));
    let (mut left_value, mut right_value) = (None, None);
    poll_fn(move |cx| {
        if left_value.is_none()
            && let Poll::Ready(value) = left.as_mut().poll(cx)
        {
            left_value = Some(value);
        }
        if right_value.is_none()
            && let Poll::Ready(value) = right.as_mut().poll(cx)
        {
            right_value = Some(value);
        }
        match (left_value.take(), right_value.take()) {
            (Some(left), Some(right)) => Poll::Ready((left, right)),
            (left, right) => {
                (left_value, right_value) = (left, right);
                Poll::Pending
            }
        }
    })
    .await
}
