//! One direction of a connection: bytes with due times, a window, and who waits at each end.
//!
//! What always holds: nothing inside a pipe is dropped, repeated or moved; due times never go
//! back; at most `window` bytes are on their way or unread. A pipe that was severed keeps
//! what it was told to deliver and swallows the rest. Answers to section 3 of the fault model.

use super::alarm::{Alarms, NEVER, Waiter};
use super::keyed::Key;
use std::collections::VecDeque;
use tokio::io::ReadBuf;

/// A stretch of bytes that arrive together. `due_ns` is [`NEVER`] while the road is blocked.
#[derive(Clone, Copy, Debug)]
struct Mark {
    due_ns: u64,
    len: usize,
    fin: bool,
}

/// What a look into a pipe found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Found {
    /// So many bytes were taken out.
    Bytes(usize),
    /// The end of the stream.
    End,
    /// Nothing yet; the next thing is due then (perhaps never).
    Nothing(u64),
}

/// One direction of a connection.
pub(super) struct Pipe {
    bytes: VecDeque<u8>,
    marks: VecDeque<Mark>,
    /// Bytes that take up room: on their way, unread, or read and not yet acknowledged.
    taken: usize,
    /// Bytes read whose acknowledgement is held up by a blocked road back.
    unacked: usize,
    window: usize,
    last_due_ns: u64,
    /// Names the draws of this direction of this connection.
    pub(super) key: Key,
    /// Chunks so far.
    pub(super) chunks: u64,
    /// The writer said that nothing follows.
    shut: bool,
    /// Nothing that is written from now on arrives.
    severed: bool,
    ended: bool,
    pub(super) reader: Waiter,
    pub(super) writer: Waiter,
}

impl Pipe {
    pub(super) fn new(key: Key, window: usize) -> Pipe {
        assert!(window > 0, "a window of nothing lets nothing through");
        Pipe {
            bytes: VecDeque::new(),
            marks: VecDeque::new(),
            taken: 0,
            unacked: 0,
            window,
            last_due_ns: 0,
            key,
            chunks: 0,
            shut: false,
            severed: false,
            ended: false,
            reader: Waiter::default(),
            writer: Waiter::default(),
        }
    }

    /// Room for more bytes.
    pub(super) fn room(&self) -> usize {
        self.window.saturating_sub(self.taken)
    }

    /// True when bytes wait for a reader or for the road.
    pub(super) fn holds_bytes(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// True when something was written that the other side has not acknowledged.
    pub(super) fn awaits_ack(&self) -> bool {
        self.taken > 0
    }

    pub(super) fn is_shut(&self) -> bool {
        self.shut
    }

    pub(super) fn is_severed(&self) -> bool {
        self.severed
    }

    /// When the last byte arrives, if the road is free.
    pub(super) fn last_due_ns(&self) -> u64 {
        self.last_due_ns
    }

    /// Puts bytes on their way: due after `latency_ns`, or when the road is free again.
    /// Gives back when.
    pub(super) fn push(&mut self, data: &[u8], now_ns: u64, latency_ns: Option<u64>) -> u64 {
        assert!(data.len() <= self.room(), "more than the window takes");
        self.taken += data.len();
        self.chunks += 1;
        if self.severed {
            return NEVER;
        }
        self.bytes.extend(data);
        self.mark(now_ns, latency_ns, data.len(), false)
    }

    /// Swallows bytes for which there is nobody: they take up room for ever.
    pub(super) fn swallow(&mut self, len: usize) {
        self.taken += len;
        self.chunks += 1;
    }

    /// Nothing follows.
    pub(super) fn shut(&mut self, now_ns: u64, latency_ns: Option<u64>) -> u64 {
        if self.shut || self.severed {
            self.shut = true;
            return NEVER;
        }
        self.shut = true;
        self.mark(now_ns, latency_ns, 0, true)
    }

    fn mark(&mut self, now_ns: u64, latency_ns: Option<u64>, len: usize, fin: bool) -> u64 {
        // What is held up blocks everything behind it.
        let behind_held = self.marks.back().is_some_and(|mark| mark.due_ns == NEVER);
        let due_ns = match latency_ns {
            Some(latency_ns) if !behind_held => {
                self.last_due_ns = self.last_due_ns.max(now_ns + latency_ns);
                self.last_due_ns
            }
            Some(_) | None => NEVER,
        };
        self.marks.push_back(Mark { due_ns, len, fin });
        due_ns
    }

    /// Takes out what is due, as much as fits.
    pub(super) fn take(&mut self, now_ns: u64, into: &mut ReadBuf<'_>) -> Found {
        if self.ended {
            return Found::End;
        }
        let mut count = 0;
        while let Some(mark) = self.marks.front_mut() {
            if mark.due_ns > now_ns || (mark.fin && count > 0) {
                break;
            }
            if mark.fin {
                self.ended = true;
                return Found::End;
            }
            let fits = mark.len.min(into.remaining() - count);
            count += fits;
            mark.len -= fits;
            if mark.len > 0 {
                break;
            }
            self.marks.pop_front();
        }
        if count == 0 {
            let next_ns = self.marks.front().map_or(NEVER, |mark| mark.due_ns);
            return Found::Nothing(next_ns);
        }
        let (head, tail) = self.bytes.as_slices();
        let from_head = head.len().min(count);
        into.put_slice(&head[..from_head]);
        into.put_slice(&tail[..count - from_head]);
        self.bytes.drain(..count);
        Found::Bytes(count)
    }

    /// When the next thing arrives.
    pub(super) fn next_due_ns(&self) -> u64 {
        self.marks.front().map_or(NEVER, |mark| mark.due_ns)
    }

    /// Bytes were read: their room is free again once the road back lets the word through,
    /// after `latency_ns`. A writer that waits hears of it only when half the window is
    /// free, as TCP avoids windows of a few bytes.
    pub(super) fn acknowledge(
        &mut self,
        alarms: &Alarms,
        now_ns: u64,
        len: usize,
        latency_ns: Option<u64>,
    ) {
        self.unacked += len;
        if let Some(latency_ns) = latency_ns {
            self.taken -= std::mem::take(&mut self.unacked);
            if self.taken <= self.window / 2 {
                self.writer.ring_at(alarms, now_ns, now_ns + latency_ns);
            }
        }
    }

    /// The road is blocked: what has not arrived yet is held.
    pub(super) fn hold(&mut self, now_ns: u64) {
        for mark in self.marks.iter_mut().rev() {
            if mark.due_ns <= now_ns {
                break;
            }
            mark.due_ns = NEVER;
        }
    }

    /// The road is free: what was held arrives in its order, after the latency that
    /// `latency_ns` tells for each chunk.
    pub(super) fn release(
        &mut self,
        alarms: &Alarms,
        now_ns: u64,
        mut latency_ns: impl FnMut(u64) -> u64,
    ) {
        // What is due when it was held may lie in the past of what comes now.
        let mut last_ns = now_ns;
        for (nth, mark) in self.marks.iter_mut().enumerate() {
            if mark.due_ns == NEVER {
                mark.due_ns = last_ns.max(now_ns + latency_ns(nth as u64));
            }
            last_ns = last_ns.max(mark.due_ns);
        }
        self.last_due_ns = last_ns;
        self.reader.ring_at(alarms, now_ns, self.next_due_ns());
    }

    /// Keeps the first `keep` bytes that have not been read, and lets nothing follow.
    pub(super) fn sever(&mut self, keep: usize) {
        self.severed = true;
        let mut left = keep.min(self.bytes.len());
        self.bytes.truncate(left);
        self.marks.retain_mut(|mark| {
            mark.len = mark.len.min(left);
            left -= mark.len;
            mark.len > 0
        });
    }

    /// Bytes that have arrived and were not read yet.
    pub(super) fn arrived(&self, now_ns: u64) -> usize {
        let due = self.marks.iter().take_while(|mark| mark.due_ns <= now_ns);
        due.map(|mark| mark.len).sum()
    }

    /// Bytes that were not read yet.
    pub(super) fn unread(&self) -> usize {
        self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pipe(window: usize) -> Pipe {
        Pipe::new(Key::new(1, "test"), window)
    }

    fn take(pipe: &mut Pipe, now_ns: u64) -> (Found, Vec<u8>) {
        let mut buffer = [0; 64];
        let mut into = ReadBuf::new(&mut buffer);
        let found = pipe.take(now_ns, &mut into);
        (found, into.filled().to_vec())
    }

    #[test]
    fn chunks_arrive_in_order_even_when_a_later_one_is_faster() {
        let mut pipe = pipe(100);
        assert_eq!(pipe.push(b"slow", 0, Some(50)), 50);
        assert_eq!(pipe.push(b"fast", 1, Some(5)), 50);
        pipe.shut(2, Some(1));
        assert_eq!(take(&mut pipe, 49).0, Found::Nothing(50));
        assert_eq!(take(&mut pipe, 50), (Found::Bytes(8), b"slowfast".to_vec()));
        assert_eq!(take(&mut pipe, 50).0, Found::End);
        assert_eq!(take(&mut pipe, 50).0, Found::End);
    }

    #[test]
    fn held_bytes_wait_and_hold_up_what_follows() {
        let mut pipe = pipe(100);
        pipe.push(b"a", 0, Some(10));
        pipe.push(b"b", 0, Some(30));
        pipe.hold(20);
        assert_eq!(pipe.push(b"c", 21, Some(1)), NEVER);
        assert_eq!(take(&mut pipe, 1000), (Found::Bytes(1), b"a".to_vec()));
        assert_eq!(take(&mut pipe, 1000).0, Found::Nothing(NEVER));
    }

    #[test]
    fn severed_pipe_delivers_a_prefix_and_swallows_the_rest() {
        let mut pipe = pipe(10);
        pipe.push(b"abcd", 0, Some(1));
        pipe.push(b"efgh", 0, Some(2));
        pipe.sever(5);
        assert_eq!(pipe.push(b"x", 3, Some(1)), NEVER);
        assert_eq!(take(&mut pipe, 9), (Found::Bytes(5), b"abcde".to_vec()));
        assert_eq!(take(&mut pipe, 9).0, Found::Nothing(NEVER));
        assert_eq!(pipe.room(), 1);
    }

    #[test]
    fn window_counts_what_is_unread() {
        let mut pipe = pipe(6);
        pipe.push(b"abcd", 0, Some(1));
        assert_eq!(pipe.room(), 2);
        assert_eq!(take(&mut pipe, 1).0, Found::Bytes(4));
        assert_eq!(pipe.room(), 2, "not before it is acknowledged");
    }
}
