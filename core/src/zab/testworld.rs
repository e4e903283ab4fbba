//! A small world for tests: a few [`Zab`] machines, their disks and the wires between them.
//!
//! It moves only when told to: every message, disk completion and tick is one call, so a
//! random driver (`cluster_test`) and a written story (`story_test`) can both steer it. The
//! state machine is the plain list of delivered entries, a snapshot is that list as bytes.
//! Wires are FIFO; each end learns of a break separately. A disk does appends, cuts and
//! installations in order and epoch records beside them; a crash keeps a prefix.
//!
//! What everybody says and does is shown to the [`Judge`] at that moment.

use super::message::Message;
use super::testjudge::Judge;
use super::{Boot, LinkKind, MemberKind, Zab, ZabConfig, ZabInput, ZabOutput};
use crate::base::event::{Event, Fitness};
use crate::base::{LinkId, Mono, Now, ServerId, Zxid};
use crate::log::{Entry, EpochRecord};
use bytes::{Buf, Bytes};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What is on its way to the log's part of a disk.
#[derive(Clone, Debug)]
pub enum LogOp {
    /// One record.
    Append(Entry),
    /// A cut after this zxid.
    Cut(Zxid),
    /// A leader's snapshot in place of everything.
    Install(Vec<Entry>),
}

/// One server's disk: what is durable, and what is on its way.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    pub epochs: Option<EpochRecord>,
    pub snapshot: Vec<Entry>,
    pub log: Vec<Entry>,
    pub ops: VecDeque<LogOp>,
    pub saves: VecDeque<EpochRecord>,
    /// Damage was found: the greatest zxid it is known to have held.
    pub mark: Option<Zxid>,
    /// A snapshot was installed since.
    pub filled: bool,
}

/// The last zxid of a history.
pub fn last_of(entries: &[Entry]) -> Zxid {
    entries.last().map_or(Zxid::ZERO, |entry| entry.zxid)
}

impl Disk {
    pub fn durable_last(&self) -> Zxid {
        last_of(&self.snapshot).max(last_of(&self.log))
    }

    /// Is this transaction durable here?
    pub fn holds(&self, zxid: Zxid) -> bool {
        zxid <= last_of(&self.snapshot) || self.log.binary_search_by_key(&zxid, |e| e.zxid).is_ok()
    }

    /// Everything logged, durable or not.
    pub fn logged(&self) -> Vec<Entry> {
        let mut disk = self.clone();
        while disk.finish_op().is_some() {}
        disk.snapshot.append(&mut disk.log);
        disk.snapshot
    }

    /// Makes the next log operation durable.
    fn finish_op(&mut self) -> Option<LogOp> {
        let op = self.ops.pop_front()?;
        match &op {
            LogOp::Append(entry) => self.log.push(entry.clone()),
            LogOp::Cut(after) => self.log.retain(|entry| entry.zxid <= *after),
            LogOp::Install(entries) => {
                self.snapshot = entries.clone();
                self.log.clear();
            }
        }
        Some(op)
    }

    /// What the store would say of it (`log::judge`).
    fn fitness(&mut self) -> Fitness {
        let promises_lost = self.epochs.is_none_or(|record| !record.voting);
        if self.filled && self.mark.is_some_and(|mark| mark <= self.durable_last()) {
            self.mark = None;
        }
        if let Some(mark) = self.mark {
            Fitness::Damaged {
                mark,
                promises_lost,
            }
        } else if self.epochs.is_none() && self.durable_last() == Zxid::ZERO {
            Fitness::Empty
        } else if promises_lost {
            Fitness::Amnesiac
        } else {
            Fitness::Whole
        }
    }
}

/// What waits at one end of a wire.
#[derive(Clone, Debug)]
pub enum Item {
    Up,
    Message(Message),
    Down,
}

/// One end of a wire.
#[derive(Clone, Debug)]
pub struct End {
    pub peer: ServerId,
    pub kind: LinkKind,
    /// The other end; `None` while it is dialled, and when nobody is there any more.
    pub far: Option<LinkId>,
    pub dialling: bool,
    pub inbox: VecDeque<Item>,
}

/// One server.
#[derive(Default)]
pub struct Server {
    /// `None` while it is down.
    pub zab: Option<Zab>,
    pub disk: Disk,
    /// What it has delivered, from the first transaction on.
    pub state: Vec<Entry>,
    pub ends: BTreeMap<LinkId, End>,
    /// Inputs on their way inside the server.
    pub local: VecDeque<ZabInput>,
    pub serving: bool,
    incoming: Option<(Zxid, Vec<u8>)>,
    feeds: BTreeMap<LinkId, Bytes>,
    accepted: u64,
}

/// The whole world.
pub struct World {
    pub now: Mono,
    pub config: ZabConfig,
    pub servers: BTreeMap<ServerId, Server>,
    /// Nothing reaches the first from the second for now.
    pub cuts: BTreeSet<(ServerId, ServerId)>,
    pub judge: Judge,
    /// What was said and done, for people.
    pub talk: Vec<String>,
    pub talks: bool,
    /// Said aloud, too, with the time.
    pub prints: bool,
    /// Servers whose disks stand still.
    pub held: BTreeSet<ServerId>,
    /// Routine (elections, pings) is not told.
    pub terse: bool,
    payloads: u64,
}

/// Pieces of a snapshot are small so that there are several.
const CHUNK_BYTES: usize = 96;

fn encode_state(state: &[Entry]) -> Bytes {
    let mut bytes = Vec::with_capacity(state.len() * 16);
    for entry in state {
        bytes.extend_from_slice(&entry.zxid.0.to_be_bytes());
        assert_eq!(entry.payload.len(), 8, "the world's payloads are numbers");
        bytes.extend_from_slice(&entry.payload);
    }
    bytes.into()
}

fn decode_state(bytes: Vec<u8>) -> Vec<Entry> {
    let mut bytes = Bytes::from(bytes);
    let mut state = Vec::new();
    while bytes.has_remaining() {
        let zxid = Zxid(bytes.get_u64());
        let payload = bytes.split_to(8);
        state.push(Entry { zxid, payload });
    }
    state
}

impl World {
    /// Voters 1 to `voters`, observers after them; nobody is up.
    pub fn new(voters: u8, observers: u8) -> World {
        let members = (1..=voters + observers)
            .map(|id| {
                let kind = if id <= voters {
                    MemberKind::Voter
                } else {
                    MemberKind::Observer
                };
                (ServerId(id), kind)
            })
            .collect::<BTreeMap<_, _>>();
        let servers = members.keys().map(|id| (*id, Server::default())).collect();
        World {
            now: Mono(1_000_000),
            config: ZabConfig {
                me: ServerId(0),
                members,
                tick_ms: 100,
                init_limit: 10,
                sync_limit: 5,
                finalize_wait_ms: 20,
                notify_wait_ms: (20, 60_000),
                redial_wait_ms: (10, 100),
                history_entries_max: 8,
                history_bytes_max: 1 << 20,
            },
            servers,
            cuts: BTreeSet::new(),
            judge: Judge::default(),
            talk: Vec::new(),
            talks: false,
            prints: false,
            held: BTreeSet::new(),
            terse: false,
            payloads: 0,
        }
    }

    pub fn clock(&self) -> Now {
        Now {
            mono: self.now,
            wall_ms: 0,
        }
    }

    pub fn say(&mut self, line: impl FnOnce() -> String) {
        if self.talks {
            let at = self.now.0 / 1_000_000;
            let line = line();
            if self.prints {
                println!("{at:>6} {line}");
            }
            self.talk.push(line);
        }
    }

    pub fn server(&mut self, id: ServerId) -> &mut Server {
        self.servers.get_mut(&id).expect("a member")
    }

    pub fn ids(&self) -> Vec<ServerId> {
        self.servers.keys().copied().collect()
    }

    pub fn voters(&self) -> usize {
        let voter = |kind: &&MemberKind| **kind == MemberKind::Voter;
        self.config.members.values().filter(voter).count()
    }

    /// Starts a server from what is durable.
    pub fn start(&mut self, id: ServerId) {
        let config = ZabConfig {
            me: id,
            ..self.config.clone()
        };
        let clock = self.clock();
        let server = self.server(id);
        assert!(server.zab.is_none(), "it is up");
        let disk = &mut server.disk;
        let fitness = disk.fitness();
        let boot = Boot {
            epochs: disk.epochs,
            snapshot: last_of(&disk.snapshot),
            tail: disk.log.clone(),
            fitness,
        };
        server.state = disk.snapshot.clone();
        let mut out = Vec::new();
        let zab = Zab::new(config, boot.clone(), clock, &mut out);
        server.zab = Some(zab);
        self.say(|| {
            let last = boot.tail.last().map_or(boot.snapshot, |entry| entry.zxid);
            format!(
                "s{id} starts {fitness:?}, snapshot {:?}, last {last:?}",
                boot.snapshot
            )
        });
        self.carry(id, out);
    }

    /// Stops a server at once. Of what is on its way to the disk, `kept` log operations and
    /// `saves` epoch records got there unseen.
    pub fn crash(&mut self, id: ServerId, kept: usize, saves: usize) {
        self.say(|| format!("s{id} crashes"));
        let server = self.server(id);
        server.zab = None;
        server.serving = false;
        server.local.clear();
        server.incoming = None;
        server.feeds.clear();
        for _ in 0..kept {
            server.disk.finish_op();
        }
        server.disk.ops.clear();
        for record in server.disk.saves.drain(..).take(saves) {
            server.disk.epochs = Some(record);
        }
        for (_, end) in std::mem::take(&mut server.ends) {
            self.part(end);
        }
        self.judge.crashed(id);
    }

    /// A server dies without a word: the other ends of its wires stay as they are.
    pub fn go_silent(&mut self, id: ServerId) {
        for (peer, far) in self.ends_at(id) {
            if let Some(end) = self.server(peer).ends.get_mut(&far) {
                end.far = None;
            }
        }
        for end in self.server(id).ends.values_mut() {
            end.far = None;
        }
    }

    fn ends_at(&self, id: ServerId) -> Vec<(ServerId, LinkId)> {
        let ends = self.servers[&id].ends.values();
        ends.filter_map(|end| Some((end.peer, end.far?))).collect()
    }

    /// The far end of a wire learns, behind what is on its way, that nobody is there.
    fn part(&mut self, end: End) {
        if let Some(far) = end.far
            && let Some(other) = self.server(end.peer).ends.get_mut(&far)
        {
            other.far = None;
            other.inbox.push_back(Item::Down);
        }
    }

    /// Breaks a wire: of what is on its way to each end, only so many items arrive.
    pub fn snap(&mut self, id: ServerId, link: LinkId, kept: (usize, usize)) {
        let Some(end) = self.server(id).ends.get_mut(&link) else {
            return;
        };
        end.inbox.truncate(kept.0);
        end.inbox.push_back(Item::Down);
        end.dialling = false;
        let far = end.far.take().map(|far| (end.peer, far));
        if let Some((peer, far)) = far
            && let Some(other) = self.server(peer).ends.get_mut(&far)
        {
            other.inbox.truncate(kept.1);
            other.inbox.push_back(Item::Down);
            other.far = None;
        }
    }

    /// Answers a dial, or refuses it when nobody is there.
    pub fn connect(&mut self, id: ServerId, link: LinkId) {
        let end = self.servers[&id].ends[&link].clone();
        assert!(end.dialling, "answered before");
        let up = self.servers[&end.peer].zab.is_some();
        let near = self.server(id).ends.get_mut(&link).expect("just seen");
        near.dialling = false;
        if !up {
            near.inbox.push_back(Item::Down);
            return;
        }
        near.inbox.push_back(Item::Up);
        let peer = self.server(end.peer);
        peer.accepted += 1;
        let far = LinkId(peer.accepted);
        let other = End {
            peer: id,
            kind: end.kind,
            far: Some(link),
            dialling: false,
            inbox: VecDeque::from([Item::Up]),
        };
        peer.ends.insert(far, other);
        self.server(id).ends.get_mut(&link).expect("just seen").far = Some(far);
    }

    /// Hands over the next item of a wire's end.
    pub fn receive(&mut self, id: ServerId, link: LinkId) {
        let server = self.server(id);
        let Some(end) = server.ends.get_mut(&link) else {
            return;
        };
        let (peer, kind) = (end.peer, end.kind);
        let Some(item) = end.inbox.pop_front() else {
            return;
        };
        match item {
            Item::Up => self.step(id, ZabInput::LinkUp { link, peer, kind }),
            Item::Message(message) => {
                if !(self.terse && is_routine(&message)) {
                    self.say(|| format!("s{peer} -> s{id}  {}", words(&message)));
                }
                self.step(id, ZabInput::Message { link, message });
            }
            Item::Down => {
                server.ends.remove(&link);
                self.step(id, ZabInput::LinkDown { link });
            }
        }
    }

    /// The disk finishes the next log operation, or a run of appends.
    pub fn finish_ops(&mut self, id: ServerId, most: usize) {
        let server = self.server(id);
        let mut upto = None;
        for _ in 0..most {
            if upto.is_some() && !matches!(server.disk.ops.front(), Some(LogOp::Append(_))) {
                break;
            }
            match server.disk.finish_op() {
                None => break,
                Some(LogOp::Append(entry)) => upto = Some(entry.zxid),
                Some(LogOp::Cut(last)) => {
                    self.step(id, ZabInput::Truncated { last });
                    return;
                }
                Some(LogOp::Install(entries)) => {
                    let zxid = last_of(&entries);
                    server.disk.filled = true;
                    server.state = entries;
                    self.judge.installed(id, &self.servers[&id].state);
                    self.step(id, ZabInput::Installed { zxid });
                    return;
                }
            }
        }
        if let Some(upto) = upto {
            self.step(id, ZabInput::LogDurable { upto });
        }
    }

    /// The disk finishes the next epoch record.
    pub fn finish_save(&mut self, id: ServerId) {
        let disk = &mut self.server(id).disk;
        if let Some(record) = disk.saves.pop_front() {
            disk.epochs = Some(record);
            self.step(id, ZabInput::EpochsDurable(record));
        }
    }

    /// One input, and everything that comes of it.
    pub fn step(&mut self, id: ServerId, input: ZabInput) {
        let clock = self.clock();
        let timer = input == ZabInput::Timer;
        let server = self.server(id);
        let Some(zab) = &mut server.zab else { return };
        let mut out = Vec::new();
        zab.step(clock, input, &mut out);
        if timer && let Some(deadline) = zab.deadline() {
            assert!(deadline > self.now, "s{id} asks for a time that has passed");
        }
        self.carry(id, out);
    }

    /// Proposes something new on a leader. `None` when it takes nothing.
    pub fn propose(&mut self, id: ServerId) -> Option<Zxid> {
        let clock = self.clock();
        self.payloads += 1;
        let payload = Bytes::copy_from_slice(&self.payloads.to_be_bytes());
        let server = self.server(id);
        let zab = server.zab.as_mut()?;
        zab.next_zxid()?;
        let mut out = Vec::new();
        let zxid = zab.propose(clock, payload, &mut out);
        self.say(|| format!("s{id} proposes {zxid:?}"));
        self.carry(id, out);
        Some(zxid)
    }

    /// Asks an established leader to confirm that it leads.
    pub fn confirm(&mut self, id: ServerId) {
        let Some(zab) = self.server(id).zab.as_mut() else {
            return;
        };
        if zab.next_zxid().is_none() {
            return;
        }
        let mut out = Vec::new();
        let round = zab.confirm(&mut out);
        self.judge.asked(id, round);
        self.say(|| format!("s{id} asks for confirmation {}", round.0));
        self.carry(id, out);
    }

    /// Puts the delivered state on the disk as a snapshot of its own.
    pub fn snapshot(&mut self, id: ServerId) {
        let server = self.server(id);
        let appends = |op: &LogOp| matches!(op, LogOp::Append(_));
        if server.zab.is_some() && server.disk.ops.iter().all(appends) {
            let zxid = last_of(&server.state);
            server.disk.snapshot = server.state.clone();
            server.disk.log.retain(|entry| entry.zxid > zxid);
        }
    }

    /// Carries out what a machine wants.
    fn carry(&mut self, id: ServerId, out: Vec<ZabOutput>) {
        for output in out {
            let voters = self.voters();
            self.judge.saw(id, &output, &self.servers, voters);
            self.tell(id, &output);
            self.carry_one(id, output);
        }
    }

    fn carry_one(&mut self, id: ServerId, output: ZabOutput) {
        let server = self.servers.get_mut(&id).expect("a member");
        match output {
            ZabOutput::Dial { link, to, kind } => {
                let end = End {
                    peer: to,
                    kind,
                    far: None,
                    dialling: true,
                    inbox: VecDeque::new(),
                };
                server.ends.insert(link, end);
            }
            ZabOutput::Send { link, message } => {
                let far = server
                    .ends
                    .get(&link)
                    .and_then(|end| Some((end.peer, end.far?)));
                if let Some((peer, far)) = far
                    && let Some(end) = self.server(peer).ends.get_mut(&far)
                {
                    end.inbox.push_back(Item::Message(message));
                }
            }
            ZabOutput::Hangup { link } => {
                if let Some(end) = server.ends.remove(&link) {
                    self.part(end);
                }
            }
            ZabOutput::SaveEpochs(record) => server.disk.saves.push_back(record),
            ZabOutput::Append(entry) => server.disk.ops.push_back(LogOp::Append(entry)),
            ZabOutput::Truncate { after } => server.disk.ops.push_back(LogOp::Cut(after)),
            ZabOutput::InstallBegin { zxid } => server.incoming = Some((zxid, Vec::new())),
            ZabOutput::InstallChunk(chunk) => {
                let (_, bytes) = server.incoming.as_mut().expect("a snapshot has begun");
                bytes.extend_from_slice(&chunk);
            }
            ZabOutput::InstallEnd => {
                let (zxid, bytes) = server.incoming.take().expect("a snapshot has begun");
                let state = decode_state(bytes);
                assert_eq!(last_of(&state), zxid, "the snapshot stands for its zxid");
                server.disk.ops.push_back(LogOp::Install(state));
            }
            ZabOutput::InstallAbort => {
                assert!(server.incoming.take().is_some(), "nothing to abort");
            }
            ZabOutput::SnapshotFor { link, zxid } => {
                assert_eq!(
                    last_of(&server.state),
                    zxid,
                    "a snapshot of what is delivered"
                );
                server.feeds.insert(link, encode_state(&server.state));
            }
            ZabOutput::SnapshotNext { link } => {
                if let Some(rest) = server.feeds.get_mut(&link) {
                    let chunk = rest.split_to(CHUNK_BYTES.min(rest.len()));
                    let last = rest.is_empty();
                    if last {
                        server.feeds.remove(&link);
                    }
                    server
                        .local
                        .push_back(ZabInput::SnapshotChunk { link, chunk, last });
                }
            }
            ZabOutput::SnapshotCancel { link } => {
                server.feeds.remove(&link);
            }
            ZabOutput::Deliver(entry) => server.state.push(entry),
            ZabOutput::Healed => server.disk.mark = None,
            ZabOutput::Leading { .. } | ZabOutput::Following { .. } => server.serving = true,
            ZabOutput::Looking => server.serving = false,
            ZabOutput::Halt { reason } => panic!("s{id} halts: {reason}"),
            ZabOutput::App { .. }
            | ZabOutput::LearnerUp { .. }
            | ZabOutput::LearnerDown { .. }
            | ZabOutput::PongDue
            | ZabOutput::Confirmed(_)
            | ZabOutput::Event(_) => {}
        }
    }

    /// Puts an output into words. Messages are told when they arrive.
    fn tell(&mut self, id: ServerId, output: &ZabOutput) {
        match output {
            ZabOutput::Event(Event::Role(role)) => self.say(|| format!("s{id} is {role:?}")),
            ZabOutput::Event(Event::Probe(probe)) => self.say(|| format!("s{id} ({probe})")),
            ZabOutput::Event(Event::Established { epoch, .. }) => {
                self.say(|| format!("s{id} establishes {epoch:?}"));
            }
            ZabOutput::Deliver(entry) => self.say(|| format!("s{id} delivers {:?}", entry.zxid)),
            ZabOutput::Truncate { after } => self.say(|| format!("s{id} cuts after {after:?}")),
            ZabOutput::InstallBegin { zxid } => {
                self.say(|| format!("s{id} takes a snapshot at {zxid:?}"));
            }
            ZabOutput::SaveEpochs(r) => self.say(|| {
                let vote = match (r.voting, r.restorable) {
                    (true, _) => "",
                    (false, true) => ", no vote until restored",
                    (false, false) => ", no vote until rejoined",
                };
                format!(
                    "s{id} saves accepted {:?}, current {:?}{vote}",
                    r.accepted, r.current
                )
            }),
            ZabOutput::Confirmed(round) => {
                self.say(|| format!("s{id} is confirmed, round {}", round.0));
            }
            ZabOutput::Dial { link, to, kind } if !self.terse => {
                self.say(|| format!("s{id} dials s{to} for {kind:?} ({link:?})"));
            }
            _ => {}
        }
    }
}

fn is_routine(message: &Message) -> bool {
    matches!(
        message,
        Message::Notification { .. }
            | Message::Ping { .. }
            | Message::Pong { .. }
            | Message::SnapAck { .. }
    )
}

/// A message in words: without the bytes.
fn words(message: &Message) -> String {
    match message {
        Message::Propose { zxid, .. } => format!("Propose {zxid:?}"),
        Message::Inform { zxid, .. } => format!("Inform {zxid:?}"),
        Message::SnapChunk(bytes) => format!("SnapChunk of {} bytes", bytes.len()),
        other => format!("{other:?}"),
    }
}
