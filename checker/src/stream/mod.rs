//! The judge of one pass: acquits while a history goes by, and doubts where it cannot.
//!
//! It believes the zxids, assumes that nothing of unknown fate took effect, and sees every
//! record once: answers wait in a window until nothing can come before them, are
//! replayed against the tree in order, and are forgotten. What stays is the tree, the
//! window, and a few numbers per session, so a history may be longer than memory.
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
//! | `window` | answers on their way into the order |
//!
//! Answers to: `consistency.md` 3.2, "Complexity" (streaming).

mod clients;
mod window;

use crate::certificate::{Effect, Step};
use crate::history::{Answer, Body, ErrorCode, Header, History, Op, Record, SessionEvent, Start};
use crate::model::{AclTable, Ask, NO_PATH, NO_SESSION, PathId, Paths, SessionIndex, Tree, Who};
use crate::verdict::Summary;
use crate::verify::{Refusal, Verifier};
use crate::walk::{Options, Role, role};
use clients::{Client, Open, Sessions, Shown, closes};
use rustc_hash::FxHashMap;
use std::borrow::Borrow;
use window::{Place, Rank, Window};

/// Answers that a stream keeps for sorting, if memory and not time matters.
pub const WINDOW: usize = 1 << 16;

/// The window to try first: it stays in the cache, and the answers of a healthy service come
/// far less disordered.
pub const NARROW_WINDOW: usize = 1 << 10;

/// The node whose content and Stat are the server's own affair.
const OPAQUE: &str = "/zookeeper/config";

/// Paths of absent nodes that may gather.
const PATHS_SLACK: usize = 1 << 16;

/// Why a stream is not acquitted out of hand. It convicts nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doubt {
    /// Index of the record at which the doubt came up; what is in doubt may lie before it.
    pub record: usize,
    /// Why.
    pub reason: &'static str,
    /// True if all that is wrong is that the window was too narrow for an answer.
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
            ..Doubt::because("an answer lies further back in the order than the window reaches")
        }
    }
}

impl std::fmt::Display for Doubt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "by record {}: {}", self.record + 1, self.reason)
    }
}

/// What has found its place in the order, as [`crate::verify`] wants to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placed {
    /// A transaction.
    Step(Step),
    /// A read, or a sync, that saw what was placed before: the record that asked.
    Sight(usize),
}

impl Placed {
    /// Shows it to a verifier.
    ///
    /// # Errors
    /// What that one does not accept.
    pub fn show<R: Borrow<Record>>(self, verifier: &mut Verifier<R>) -> Result<(), Refusal> {
        match self {
            Placed::Step(step) => verifier.place(step),
            Placed::Sight(invoke) => verifier.see(invoke),
        }
    }
}

/// An answered request on its way into the order.
struct Answered<R> {
    /// The record that asked.
    invoke: usize,
    call: R,
    reply: R,
    session: SessionIndex,
    who: Who,
}

/// A judgement under way. `R` is the record, or a reference to it where the history stays.
pub struct Stream<R> {
    header: Header,
    options: Options,
    start_zxid: i64,
    taken: usize,
    last_time: u64,
    clients: FxHashMap<u32, Client<R>>,
    sessions: Sessions,
    shown: Shown,
    window: Window<Answered<R>>,
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
            options: options.for_service(header),
            taken: 0,
            last_time: 0,
            clients: FxHashMap::default(),
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
    pub fn placed(&mut self) -> impl Iterator<Item = Placed> + '_ {
        self.placed.iter_mut().flat_map(|placed| placed.drain(..))
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

    /// The history ends here; what is left finds its place, to be fetched for the last time.
    ///
    /// # Errors
    /// A doubt.
    pub fn finish(&mut self) -> Result<Summary, Doubt> {
        let record = self.taken;
        self.settle(0).map_err(|doubt| Doubt { record, ..doubt })?;
        for client in self.clients.values() {
            let writes = |open: &&Open<R>| is_write(open.call.borrow());
            self.summary.unanswered += client.left_open().filter(writes).count();
        }
        self.summary.sessions = self.sessions.len();
        Ok(std::mem::take(&mut self.summary))
    }

    fn step(&mut self, record: R) -> Result<(), Doubt> {
        let seen: &Record = record.borrow();
        if seen.time < self.last_time {
            return Err(Doubt::because("the records are not in the order of time"));
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
                let open = self.client(process).answered(*xid)?;
                self.summary.unanswered += usize::from(is_write(open.call.borrow()));
                match registers(open.call.borrow()) {
                    true => Err(Doubt::because("a watch whose fate is not known")),
                    false => Ok(()),
                }
            }
            Body::Notify { .. } => Err(Doubt::because("a notification")),
            Body::Ping { sent } => {
                if *sent > time {
                    return Err(Doubt::because("a ping was answered before it was sent"));
                }
                if let Some(session) = self.client(process).session {
                    self.sessions.get(session).heard(*sent);
                }
                Ok(())
            }
            Body::Session(event) => self.session_event(process, time, event),
            Body::Final => Ok(()),
        }
    }

    fn client(&mut self, process: u32) -> &mut Client<R> {
        self.clients.entry(process).or_insert_with(Client::new)
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
        let known = match id {
            0 => self.client(process).session,
            id => Some(self.session(id)),
        };
        let session = known.ok_or(Doubt::because("a request before there is a session"))?;
        if closes(op) {
            self.sessions.get(session).close_sent = true;
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
        let now = client.credentials.who();
        open.who.perhaps = now.perhaps;
        open.who.address_unknown |= now.address_unknown;
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
        session.heard(open.sent);
        session.follow(&open, zxid, role, self.header.sync)?;
        self.shown.note(time, zxid, role == Role::Transaction)?;
        if stays_registered(op, result) {
            return Err(Doubt::because("a watch"));
        }
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
            call: open.call,
            reply: record,
            session,
            who,
        };
        match self.window.push(place, answered)? {
            true => self.settle_some(),
            false => Ok(()),
        }
    }

    fn session_event(
        &mut self,
        process: u32,
        time: u64,
        event: &SessionEvent,
    ) -> Result<(), Doubt> {
        match event {
            SessionEvent::Connecting {
                session,
                last_zxid_seen,
            } => {
                let known = self.sessions.find(*session);
                match known.is_some_and(|known| self.sessions.get(known).seen() > *last_zxid_seen) {
                    true => Err(Doubt::because("a client tells a server less than it saw")),
                    false => Ok(()),
                }
            }
            SessionEvent::Connected {
                session,
                timeout_ms,
                address,
                ..
            } => {
                let session = self.session(*session);
                let known = self.sessions.get(session);
                if known.expired {
                    return Err(Doubt::because("a session that was gone is served"));
                }
                known.timeout_ns = timeout_ms.saturating_mul(1_000_000);
                let client = self.clients.entry(process).or_insert_with(Client::new);
                let fresh = client.session != Some(session);
                client.session = Some(session);
                client.connected = true;
                client.connection += 1;
                client.last_returned = 0;
                let table = &mut self.tree.acls;
                client
                    .credentials
                    .connected(address.as_deref(), fresh, table);
                Ok(())
            }
            SessionEvent::Disconnected => {
                let client = self.clients.entry(process).or_insert_with(Client::new);
                client.connected = false;
                client.credentials.disconnected(&mut self.tree.acls);
                Ok(())
            }
            SessionEvent::Expired { session } | SessionEvent::Abandoned { session } => {
                let session = self.session(*session);
                if matches!(event, SessionEvent::Expired { .. }) {
                    self.sessions.get(session).expire(time, &self.header)?;
                }
                let client = self.client(process);
                (client.session, client.connected) = (None, false);
                Ok(())
            }
            SessionEvent::SetWatches { .. } | SessionEvent::SetWatchesDone { .. } => {
                Err(Doubt::because("watches registered again"))
            }
            SessionEvent::Auth { identity } => {
                let client = self.clients.entry(process).or_insert_with(Client::new);
                client
                    .credentials
                    .authenticate(identity, &mut self.tree.acls);
                Ok(())
            }
            SessionEvent::AuthDone { ok } => {
                let client = self.clients.entry(process).or_insert_with(Client::new);
                client.credentials.authenticated(*ok, &mut self.tree.acls);
                Ok(())
            }
        }
    }

    fn settle_some(&mut self) -> Result<(), Doubt> {
        self.settle(self.window.size())?;
        if self.tree.paths.len() > self.paths_max {
            self.tree.forget_absent();
            self.opaque = self.tree.paths.id_of(OPAQUE);
            self.paths_max = 2 * self.tree.paths.len() + PATHS_SLACK;
        }
        Ok(())
    }

    /// Lets answers find their place until `keep` are left that wait.
    fn settle(&mut self, keep: usize) -> Result<(), Doubt> {
        let (tree, opaque) = (&mut self.tree, self.opaque);
        let needs_read = self.options.exists_needs_read;
        let placed = &mut self.placed;
        self.window.leave(keep, |place, answered| {
            replay(tree, opaque, needs_read, place, &answered)?;
            if let Some(placed) = placed {
                placed.push(match place.is_transaction() {
                    true => Placed::Step(Step {
                        zxid: place.zxid(),
                        effect: Effect::Request(answered.invoke),
                    }),
                    false => Placed::Sight(answered.invoke),
                });
            }
            Ok(())
        })
    }
}

/// Asks the judge of one pass about a whole history in memory.
///
/// # Errors
/// The doubt that is left after a window as long as the history.
pub fn acquit(history: &History, options: &Options) -> Result<Summary, Doubt> {
    widening(history, |window| {
        let mut stream = Stream::new(&history.header, options, window);
        let mut records = history.records.iter();
        records.try_for_each(|record| stream.take(record))?;
        stream.finish()
    })
}

/// As [`acquit`]; a second opinion looks on.
///
/// # Errors
/// As [`acquit`]; of an acquittal, what the second opinion does not accept.
pub fn acquit_verified(
    history: &History,
    options: &Options,
) -> Result<(Summary, Result<(), Refusal>), Doubt> {
    widening(history, |window| {
        let terms = options.for_service(&history.header).terms();
        let mut stream = Stream::new(&history.header, options, window);
        stream.exhibit();
        let mut verifier = Verifier::new(&history.header, terms);
        let mut opinion = Ok(());
        for (index, record) in history.records.iter().enumerate() {
            stream.take(record)?;
            opinion = opinion.and_then(|()| verifier.read(index, record));
            for placed in stream.placed() {
                opinion = opinion.and_then(|()| placed.show(&mut verifier));
            }
        }
        let summary = stream.finish()?;
        for placed in stream.placed() {
            opinion = opinion.and_then(|()| placed.show(&mut verifier));
        }
        Ok((summary, opinion.and_then(|()| verifier.finish())))
    })
}

/// Judges with wider and wider windows, as long as that may help.
fn widening<T>(history: &History, judge: impl Fn(usize) -> Result<T, Doubt>) -> Result<T, Doubt> {
    let mut found = judge(NARROW_WINDOW);
    for window in [WINDOW, history.records.len()] {
        if matches!(&found, Err(doubt) if doubt.late) {
            found = judge(window);
        }
    }
    found
}

/// One answer against the tree.
fn replay<R: Borrow<Record>>(
    tree: &mut Tree<'static>,
    opaque: PathId,
    exists_needs_read: bool,
    place: Place,
    answered: &Answered<R>,
) -> Result<(), Doubt> {
    let (Body::Invoke { op, .. }, Body::Return { result, .. }) =
        (&answered.call.borrow().body, &answered.reply.borrow().body)
    else {
        return Err(Doubt::because("a request and an answer that are none"));
    };
    if matches!(op, Op::Sync { .. }) {
        return Ok(());
    }
    let path = match op.path() {
        Some(path) => tree.paths.id_shared(path),
        None => NO_PATH,
    };
    if path == opaque {
        return Err(Doubt::because("a node that is the server's own affair"));
    }
    let ask = Ask {
        op,
        path,
        session: answered.session,
        who: answered.who,
        answer: result,
    };
    let agrees = match place.is_transaction() {
        true => {
            tree.begin(place.zxid());
            if tree.ended(answered.session).is_some() && !closes(op) {
                return Err(Doubt::because("a transaction of a session that had ended"));
            }
            tree.write(&ask)
        }
        false => tree.read(&ask, exists_needs_read),
    };
    agrees.map_err(|_| Doubt::because("an answer that the tree does not give"))
}

fn is_write(record: &Record) -> bool {
    matches!(&record.body, Body::Invoke { op, .. } if op.is_transaction())
}

/// True if a request asks for a watch.
fn registers(record: &Record) -> bool {
    matches!(&record.body, Body::Invoke { op, .. } if watches(op))
}

fn watches(op: &Op) -> bool {
    matches!(
        op,
        Op::Exists { watch: true, .. }
            | Op::Get { watch: true, .. }
            | Op::Children { watch: true, .. }
    )
}

/// True if a watch stays registered after this answer.
fn stays_registered(op: &Op, result: &Result<Answer, ErrorCode>) -> bool {
    let stays = match (op, result) {
        (_, Ok(_)) => true,
        (Op::Exists { .. }, Err(code)) => *code == ErrorCode::NO_NODE,
        (_, Err(_)) => false,
    };
    watches(op) && stays
}
