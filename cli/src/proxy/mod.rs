//! `zkcli proxy`: a transparent recorder between other people's clients and their servers.
//!
//! Clients in any language are pointed at the proxy's addresses instead of the servers'; the
//! bytes pass unchanged, and what they say goes into a history with zxids, sessions and
//! watches, also what client libraries hide. One process, one clock.
//!
//! | room | what is in it |
//! |---|---|
//! | [`ear`] | bytes to words, pure |
//! | `lapsing` | creates of containers and TTL nodes, for the ear |
//! | [`ledger`] | who is who, and the history |
//! | `relay` | one connection |
//! | `start` | the tree before the first record |
//!
//! What it does not do: TLS, answering for a server, hiding its own address (ACLs of scheme
//! `ip` see the proxy's).

pub mod ear;
mod lapsing;
pub mod ledger;
mod relay;
mod start;
mod stays;

pub use ledger::Tally;

use crate::arguments::ProxyArguments;
use crate::book::Book;
use crate::hosts;
use crate::stop::ending;
use crate::trouble::Trouble;
use gamekeeper_checker::history::{Start, World};
use gamekeeper_runtime::TokioRuntime;
use ledger::Ledger;
use relay::relay;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Most connections at a time; further ones wait to be taken.
pub const CONNECTIONS_MAX: usize = 4096;
/// How often what was recorded goes to the file.
const WRITE_EVERY: Duration = Duration::from_millis(200);
/// Pause when a connection cannot be taken (too many files, most often).
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// A proxy at work.
#[derive(Debug)]
pub struct Proxy {
    /// Where it listens, in the order of the arguments.
    pub addrs: Vec<SocketAddr>,
    ledger: Ledger,
    tasks: JoinSet<()>,
}

impl Proxy {
    /// Begins to listen and to record.
    ///
    /// # Errors
    ///
    /// An address that cannot be had, a file that cannot be written, a tree that cannot be
    /// read.
    pub async fn open(arguments: &ProxyArguments) -> Result<Proxy, Trouble> {
        let mut roads = Vec::new();
        for road in &arguments.listen {
            let Some((here, there)) = road.split_once('=') else {
                let line = format!(
                    "--listen: {road:?} is no ADDRESS=HOST:PORT, as in 127.0.0.1:3181=h1:2181"
                );
                return Err(Trouble::new(line));
            };
            let (here, there) = (hosts::address(here).await?, hosts::address(there).await?);
            let listener = TcpListener::bind(here).await;
            let listener = listener.map_err(|error| {
                Trouble::new(format!("--listen: {here} cannot be had: {error}"))
            })?;
            roads.push((listener, there));
        }
        Book::try_place(&arguments.out)?;
        let rt = TokioRuntime::new();
        let servers: Vec<SocketAddr> = roads.iter().map(|(_, there)| *there).collect();
        let (world, start) = match arguments.exclusive {
            true => {
                let file = arguments.auth_file.as_deref();
                let credentials = file.map_or(Ok(Vec::new()), start::credentials)?;
                let start = start::read_tree(&rt, &servers, &credentials).await?;
                (World::Closed, start)
            }
            false => (World::Open, Start::Fresh),
        };
        let book = Book::create(&arguments.out, arguments.service.header(world, start))?;
        let ledger = Ledger::new(book, rt);
        let mut proxy = Proxy {
            addrs: Vec::new(),
            ledger,
            tasks: JoinSet::new(),
        };
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        for (place, (listener, there)) in roads.into_iter().enumerate() {
            let here = listener.local_addr();
            let here = here.map_err(|error| Trouble::new(format!("--listen: {error}")))?;
            proxy.addrs.push(here);
            let (id, ledger) = (place as u32 + 1, proxy.ledger.clone());
            let accepting = accept(listener, there, id, ledger, room.clone());
            proxy.tasks.spawn(accepting);
        }
        let ledger = proxy.ledger.clone();
        proxy.tasks.spawn(async move {
            loop {
                tokio::time::sleep(WRITE_EVERY).await;
                if let Err(trouble) = ledger.flush() {
                    // The clients' bytes pass all the same.
                    eprintln!("zkcli: {trouble}; from now on nothing is recorded");
                    return;
                }
            }
        });
        Ok(proxy)
    }

    /// Ends the recording and drops all connections.
    ///
    /// # Errors
    ///
    /// Some of the history could not be written.
    pub async fn close(mut self) -> Result<Tally, Trouble> {
        let tally = self.ledger.finish();
        self.tasks.shutdown().await;
        tally
    }
}

/// Takes connections for one server, for ever.
async fn accept(
    listener: TcpListener,
    there: SocketAddr,
    id: u32,
    ledger: Ledger,
    room: Arc<Semaphore>,
) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let place = room.clone().acquire_owned().await;
        match listener.accept().await {
            Ok((client, _)) => {
                let ledger = ledger.clone();
                connections.spawn(async move {
                    relay(client, there, id, ledger).await;
                    drop(place);
                });
            }
            Err(_) => tokio::time::sleep(ACCEPT_RETRY).await,
        }
    }
}

/// Records until the time is over or somebody says so.
///
/// # Errors
///
/// As [`Proxy::open`] and [`Proxy::close`].
pub async fn run(arguments: ProxyArguments) -> Result<Tally, Trouble> {
    let proxy = Proxy::open(&arguments).await?;
    for (here, road) in proxy.addrs.iter().zip(&arguments.listen) {
        let there = road.split_once('=').map_or("", |(_, there)| there);
        eprintln!("zkcli: {here} leads to {there}");
    }
    ending(arguments.seconds).await;
    proxy.close().await
}
