//! The judge of one pass: acquits while a history goes by, and doubts where it cannot.
//!
//! It believes the zxids, assumes that of what is of unknown fate only that took effect which
//! the servers' own log has or that shows, and sees every record once: answers wait in a window until nothing
//! can come before them, are replayed against the tree in order, and are forgotten. What stays
//! is the tree, the window, what watches wait for, and a few numbers per session, so a history
//! may be longer than memory.
//!
//! It convicts nobody. Whatever does not agree at once is a [`Doubt`], and a doubt says
//! nothing about the service: the history may need a request of unknown fate placed, hold
//! a violation, or reach further back than the window. [`crate::judge`] asks this judge
//! first and goes through the whole history with the thorough one when it doubts. What always
//! holds: where it does not doubt, the thorough judge finds the history valid too.
//!
//! | room | holds |
//! |---|---|
//! | `clients` | what is under way, and comparisons of zxids and times |
//! | `roster` | clients, by their numbers |
//! | `window` | answers on their way into the order |
//! | `events` | connections, sessions, notifications and what was lost, as records of them come |
//! | `settle` | what has left the window, against the tree |
//! | `seen` | what of unknown fate happened, by what is seen ahead in the window |
//! | `late` | what happened long before it shows |
//! | `lapse` | containers and TTL nodes that go by themselves |
//! | `guess` | numbers chosen for that, which may still change |
//! | `room` | where there is room for that in what has gone by |
//! | `watches` | registrations and notifications along the order |
//! | `again` | watches registered again on another connection |
//! | `standing` | registrations that stay when they fire |
//! | `nameless` | notifications that name no transaction |
//! | `order` | records in the order of time |
//! | `stretches` | going back, and what the thorough judge says of a stretch |
//! | `stretch` | a stretch as a history of its own |
//! | `acquit` | a whole history in memory |
//!
//! Answers to: `consistency.md` 3.2, "Complexity" (streaming).

mod acquit;
mod again;
mod clients;
mod events;
mod guess;
mod lapse;
mod late;
mod nameless;
mod order;
mod room;
mod roster;
mod seen;
mod settle;
mod standing;
mod stretch;
mod stretches;
mod watches;
mod window;

use crate::history::{Answer, Body, Header, Path, Record, SessionEvent, Start, SyncPromise, Txn};
use crate::model::{AclTable, NO_PATH, NO_SESSION, PathId, Paths, SessionIndex, Tree};
use crate::verdict::Summary;
use crate::verify::{Refusal, Verifier};
use crate::walk::{Options, Role, lag_ns, role};
pub use acquit::{acquit, acquit_verified};
use clients::{Client, Connection, Judging, Open, Sessions, Shown, closes};
use guess::Guess;
use lapse::Lapses;
pub use order::{InOrder, in_order_of_time};
use room::Room;
use roster::Roster;
use rustc_hash::FxHashMap;
use seen::Seen;
use settle::{Answered, Entry};
use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
pub use stretches::{STRETCH, Stretches};
use watches::{ConnectionId, Watches};
use window::{Key, Place, Rank, Window};

/// Answers that a stream keeps for sorting, if memory and not time matters.
pub const WINDOW: usize = 1 << 16;

/// The window to try first: it stays in the cache, and the answers of a healthy service come
/// far less disordered.
pub const NARROW_WINDOW: usize = 1 << 10;

/// The node whose content and Stat are the server's own affair.
const OPAQUE: &str = "/zookeeper/config";

/// The doubt of who put the records in another order than that of time.
const DISORDERED: &str = "the records are not in the order of time";

/// The doubt of whose window is too narrow.
const TOO_LATE: &str = "an answer lies further back in the order than the window reaches";

/// Paths of absent nodes that may gather.
const PATHS_SLACK: usize = 1 << 16;

/// Transactions of the servers' log that may wait for their turn.
const LOG_MAX: usize = 1 << 22;

/// Writes without an answer that are kept for the log to name.
const LOST_MAX: usize = 1 << 16;

/// Why a stream is not acquitted out of hand. It convicts nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doubt {
    /// Index of the record at which the doubt came up; what is in doubt may lie before it.
    pub record: usize,
    /// Why.
    pub reason: &'static str,
    /// True if it may be only that the window was too narrow, or that the records have to be
    /// put in the order of time first ([`InOrder`]).
    pub late: bool,
}

impl Doubt {
    fn because(reason: &'static str) -> Self {
        Doubt {
            record: 0,
            reason,
            late: false,
        }
    }

    fn late() -> Self {
        Doubt {
            late: true,
            ..Doubt::because(TOO_LATE)
        }
    }

    /// True if the window was too narrow for certain, or the records have to be put in the order
    /// of time first.
    pub fn is_of_order(&self) -> bool {
        self.reason == TOO_LATE || self.reason == DISORDERED
    }
}

impl std::fmt::Display for Doubt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "by record {}: {}", self.record + 1, self.reason)
    }
}

/// What has found its place in the order, as [`crate::verify`] wants to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placed {
    /// A request, by its number in the order asked, at this zxid.
    Request(u64, i64),
    /// The end of a session, told to nobody, at this zxid.
    End(i64, i64),
    /// The end of the container or TTL node at this path, told to nobody, at this zxid.
    Lapse(Path, i64),
    /// A read, or a sync, that saw what was placed before, by its number in the order asked.
    Sight(u64),
}

impl Placed {
    /// Shows it to a verifier.
    ///
    /// # Errors
    /// What that one does not accept.
    pub fn show<R: Borrow<Record>>(self, verifier: &mut Verifier<R>) -> Result<(), Refusal> {
        match self {
            Placed::Request(number, zxid) => verifier.place(number, zxid),
            Placed::End(session, zxid) => verifier.end(session, zxid),
            Placed::Lapse(path, zxid) => verifier.lapse(&path, zxid),
            Placed::Sight(number) => verifier.see(number),
        }
    }
}

/// A judgement under way. `R` is the record, or a reference to it where the history stays.
#[derive(Clone)]
pub struct Stream<R> {
    header: Header,
    options: Options,
    start_zxid: i64,
    taken: usize,
    last_time: u64,
    clients: Roster<R>,
    sessions: Sessions,
    shown: Shown,
    window: Window<Entry<R>>,
    /// What is leaving the window.
    leaving: Vec<Key>,
    judging: Judging,
    watches: Watches,
    connections: ConnectionId,
    /// Connections on which nothing more comes, until the order has reached what they saw.
    gone: FxHashMap<ConnectionId, Connection>,
    /// The servers' log, as far as the order has not reached it.
    log: VecDeque<Txn>,
    /// The last transaction that the log had so far.
    logged: i64,
    /// What is in the log is no log but a hint, and whole.
    hinted: bool,
    /// Writes whose answer was lost, by session and number.
    lost: BTreeMap<(SessionIndex, i32), Open<R>>,
    /// Somebody lost a connection or a session, so that sessions may end unseen.
    left_behind: bool,
    /// Sessions whose clients lost their connection, or left.
    left: BTreeSet<SessionIndex>,
    /// Where what nobody was told of can have happened.
    room: Room,
    /// Numbers that were chosen for some of that, as long as nobody told of them.
    guesses: BTreeMap<i64, Guess>,
    /// Containers and TTL nodes.
    lapses: Lapses,
    /// What the window holds that no answer in it claims.
    seen: Seen,
    /// The last transaction in the order.
    last: i64,
    /// The last place in the order, be it a read's.
    settled_to: i64,
    /// Answers that have found their place.
    settled: usize,
    tree: Tree<'static>,
    /// A node whose Stat is not judged, so that it must not be read at all.
    opaque: PathId,
    /// With more paths than this, those at which nothing is are forgotten.
    paths_max: usize,
    summary: Summary,
    /// What was placed and not fetched yet, if somebody fetches it.
    placed: Option<Vec<Placed>>,
}

impl<R: Borrow<Record>> Stream<R> {
    /// Begins a judgement that sorts answers within a window of so many.
    pub fn new(header: &Header, options: &Options, window: usize) -> Self {
        let mut sessions = Sessions::default();
        let mut start_zxid = 0;
        if let Start::Nodes { zxid, nodes } = &header.start {
            start_zxid = *zxid;
            for node in nodes.iter().filter(|node| node.stat.ephemeral_owner != 0) {
                sessions.index(node.stat.ephemeral_owner);
            }
        }
        let ids = (0..sessions.len() as SessionIndex).map(|session| sessions.get(session).id);
        let ids: Vec<i64> = ids.collect();
        let (paths, acls) = (Paths::new(), AclTable::new());
        let mut tree = Tree::new(&header.start, paths, acls, ids, |id| {
            sessions.find(id).unwrap_or(NO_SESSION)
        });
        let opaque = tree.paths.id_of(OPAQUE);
        Stream {
            start_zxid,
            judging: Judging {
                lag: lag_ns(header),
                blur: header.clock_error_ns.saturating_mul(2),
                drift_ppm: header.clock_drift_ppm.min(1_000_000),
                write_is_touch: options.for_service(header).write_is_touch,
            },
            leaving: Vec::new(),
            watches: Watches::default(),
            connections: 0,
            gone: FxHashMap::default(),
            log: VecDeque::new(),
            logged: 0,
            hinted: false,
            lost: BTreeMap::new(),
            left_behind: false,
            left: BTreeSet::new(),
            room: Room::default(),
            guesses: BTreeMap::new(),
            lapses: Lapses::given(&header.start, &tree),
            seen: Seen::new(),
            last: start_zxid,
            settled_to: start_zxid,
            settled: 0,
            options: options.for_service(header),
            taken: 0,
            last_time: 0,
            clients: Roster::new(),
            sessions,
            shown: Shown::new(header),
            window: Window::new(window),
            tree,
            opaque,
            paths_max: PATHS_SLACK,
            summary: Summary::default(),
            placed: None,
            header: header.clone(),
        }
    }

    /// From here on keeps what it places, for [`Stream::placed`] to fetch.
    pub fn exhibit(&mut self) {
        self.placed = Some(Vec::new());
    }

    /// What was placed since this was asked last, in the order of places.
    pub fn placed(&mut self) -> Vec<Placed> {
        match &mut self.placed {
            // As many are likely to come again.
            Some(placed) if !placed.is_empty() => {
                let room = Vec::with_capacity(placed.len());
                std::mem::replace(placed, room)
            }
            Some(_) | None => Vec::new(),
        }
    }

    /// Takes the next record, in the order observed.
    ///
    /// # Errors
    /// The first doubt; nothing more is to be asked of this stream then.
    pub fn take(&mut self, record: R) -> Result<(), Doubt> {
        let index = self.taken;
        self.taken += 1;
        self.step(record).map_err(|doubt| Doubt {
            record: index,
            ..doubt
        })
    }

    /// The servers' own log goes on. It helps where it comes, in the order of zxids, no later
    /// than the first answer that shows as much; what comes too late is passed over.
    pub fn log(&mut self, txns: &[Txn]) {
        for txn in txns {
            if txn.zxid > self.logged && self.log.len() < LOG_MAX {
                self.log.push_back(*txn);
                self.logged = txn.zxid;
            }
        }
    }

    /// From here on what is of unknown fate happened as these hints have it, in the order of
    /// zxids, and nothing else of it did; without hints, whatever shows.
    fn follow_hints(&mut self, hints: Option<VecDeque<Txn>>) {
        self.hinted = hints.is_some();
        self.log = hints.unwrap_or_default();
    }

    /// Judges what has come already, where a history grows so slowly that it would wait long for
    /// its turn: everything that was shown to somebody longer ago than a server can go on
    /// answering when it does not hear of the others. `idle_ns` is how long nothing has come.
    ///
    /// # Errors
    /// A doubt.
    pub fn catch_up(&mut self, idle_ns: u64) -> Result<(), Doubt> {
        let now = self.last_time.saturating_add(idle_ns);
        let old = self.judging.lag.saturating_add(self.judging.blur);
        let Some(zxid) = self.shown.by(now.saturating_sub(old)) else {
            return Ok(());
        };
        let (keep, record) = (self.window.after(zxid), self.taken);
        let settled = self.settle(keep);
        settled.map_err(|doubt| Doubt { record, ..doubt })
    }

    /// How far it is: answers that have found their place, and records taken.
    pub fn progress(&self) -> (usize, usize) {
        (self.settled, self.taken)
    }

    /// The history ends here; what is left finds its place, to be fetched for the last time.
    ///
    /// # Errors
    /// A doubt.
    pub fn finish(&mut self) -> Result<Summary, Doubt> {
        let record = self.taken;
        for client in self.clients.values_mut() {
            for mut open in client.leave_open() {
                let (write, close) = kind_of(open.call.borrow());
                self.summary.unanswered += usize::from(write);
                if write && !close {
                    self.lapses.expect(settle::op_of(open.call.borrow()));
                    self.sessions.get(open.session).loses(&mut open);
                    self.lost.insert((open.session, open.xid), open);
                }
            }
        }
        let settled = self.settle(0).and_then(|()| self.follow_rest());
        settled.map_err(|doubt| Doubt { record, ..doubt })?;
        self.summary.sessions = self.sessions.len();
        Ok(std::mem::take(&mut self.summary))
    }

    fn step(&mut self, record: R) -> Result<(), Doubt> {
        let seen: &Record = record.borrow();
        if seen.time < self.last_time {
            return Err(Doubt {
                late: true,
                ..Doubt::because(DISORDERED)
            });
        }
        self.last_time = seen.time;
        let (process, time) = (seen.process, seen.time);
        match &seen.body {
            Body::Invoke { session, xid, .. } => {
                let (session, xid) = (*session, *xid);
                self.invoke(record, process, session, xid)
            }
            Body::Return { xid, zxid, .. } => {
                let (xid, zxid) = (*xid, *zxid);
                self.answer(record, xid, zxid)
            }
            Body::Lost { xid } => {
                let xid = *xid;
                self.lose(process, xid)
            }
            Body::Notify { zxid, .. } => {
                let zxid = *zxid;
                self.notified(record, process, zxid)
            }
            Body::Ping { sent } => {
                let sent = *sent;
                if sent > time {
                    return Err(Doubt::because("a ping was answered before it was sent"));
                }
                let Some(session) = self.client(process).session else {
                    return Ok(());
                };
                let session = self.sessions.get(session);
                match session.expired {
                    true => Err(Doubt::because("a session that was gone is served")),
                    false => session.heard(sent, time, false, &self.judging),
                }
            }
            Body::Session(SessionEvent::SetWatches { .. }) => {
                self.client(process).again.push_back(record);
                Ok(())
            }
            Body::Session(event) => self.session_event(process, time, event),
            Body::Final => Ok(()),
        }
    }

    fn client(&mut self, process: u32) -> &mut Client<R> {
        self.clients.get(process, &mut self.connections)
    }

    /// The number of a session, with a place for it in the tree.
    fn session(&mut self, id: i64) -> SessionIndex {
        let (session, fresh) = self.sessions.index(id);
        if fresh {
            let added = self.tree.add_session(id);
            assert_eq!(added, session, "tree and stream count the same sessions");
        }
        session
    }

    fn invoke(&mut self, record: R, process: u32, id: i64, xid: i32) -> Result<(), Doubt> {
        let seen: &Record = record.borrow();
        let Body::Invoke { op, .. } = &seen.body else {
            return Ok(());
        };
        let session = match (id, self.client(process).session) {
            (0, None) => return Err(Doubt::because("a request before there is a session")),
            (0, Some(own)) => own,
            (id, Some(own)) if self.sessions.get(own).id == id => own,
            (id, Some(_) | None) => self.session(id),
        };
        if closes(op) {
            let known = self.sessions.get(session);
            known.close_sent.get_or_insert(seen.time);
        }
        let (answered_before, shown_before) = self.shown.before(seen.time);
        let (number, invoke) = (self.summary.requests as u64, self.taken - 1);
        let sent = seen.time;
        self.summary.requests += 1;
        let client = self.client(process);
        let open = Open {
            xid,
            number,
            session,
            invoke,
            who: client.credentials.who(),
            connection: match client.connected {
                true => client.connection,
                false => u32::MAX,
            },
            sent,
            answered_before,
            shown_before,
            placed: false,
            call: record,
        };
        client.ask(open)
    }

    fn answer(&mut self, record: R, xid: i32, zxid: i64) -> Result<(), Doubt> {
        let seen: &Record = record.borrow();
        let Body::Return { result, .. } = &seen.body else {
            return Ok(());
        };
        let time = seen.time;
        let client = self.client(seen.process);
        let mut open = client.answered(xid)?;
        if open.number < client.last_returned {
            return Err(Doubt::because("answers of one connection out of order"));
        }
        client.last_returned = open.number;
        // What was sent on another connection than it was answered on, or perhaps was, has
        // no identities that are sure.
        if open.connection != client.connection || !client.connected {
            open.who.surely = 0;
        }
        open.who = open.who.until(client.credentials.who());
        let Body::Invoke { op, .. } = &open.call.borrow().body else {
            return Ok(());
        };
        let role = role(op, zxid, result);
        let rank = match role {
            Role::Nothing | Role::Unanswered => return Ok(()),
            Role::ReadSomewhere => return Err(Doubt::because("a read that names no zxid")),
            Role::Transaction => Rank::Transaction,
            Role::Read | Role::Sync => Rank::Read,
        };
        if role == Role::Transaction && (zxid <= self.start_zxid || zxid & 0xffff_ffff == 0) {
            return Err(Doubt::because("a zxid that no transaction can have"));
        }
        let session = self.sessions.get(open.session);
        if session.expired {
            return Err(Doubt::because("a session that was gone is served"));
        }
        let by_leader = match role {
            Role::Transaction => true,
            Role::Sync => self.header.sync == SyncPromise::Quorum,
            Role::Read | Role::ReadSomewhere | Role::Unanswered | Role::Nothing => false,
        };
        session.close_answered |= closes(op) && result.is_ok();
        session.heard(open.sent, time, by_leader, &self.judging)?;
        session.follow(&open, zxid, role, self.header.sync)?;
        if open.number < session.lost {
            self.lost_after(open.session, open.number, zxid);
        }
        self.shown.note(time, zxid, role == Role::Transaction)?;
        let client = self.client(seen.process);
        client.shown.answered(zxid)?;
        client.shown.waits |= watches::registers(op).is_some() || op.arranges_watches();
        let connection = client.shown.id;
        match role {
            Role::Transaction => self.summary.transactions += 1,
            Role::Read => self.summary.reads += 1,
            Role::Sync if matches!(result, Ok(Answer::Done)) => {}
            Role::Sync => return Err(Doubt::because("a sync that answers something")),
            Role::ReadSomewhere | Role::Unanswered | Role::Nothing => {}
        }
        let place = Place::new(zxid, rank)?;
        let (session, who) = (open.session, open.who);
        let answered = Answered {
            invoke: open.invoke,
            arrived: self.taken - 1,
            number: open.number,
            call: open.call,
            reply: record,
            session,
            who,
            connection,
            path: NO_PATH,
        };
        match self.window.push(place, Entry::Answered(answered))? {
            true => self.settle(self.window.size()),
            false => Ok(()),
        }
    }
}

/// Whether a request is a transaction, and whether it closes the session.
fn kind_of(record: &Record) -> (bool, bool) {
    match &record.body {
        Body::Invoke { op, .. } => (op.is_transaction(), closes(op)),
        _ => (false, false),
    }
}
