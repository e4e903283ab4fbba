//! `zkcli record`: our own workloads against a live ensemble, and what their clients saw.
//!
//! One process, one clock. Everything happens in a folder that the run makes for itself, so
//! a tree that others use is not disturbed, and the history is closed all the same: nobody
//! else knows the folder's name. The folder is left behind for whoever wants to look.
//!
//! What it does not do: hurt the ensemble. Servers may be killed and come back meanwhile.

use crate::arguments::RecordArguments;
use crate::book::Book;
use crate::hosts;
use crate::stop::ending;
use crate::trouble::Trouble;
use bytes::Bytes;
use gamekeeper_checker::history::{self, Header, Start, StartNode, Value, World};
use gamekeeper_client::{Client, ClientConfig, ClientError, State};
use gamekeeper_core::proto::{
    Acl, CreateOp, CreateRequest, ErrorCode, Request, Response, WatchRequest,
};
use gamekeeper_runtime::{Runtime, TokioRuntime};
use gamekeeper_workload::{
    FinalReads, Recorder, Root, Server, Stats, Stop, WorkloadSpec, convert, final_reads_below,
    run_below,
};
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long an ensemble is given to take the run's folder.
const OPEN_WAIT: Duration = Duration::from_secs(30);
/// Pause between two tries to reach an ensemble.
const RETRY: Duration = Duration::from_millis(500);
/// How often what was recorded goes to the file.
const WRITE_EVERY: Duration = Duration::from_millis(200);
/// How long each server is given for the final reads, milliseconds.
const FINAL_READS_MS: u64 = 60_000;
/// Pause of a client that has tried every server in vain, milliseconds.
const REST_MS: u32 = 100;

/// What a recording amounts to.
#[derive(Debug)]
pub struct Recorded {
    /// Records in the file.
    pub records: u64,
    /// The folder the run worked in.
    pub folder: String,
    /// What the clients counted.
    pub stats: Stats,
    /// What was read at the end.
    pub read: FinalReads,
}

impl fmt::Display for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stats {
            ok,
            failed,
            unknown,
            given_up: _,
            sessions,
        } = self.stats;
        write!(
            f,
            "{} records in {}: {ok} requests done, {failed} refused, {unknown} unknown, {sessions} sessions; read {} servers at the end",
            self.records,
            self.folder,
            self.read.read.len()
        )?;
        if !self.read.missed.is_empty() {
            write!(f, ", could not read {:?}", self.read.missed)?;
        }
        Ok(())
    }
}

/// Records.
///
/// # Errors
///
/// The ensemble does not answer, the chroot is not there, the file cannot be written.
pub async fn run(arguments: RecordArguments) -> Result<Recorded, Trouble> {
    let servers = hosts::resolve(&arguments.hosts).await?;
    let specs = specs(&arguments)?;
    let rt = TokioRuntime::new();
    let (root, start) = open_folder(&rt, &servers, &arguments).await?;
    let world = if arguments.open {
        World::Open
    } else {
        World::Closed
    };
    let header = arguments.service.header(world, start);
    let mut book = Book::create(&arguments.out, header.clone())?;
    let recorder = recorder(&rt, header);
    let stop = Stop::new();
    let work: Vec<_> = specs
        .into_iter()
        .map(|spec| {
            let key = key(arguments.seed, &spec);
            let (rt, root, servers) = (rt.clone(), root.clone(), servers.clone());
            tokio::spawn(run_below(
                rt,
                spec,
                root,
                servers,
                key,
                recorder.clone(),
                stop.clone(),
            ))
        })
        .collect();
    let whole = async {
        ending(Some(arguments.seconds)).await;
        stop.set();
        let mut stats = Stats::default();
        for clients in work {
            stats += clients.await.expect("clients do not panic");
        }
        let timeout_ms = arguments.session_timeout_ms;
        let read = final_reads_below(&rt, &root, &servers, &recorder, timeout_ms, FINAL_READS_MS);
        (stats, read.await)
    };
    let (stats, read) = write_down(&recorder, &mut book, whole).await?;
    Ok(Recorded {
        records: book.finish()?,
        folder: root.path().to_owned(),
        stats,
        read,
    })
}

fn specs(arguments: &RecordArguments) -> Result<Vec<WorkloadSpec>, Trouble> {
    let mut specs = Vec::new();
    for &kind in &arguments.workload {
        let spec = WorkloadSpec {
            clients: arguments.clients,
            timeout_ms: arguments.session_timeout_ms,
            ..WorkloadSpec::moderate(kind)
        };
        spec.check().map_err(Trouble::new)?;
        if specs.contains(&spec) {
            return Err(Trouble::new(format!("--workload: {kind:?} is named twice")));
        }
        specs.push(spec);
    }
    Ok(specs)
}

/// The key of a workload's draws.
fn key(seed: u64, spec: &WorkloadSpec) -> [u8; 32] {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8] = spec.kind as u8;
    key
}

/// A recorder on this process's clock.
fn recorder(rt: &TokioRuntime, header: Header) -> Recorder {
    let clock = rt.clone();
    Recorder::new(header, move || clock.now().mono.0)
}

/// Hands what is recorded to the file until `work` is done, and then the rest.
///
/// # Errors
///
/// It cannot be written any more; the work is given up.
async fn write_down<T>(
    recorder: &Recorder,
    book: &mut Book,
    work: impl Future<Output = T>,
) -> Result<T, Trouble> {
    let mut work = std::pin::pin!(work);
    loop {
        let done = tokio::time::timeout(WRITE_EVERY, work.as_mut()).await;
        for record in recorder.take().records {
            book.push(&record);
        }
        book.flush()?;
        if let Ok(done) = done {
            return Ok(done);
        }
    }
}

/// Makes the run's folder; the tree as far as the run will see it.
async fn open_folder(
    rt: &TokioRuntime,
    servers: &[Server],
    arguments: &RecordArguments,
) -> Result<(Root, Start), Trouble> {
    let chroot = arguments.chroot.trim_end_matches('/');
    if !chroot.is_empty() && !chroot.starts_with('/') {
        let line = format!("--chroot: {chroot:?} is no absolute path, as in /tests");
        return Err(Trouble::new(line));
    }
    // Before a folder is made for nothing.
    Book::try_place(&arguments.out)?;
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let stamp = since.unwrap_or_default().as_millis();
    // Nobody else's, whatever runs at the same time: the history is closed on its account.
    let nonce = RandomState::new().build_hasher().finish();
    let folder = format!("{chroot}/gamekeeper-{stamp:x}-{nonce:016x}");
    let nodes = match tokio::time::timeout(
        OPEN_WAIT,
        make_folder(rt, servers, chroot, &folder, arguments),
    )
    .await
    {
        Ok(made) => made?,
        Err(_) => {
            let line = format!(
                "--hosts: none of {} took a session and a write in {} s",
                arguments.hosts,
                OPEN_WAIT.as_secs()
            );
            return Err(Trouble::new(line));
        }
    };
    Ok((Root::new(&folder), nodes))
}

/// Tries until the folder stands or the ensemble says why it cannot.
async fn make_folder(
    rt: &TokioRuntime,
    servers: &[Server],
    chroot: &str,
    folder: &str,
    arguments: &RecordArguments,
) -> Result<Start, Trouble> {
    loop {
        let config = ClientConfig {
            servers: servers.iter().map(|server| server.addr).collect(),
            timeout_ms: arguments.session_timeout_ms,
            rest_ms: REST_MS,
        };
        let (client, _) = Client::open(rt, config, ());
        match try_folder(&client, chroot, folder).await {
            Ok(start) => {
                // Whether the close is heard changes nothing.
                let _ = client.close().await;
                return Ok(start);
            }
            Err(ClientError::Server(code)) => {
                let line = match code {
                    ErrorCode::NoNode => format!("--chroot: there is no {chroot:?}"),
                    other => format!("--chroot: {folder:?} cannot be made: {other:?}"),
                };
                return Err(Trouble::new(line));
            }
            Err(_) => tokio::time::sleep(RETRY).await,
        }
    }
}

async fn try_folder(client: &Client, chroot: &str, folder: &str) -> Result<Start, ClientError> {
    let State::Connected { .. } = client.ready().await else {
        return Err(ClientError::Closed);
    };
    let create = Request::Create(CreateRequest {
        op: CreateOp::Create,
        path: folder.into(),
        data: Some(Bytes::new()),
        acl: Some(Acl::open()),
        flags: 0,
    });
    match client.submit(create).await {
        // An earlier try whose answer was lost: the name is nobody else's.
        Ok(_) | Err(ClientError::Server(ErrorCode::NodeExists)) => {}
        Err(error) => return Err(error),
    }
    let mut nodes = Vec::new();
    // Above the folder nothing is looked at again; that it is there is all that counts.
    for (end, _) in chroot.match_indices('/').skip(1) {
        nodes.push(look(client, &chroot[..end]).await?.1);
    }
    if !chroot.is_empty() {
        nodes.push(look(client, chroot).await?.1);
    }
    let (zxid, node) = look(client, folder).await?;
    nodes.push(node);
    Ok(Start::Nodes { zxid, nodes })
}

/// A node as it is, and as of when.
async fn look(client: &Client, path: &str) -> Result<(i64, StartNode), ClientError> {
    let exists = Request::Exists(WatchRequest {
        path: path.into(),
        watch: false,
    });
    let (zxid, response) = client.submit(exists).await?;
    let Response::Exists { stat } = response else {
        return Err(ClientError::Closed);
    };
    let node = StartNode {
        path: path.into(),
        data: Some(Value::from("")),
        stat: convert::stat(&stat),
        acl: history::Acl::open().to_vec(),
        lapse: None,
    };
    Ok((zxid.to_wire(), node))
}
