//! The real world: tokio's executor, sockets and timers, the machine's clocks and files.
//!
//! Sockets have TCP_NODELAY set, as ZooKeeper's have: every frame is small and awaited.
//! Timers are as coarse as tokio's, one millisecond, and never early. The directory of a
//! server is `tokio_disk`.

use crate::tokio_disk::TokioDisk;
use crate::{Listener, Runtime, Timer};
use gamekeeper_core::base::{Mono, Now};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::time::{Instant, Sleep};

/// Longest wait that is handed to tokio; an alarm beyond it would overflow its clock.
const WAIT_MAX: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// The seam on tokio.
#[derive(Clone, Debug)]
pub struct TokioRuntime {
    handle: Handle,
    origin: Instant,
}

impl TokioRuntime {
    /// A process's view of the world, on the tokio runtime it is called from. Its monotonic
    /// clock starts at zero now.
    ///
    /// Panics outside of a tokio runtime.
    pub fn new() -> TokioRuntime {
        TokioRuntime {
            handle: Handle::current(),
            origin: Instant::now(),
        }
    }

    fn instant(&self, at: Mono) -> Instant {
        self.origin + Duration::from_nanos(at.0).min(WAIT_MAX)
    }
}

impl Default for TokioRuntime {
    fn default() -> TokioRuntime {
        TokioRuntime::new()
    }
}

impl Runtime for TokioRuntime {
    type Read = OwnedReadHalf;
    type Write = OwnedWriteHalf;
    type Listener = TokioListener;
    type Timer = TokioTimer;
    type Disk = TokioDisk;

    fn spawn(&self, _name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.handle.spawn(task);
    }

    fn now(&self) -> Now {
        let mono = u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Now {
            mono: Mono(mono),
            wall_ms: wall_ms(),
        }
    }

    async fn sleep_until(&self, at: Mono) {
        tokio::time::sleep_until(self.instant(at)).await;
    }

    fn timer(&self) -> TokioTimer {
        TokioTimer {
            runtime: self.clone(),
            sleep: None,
            armed: false,
        }
    }

    async fn listen(&self, addr: SocketAddr) -> io::Result<TokioListener> {
        Ok(TokioListener(TcpListener::bind(addr).await?))
    }

    async fn connect(&self, addr: SocketAddr) -> io::Result<(OwnedReadHalf, OwnedWriteHalf)> {
        halves(TcpStream::connect(addr).await?)
    }

    fn disk(&self, dir: &str) -> io::Result<TokioDisk> {
        TokioDisk::open(dir.as_ref())
    }
}

/// Unix milliseconds; before 1970 they are negative.
fn wall_ms() -> i64 {
    let millis = |d: Duration| i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => millis(since),
        Err(before) => -millis(before.duration()),
    }
}

fn halves(stream: TcpStream) -> io::Result<(OwnedReadHalf, OwnedWriteHalf)> {
    stream.set_nodelay(true)?;
    Ok(stream.into_split())
}

/// A listening TCP socket.
#[derive(Debug)]
pub struct TokioListener(TcpListener);

impl Listener for TokioListener {
    type Read = OwnedReadHalf;
    type Write = OwnedWriteHalf;

    async fn accept(&mut self) -> io::Result<(OwnedReadHalf, OwnedWriteHalf, SocketAddr)> {
        let (stream, addr) = self.0.accept().await?;
        let (read, write) = halves(stream)?;
        Ok((read, write, addr))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// One tokio timer entry, moved rather than made anew.
#[derive(Debug)]
pub struct TokioTimer {
    runtime: TokioRuntime,
    sleep: Option<Pin<Box<Sleep>>>,
    armed: bool,
}

impl Timer for TokioTimer {
    fn arm(&mut self, at: Option<Mono>) {
        self.armed = at.is_some();
        let Some(at) = at else { return };
        let at = self.runtime.instant(at);
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(at),
            None => self.sleep = Some(Box::pin(tokio::time::sleep_until(at))),
        }
    }

    fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.sleep {
            Some(sleep) if self.armed => {
                let due = sleep.as_mut().poll(cx);
                self.armed = due.is_pending();
                due
            }
            _ => Poll::Pending,
        }
    }
}
