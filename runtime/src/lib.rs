//! The seam between the shell and the world: spawn, time, network, disk.
//!
//! `server` and `client` are generic over [`Runtime`] and name no executor, socket or file
//! of their own. Two worlds implement it: `tokio_rt` here, for production, and the
//! simulator's in `sim`. Both answer to the same tests (`conformance`).

pub mod conformance;
pub mod race;
pub mod tokio_disk;
pub mod tokio_rt;

pub use race::{Either, race};
pub use tokio_rt::TokioRuntime;

use gamekeeper_core::base::{DiskDone, DiskRequest, Mono, Now};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite};

/// One process's view of the world.
pub trait Runtime: Clone + Send + Sync + 'static {
    /// The reading half of a connection.
    type Read: AsyncRead + Unpin + Send + 'static;
    /// The writing half of a connection. A write needs no flush. Dropping both halves closes
    /// the connection; what was written before still arrives, then the end of the stream.
    type Write: AsyncWrite + Unpin + Send + 'static;
    /// A listening socket.
    type Listener: Listener<Read = Self::Read, Write = Self::Write>;
    /// A re-armable alarm.
    type Timer: Timer;
    /// A server's directory.
    type Disk: Disk;

    /// Runs a task until it ends or its process does.
    fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static);

    /// Both clocks.
    fn now(&self) -> Now;

    /// Sleeps until a monotonic instant (at once when it is past).
    fn sleep_until(&self, at: Mono) -> impl Future<Output = ()> + Send;

    /// A timer that is not armed.
    fn timer(&self) -> Self::Timer;

    /// Binds and listens.
    fn listen(&self, addr: SocketAddr) -> impl Future<Output = io::Result<Self::Listener>> + Send;

    /// Connects. May take for ever when the other side is unreachable: give it a deadline.
    fn connect(
        &self,
        addr: SocketAddr,
    ) -> impl Future<Output = io::Result<(Self::Read, Self::Write)>> + Send;

    /// Opens (creating it when missing) the directory of a server.
    fn disk(&self, dir: &str) -> io::Result<Self::Disk>;
}

/// Accepts connections.
pub trait Listener: Send + 'static {
    /// The reading half of a connection.
    type Read;
    /// The writing half of a connection.
    type Write;

    /// The next connection and its peer's address.
    fn accept(
        &mut self,
    ) -> impl Future<Output = io::Result<(Self::Read, Self::Write, SocketAddr)>> + Send;

    /// The address bound to.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// An alarm that is armed once per deadline and polled many times at no cost.
pub trait Timer: Send + Unpin + 'static {
    /// Arms (or moves, or with `None` disarms) the alarm.
    fn arm(&mut self, at: Option<Mono>);

    /// Ready once when the armed instant has come; the alarm is then disarmed.
    fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

/// A server's directory, see `gamekeeper_core::base::disk` for what each operation promises.
pub trait Disk: Send + Unpin + 'static {
    /// Submits an operation. Never blocks.
    fn submit(&mut self, request: DiskRequest);

    /// The next completion.
    fn poll_done(&mut self, cx: &mut Context<'_>) -> Poll<DiskDone>;
}
