//! A connection's reading side: takes what the socket has, cuts the whole frames, and sends
//! them to the driver as one batch a read.
//!
//! The batch is the read's own bytes, headers included; the driver walks over it again and
//! hands out slices, so a frame costs no allocation. A machine that keeps a frame keeps the
//! read it came with: what is to live long should be copied.

use crate::gate::Gate;
use crate::wire::{Framing, WireError};
use bytes::{Bytes, BytesMut};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::task::{Poll, ready};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Why there is nothing more to read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadEnd {
    /// The driver closed the connection, or is gone itself.
    #[error("closed by this server")]
    Ours,
    /// The other side closed it.
    #[error("closed by the other side")]
    Eof,
    /// The socket failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The stream makes no sense any more.
    #[error("{0}")]
    Wire(#[from] WireError),
}

/// The buffer and the rules of one connection's input.
pub(crate) struct Reader<R, F> {
    read: R,
    gate: Gate,
    framing: F,
    buffer: BytesMut,
    /// What the next read asks for; grows while reads fill it, so that an idle connection
    /// holds little and a busy one makes few calls.
    ask: usize,
    ask_max: usize,
    /// What the next frame is known to need.
    need: usize,
    /// Found after good frames that had to go out first.
    broken: Option<WireError>,
}

impl<R: AsyncRead + Unpin, F: Framing> Reader<R, F> {
    pub(crate) fn new(read: R, gate: Gate, framing: F, ask: (usize, usize)) -> Reader<R, F> {
        Reader {
            read,
            gate,
            framing,
            buffer: BytesMut::new(),
            ask: ask.0,
            ask_max: ask.1,
            need: 0,
            broken: None,
        }
    }

    /// The next batch: at least one whole frame. Reads nothing while the gate is paused.
    pub(crate) async fn batch(&mut self) -> Result<Bytes, ReadEnd> {
        loop {
            if let Some(broken) = self.broken {
                return Err(broken.into());
            }
            self.make_room();
            if self.fill().await? == 0 {
                return Err(ReadEnd::Eof);
            }
            let cut = self.framing.cut(&self.buffer);
            match cut.next {
                Ok(need) => self.need = need,
                Err(broken) => self.broken = Some(broken),
            }
            if cut.whole > 0 {
                return Ok(self.buffer.split_to(cut.whole).freeze());
            }
        }
    }

    /// Room for the next read. A length that was only claimed is not believed: the buffer at
    /// most doubles what has really come.
    fn make_room(&mut self) {
        let spare = self.buffer.capacity() - self.buffer.len();
        let missing = self.need.saturating_sub(self.buffer.len());
        let wanted = missing.min(self.buffer.len()).max(self.ask);
        if spare < wanted / 4 || spare < missing.min(wanted) {
            self.buffer.reserve(wanted);
        }
    }

    async fn fill(&mut self) -> Result<usize, ReadEnd> {
        let (gate, read, buffer) = (&self.gate, &mut self.read, &mut self.buffer);
        let count = poll_fn(|cx| {
            if !ready!(gate.poll_pass(cx)) {
                return Poll::Ready(Err(ReadEnd::Ours));
            }
            let count = ready!(pin!(read.read_buf(buffer)).poll(cx));
            Poll::Ready(count.map_err(ReadEnd::Io))
        })
        .await?;
        if count >= self.ask {
            self.ask = (self.ask * 2).min(self.ask_max);
        }
        Ok(count)
    }
}
