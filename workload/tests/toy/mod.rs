//! A server of a few pages: one tree, one lock, no quorum, no ACLs.
//!
//! Just enough to put a workload under, so that workloads, client, recorder and checker can be
//! tested together before and without the real server. What it answers is sound, and judged; how
//! it treats connections is rude on purpose: it breaks each after a number of frames, in the
//! middle of a pipeline, and, if asked to, forgets a session now and then.

mod tree;

use bytes::{Bytes, BytesMut};
use gamekeeper_client::frame::FrameCutter;
use gamekeeper_core::base::{SessionId, Zxid};
use gamekeeper_core::jute::Record;
use gamekeeper_core::proto::{
    Acl, ConnectRequest, ConnectResponse, CreateOp, ErrorCode, EventType, ReplyHeader, Request,
    RequestHeader, Response, SetWatches, WatcherEvent,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tree::{Change, Tree};

/// How rude a toy is.
#[derive(Clone, Copy)]
pub struct Manners {
    /// Frames after which a connection is broken; 0 = never.
    pub frames_max: u64,
    /// Every so many re-attachments the session is forgotten; 0 = never.
    pub forget_every: u64,
}

/// One connection: its watches, and what waits to be written.
#[derive(Default)]
struct Conn {
    session: SessionId,
    data: BTreeSet<Arc<str>>,
    child: BTreeSet<Arc<str>>,
    out: BytesMut,
    wake: Arc<Notify>,
}

impl Conn {
    fn say(&mut self, frame: &[u8]) {
        self.out
            .extend_from_slice(&(frame.len() as u32).to_be_bytes());
        self.out.extend_from_slice(frame);
        self.wake.notify_one();
    }

    fn tell(&mut self, kind: EventType, path: &Arc<str>, zxid: i64) {
        let path = path.clone();
        self.say(&WatcherEvent { kind, path }.frame(zxid));
    }
}

struct Toy {
    manners: Manners,
    tree: Tree,
    conns: BTreeMap<u64, Conn>,
    conns_made: u64,
    sessions: BTreeSet<i64>,
    reattached: u64,
}

type Shared = Arc<Mutex<Toy>>;

/// Starts a toy ensemble: as many doors as asked for into one tree, the last of them polite.
pub async fn start(doors: u32, manners: Manners) -> Vec<SocketAddr> {
    let toy = Arc::new(Mutex::new(Toy {
        manners,
        tree: Tree::fresh(),
        conns: BTreeMap::new(),
        conns_made: 0,
        sessions: BTreeSet::new(),
        reattached: 0,
    }));
    let mut addrs = Vec::new();
    for door in 1..=doors {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        addrs.push(listener.local_addr().expect("address"));
        let toy = toy.clone();
        let frames_max = match door == doors {
            true => 0,
            false => manners.frames_max,
        };
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("accept");
                tokio::spawn(connection(stream, toy.clone(), frames_max));
            }
        });
    }
    addrs
}

async fn connection(stream: TcpStream, toy: Shared, frames_max: u64) {
    let (mut read, write) = stream.into_split();
    let (number, wake) = {
        let mut toy = toy.lock().expect("toy");
        toy.conns_made += 1;
        let number = toy.conns_made;
        let conn = toy.conns.entry(number).or_default();
        (number, conn.wake.clone())
    };
    let writer = tokio::spawn(write_out(write, toy.clone(), number, wake));
    let mut cutter = FrameCutter::default();
    let mut bytes = BytesMut::with_capacity(4096);
    let mut frames = 0;
    'life: loop {
        while let Some(frame) = cutter.cut().expect("a length") {
            frames += 1;
            let mut toy = toy.lock().expect("toy");
            if frames == frames_max || !toy.serve(number, &frame) {
                break 'life;
            }
        }
        bytes.clear();
        match read.read_buf(&mut bytes).await {
            Ok(n) if n > 0 => cutter.feed(&bytes),
            _ => break,
        }
    }
    // What was not written yet is lost, with whatever it answered.
    writer.abort();
    toy.lock().expect("toy").conns.remove(&number);
}

async fn write_out(mut write: OwnedWriteHalf, toy: Shared, number: u64, wake: Arc<Notify>) {
    loop {
        wake.notified().await;
        let out = match toy.lock().expect("toy").conns.get_mut(&number) {
            Some(conn) => conn.out.split(),
            None => return,
        };
        if write.write_all(&out).await.is_err() {
            return;
        }
    }
}

impl Toy {
    /// One frame of a connection; false breaks it.
    fn serve(&mut self, number: u64, frame: &[u8]) -> bool {
        let conn = self.conns.get_mut(&number).expect("a connection");
        if conn.session == SessionId::NONE {
            self.greet(number, frame);
            return true;
        }
        let session = conn.session;
        if !self.sessions.contains(&session.0) {
            return false;
        }
        let (header, body) = RequestHeader::split(frame).expect("a header");
        let request = Request::decode(header.op, body).expect("a request");
        let asked = request.clone();
        let result = self.answer(number, session, request);
        let conn = self.conns.get_mut(&number).expect("a connection");
        conn.register(&asked, &result);
        let zxid = Zxid(self.tree.zxid);
        conn.say(&match result {
            Ok(response) => response.frame(header.xid, zxid),
            Err(code) => ReplyHeader::new(header.xid, zxid, code).frame(),
        });
        true
    }

    fn greet(&mut self, number: u64, frame: &[u8]) {
        let request = ConnectRequest::from_slice(frame).expect("a handshake");
        let mut id = request.session;
        if id == SessionId::NONE {
            // A session begins with a transaction, whose zxid serves as its name.
            self.tree.zxid += 1;
            id = SessionId(self.tree.zxid as i64);
            self.sessions.insert(id.0);
        } else {
            self.reattached += 1;
            let every = self.manners.forget_every;
            if every > 0 && self.reattached.is_multiple_of(every) {
                self.close(id);
            }
        }
        let response = match self.sessions.contains(&id.0) {
            false => ConnectResponse::expired(true),
            true => ConnectResponse {
                protocol_version: 0,
                timeout_ms: request.timeout_ms,
                session: id,
                password: Bytes::from_static(&[9; 16]),
                read_only: Some(false),
            },
        };
        let conn = self.conns.get_mut(&number).expect("a connection");
        conn.session = id;
        conn.say(&response.to_bytes());
    }

    fn close(&mut self, id: SessionId) {
        self.tree.zxid += 1;
        self.sessions.remove(&id.0);
        for path in self.tree.owned_by(id) {
            let change = self.tree.delete(&path, -1).expect("an ephemeral of ours");
            self.fire(&[change]);
        }
    }

    /// Tells every watcher, in the order of the changes.
    fn fire(&mut self, changes: &[Change]) {
        let zxid = self.tree.zxid as i64;
        for change in changes {
            for conn in self.conns.values_mut() {
                let (kind, path) = (change.kind, &change.path);
                let told = conn.data.remove(path);
                let gone = kind == EventType::NodeDeleted && conn.child.remove(path);
                if told || gone {
                    conn.tell(kind, path, zxid);
                }
                if kind != EventType::NodeDataChanged && conn.child.remove(&change.parent) {
                    conn.tell(EventType::NodeChildrenChanged, &change.parent, zxid);
                }
            }
        }
    }

    fn answer(
        &mut self,
        number: u64,
        session: SessionId,
        request: Request,
    ) -> Result<Response, ErrorCode> {
        let tree = &mut self.tree;
        Ok(match request {
            Request::Create(r) => {
                tree.zxid += 1;
                let (path, stat, change) = tree.create(session, &r)?;
                self.fire(&[change]);
                match r.op {
                    CreateOp::Create => Response::Create { path },
                    CreateOp::Create2 => Response::Create2 { path, stat },
                }
            }
            Request::Delete(r) => {
                tree.zxid += 1;
                let change = tree.delete(&r.path, r.version)?;
                self.fire(&[change]);
                Response::Empty
            }
            Request::SetData(r) => {
                tree.zxid += 1;
                let (stat, change) = tree.set(&r.path, r.data, r.version)?;
                self.fire(&[change]);
                Response::SetData { stat }
            }
            Request::Exists(r) => Response::Exists {
                stat: tree.get(&r.path)?.stat(),
            },
            Request::GetData(r) => Response::GetData {
                data: tree.get(&r.path)?.data.clone(),
                stat: tree.get(&r.path)?.stat(),
            },
            Request::GetChildren(r) => Response::GetChildren {
                children: tree.children(&r.path)?,
            },
            Request::GetChildren2(r) => Response::GetChildren2 {
                children: tree.children(&r.path)?,
                stat: tree.get(&r.path)?.stat(),
            },
            Request::GetAcl { path } => Response::GetAcl {
                acl: Acl::open(),
                stat: tree.get(&path)?.stat(),
            },
            Request::SetAcl(r) => {
                tree.zxid += 1;
                let stat = tree.get(&r.path)?.stat();
                Response::SetAcl { stat }
            }
            Request::Sync { path } => Response::Sync { path },
            Request::Multi(ops) => {
                tree.zxid += 1;
                let (results, changes) = tree.multi(session, ops);
                self.fire(&changes);
                Response::Multi(results)
            }
            Request::CloseSession => {
                self.close(session);
                Response::Empty
            }
            Request::SetWatches(watches) => {
                self.catch_up(number, watches);
                Response::Empty
            }
            Request::Ping | Request::Auth(_) => Response::Empty,
        })
    }

    fn catch_up(&mut self, number: u64, watches: SetWatches) {
        let conn = self.conns.get_mut(&number).expect("a connection");
        let since = Zxid::from_wire(watches.relative_zxid);
        for path in watches.data {
            match self.tree.get(&path) {
                Err(_) => conn.tell(EventType::NodeDeleted, &path, -1),
                Ok(node) if node.stat().mzxid > since => {
                    conn.tell(EventType::NodeDataChanged, &path, -1);
                }
                Ok(_) => drop(conn.data.insert(path)),
            }
        }
        for path in watches.exist {
            match self.tree.get(&path) {
                Ok(_) => conn.tell(EventType::NodeCreated, &path, -1),
                Err(_) => drop(conn.data.insert(path)),
            }
        }
        for path in watches.child {
            match self.tree.get(&path) {
                Err(_) => conn.tell(EventType::NodeDeleted, &path, -1),
                Ok(node) if node.stat().pzxid > since => {
                    conn.tell(EventType::NodeChildrenChanged, &path, -1);
                }
                Ok(_) => drop(conn.child.insert(path)),
            }
        }
    }
}

impl Conn {
    fn register(&mut self, asked: &Request, result: &Result<Response, ErrorCode>) {
        let found = result.is_ok();
        match asked {
            Request::Exists(r) if r.watch => drop(self.data.insert(r.path.clone())),
            Request::GetData(r) if r.watch && found => drop(self.data.insert(r.path.clone())),
            Request::GetChildren(r) | Request::GetChildren2(r) if r.watch && found => {
                self.child.insert(r.path.clone());
            }
            _ => {}
        }
    }
}
