//! How dialled links begin. Each dial is a task of its own, so one server that cannot be
//! reached never delays another (ZOOKEEPER-822), and each has a bound in time.

use crate::accept::read_link;
use crate::driver::Arrival;
use crate::gate::Gate;
use crate::hello::{HELLO_BYTES, Hello, HelloError};
use crate::serve::Shell;
use gamekeeper_core::base::{LinkId, ServerId};
use gamekeeper_runtime::{Either, Runtime, race};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tracing::{debug, warn};

/// Why a link did not come up.
#[derive(Debug, Error)]
pub(crate) enum LinkError {
    /// No connection, or it broke before the hello was through.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Nothing came in time.
    #[error("no answer within {0} ms")]
    Silence(u64),
    /// The other side is not whom this server wants.
    #[error("{0}")]
    Hello(#[from] HelloError),
}

/// Gives a future a bound in time.
pub(crate) async fn within<R: Runtime, T>(
    runtime: &R,
    ms: u64,
    future: impl Future<Output = Result<T, LinkError>>,
) -> Result<T, LinkError> {
    let deadline = runtime.now().mono.plus_ms(ms);
    match race(future, runtime.sleep_until(deadline)).await {
        Either::First(result) => result,
        Either::Second(()) => Err(LinkError::Silence(ms)),
    }
}

/// A dialled link's life: connected, introduced, and read until it ends or is closed.
pub(crate) async fn dial<R: Runtime>(
    shell: Shell<R>,
    gate: Gate,
    link: LinkId,
    hello: Hello,
    addr: SocketAddr,
) {
    let peer = hello.to;
    let (read, write) = match race(gate.closed(), reach(&shell, hello, addr)).await {
        Either::First(()) => return,
        Either::Second(Ok(halves)) => halves,
        Either::Second(Err(error)) => {
            report(shell.config.me, peer, addr, &error);
            let _ = shell.arrivals.send(Arrival::LinkGone { link }).await;
            return;
        }
    };
    let up = Arrival::LinkUp {
        link,
        peer,
        kind: hello.kind,
        write,
        keeper: None,
    };
    if shell.arrivals.send(up).await.is_ok() {
        read_link(&shell, read, gate, link, peer).await;
    }
}

async fn reach<R: Runtime>(
    shell: &Shell<R>,
    hello: Hello,
    addr: SocketAddr,
) -> Result<(R::Read, R::Write), LinkError> {
    let (runtime, config) = (&shell.runtime, &shell.config);
    let connect = async { Ok(runtime.connect(addr).await?) };
    let (mut read, mut write) = within(runtime, config.connect_ms_max, connect).await?;
    let introduce = async {
        write.write_all(&hello.encode()).await?;
        let mut bytes = [0; HELLO_BYTES];
        read.read_exact(&mut bytes).await?;
        Ok(hello.check_answer(&Hello::decode(&bytes)?)?)
    };
    within(runtime, config.hello_ms_max, introduce).await?;
    Ok((read, write))
}

/// A server that is down is everyday news; one that answers wrongly is a mistake of people.
fn report(me: ServerId, peer: ServerId, addr: SocketAddr, error: &LinkError) {
    match error {
        LinkError::Io(_) | LinkError::Silence(_) => {
            debug!(server = %me, %peer, %addr, %error, "cannot reach a server");
        }
        LinkError::Hello(_) => {
            warn!(server = %me, %peer, %addr, %error, "will not link with a server: {error}");
        }
    }
}
