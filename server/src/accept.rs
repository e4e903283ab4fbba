//! How accepted connections begin: numbered, counted, introduced, then read.
//!
//! Nothing here waits without a bound but `accept` itself, and everything ends with the
//! driver, whose closed channel every task notices.

use crate::dial::{LinkError, within};
use crate::driver::Arrival;
use crate::gate::{Gate, gate};
use crate::hello::{HELLO_BYTES, Hello};
use crate::reader::{ReadEnd, Reader};
use crate::serve::Shell;
use crate::wire::{ClientFraming, Framing, PeerFraming};
use bytes::Bytes;
use gamekeeper_core::base::{ConnId, LinkId, ServerId};
use gamekeeper_core::zab::LinkKind;
use gamekeeper_runtime::{Either, Listener, Runtime, race};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::{debug, warn};

/// Wait after a failed accept, ms: out of file descriptors does not pass by asking at once.
const ACCEPT_RETRY_MS: u64 = 50;

/// Accepts clients until the driver is gone.
pub(crate) async fn clients<R: Runtime>(shell: Shell<R>, mut listener: R::Listener) {
    let room = Arc::new(Semaphore::new(shell.config.clients_max));
    let mut accepted = 0;
    while let Some((read, write, addr)) = accept(&shell, &mut listener).await {
        let Ok(place) = room.clone().try_acquire_owned() else {
            debug!(server = %shell.config.me, %addr, "too many clients: closed");
            continue;
        };
        accepted += 1;
        let conn = ConnId(accepted);
        let (keeper, gate) = gate();
        let opened = Arrival::ClientOpened {
            conn,
            addr: addr.ip(),
            write,
            keeper,
        };
        if shell.arrivals.send(opened).await.is_err() {
            return;
        }
        let reader = read_client(shell.clone(), read, gate, conn, place);
        shell.runtime.spawn("client", reader);
    }
}

/// Accepts other servers until the driver is gone.
pub(crate) async fn links<R: Runtime>(shell: Shell<R>, mut listener: R::Listener) {
    let room = Arc::new(Semaphore::new(shell.config.links_accepted_max));
    let mut accepted = 0;
    while let Some((read, write, addr)) = accept(&shell, &mut listener).await {
        let Ok(place) = room.clone().try_acquire_owned() else {
            warn!(server = %shell.config.me, %addr, "too many links: closed");
            continue;
        };
        accepted += 1;
        let link = LinkId(accepted);
        assert!(!link.is_dialled(), "accepted links have their own numbers");
        let task = introduce(shell.clone(), link, read, write, addr, place);
        shell.runtime.spawn("link", task);
    }
}

/// The next connection, `None` once the driver is gone.
async fn accept<R: Runtime>(
    shell: &Shell<R>,
    listener: &mut R::Listener,
) -> Option<(R::Read, R::Write, SocketAddr)> {
    loop {
        match race(shell.arrivals.closed(), listener.accept()).await {
            Either::First(()) => return None,
            Either::Second(Ok(accepted)) => return Some(accepted),
            Either::Second(Err(error)) => {
                warn!(server = %shell.config.me, %error, "cannot accept a connection");
                let at = shell.runtime.now().mono.plus_ms(ACCEPT_RETRY_MS);
                race(shell.arrivals.closed(), shell.runtime.sleep_until(at)).await;
            }
        }
    }
}

async fn read_client<R: Runtime>(
    shell: Shell<R>,
    read: R::Read,
    gate: Gate,
    conn: ConnId,
    _place: OwnedSemaphorePermit,
) {
    let framing = ClientFraming {
        bytes_max: shell.config.client_frame_bytes_max,
    };
    let reader = Reader::new(read, gate, framing, shell.config.read_buffer_bytes);
    let batch = |frames| Arrival::ClientFrames { conn, frames };
    if let Some(end) = read_all(&shell, reader, batch).await {
        debug!(server = %shell.config.me, ?conn, %end, "client gone");
        let _ = shell.arrivals.send(Arrival::ClientGone { conn }).await;
    }
}

/// Reads a link that is up, to its end.
pub(crate) async fn read_link<R: Runtime>(
    shell: &Shell<R>,
    read: R::Read,
    gate: Gate,
    link: LinkId,
    peer: ServerId,
) {
    let framing = PeerFraming {
        bytes_max: shell.config.peer_frame_bytes_max,
        sequence: 0,
    };
    let reader = Reader::new(read, gate, framing, shell.config.read_buffer_bytes);
    let batch = |frames| Arrival::LinkFrames { link, frames };
    if let Some(end) = read_all(shell, reader, batch).await {
        match end {
            ReadEnd::Wire(error) => {
                warn!(server = %shell.config.me, %peer, ?link, %error, "broken link");
            }
            ReadEnd::Ours | ReadEnd::Eof | ReadEnd::Io(_) => {
                debug!(server = %shell.config.me, %peer, ?link, %end, "link gone");
            }
        }
        let _ = shell.arrivals.send(Arrival::LinkGone { link }).await;
    }
}

/// Sends every batch to the driver. Why it ended, unless the driver itself ended it.
async fn read_all<R: Runtime, F: Framing>(
    shell: &Shell<R>,
    mut reader: Reader<R::Read, F>,
    batch: impl Fn(Bytes) -> Arrival<R::Write>,
) -> Option<ReadEnd> {
    loop {
        match reader.batch().await {
            Ok(frames) => shell.arrivals.send(batch(frames)).await.ok()?,
            Err(ReadEnd::Ours) => return None,
            Err(end) => return Some(end),
        }
    }
}

/// An accepted link's life: it says whom it wants, is answered, and is read.
async fn introduce<R: Runtime>(
    shell: Shell<R>,
    link: LinkId,
    mut read: R::Read,
    mut write: R::Write,
    addr: SocketAddr,
    _place: OwnedSemaphorePermit,
) {
    let (peer, kind) = {
        let greeted = within(
            &shell.runtime,
            shell.config.hello_ms_max,
            greet(&shell, &mut read, &mut write),
        );
        match race(shell.arrivals.closed(), greeted).await {
            Either::First(()) => return,
            Either::Second(Ok(introduced)) => introduced,
            Either::Second(Err(error)) => {
                let me = shell.config.me;
                warn!(server = %me, %addr, %error, "refused a link: {error}");
                return;
            }
        }
    };
    let (keeper, gate) = gate();
    let up = Arrival::LinkUp {
        link,
        peer,
        kind,
        write,
        keeper: Some(keeper),
    };
    if shell.arrivals.send(up).await.is_ok() {
        read_link(&shell, read, gate, link, peer).await;
    }
}

async fn greet<R: Runtime>(
    shell: &Shell<R>,
    read: &mut R::Read,
    write: &mut R::Write,
) -> Result<(ServerId, LinkKind), LinkError> {
    let config = &shell.config;
    let mut bytes = [0; HELLO_BYTES];
    read.read_exact(&mut bytes).await?;
    let hello = Hello::decode(&bytes)?;
    hello.check_dialled(config.cluster_id, config.me, |from| {
        config.peers.contains_key(&from)
    })?;
    write.write_all(&hello.answer().encode()).await?;
    Ok((hello.from, hello.kind))
}
