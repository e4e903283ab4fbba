//! A server of two pages: one tree, one lock, no quorum, no ACLs, one kind of watch.
//!
//! Just enough to put a workload under, so that workloads can be tested before and without
//! the real server. It is rude on purpose: it breaks every connection after a number of
//! frames, in the middle of a pipeline, and forgets a session now and then.

use bytes::{Bytes, BytesMut};
use gamekeeper_client::frame::FrameCutter;
use gamekeeper_core::base::{SessionId, Zxid};
use gamekeeper_core::jute::Record;
use gamekeeper_core::proto::{
    Acl, ConnectRequest, ConnectResponse, CreateOp, CreateRequest, ErrorCode, EventType, MultiOp,
    MultiResult, ReplyHeader, Request, RequestHeader, Response, Stat, WatcherEvent,
    multi::failed_results, xid,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How rude a toy is.
#[derive(Clone, Copy)]
pub struct Manners {
    /// Frames after which a connection is broken; 0 = never.
    pub frames_max: u64,
    /// Every so many re-attachments the session is forgotten; 0 = never.
    pub forget_every: u64,
}

#[derive(Clone)]
struct Node {
    data: Option<Bytes>,
    stat: Stat,
    created: i32,
}

#[derive(Default, Clone)]
struct Tree {
    zxid: u64,
    nodes: BTreeMap<String, Node>,
}

#[derive(Default)]
struct Toy {
    tree: Tree,
    sessions: BTreeSet<i64>,
    sessions_made: i64,
    reattached: u64,
}

/// Starts a toy ensemble: as many doors as asked for into one tree.
pub async fn start(doors: u32, manners: Manners) -> Vec<SocketAddr> {
    let mut toy = Toy::default();
    let root = Node {
        data: None,
        stat: Stat::default(),
        created: 0,
    };
    toy.tree.nodes.insert("/".into(), root);
    let toy = Arc::new(Mutex::new(toy));
    let mut addrs = Vec::new();
    for _ in 0..doors {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        addrs.push(listener.local_addr().expect("address"));
        let toy = toy.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("accept");
                tokio::spawn(connection(stream, toy.clone(), manners));
            }
        });
    }
    addrs
}

async fn connection(mut stream: TcpStream, toy: Arc<Mutex<Toy>>, manners: Manners) {
    let mut cutter = FrameCutter::default();
    let mut bytes = BytesMut::with_capacity(4096);
    let (mut session, mut frames) = (SessionId::NONE, 0);
    loop {
        let mut out = BytesMut::new();
        while let Some(frame) = cutter.cut().expect("a length") {
            frames += 1;
            if frames == manners.frames_max {
                return;
            }
            let mut toy = toy.lock().expect("toy");
            let answers = match session {
                SessionId::NONE => {
                    let (id, answer) = toy.greet(&frame, manners);
                    session = id;
                    vec![answer]
                }
                _ => toy.serve(session, &frame),
            };
            for answer in answers {
                out.extend_from_slice(&(answer.len() as u32).to_be_bytes());
                out.extend_from_slice(&answer);
            }
        }
        if stream.write_all(&out).await.is_err() {
            return;
        }
        bytes.clear();
        match stream.read_buf(&mut bytes).await {
            Ok(n) if n > 0 => cutter.feed(&bytes),
            _ => return,
        }
    }
}

impl Toy {
    fn greet(&mut self, frame: &[u8], manners: Manners) -> (SessionId, Bytes) {
        let request = ConnectRequest::from_slice(frame).expect("a handshake");
        let mut id = request.session;
        if id == SessionId::NONE {
            self.sessions_made += 1;
            id = SessionId(self.sessions_made);
            self.sessions.insert(id.0);
            self.tree.zxid += 1;
        } else {
            self.reattached += 1;
            if manners.forget_every > 0 && self.reattached.is_multiple_of(manners.forget_every) {
                self.close(id);
            }
        }
        if !self.sessions.contains(&id.0) {
            return (id, ConnectResponse::expired(true).to_bytes());
        }
        let response = ConnectResponse {
            protocol_version: 0,
            timeout_ms: request.timeout_ms,
            session: id,
            password: Bytes::from_static(&[9; 16]),
            read_only: Some(false),
        };
        (id, response.to_bytes())
    }

    fn close(&mut self, id: SessionId) {
        self.tree.zxid += 1;
        self.sessions.remove(&id.0);
        let own = |node: &&String| self.tree.nodes[*node].stat.owner == id;
        let own: Vec<String> = self.tree.nodes.keys().filter(own).cloned().collect();
        for path in own {
            self.tree.delete(&path, -1).expect("an ephemeral of ours");
        }
    }

    fn serve(&mut self, session: SessionId, frame: &[u8]) -> Vec<Bytes> {
        let (header, body) = RequestHeader::split(frame).expect("a header");
        let request = Request::decode(header.op, body).expect("a request");
        let watched = match &request {
            Request::GetData(r) if r.watch => Some(r.path.clone()),
            _ => None,
        };
        let result = self.answer(session, request);
        let zxid = Zxid(self.tree.zxid);
        let mut answers = vec![match result {
            Ok(response) => response.frame(header.xid, zxid),
            Err(code) => ReplyHeader::new(header.xid, zxid, code).frame(),
        }];
        // The one kind of watch: it fires at once.
        if let (Some(path), Ok(_)) = (watched, self.tree.get("/")) {
            let kind = EventType::NodeDataChanged;
            answers.push(WatcherEvent { kind, path }.frame(-1));
        }
        assert!(header.xid > 0 || [xid::PING, xid::AUTH, xid::SET_WATCHES].contains(&header.xid));
        answers
    }

    fn answer(&mut self, session: SessionId, request: Request) -> Result<Response, ErrorCode> {
        let tree = &mut self.tree;
        Ok(match request {
            Request::Create(r) => {
                tree.zxid += 1;
                let (path, stat) = tree.create(session, &r)?;
                match r.op {
                    CreateOp::Create => Response::Create { path: path.into() },
                    CreateOp::Create2 => Response::Create2 {
                        path: path.into(),
                        stat,
                    },
                }
            }
            Request::Delete(r) => {
                tree.zxid += 1;
                tree.delete(&r.path, r.version)?;
                Response::Empty
            }
            Request::SetData(r) => {
                tree.zxid += 1;
                let stat = tree.set(&r.path, r.data, r.version)?;
                Response::SetData { stat }
            }
            Request::Exists(r) => Response::Exists {
                stat: tree.get(&r.path)?.stat,
            },
            Request::GetData(r) => {
                let Node { data, stat, .. } = tree.get(&r.path)?.clone();
                Response::GetData { data, stat }
            }
            Request::GetChildren(r) => Response::GetChildren {
                children: tree.children(&r.path)?,
            },
            Request::GetChildren2(r) => Response::GetChildren2 {
                children: tree.children(&r.path)?,
                stat: tree.get(&r.path)?.stat,
            },
            Request::GetAcl { path } => Response::GetAcl {
                acl: Acl::open(),
                stat: tree.get(&path)?.stat,
            },
            Request::SetAcl(r) => {
                tree.zxid += 1;
                let stat = tree.get(&r.path)?.stat;
                Response::SetAcl { stat }
            }
            Request::Sync { path } => Response::Sync { path },
            Request::Multi(ops) => {
                tree.zxid += 1;
                Response::Multi(tree.multi(session, ops))
            }
            Request::CloseSession => {
                self.close(session);
                Response::Empty
            }
            Request::Ping | Request::Auth(_) | Request::SetWatches(_) => Response::Empty,
        })
    }
}

impl Tree {
    fn get(&self, path: &str) -> Result<&Node, ErrorCode> {
        self.nodes.get(path).ok_or(ErrorCode::NoNode)
    }

    fn parent(path: &str) -> &str {
        match path.rfind('/') {
            Some(0) | None => "/",
            Some(at) => &path[..at],
        }
    }

    fn children(&self, path: &str) -> Result<Vec<String>, ErrorCode> {
        self.get(path)?;
        let below = self.nodes.keys().filter(|p| *p != "/");
        let own = below.filter(|p| Tree::parent(p) == path);
        Ok(own
            .map(|p| p.rsplit('/').next().expect("a name").into())
            .collect())
    }

    fn create(&mut self, owner: SessionId, r: &CreateRequest) -> Result<(String, Stat), ErrorCode> {
        let mode = r.mode()?;
        let zxid = Zxid(self.zxid);
        let parent = self.nodes.get_mut(Tree::parent(&r.path));
        let parent = parent.ok_or(ErrorCode::NoNode)?;
        let number = format!("{:010}", parent.created);
        let path = match mode.sequential {
            true => format!("{}{number}", r.path),
            false => r.path.to_string(),
        };
        if r.acl.as_ref().is_none_or(Vec::is_empty) {
            return Err(ErrorCode::InvalidAcl);
        }
        if parent.stat.owner != SessionId::NONE {
            return Err(ErrorCode::NoChildrenForEphemerals);
        }
        parent.created += 1;
        if self.nodes.contains_key(&path) {
            return Err(ErrorCode::NodeExists);
        }
        let stat = Stat {
            czxid: zxid,
            mzxid: zxid,
            pzxid: zxid,
            owner: match mode.ephemeral {
                true => owner,
                false => SessionId::NONE,
            },
            ..Stat::default()
        };
        let data = r.data.clone();
        let created = 0;
        self.nodes.insert(
            path.clone(),
            Node {
                data,
                stat,
                created,
            },
        );
        Ok((path, stat))
    }

    fn check(&mut self, path: &str, version: i32) -> Result<&mut Node, ErrorCode> {
        let node = self.nodes.get_mut(path).ok_or(ErrorCode::NoNode)?;
        match version == -1 || version == node.stat.version {
            true => Ok(node),
            false => Err(ErrorCode::BadVersion),
        }
    }

    fn delete(&mut self, path: &str, version: i32) -> Result<(), ErrorCode> {
        self.check(path, version)?;
        if !self.children(path)?.is_empty() {
            return Err(ErrorCode::NotEmpty);
        }
        self.nodes.remove(path);
        Ok(())
    }

    fn set(&mut self, path: &str, data: Option<Bytes>, version: i32) -> Result<Stat, ErrorCode> {
        let zxid = Zxid(self.zxid);
        let node = self.check(path, version)?;
        node.data = data;
        node.stat.version += 1;
        node.stat.mzxid = zxid;
        Ok(node.stat)
    }

    fn multi(&mut self, session: SessionId, ops: Vec<MultiOp>) -> Vec<MultiResult> {
        let before = self.nodes.clone();
        let (len, mut results) = (ops.len(), Vec::new());
        for (i, op) in ops.into_iter().enumerate() {
            match self.multi_op(session, op) {
                Ok(result) => results.push(result),
                Err(code) => {
                    self.nodes = before;
                    return failed_results(len, i, code);
                }
            }
        }
        results
    }

    fn multi_op(&mut self, session: SessionId, op: MultiOp) -> Result<MultiResult, ErrorCode> {
        Ok(match op {
            MultiOp::Create(r) => MultiResult::Create {
                path: self.create(session, &r)?.0.into(),
            },
            MultiOp::Delete(r) => {
                self.delete(&r.path, r.version)?;
                MultiResult::Delete
            }
            MultiOp::SetData(r) => MultiResult::SetData {
                stat: self.set(&r.path, r.data, r.version)?,
            },
            MultiOp::Check(r) => {
                self.check(&r.path, r.version)?;
                MultiResult::Check
            }
        })
    }
}
