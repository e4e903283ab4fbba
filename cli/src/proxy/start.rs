//! The tree before the first record, read by the recorder itself.
//!
//! For `--exclusive`: the history is closed only if the judge knows what there was to begin
//! with. All answers must stem from one and the same prefix, so the reading is tried again
//! until nothing moved meanwhile; if it never stands still, the ensemble is not ours alone.

use crate::trouble::Trouble;
use gamekeeper_checker::history::{Lapse, Start, StartNode, Value};
use gamekeeper_client::{Client, ClientConfig, ClientError, State};
use gamekeeper_core::proto::{ErrorCode, Request, Response, WatchRequest};
use gamekeeper_runtime::TokioRuntime;
use gamekeeper_workload::convert;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// Most nodes of a start state.
const NODES_MAX: usize = 50_000;
/// How often the tree is read before it counts as never still.
const TRIES: usize = 10;
/// How long the reading may take in all.
const WAIT: Duration = Duration::from_secs(60);
/// Pause between two tries.
const RETRY: Duration = Duration::from_millis(300);
/// Session timeout asked for, milliseconds.
const TIMEOUT_MS: u32 = 10_000;
/// The nodes that every ensemble has; what is in them is nobody's writing.
const OWN: &str = "/zookeeper";

/// Why a reading is of no use.
enum Flaw {
    /// It moved, or the connection broke: again.
    Moved,
    /// It cannot be read at all.
    Closed(String),
}

/// What an error at a path means for the reading.
fn flaw(path: &str, error: ClientError) -> Flaw {
    match error {
        // It went between the list that named it and the look at it.
        ClientError::Server(ErrorCode::NoNode) => Flaw::Moved,
        ClientError::Server(ErrorCode::NoAuth) => {
            Flaw::Closed(format!("NoAuth at {path} (--auth-file gives the right)"))
        }
        ClientError::Server(code) => Flaw::Closed(format!("{code:?} at {path}")),
        _ => Flaw::Moved,
    }
}

/// The credentials of a file, one a line.
///
/// # Errors
///
/// It cannot be read, or a line of it is none.
pub(super) fn credentials(file: &Path) -> Result<Vec<String>, Trouble> {
    let told = |what: String| Trouble::new(format!("--auth-file: {}: {what}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| told(error.to_string()))?;
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    // The line itself is a secret.
    match lines.iter().position(|line| !line.contains(':')) {
        Some(place) => Err(told(format!("line {} is no USER:PASSWORD", place + 1))),
        None => Ok(lines),
    }
}

/// Reads the whole tree but `/zookeeper`, with the rights of these credentials.
///
/// # Errors
///
/// No server answers, some node may not be read, the tree is too large or never still.
pub(super) async fn read_tree(
    rt: &TokioRuntime,
    servers: &[SocketAddr],
    credentials: &[String],
) -> Result<Start, Trouble> {
    let cannot = |why: &str| {
        Trouble::new(format!(
            "--exclusive: the tree cannot be read: {why}; without it the world is open"
        ))
    };
    let tries = async {
        for _ in 0..TRIES {
            let config = ClientConfig {
                servers: servers.to_vec(),
                timeout_ms: TIMEOUT_MS,
                rest_ms: 100,
            };
            let (client, _) = Client::open(rt, config, ());
            let read = read_once(&client, credentials).await;
            // Whether the close is heard changes nothing.
            let _ = client.close().await;
            match read {
                Ok(start) => return Ok(start),
                Err(Flaw::Closed(why)) => return Err(cannot(&why)),
                Err(Flaw::Moved) => tokio::time::sleep(RETRY).await,
            }
        }
        Err(cannot("others use the ensemble"))
    };
    match tokio::time::timeout(WAIT, tries).await {
        Ok(outcome) => outcome,
        Err(_) => Err(cannot("no server answers")),
    }
}

async fn read_once(client: &Client, credentials: &[String]) -> Result<Start, Flaw> {
    let State::Connected { .. } = client.ready().await else {
        return Err(Flaw::Moved);
    };
    for secret in credentials {
        let added = client.add_auth("digest", secret.clone()).await;
        added.map_err(|error| flaw("--auth-file", error))?;
    }
    let mut ahead = VecDeque::from([String::from("/")]);
    let (mut nodes, mut as_of) = (Vec::new(), None);
    while let Some(path) = ahead.pop_front() {
        if nodes.len() >= NODES_MAX {
            return Err(Flaw::Closed(format!("more than {NODES_MAX} nodes")));
        }
        let watch = |path: &str| WatchRequest {
            path: path.into(),
            watch: false,
        };
        let asked = [
            Request::GetData(watch(&path)),
            Request::GetAcl {
                path: path.as_str().into(),
            },
            Request::GetChildren2(watch(&path)),
        ];
        let mut node = StartNode {
            path: path.as_str().into(),
            data: None,
            stat: Default::default(),
            acl: Vec::new(),
            lapse: None,
        };
        for request in asked {
            let (zxid, response) = client.submit(request).await.map_err(|e| flaw(&path, e))?;
            if *as_of.get_or_insert(zxid) != zxid {
                return Err(Flaw::Moved);
            }
            match response {
                Response::GetData { data, stat } => {
                    node.data = data.map(|data| Value::from(&*data));
                    node.stat = convert::stat(&stat);
                }
                Response::GetAcl { acl, .. } => node.acl = convert::acl(&acl),
                Response::GetChildren2 { children, .. } => {
                    let paths = children.iter().map(|name| match path.as_str() {
                        "/" => format!("/{name}"),
                        parent => format!("{parent}/{name}"),
                    });
                    ahead.extend(paths.filter(|path| path != OWN));
                }
                _ => return Err(Flaw::Moved),
            }
        }
        node.lapse = lapse_of(&node);
        nodes.push(node);
    }
    let zxid = as_of.map_or(0, |zxid| zxid.to_wire());
    Ok(Start::Nodes { zxid, nodes })
}

/// Servers do not show which nodes are containers, or have a time to live: all but the root that
/// are owned by nobody may be.
fn lapse_of(node: &StartNode) -> Option<Lapse> {
    let kept = *node.path == *"/" || node.stat.ephemeral_owner != 0;
    (!kept).then_some(Lapse::Ttl(0))
}
