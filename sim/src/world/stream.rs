//! Connections and listeners as a program holds them, and how a connection comes to be.
//!
//! Connecting takes one round trip. A request is refused where nobody listens on a machine
//! that runs, and lost where the road is cut or the machine is off; a lost one is repeated
//! after a growing wait as TCP does, until the caller gives up or the system does.

use super::alarm::{Until, Waiter};
use super::conn::{ConnRef, Half};
use super::dial::{Dial, Verdict};
use super::runtime::Process;
use crate::trace::Kind;
use gamekeeper_runtime::Listener;
use std::fmt;
use std::future::{pending, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How often a request for a connection is sent before the system gives up.
const DIAL_ATTEMPTS_MAX: u32 = 7;
/// The wait after the first, doubled after each.
const DIAL_WAIT_NS: u64 = 1_000_000_000;

/// The reading half of a simulated connection.
pub struct SimRead {
    process: Process,
    conn: ConnRef,
}

/// The writing half of a simulated connection. Dropping it says that nothing follows.
pub struct SimWrite {
    process: Process,
    conn: ConnRef,
}

impl fmt::Debug for SimRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimRead {:?} of {:?}", self.conn, self.process)
    }
}

impl fmt::Debug for SimWrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimWrite {:?} of {:?}", self.conn, self.process)
    }
}

fn halves(process: &Process, conn: ConnRef) -> (SimRead, SimWrite) {
    let process = process.clone();
    let read = SimRead {
        process: process.clone(),
        conn,
    };
    (read, SimWrite { process, conn })
}

impl AsyncRead for SimRead {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let conn = self.conn;
        (self.process)
            .act(|state, scene| state.net.poll_read(scene, conn, cx, into))
            .unwrap_or(Poll::Pending)
    }
}

impl Drop for SimRead {
    fn drop(&mut self) {
        let conn = self.conn;
        self.process
            .act(|state, scene| state.net.drop_half(scene, conn, Half::Read));
    }
}

impl AsyncWrite for SimWrite {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let conn = self.conn;
        (self.process)
            .act(|state, scene| state.net.poll_write(scene, conn, cx, data))
            .unwrap_or(Poll::Pending)
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let conn = self.conn;
        self.process.act(|state, scene| state.net.shut(scene, conn));
        Poll::Ready(Ok(()))
    }
}

impl Drop for SimWrite {
    fn drop(&mut self) {
        let conn = self.conn;
        self.process
            .act(|state, scene| state.net.drop_half(scene, conn, Half::Write));
    }
}

/// A simulated listening socket.
pub struct SimListener {
    process: Process,
    addr: SocketAddr,
    serial: u64,
}

impl fmt::Debug for SimListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimListener {} of {:?}", self.addr, self.process)
    }
}

pub(super) fn listen(process: &Process, addr: SocketAddr) -> io::Result<SimListener> {
    let bound = process.act(|state, _| {
        let ip = state.host(process.host).ip;
        if addr.ip() != ip && !addr.ip().is_unspecified() {
            return Err(io::Error::from(io::ErrorKind::AddrNotAvailable));
        }
        let (port, serial) = state.net.listen(process.host, addr.port())?;
        Ok((SocketAddr::new(ip, port), serial))
    });
    let dead = || Err(io::ErrorKind::NetworkDown.into());
    let (addr, serial) = bound.unwrap_or_else(dead)?;
    Ok(SimListener {
        process: process.clone(),
        addr,
        serial,
    })
}

impl Listener for SimListener {
    type Read = SimRead;
    type Write = SimWrite;

    async fn accept(&mut self) -> io::Result<(SimRead, SimWrite, SocketAddr)> {
        let at = (self.process.host, self.addr.port(), self.serial);
        let accepted = poll_fn(|cx| {
            (self.process)
                .act(|state, scene| state.net.poll_accept(scene, at, cx))
                .unwrap_or(Poll::Pending)
        });
        let (conn, from) = accepted.await;
        let (read, write) = halves(&self.process, conn);
        Ok((read, write, from))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.addr)
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        let (host, port, serial) = (self.process.host, self.addr.port(), self.serial);
        self.process
            .act(|state, scene| state.net.unlisten(scene, host, port, serial));
    }
}

/// Asks for a connection.
pub(super) async fn connect(
    process: &Process,
    addr: SocketAddr,
) -> io::Result<(SimRead, SimWrite)> {
    let dial = process.act(|state, scene| {
        let to = state.hosts.iter().position(|host| host.ip == addr.ip());
        let to = super::HostId::at(to?);
        let from_ip = SocketAddr::new(state.host(process.host).ip, 0);
        let dial = Dial {
            port: addr.port(),
            ..state.net.dial(process.host, to, from_ip)
        };
        let numbers = [to.index() as u64, addr.port().into(), 0];
        (scene.trace).numbers(scene.now_ns, process.host.0, Kind::Dial, numbers);
        Some(dial)
    });
    let Some(dial) = dial.unwrap_or_default() else {
        return Err(io::ErrorKind::HostUnreachable.into());
    };
    for attempt in 0..DIAL_ATTEMPTS_MAX {
        match ask(process, &dial, attempt).await {
            (Verdict::Connected(conn, at_ns), _) => {
                let halves = halves(process, conn);
                until(process, at_ns).await;
                return Ok(halves);
            }
            (Verdict::Refused(at_ns), _) => {
                until(process, at_ns).await;
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            (Verdict::Lost, asked_ns) => {
                until(process, asked_ns + (DIAL_WAIT_NS << attempt)).await;
            }
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// Sends one request over. Gives back what became of it, and when it was sent.
async fn ask(process: &Process, dial: &Dial, attempt: u32) -> (Verdict, u64) {
    let key = dial.key.and(attempt.into());
    let sent = process.act(|state, scene| {
        let latency_ns = state.net.roads.latency(dial.from, dial.to, key.and(1));
        (scene.now_ns, latency_ns)
    });
    let Some((now_ns, latency_ns)) = sent else {
        return pending().await;
    };
    let Some(latency_ns) = latency_ns else {
        return (Verdict::Lost, now_ns);
    };
    until(process, now_ns + latency_ns).await;
    let arrived = process.act(|state, scene| {
        let verdict = state.net.arrive(scene, dial);
        if verdict == Verdict::Lost {
            let numbers = [dial.to.index() as u64, dial.port.into(), attempt.into()];
            (scene.trace).numbers(scene.now_ns, dial.from.0, Kind::Lost, numbers);
        }
        verdict
    });
    match arrived {
        Some(verdict) => (verdict, now_ns),
        None => pending().await,
    }
}

/// Waits for a true instant.
async fn until(process: &Process, at_ns: u64) {
    Until {
        alarms: &process.inner.alarms,
        at_ns,
        waiter: Waiter::default(),
    }
    .await;
}
