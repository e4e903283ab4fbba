//! Opening a server and closing it again: sockets, disk, driver, and the end of every task.

use crate::accept;
use crate::config::ShellConfig;
use crate::driver::{Arrival, Driver};
use crate::observe::Observer;
use gamekeeper_core::base::limits;
use gamekeeper_core::peer::Machine;
use gamekeeper_runtime::{Listener, Runtime};
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use thiserror::Error;
use tokio::sync::mpsc;

/// The machine stopped itself; only a restart helps.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Halted {
    /// Why, for people.
    pub reason: String,
}

/// Why a server could not be opened.
#[derive(Debug, Error)]
pub enum ServeError {
    /// An address cannot be bound.
    #[error("cannot listen on {addr}: {error}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// The directory cannot be opened.
    #[error("cannot open the directory {dir}: {error}")]
    Directory {
        /// The directory.
        dir: String,
        /// What the system said.
        error: io::Error,
    },
}

/// What every task of one server shares.
pub(crate) struct Shell<R: Runtime> {
    pub(crate) runtime: R,
    pub(crate) config: Arc<ShellConfig>,
    pub(crate) arrivals: mpsc::Sender<Arrival<R::Write>>,
    /// Held by every task and never used: `serve` ends when the last of them is gone.
    _alive: mpsc::Sender<Infallible>,
}

impl<R: Runtime> Clone for Shell<R> {
    fn clone(&self) -> Shell<R> {
        Shell {
            runtime: self.runtime.clone(),
            config: self.config.clone(),
            arrivals: self.arrivals.clone(),
            _alive: self._alive.clone(),
        }
    }
}

/// Runs a machine until it halts.
///
/// Opens the client port, the peer port (when there are peers) and the directory, starts
/// the machine and obeys it. Returns when the machine asked for a halt and every task and
/// socket of it is gone, so the same addresses and directory can be opened again. Dropping
/// the future is a crash of this one server: its tasks end by themselves.
///
/// Fails only before the machine's first step.
pub async fn serve<R: Runtime, M: Machine, O: Observer>(
    runtime: R,
    config: ShellConfig,
    machine: M,
    mut observer: O,
) -> Result<Halted, ServeError> {
    let disk = runtime
        .disk(&config.data_dir)
        .map_err(|error| ServeError::Directory {
            dir: config.data_dir.clone(),
            error,
        })?;
    let (client_addr, clients) = listen(&runtime, config.client_addr).await?;
    let links = match config.has_peers() {
        true => Some(listen(&runtime, config.peer_addr).await?),
        false => None,
    };
    observer.listening(client_addr, links.as_ref().map(|(addr, _)| *addr));

    let (arrivals, inbox) = mpsc::channel(limits::SHELL_QUEUE_MAX);
    let (alive, mut ended) = mpsc::channel(1);
    let shell = Shell {
        runtime,
        config: Arc::new(config),
        arrivals,
        _alive: alive,
    };
    let runtime = shell.runtime.clone();
    runtime.spawn("accept-clients", accept::clients(shell.clone(), clients));
    if let Some((_, links)) = links {
        runtime.spawn("accept-links", accept::links(shell.clone(), links));
    }

    let mut driver = Driver::new(shell, disk, machine, observer, inbox);
    let halted = poll_fn(|cx| driver.poll(cx)).await;
    drop(driver);
    let none: Option<Infallible> = ended.recv().await;
    assert!(none.is_none(), "nobody can say anything on this channel");
    Ok(halted)
}

async fn listen<R: Runtime>(
    runtime: &R,
    addr: SocketAddr,
) -> Result<(SocketAddr, R::Listener), ServeError> {
    let failed = |error| ServeError::Listen { addr, error };
    let listener = runtime.listen(addr).await.map_err(failed)?;
    Ok((listener.local_addr().map_err(failed)?, listener))
}
