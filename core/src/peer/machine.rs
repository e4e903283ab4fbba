//! [`Peer`]: store, Zab, replica, front and chief, and the wiring between them.
//!
//! It decides nothing of its own. Each input goes to the part it is for; what that part
//! wants is queued and carried to the next until all queues are empty, so that a step ends
//! with nothing half done. The order of the queues carries weight: answers of the chief
//! before anything Zab delivers, Zab's outputs strictly in their order.

use super::config::PeerConfig;
use super::io::{Input, Machine, Outbox, Output};
use crate::base::event::Role;
use crate::base::{Event, LinkId, Mono, Now, ServerId, Zxid, earlier};
use crate::log::{Entry, Recovered, Store, StoreEvent, StoreOut};
use crate::pipeline::chief::{Chief, ChiefTools};
use crate::pipeline::front::{Front, FrontOut};
use crate::pipeline::relay::{Relay, TOUCH_MAX};
use crate::pipeline::replica::{Replica, SnapshotId};
use crate::session::SessionIds;
use crate::zab::{Boot, Zab, ZabInput, ZabOutput, wire};
use bytes::{Bytes, BytesMut};
use std::collections::BTreeMap;

/// A snapshot that is coming in from the leader.
#[derive(Debug)]
struct Install {
    zxid: Zxid,
    body: BytesMut,
    loaded: Option<Replica>,
}

/// One server of an ensemble.
#[derive(Debug)]
pub struct Peer {
    config: PeerConfig,
    store: Option<Store>,
    zab: Option<Zab>,
    replica: Replica,
    front: Front,
    chief: Option<Chief>,
    /// Whom this server's relays go to while it learns.
    leader: Option<ServerId>,
    install: Option<Install>,
    /// Snapshots being fed to learners.
    feeds: BTreeMap<LinkId, SnapshotId>,
    /// The own snapshot being written.
    own_snapshot: Option<SnapshotId>,
    txns_since_snapshot: u64,
    /// The operator's word to let a wiped server back in, until Zab is there to hear it.
    rejoin: bool,
    halted: bool,
    store_out: StoreOut,
    zab_out: Vec<ZabOutput>,
    /// What is carried out before anything in `zab_out`, last first.
    zab_queue: Vec<ZabOutput>,
    relays: Vec<Relay>,
    answers: Vec<(ServerId, Relay)>,
}

impl Peer {
    /// A peer that has not read its disk yet; [`Machine::start`] begins that.
    pub fn new(config: PeerConfig) -> Peer {
        let ids = SessionIds::new(config.zab.me, config.session_seed);
        Peer {
            front: Front::new(config.timeouts, ids),
            config,
            store: None,
            zab: None,
            replica: Replica::default(),
            chief: None,
            leader: None,
            install: None,
            feeds: BTreeMap::new(),
            own_snapshot: None,
            txns_since_snapshot: 0,
            rejoin: false,
            halted: false,
            store_out: StoreOut::default(),
            zab_out: Vec::new(),
            zab_queue: Vec::new(),
            relays: Vec::new(),
            answers: Vec::new(),
        }
    }

    /// The part it plays now.
    pub fn role(&self) -> Role {
        match (&self.zab, self.halted) {
            (_, true) => Role::Halted,
            (None, false) => Role::Recovering,
            (Some(zab), false) => zab.role(),
        }
    }

    /// The replicated state as applied here.
    pub fn replica(&self) -> &Replica {
        &self.replica
    }

    fn me(&self) -> ServerId {
        self.config.zab.me
    }

    fn zab_step(&mut self, now: Now, input: ZabInput) {
        if let Some(zab) = &mut self.zab {
            zab.step(now, input, &mut self.zab_out);
        }
    }

    fn link_message(&mut self, now: Now, link: LinkId, message: &Bytes, out: &mut Outbox) {
        match wire::decode(message) {
            Ok(message) => self.zab_step(now, ZabInput::Message { link, message }),
            Err(_) => {
                // Framed and checksummed, yet not ours: another version. Break the link.
                out.push(Output::LinkClose { link });
                self.zab_step(now, ZabInput::LinkDown { link });
            }
        }
    }

    fn timers(&mut self, now: Now, out: &mut Outbox) {
        if due(self.zab.as_ref().and_then(Zab::deadline), now) {
            self.zab_step(now, ZabInput::Timer);
        }
        if let Some(store) = &mut self.store
            && due(store.deadline(), now)
        {
            store.timer(now.mono, &mut self.store_out);
        }
        if due(self.chief.as_ref().and_then(Chief::deadline), now) {
            self.with_chief(now, |chief, tools| chief.timer(tools));
        }
        if due(self.front.deadline(), now) {
            self.front.drop_silent(now, out);
        }
    }

    /// Carries everything queued to where it belongs, until nothing is queued.
    fn settle(&mut self, now: Now, out: &mut Outbox) {
        loop {
            if !self.answers.is_empty() {
                self.carry_answers(out);
            } else if !self.relays.is_empty() {
                self.carry_relays(now);
            } else if let Some(output) = self.next_of_zab() {
                self.obey(now, output, out);
            } else if !self.store_out.events.is_empty() {
                let mut events = std::mem::take(&mut self.store_out.events);
                for event in events.drain(..) {
                    self.store_event(now, event, out);
                }
                keep_room(&mut self.store_out.events, events);
            } else {
                break;
            }
            self.submit(out);
            if self.halted {
                return;
            }
        }
        self.feed_own_snapshot();
        self.submit(out);
    }

    /// Zab's outputs strictly in their order: what carrying one out brings comes last.
    fn next_of_zab(&mut self) -> Option<ZabOutput> {
        if self.zab_queue.is_empty() {
            std::mem::swap(&mut self.zab_queue, &mut self.zab_out);
            self.zab_queue.reverse();
        }
        self.zab_queue.pop()
    }

    fn submit(&mut self, out: &mut Outbox) {
        if !self.store_out.disk.is_empty() {
            out.extend(self.store_out.disk.drain(..).map(Output::Disk));
        }
    }

    fn carry_answers(&mut self, out: &mut Outbox) {
        let me = self.me();
        let mut answers = std::mem::take(&mut self.answers);
        for (server, relay) in answers.drain(..) {
            if server == me {
                let mut front_out = FrontOut {
                    outbox: out,
                    relays: &mut self.relays,
                };
                self.front.relay(&relay, &self.replica, &mut front_out);
            } else if let Some(zab) = &mut self.zab {
                // A learner that is gone has lost its clients too: nothing to be told.
                let _ = zab.send_app(server, relay.encode(), &mut self.zab_out);
            }
        }
        keep_room(&mut self.answers, answers);
    }

    fn carry_relays(&mut self, now: Now) {
        let me = self.me();
        let mut relays = std::mem::take(&mut self.relays);
        for relay in relays.drain(..) {
            if self.chief.is_some() {
                self.with_chief(now, |chief, tools| chief.relay(me, relay, tools));
            } else {
                self.send_to_leader(&relay);
            }
        }
        keep_room(&mut self.relays, relays);
    }

    fn send_to_leader(&mut self, relay: &Relay) {
        if let (Some(leader), Some(zab)) = (self.leader, &mut self.zab) {
            // A broken link ends the role, and with it every client that waits.
            let _ = zab.send_app(leader, relay.encode(), &mut self.zab_out);
        }
    }

    fn with_chief(&mut self, now: Now, act: impl FnOnce(&mut Chief, &mut ChiefTools<'_>)) {
        if let (Some(chief), Some(zab)) = (&mut self.chief, &mut self.zab) {
            let mut tools = ChiefTools {
                now,
                replica: &self.replica,
                zab,
                zab_out: &mut self.zab_out,
                answers: &mut self.answers,
            };
            act(chief, &mut tools);
        }
    }

    /// Carries out one output of Zab.
    fn obey(&mut self, now: Now, output: ZabOutput, out: &mut Outbox) {
        match output {
            ZabOutput::Dial { link, to, kind } => out.push(Output::Dial { link, to, kind }),
            ZabOutput::Send { link, message } => {
                out.push(Output::LinkSend {
                    link,
                    message: wire::encode(&message),
                });
            }
            ZabOutput::Hangup { link } => out.push(Output::LinkClose { link }),
            ZabOutput::SaveEpochs(record) => {
                self.with_store(|store, o| store.save_epochs(record, o));
            }
            ZabOutput::Healed => self.with_store(|store, _| store.heal(now.mono)),
            ZabOutput::Append(entry) => self.with_store(|store, o| store.append(entry, o)),
            ZabOutput::Truncate { after } => self.with_store(|store, o| store.truncate(after, o)),
            ZabOutput::InstallBegin { zxid } => {
                self.install = Some(Install {
                    zxid,
                    body: BytesMut::new(),
                    loaded: None,
                });
                self.with_store(|store, o| store.install_begin(zxid, o));
            }
            ZabOutput::InstallChunk(chunk) => {
                if let Some(install) = &mut self.install {
                    install.body.extend_from_slice(&chunk);
                }
                self.with_store(|store, o| store.install_chunk(chunk, o));
            }
            ZabOutput::InstallEnd => self.install_end(now),
            ZabOutput::InstallAbort => self.install_abort(),
            ZabOutput::SnapshotFor { link, zxid } => {
                assert_eq!(zxid, self.replica.last_zxid(), "snapshot of another state");
                let id = self.replica.snapshot_begin();
                self.feeds.insert(link, id);
            }
            ZabOutput::SnapshotNext { link } => self.feed(now, link),
            ZabOutput::SnapshotCancel { link } => {
                if let Some(id) = self.feeds.remove(&link) {
                    self.replica.snapshot_cancel(id);
                }
            }
            ZabOutput::Deliver(entry) => self.deliver(now, &entry, out),
            ZabOutput::Leading { .. } => {
                let me = self.me();
                let tick_ms = self.config.zab.tick_ms;
                self.chief = Some(Chief::new(me, tick_ms, now, &self.replica));
                self.front.start_serving();
            }
            ZabOutput::Following { leader, .. } => {
                self.leader = Some(leader);
                self.front.start_serving();
            }
            ZabOutput::Looking => self.end_role(out),
            ZabOutput::App { from, bytes } => self.app(now, from, &bytes, out),
            ZabOutput::LearnerUp { .. } | ZabOutput::LearnerDown { .. } => {}
            ZabOutput::PongDue => {
                let touched = self.front.take_touched();
                for sessions in touched.chunks(TOUCH_MAX) {
                    self.send_to_leader(&Relay::Touch(sessions.to_vec()));
                }
            }
            ZabOutput::Confirmed(upto) => {
                if let Some(chief) = &mut self.chief {
                    chief.confirmed(upto, &mut self.answers);
                }
            }
            ZabOutput::Event(event) => out.push(Output::Event(event)),
            ZabOutput::Halt { reason } => self.halt(reason, out),
        }
    }

    fn with_store(&mut self, act: impl FnOnce(&mut Store, &mut StoreOut)) {
        let store = self.store.as_mut().expect("Zab speaks only after recovery");
        act(store, &mut self.store_out);
    }

    /// On the leader: the sessions of its own clients were heard from. (A learner's are sent
    /// with its pongs.)
    fn touch_own(&mut self, now: Now) {
        if let Some(chief) = &mut self.chief {
            for session in self.front.take_touched() {
                chief.touch(session, now);
            }
        }
    }

    fn end_role(&mut self, out: &mut Outbox) {
        self.chief = None;
        self.leader = None;
        self.relays.clear();
        self.answers.clear();
        self.front.stop_serving(out);
    }

    fn app(&mut self, now: Now, from: ServerId, bytes: &Bytes, out: &mut Outbox) {
        let Ok(relay) = Relay::decode(bytes) else {
            out.push(Output::Event(Event::Probe(
                "relay of another version dropped",
            )));
            return;
        };
        if self.chief.is_some() {
            self.with_chief(now, |chief, tools| chief.relay(from, relay, tools));
        } else if self.leader == Some(from) {
            let mut front_out = FrontOut {
                outbox: out,
                relays: &mut self.relays,
            };
            self.front.relay(&relay, &self.replica, &mut front_out);
        }
    }

    fn deliver(&mut self, now: Now, entry: &Entry, out: &mut Outbox) {
        let applied = match self.replica.apply(entry.zxid, &entry.payload) {
            Ok(applied) => applied,
            Err(error) => {
                // Committed by a quorum and unreadable: going on would diverge.
                self.halt(
                    format!("transaction {} does not apply: {error}", entry.zxid),
                    out,
                );
                return;
            }
        };
        let digest = self.replica.digest();
        out.push(Output::Event(Event::Applied {
            zxid: entry.zxid,
            digest,
        }));
        let mut front_out = FrontOut {
            outbox: out,
            relays: &mut self.relays,
        };
        self.front
            .applied(entry.zxid, &applied, &self.replica, &mut front_out);
        self.with_chief(now, |chief, tools| {
            chief.applied(entry.zxid, applied.closed_session);
            chief.work_off(tools);
        });
        self.txns_since_snapshot += 1;
        let busy = self.store.as_ref().is_none_or(Store::snapshot_busy);
        if self.txns_since_snapshot >= self.config.snapshot_txns && !busy {
            self.begin_snapshot();
        }
    }

    /// At most one piece a step, and none while the disk lags behind: nobody waits for a
    /// snapshot, and memory stays bounded. The disk's completions bring the next step.
    fn feed_own_snapshot(&mut self) {
        let (Some(id), Some(store)) = (self.own_snapshot, &mut self.store) else {
            return;
        };
        if store.snapshot_backlog_bytes() > self.config.snapshot_chunk_bytes {
            return;
        }
        let (chunk, last) = self
            .replica
            .snapshot_next(id, self.config.snapshot_chunk_bytes);
        store.snapshot_chunk(chunk, &mut self.store_out);
        if last {
            self.own_snapshot = None;
            store.snapshot_end(&mut self.store_out);
        }
    }

    fn begin_snapshot(&mut self) {
        self.txns_since_snapshot = 0;
        self.own_snapshot = Some(self.replica.snapshot_begin());
        let zxid = self.replica.last_zxid();
        self.with_store(|store, o| store.snapshot_begin(zxid, o));
    }
}

impl Peer {
    /// One more piece of a learner's snapshot.
    fn feed(&mut self, now: Now, link: LinkId) {
        let Some(id) = self.feeds.get(&link).copied() else {
            return;
        };
        let (chunk, last) = self
            .replica
            .snapshot_next(id, self.config.snapshot_chunk_bytes);
        if last {
            self.feeds.remove(&link);
        }
        self.zab_step(now, ZabInput::SnapshotChunk { link, chunk, last });
    }

    /// The leader's snapshot is complete: it must load before it may replace anything.
    fn install_end(&mut self, now: Now) {
        let Some(install) = &mut self.install else {
            return;
        };
        let body = std::mem::take(&mut install.body).freeze();
        match Replica::load(&body) {
            Ok(replica) if replica.last_zxid() == install.zxid => {
                install.loaded = Some(replica);
                self.with_store(|store, o| store.install_end(o));
            }
            Ok(_) | Err(_) => {
                self.install_abort();
                self.zab_step(now, ZabInput::InstallFailed);
            }
        }
    }

    fn install_abort(&mut self) {
        if self.install.take().is_some() {
            self.with_store(|store, o| store.install_abort(o));
        }
    }

    fn installed(&mut self, now: Now, zxid: Zxid, out: &mut Outbox) {
        let install = self
            .install
            .take()
            .expect("installed without an installation");
        let replica = install.loaded.expect("installed before it was loaded");
        assert_eq!(zxid, install.zxid, "another snapshot was installed");
        self.replica = replica;
        self.own_snapshot = None;
        self.feeds.clear();
        self.txns_since_snapshot = 0;
        let digest = self.replica.digest();
        out.push(Output::Event(Event::SnapshotInstalled { zxid, digest }));
        self.zab_step(now, ZabInput::Installed { zxid });
    }

    fn recovered(&mut self, now: Now, found: Recovered, out: &mut Outbox) {
        let snapshot = match found.snapshot {
            None => Zxid::ZERO,
            Some((zxid, body)) => match Replica::load(&body) {
                Ok(replica) if replica.last_zxid() == zxid => {
                    self.replica = replica;
                    zxid
                }
                Ok(_) => return self.halt(format!("snapshot {zxid} holds another state"), out),
                Err(error) => return self.halt(format!("snapshot {zxid}: {error}"), out),
            },
        };
        let last = found.tail.last().map_or(snapshot, |entry| entry.zxid);
        let epochs = found.epochs.unwrap_or_default();
        out.push(Output::Event(Event::Recovered {
            snapshot,
            last,
            accepted: epochs.accepted,
            current: epochs.current,
            fitness: found.fitness,
        }));
        let boot = Boot {
            epochs: found.epochs,
            snapshot,
            tail: found.tail,
            fitness: found.fitness,
        };
        self.zab = Some(Zab::new(
            self.config.zab.clone(),
            boot,
            now,
            &mut self.zab_out,
        ));
        if std::mem::take(&mut self.rejoin) {
            self.zab_step(now, ZabInput::Rejoin);
        }
    }

    fn store_event(&mut self, now: Now, event: StoreEvent, out: &mut Outbox) {
        match event {
            StoreEvent::Recovered(found) => self.recovered(now, found, out),
            StoreEvent::LogDurable { upto } => self.zab_step(now, ZabInput::LogDurable { upto }),
            StoreEvent::EpochsDurable(record) => {
                self.zab_step(now, ZabInput::EpochsDurable(record));
            }
            StoreEvent::Truncated { last } => self.zab_step(now, ZabInput::Truncated { last }),
            StoreEvent::SnapshotDurable { zxid } => {
                out.push(Output::Event(Event::SnapshotTaken { zxid }));
            }
            StoreEvent::SnapshotFailed { .. } => {
                if let Some(id) = self.own_snapshot.take() {
                    self.replica.snapshot_cancel(id);
                }
                out.push(Output::Event(Event::Probe("own snapshot abandoned")));
            }
            StoreEvent::Installed { zxid } => self.installed(now, zxid, out),
            StoreEvent::InstallFailed { .. } => {
                self.install = None;
                self.zab_step(now, ZabInput::InstallFailed);
            }
            StoreEvent::Full(full) => {
                let probe = if full {
                    "log waits for space"
                } else {
                    "log has space again"
                };
                out.push(Output::Event(Event::Probe(probe)));
            }
            StoreEvent::Failed { reason } => self.halt(reason, out),
            StoreEvent::Probe(probe) => out.push(Output::Event(Event::Probe(probe))),
        }
    }

    fn halt(&mut self, reason: String, out: &mut Outbox) {
        self.halted = true;
        out.push(Output::Event(Event::Halted {
            reason: reason.clone(),
        }));
        out.push(Output::Halt { reason });
    }
}

impl Machine for Peer {
    fn start(&mut self, now: Now, out: &mut Outbox) {
        self.store = Some(Store::open(self.config.store, &mut self.store_out));
        self.settle(now, out);
    }

    fn step(&mut self, now: Now, input: Input, out: &mut Outbox) {
        if self.halted {
            return;
        }
        let recovering = self.zab.is_none();
        match input {
            Input::Timer => self.timers(now, out),
            Input::ClientOpened { conn, .. } if recovering => {
                out.push(Output::ClientClose { conn });
            }
            Input::ClientOpened { conn, addr } => self.front.opened(now, conn, addr),
            Input::ClientFrame { conn, frame } => {
                let mut front_out = FrontOut {
                    outbox: out,
                    relays: &mut self.relays,
                };
                self.front.frame(conn, frame, &self.replica, &mut front_out);
                self.touch_own(now);
            }
            Input::ClientClosed { conn } => self.front.gone(conn),
            Input::LinkUp { link, .. } if recovering => out.push(Output::LinkClose { link }),
            Input::LinkUp { link, peer, kind } => {
                self.zab_step(now, ZabInput::LinkUp { link, peer, kind });
            }
            Input::LinkMessage { link, message } => self.link_message(now, link, &message, out),
            Input::LinkDown { link } => self.zab_step(now, ZabInput::LinkDown { link }),
            Input::Disk(done) => {
                let store = self.store.as_mut().expect("a completion after start");
                store.step(now.mono, done, &mut self.store_out);
            }
            Input::Rejoin if recovering => self.rejoin = true,
            Input::Rejoin => self.zab_step(now, ZabInput::Rejoin),
        }
        self.settle(now, out);
    }

    fn deadline(&self) -> Option<Mono> {
        if self.halted {
            return None;
        }
        let zab = self.zab.as_ref().and_then(Zab::deadline);
        let store = self.store.as_ref().and_then(Store::deadline);
        let chief = self.chief.as_ref().and_then(Chief::deadline);
        earlier(earlier(zab, store), earlier(chief, self.front.deadline()))
    }
}

/// Puts an emptied list back, so that its room is not asked for again, unless carrying it out
/// filled a new one.
fn keep_room<T>(list: &mut Vec<T>, emptied: Vec<T>) {
    if list.is_empty() {
        *list = emptied;
    }
}

fn due(deadline: Option<Mono>, now: Now) -> bool {
    deadline.is_some_and(|at| at <= now.mono)
}
