//! Evaluates reads on the applied state, and registers their watches in the same step, so
//! that nothing can slip between the two (GEN-watch-after-read).
//!
//! Answers to `FinalRequestProcessor` and the second table of section 10.

use super::replica::Replica;
use crate::auth::{self, Identities};
use crate::base::ConnId;
use crate::peer::{Outbox, Output};
use crate::proto::{ErrorCode, Request, Response, WatchRequest, perms, xid};
use crate::tree::{DataTree, Node};
use crate::watch::{Seen, WatchKind, WatchTable};

use super::reply;

/// What a read needs beside the request.
#[derive(Debug)]
pub struct Reading<'a> {
    /// The state.
    pub replica: &'a Replica,
    /// Where watches go.
    pub watches: &'a mut WatchTable,
    /// Who reads.
    pub conn: ConnId,
    /// As whom.
    pub identities: &'a Identities,
}

/// Answers one read, ping or setWatches of a connection.
pub fn answer(reading: &mut Reading<'_>, xid_of: i32, request: &Request, outbox: &mut Outbox) {
    let conn = reading.conn;
    let zxid = reading.replica.last_zxid();
    let frame = match request {
        // The reply's xid is the reserved one whatever the request carried.
        Request::Ping => reply::header(xid::PING, zxid, ErrorCode::Ok),
        Request::SetWatches(lists) => {
            let tree = reading.replica.tree();
            let look = |path: &str| {
                let stat = tree.get(path)?.stored();
                Some(Seen {
                    mzxid: stat.mzxid,
                    pzxid: stat.pzxid,
                })
            };
            // Catch-up events carry no zxid and are not filtered by ACL (section 12.6).
            for event in reading.watches.catch_up(conn, lists, look) {
                outbox.push(Output::ClientSend {
                    conn,
                    frame: event.frame(-1),
                });
            }
            reply::header(xid_of, zxid, ErrorCode::Ok)
        }
        _ => match read(reading, request) {
            Ok(response) => response.frame(xid_of, zxid),
            Err(code) => reply::header(xid_of, zxid, code),
        },
    };
    outbox.push(Output::ClientSend { conn, frame });
}

fn read(reading: &mut Reading<'_>, request: &Request) -> Result<Response, ErrorCode> {
    let tree = reading.replica.tree();
    match request {
        Request::Exists(r) => {
            let node = tree.get(&r.path);
            if let Some(node) = node {
                auth::check(node.acl(), perms::READ, reading.identities)?;
            }
            // The watch is left on an absent node, too: it waits for the creation.
            reading.watch(r, WatchKind::Data);
            node.map(|node| Response::Exists { stat: node.stat() })
                .ok_or(ErrorCode::NoNode)
        }
        Request::GetData(r) => {
            let node = readable(tree, &r.path, perms::READ, reading.identities)?;
            reading.watch(r, WatchKind::Data);
            Ok(Response::GetData {
                data: node.data().cloned(),
                stat: node.stat(),
            })
        }
        Request::GetChildren(r) => {
            let node = readable(tree, &r.path, perms::READ, reading.identities)?;
            reading.watch(r, WatchKind::Child);
            Ok(Response::GetChildren {
                children: names(node),
            })
        }
        Request::GetChildren2(r) => {
            let node = readable(tree, &r.path, perms::READ, reading.identities)?;
            reading.watch(r, WatchKind::Child);
            Ok(Response::GetChildren2 {
                children: names(node),
                stat: node.stat(),
            })
        }
        Request::GetAcl { path } => {
            let wanted = perms::READ | perms::ADMIN;
            let node = readable(tree, path, wanted, reading.identities)?;
            let acl = if auth::is_admin(node.acl(), reading.identities) {
                node.acl().to_vec()
            } else {
                auth::redact(node.acl())
            };
            Ok(Response::GetAcl {
                acl,
                stat: node.stat(),
            })
        }
        Request::Create(_)
        | Request::Delete(_)
        | Request::SetData(_)
        | Request::SetAcl(_)
        | Request::Sync { .. }
        | Request::Ping
        | Request::Multi(_)
        | Request::Auth(_)
        | Request::SetWatches(_)
        | Request::CloseSession => unreachable!("the front queues only reads as reads"),
    }
}

fn readable<'a>(
    tree: &'a DataTree,
    path: &str,
    wanted: i32,
    identities: &Identities,
) -> Result<&'a Node, ErrorCode> {
    let node = tree.get(path).ok_or(ErrorCode::NoNode)?;
    auth::check(node.acl(), wanted, identities)?;
    Ok(node)
}

fn names(node: &Node) -> Vec<String> {
    node.child_names().map(str::to_owned).collect()
}

impl Reading<'_> {
    fn watch(&mut self, request: &WatchRequest, kind: WatchKind) {
        if request.watch {
            self.watches.add(self.conn, &request.path, kind);
        }
    }
}
