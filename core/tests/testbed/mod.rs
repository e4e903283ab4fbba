//! A cluster of peers in one process: instant links, instant disks that keep everything,
//! time that moves only when told. For tests of the whole peer and for the commit-path
//! benches; faults are the simulator's business.

#![allow(dead_code)] // Tests and benches use different halves of it.

use bytes::Bytes;
use gamekeeper_core::base::{
    ConnId, DiskDone, DiskError, DiskOp, DiskRequest, DiskValue, Event, LinkId, Mono, Now,
    ServerId, SessionId, Zxid,
};
use gamekeeper_core::jute::Record;
use gamekeeper_core::log::StoreConfig;
use gamekeeper_core::peer::{Input, Machine, Outbox, Output, Peer, PeerConfig};
use gamekeeper_core::pipeline::TimeoutBounds;
use gamekeeper_core::proto::{ConnectRequest, ConnectResponse, ReplyHeader, Request};
use gamekeeper_core::zab::{LinkKind, MemberKind, ZabConfig};
use std::collections::{BTreeMap, VecDeque};

/// A directory in memory.
#[derive(Default)]
pub struct MemDisk {
    files: BTreeMap<String, Vec<u8>>,
}

impl MemDisk {
    fn carry_out(&mut self, op: DiskOp) -> Result<DiskValue, DiskError> {
        let files = &mut self.files;
        match op {
            DiskOp::Create { file } => {
                if files.contains_key(&file) {
                    return Err(DiskError::Exists);
                }
                files.insert(file, Vec::new());
            }
            DiskOp::Write { file, offset, data } => {
                let bytes = files.get_mut(&file).ok_or(DiskError::NotFound)?;
                let end = offset as usize + data.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[offset as usize..end].copy_from_slice(&data);
            }
            DiskOp::Sync { file } => {
                files.get(&file).ok_or(DiskError::NotFound)?;
            }
            DiskOp::Truncate { file, len } => {
                files
                    .get_mut(&file)
                    .ok_or(DiskError::NotFound)?
                    .resize(len as usize, 0);
            }
            DiskOp::Rename { from, to } => {
                let bytes = files.remove(&from).ok_or(DiskError::NotFound)?;
                files.insert(to, bytes);
            }
            DiskOp::Delete { file } => {
                files.remove(&file).ok_or(DiskError::NotFound)?;
            }
            DiskOp::SyncDir => {}
            DiskOp::Read { file, offset, len } => {
                let bytes = files.get(&file).ok_or(DiskError::NotFound)?;
                let from = (offset as usize).min(bytes.len());
                let to = (offset as usize)
                    .saturating_add(len as usize)
                    .min(bytes.len());
                return Ok(DiskValue::Bytes(Bytes::copy_from_slice(&bytes[from..to])));
            }
            DiskOp::List => {
                let list = files.iter().map(|(name, b)| (name.clone(), b.len() as u64));
                return Ok(DiskValue::Listing(list.collect()));
            }
        }
        Ok(DiskValue::Done)
    }
}

struct Host {
    config: PeerConfig,
    peer: Option<Peer>,
    disk: MemDisk,
}

/// The cluster.
pub struct Cluster {
    hosts: BTreeMap<ServerId, Host>,
    now: Now,
    queue: VecDeque<(ServerId, Input)>,
    /// The other end of each link.
    links: BTreeMap<(ServerId, LinkId), (ServerId, LinkId)>,
    accepted: u64,
    conns: u64,
    /// What each client connection was sent.
    pub inbox: BTreeMap<ConnId, VecDeque<Bytes>>,
    /// Everything the peers told.
    pub events: Vec<(ServerId, Event)>,
    keep_events: bool,
}

impl Cluster {
    /// `n` voters with ids from 1, all booted on empty disks.
    pub fn new(n: u8) -> Cluster {
        let members: BTreeMap<ServerId, MemberKind> = (1..=n)
            .map(|id| (ServerId(id), MemberKind::Voter))
            .collect();
        let mut cluster = Cluster {
            hosts: BTreeMap::new(),
            now: Now {
                mono: Mono(1),
                wall_ms: 1_700_000_000_000,
            },
            queue: VecDeque::new(),
            links: BTreeMap::new(),
            accepted: 0,
            conns: 0,
            inbox: BTreeMap::new(),
            events: Vec::new(),
            keep_events: true,
        };
        for id in members.keys() {
            let config = config(*id, members.clone());
            cluster.hosts.insert(
                *id,
                Host {
                    config,
                    peer: None,
                    disk: MemDisk::default(),
                },
            );
        }
        for id in members.keys() {
            cluster.boot(*id);
        }
        cluster.settle();
        cluster
    }

    /// Stops recording events (for benches).
    pub fn forget_events(&mut self) {
        self.keep_events = false;
        self.events.clear();
    }

    pub fn boot(&mut self, id: ServerId) {
        let host = self.hosts.get_mut(&id).expect("a member");
        let mut peer = Peer::new(host.config.clone());
        let mut out = Outbox::new();
        peer.start(self.now, &mut out);
        host.peer = Some(peer);
        self.obey(id, out);
    }

    /// The process dies; its disk stays.
    pub fn crash(&mut self, id: ServerId) {
        self.hosts.get_mut(&id).expect("a member").peer = None;
        self.queue.retain(|(to, _)| *to != id);
        let ends: Vec<_> = self.links.iter().filter(|((at, _), _)| *at == id).collect();
        let ends: Vec<_> = ends.into_iter().map(|(a, b)| (*a, *b)).collect();
        for (own, (peer, link)) in ends {
            self.links.remove(&own);
            self.links.remove(&(peer, link));
            self.queue.push_back((peer, Input::LinkDown { link }));
        }
    }

    /// What others send to this server, and it to them, is lost from now on without a word.
    pub fn mute(&mut self, id: ServerId) {
        self.links
            .retain(|(at, _), (other, _)| *at != id && *other != id);
    }

    pub fn peer(&self, id: ServerId) -> &Peer {
        self.hosts[&id].peer.as_ref().expect("it is up")
    }

    /// The server that leads, established.
    pub fn leader(&self) -> Option<ServerId> {
        use gamekeeper_core::base::event::Role;
        self.hosts
            .iter()
            .find(|(_, h)| {
                h.peer
                    .as_ref()
                    .is_some_and(|p| matches!(p.role(), Role::Leading { .. }))
            })
            .map(|(id, _)| *id)
    }

    /// Feeds everything that is queued, and what follows from it.
    pub fn settle(&mut self) {
        let mut steps = 0_u64;
        while let Some((to, input)) = self.queue.pop_front() {
            steps += 1;
            assert!(steps < 10_000_000, "the peers never come to rest");
            self.step(to, input);
        }
    }

    fn step(&mut self, to: ServerId, input: Input) {
        let Some(peer) = self.hosts.get_mut(&to).and_then(|h| h.peer.as_mut()) else {
            return;
        };
        let mut out = Outbox::new();
        peer.step(self.now, input, &mut out);
        self.obey(to, out);
    }

    /// Moves time from deadline to deadline for `ms`.
    pub fn run(&mut self, ms: u64) {
        let end = self.now.mono.plus_ms(ms);
        loop {
            self.settle();
            let next = self
                .hosts
                .iter()
                .filter_map(|(id, h)| Some((h.peer.as_ref()?.deadline()?, *id)))
                .min();
            let Some((at, id)) = next.filter(|(at, _)| *at <= end) else {
                break;
            };
            self.now.mono = self.now.mono.max(at);
            self.queue.push_back((id, Input::Timer));
        }
        self.now.mono = end;
    }

    fn obey(&mut self, id: ServerId, out: Outbox) {
        for output in out {
            match output {
                Output::ClientSend { conn, frame } => {
                    self.inbox.entry(conn).or_default().push_back(frame);
                }
                Output::ClientClose { conn } => {
                    self.inbox.entry(conn).or_default().push_back(Bytes::new());
                }
                Output::ClientPause { .. } => {}
                Output::Dial { link, to, kind } => self.dial(id, link, to, kind),
                Output::LinkSend { link, message } => {
                    if let Some((peer, link)) = self.links.get(&(id, link)).copied() {
                        self.queue
                            .push_back((peer, Input::LinkMessage { link, message }));
                    }
                }
                Output::LinkClose { link } => {
                    if let Some((peer, link)) = self.links.remove(&(id, link)) {
                        self.links.remove(&(peer, link));
                        self.queue.push_back((peer, Input::LinkDown { link }));
                    }
                }
                Output::Disk(DiskRequest { token, op, .. }) => {
                    let result = self
                        .hosts
                        .get_mut(&id)
                        .expect("a member")
                        .disk
                        .carry_out(op);
                    self.queue
                        .push_back((id, Input::Disk(DiskDone { token, result })));
                }
                Output::Event(event) => {
                    if self.keep_events {
                        self.events.push((id, event));
                    }
                }
                Output::Halt { reason } => panic!("server {id} halted: {reason}"),
            }
        }
    }

    fn dial(&mut self, from: ServerId, link: LinkId, to: ServerId, kind: LinkKind) {
        if self.hosts.get(&to).is_none_or(|h| h.peer.is_none()) {
            self.queue.push_back((from, Input::LinkDown { link }));
            return;
        }
        self.accepted += 1;
        let other = LinkId(self.accepted);
        self.links.insert((from, link), (to, other));
        self.links.insert((to, other), (from, link));
        self.queue.push_back((
            from,
            Input::LinkUp {
                link,
                peer: to,
                kind,
            },
        ));
        self.queue.push_back((
            to,
            Input::LinkUp {
                link: other,
                peer: from,
                kind,
            },
        ));
    }

    // --- clients ---

    /// Opens a connection and a session on it.
    pub fn connect(&mut self, to: ServerId) -> (ConnId, SessionId, Bytes) {
        let request = ConnectRequest {
            timeout_ms: 30_000,
            read_only: Some(false),
            ..ConnectRequest::default()
        };
        self.handshake(to, &request).expect("a new session")
    }

    /// A handshake; `None` when the connection was closed or the session is gone.
    pub fn handshake(
        &mut self,
        to: ServerId,
        request: &ConnectRequest,
    ) -> Option<(ConnId, SessionId, Bytes)> {
        self.conns += 1;
        let conn = ConnId(self.conns);
        let addr = "10.0.0.9".parse().unwrap();
        self.queue
            .push_back((to, Input::ClientOpened { conn, addr }));
        self.queue.push_back((
            to,
            Input::ClientFrame {
                conn,
                frame: request.to_bytes(),
            },
        ));
        self.settle();
        let frame = self.inbox.get_mut(&conn)?.pop_front()?;
        let response = ConnectResponse::from_slice(&frame).ok()?;
        (response.timeout_ms > 0).then_some((conn, response.session, response.password))
    }

    /// Sends without waiting.
    pub fn send(&mut self, to: ServerId, conn: ConnId, xid: i32, request: &Request) {
        self.queue.push_back((
            to,
            Input::ClientFrame {
                conn,
                frame: request.frame(xid),
            },
        ));
    }

    /// Sends and takes the next frame that comes back.
    pub fn ask(
        &mut self,
        to: ServerId,
        conn: ConnId,
        xid: i32,
        request: &Request,
    ) -> (ReplyHeader, Bytes) {
        self.send(to, conn, xid, request);
        self.settle();
        self.reply(conn).expect("an answer")
    }

    /// The next frame a client was sent; an empty one says that it was closed.
    pub fn reply(&mut self, conn: ConnId) -> Option<(ReplyHeader, Bytes)> {
        let frame = self.inbox.get_mut(&conn)?.pop_front()?;
        if frame.is_empty() {
            return None;
        }
        let (header, _) = ReplyHeader::split(&frame).expect("a reply");
        Some((header, frame.slice(16..)))
    }

    /// True when every peer that is up has applied the same.
    pub fn agrees(&self) -> bool {
        let states: Vec<(Zxid, u64)> = self
            .hosts
            .values()
            .filter_map(|h| h.peer.as_ref())
            .map(|p| (p.replica().last_zxid(), p.replica().digest()))
            .collect();
        states.windows(2).all(|pair| pair[0] == pair[1])
    }
}

/// Ordinary sizes.
pub fn config(me: ServerId, members: BTreeMap<ServerId, MemberKind>) -> PeerConfig {
    PeerConfig {
        zab: ZabConfig {
            me,
            members,
            tick_ms: 1000,
            init_limit: 10,
            sync_limit: 5,
            finalize_wait_ms: 200,
            notify_wait_ms: (200, 10_000),
            redial_wait_ms: (100, 2_000),
            history_entries_max: 500,
            history_bytes_max: 4 << 20,
        },
        store: StoreConfig {
            segment_bytes: 1 << 20,
            batch_bytes_max: 1 << 20,
            snapshots_kept: 2,
            read_bytes: 64 << 10,
        },
        timeouts: TimeoutBounds {
            min_ms: 2000,
            max_ms: 40_000,
        },
        snapshot_txns: 100_000,
        snapshot_chunk_bytes: 64 << 10,
        session_seed: u64::from(me.0) << 32,
    }
}
