//! The writing side of one connection: bytes staged by the driver, written once a wake.

use crate::gate::Keeper;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::AsyncWrite;

/// A buffer that grew beyond this is given back once it is empty, bytes.
const STAGED_KEPT_BYTES: usize = 64 * 1024;

/// Staged bytes and the socket they are for.
pub(crate) struct Outgoing<W> {
    write: W,
    staged: Vec<u8>,
    written: usize,
}

impl<W: AsyncWrite + Unpin> Outgoing<W> {
    /// Writes what the socket takes. Ready when nothing is left or the connection is lost.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.staged.len() {
            let rest = &self.staged[self.written..];
            match Pin::new(&mut self.write).poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => self.written += count,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.forget_written();
                    return Poll::Pending;
                }
            }
        }
        self.staged.clear();
        self.written = 0;
        self.staged.shrink_to(STAGED_KEPT_BYTES);
        Poll::Ready(Ok(()))
    }

    /// Bytes not yet taken by the socket.
    pub(crate) fn backlog(&self) -> usize {
        self.staged.len() - self.written
    }

    /// Moves the rest to the front once it is the smaller part.
    fn forget_written(&mut self) {
        if self.written > self.staged.len() / 2 {
            self.staged.drain(..self.written);
            self.written = 0;
        }
    }
}

/// Where a line stands with its writing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Writing {
    /// Nothing staged.
    Idle,
    /// On one of the driver's lists: to be written at the end of this round, or when the
    /// socket takes more.
    Listed,
}

/// A connection as the driver holds it. Dropping it closes both directions.
pub(crate) struct Line<W> {
    keeper: Keeper,
    outgoing: Outgoing<W>,
    writing: Writing,
}

impl<W: AsyncWrite + Unpin> Line<W> {
    pub(crate) fn new(keeper: Keeper, write: W) -> Line<W> {
        Line {
            keeper,
            outgoing: Outgoing {
                write,
                staged: Vec::new(),
                written: 0,
            },
            writing: Writing::Idle,
        }
    }

    /// Stops reading, or goes on.
    pub(crate) fn pause(&self, paused: bool) {
        self.keeper.pause(paused);
    }

    /// Bytes not yet taken by the socket.
    pub(crate) fn backlog(&self) -> usize {
        self.outgoing.backlog()
    }

    /// Stages a frame; true when the line was idle and must be listed for writing.
    pub(crate) fn stage(&mut self, put: impl FnOnce(&mut Vec<u8>)) -> bool {
        put(&mut self.outgoing.staged);
        let was_idle = self.writing == Writing::Idle;
        self.writing = Writing::Listed;
        was_idle
    }

    /// Writes what the socket takes. Pending: list the line for the next wake.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = self.outgoing.poll_write(cx);
        if done.is_ready() {
            self.writing = Writing::Idle;
        }
        done
    }

    /// Ends the reader and keeps only the writing side, to bring out what is staged.
    pub(crate) fn into_outgoing(self) -> Outgoing<W> {
        self.outgoing
    }
}
