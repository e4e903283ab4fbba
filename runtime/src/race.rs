//! The first of two futures to be ready, the left one first when both are.
//!
//! Stands where others write `select!`: no random order, so a seed replays, and a deadline
//! on anything is `race(runtime.sleep_until(at), work)`.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

/// Which of two came first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Either<A, B> {
    /// The left one.
    First(A),
    /// The right one.
    Second(B),
}

/// Waits for either future; the other is dropped where it stands.
pub async fn race<A: Future, B: Future>(first: A, second: B) -> Either<A::Output, B::Output> {
    let mut first = pin!(first);
    let mut second = pin!(second);
    poll_fn(move |cx| {
        if let Poll::Ready(value) = first.as_mut().poll(cx) {
            return Poll::Ready(Either::First(value));
        }
        second.as_mut().poll(cx).map(Either::Second)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, ready};

    #[tokio::test]
    async fn the_left_one_wins_a_tie() {
        assert_eq!(race(ready(1), ready(2)).await, Either::First(1));
        assert_eq!(race(pending::<i32>(), ready(2)).await, Either::Second(2));
    }
}
