//! Reading everything from everybody, once the faults have healed.
//!
//! An acknowledged write that is gone shows only to who looks (P9), and a replica that went
//! its own way only to who asks *it* (P18). So one fresh session per server, attached to
//! that server alone: sync, then every node's data, children and ACL from the root down.

use crate::ask;
use crate::kinds::USERS;
use crate::recorder::Recorder;
use crate::root::Root;
use crate::run::Server;
use bytes::Bytes;
use gamekeeper_client::{Client, ClientConfig, ClientError, State};
use gamekeeper_core::proto::Response;
use gamekeeper_runtime::{Either, Runtime, race};
use std::collections::VecDeque;

/// Nodes read at a time.
const WINDOW: usize = 32;
/// Pause between two tries of one server, milliseconds.
const RETRY_MS: u64 = 500;

/// What the final reads reached.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FinalReads {
    /// For each server that was read to the end: its number and how many nodes it showed.
    pub read: Vec<(u32, u64)>,
    /// Servers that could not be read in time.
    pub missed: Vec<u32>,
}

/// Marks the history as final, then reads each server in turn. A server that breaks off is
/// tried again with a new session until `patience_ms` (for each server) are over.
pub async fn final_reads<R: Runtime>(
    rt: &R,
    servers: &[Server],
    recorder: &Recorder,
    timeout_ms: u32,
    patience_ms: u64,
) -> FinalReads {
    let root = Root::default();
    final_reads_below(rt, &root, servers, recorder, timeout_ms, patience_ms).await
}

/// As [`final_reads`], of `root` and what is below it.
pub async fn final_reads_below<R: Runtime>(
    rt: &R,
    root: &Root,
    servers: &[Server],
    recorder: &Recorder,
    timeout_ms: u32,
    patience_ms: u64,
) -> FinalReads {
    recorder.mark_final();
    let mut done = FinalReads::default();
    for server in servers {
        let deadline = rt.now().mono.plus_ms(patience_ms);
        let tries = read_until_done(rt, root, *server, recorder, timeout_ms);
        match race(tries, rt.sleep_until(deadline)).await {
            Either::First(nodes) => done.read.push((server.id, nodes)),
            Either::Second(()) => done.missed.push(server.id),
        }
    }
    done
}

/// Tries until one walk reaches the end; how many nodes it saw. For ever, if need be.
async fn read_until_done<R: Runtime>(
    rt: &R,
    root: &Root,
    server: Server,
    recorder: &Recorder,
    timeout_ms: u32,
) -> u64 {
    loop {
        let config = ClientConfig {
            servers: vec![server.addr],
            timeout_ms,
            rest_ms: 100,
        };
        // Nobody watches here: the events are declined at once.
        let (client, _) = Client::open(rt, config, recorder.scribe(vec![server.id]));
        if let Ok(nodes) = read_all(&client, root.path()).await {
            // The reads are done; whether the close is heard changes nothing.
            let _ = client.close().await;
            return nodes;
        }
        drop(client);
        rt.sleep_until(rt.now().mono.plus_ms(RETRY_MS)).await;
    }
}

/// One walk over the tree from `root` down.
async fn read_all(client: &Client, root: &str) -> Result<u64, ClientError> {
    let State::Connected { .. } = client.ready().await else {
        return Err(ClientError::Closed);
    };
    for (user, password) in USERS {
        let secret = Bytes::from(format!("{user}:{password}"));
        client.add_auth("digest", secret).await?;
    }
    client.submit(ask::sync(root)).await?;
    let mut nodes = 0;
    let mut ahead = VecDeque::from([String::from(root)]);
    while !ahead.is_empty() {
        let window: Vec<String> = ahead.drain(..ahead.len().min(WINDOW)).collect();
        let mut lists = Vec::with_capacity(window.len());
        let mut rest = Vec::with_capacity(2 * window.len());
        for path in &window {
            rest.push(client.send(ask::get(path, false)).await?);
            lists.push(client.send(ask::children2(path, false)).await?);
            rest.push(client.send(ask::get_acl(path)).await?);
        }
        for (path, list) in window.iter().zip(lists) {
            if let Some(Response::GetChildren2 { children, .. }) = seen(list.outcome().await)? {
                nodes += 1;
                let mut children = children;
                children.sort();
                ahead.extend(children.iter().map(|name| ask::join(path, name)));
            }
        }
        for flight in rest {
            seen(flight.outcome().await)?;
        }
    }
    Ok(nodes)
}

/// An answer, or `None` for an error answer (a node of an expiring session may go under our
/// eyes, another be hidden by its ACL): both are recorded. Anything else ends the walk.
fn seen(outcome: gamekeeper_client::Outcome) -> Result<Option<Response>, ClientError> {
    match outcome {
        Ok((_, response)) => Ok(Some(response)),
        Err(ClientError::Server(_)) => Ok(None),
        Err(error) => Err(error),
    }
}
