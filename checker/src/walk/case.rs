//! The case: a history cut into requests and sessions.
//!
//! Pairs every question with its answer, gives paths, sessions and identities numbers, and
//! refuses what no recorder can have observed. Decides nothing about consistency.
//!
//! Answers to: `consistency.md` 3.1 (history, session order).

use crate::history::{Answer, Body, ErrorCode, Header, History, Op, SessionEvent, Start};
use crate::model::{
    AclTable, Ask, Credentials, NO_PATH, NO_SESSION, PathId, Paths, SessionIndex, Who,
    is_decided_by_state,
};
use crate::verdict::Verdict;
use rustc_hash::FxHashMap;
use std::collections::VecDeque;

/// Number of a request; requests are numbered in the order they were sent.
pub type RequestIndex = u32;

/// A question and what became of it.
pub struct Request<'h> {
    /// Record of the question.
    pub invoke: u32,
    /// Record of the answer, or of giving up; equal to `invoke` if neither came.
    pub done: u32,
    /// Session.
    pub session: SessionIndex,
    /// When it was sent, ns.
    pub call: u64,
    /// When it was answered, ns; `u64::MAX` if it never was.
    pub ret: u64,
    /// Zxid of the reply's header.
    pub zxid: i64,
    /// The question.
    pub op: &'h Op,
    /// The answer.
    pub answer: Option<&'h Result<Answer, ErrorCode>>,
    /// Path asked about.
    pub path: PathId,
    /// With which identities.
    pub who: Who,
    /// What it means for the order.
    pub role: Role,
    /// Number of the client's connection on which it was sent, `u32::MAX` if before one.
    pub connection: u32,
}

/// What a request means for the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Answered, and has a place of its own among the transactions.
    Transaction,
    /// A read answered at a known prefix.
    Read,
    /// A read answered at a prefix that was not recorded.
    ReadSomewhere,
    /// An answered sync.
    Sync,
    /// A transaction whose fate is not known.
    Unanswered,
    /// Says nothing: a lost read, an answer that does not depend on the tree.
    Nothing,
}

/// What is known of a session.
#[derive(Debug, Clone, Default)]
pub struct Session {
    /// The id.
    pub id: i64,
    /// The client object that had it last.
    pub process: u32,
    /// Negotiated timeout, ns; 0 if not known.
    pub timeout_ns: u64,
    /// When the client first asked to close it.
    pub close_sent: Option<u64>,
    /// When the client was told that it is gone, and the record.
    pub expired: Option<(u64, u32)>,
    /// Latest time at which the client sent something that the leader is known to have heard.
    pub heard: Option<u64>,
    /// The record that proves it.
    pub heard_record: u32,
    /// Latest time at which the client sent something that some server answered and must
    /// have told the leader of, because it went on answering for longer than a server does
    /// whose leader does not hear it.
    pub answered: Option<u64>,
    /// The record that proves it.
    pub answered_record: u32,
    /// What was answered on this connection and perhaps not yet told: sent, answered, record.
    untold: VecDeque<(u64, u64, u32)>,
}

impl Session {
    /// Something sent at `sent` was answered at `time`.
    fn answer(&mut self, sent: u64, time: u64, record: u32, lag: u64) {
        while let Some((first, told, proof)) = self.untold.front().copied()
            && told.saturating_add(lag) <= sent
        {
            self.untold.pop_front();
            if self.answered.is_none_or(|known| first >= known) {
                (self.answered, self.answered_record) = (Some(first), proof);
            }
        }
        self.untold.push_back((sent, time, record));
    }
}

/// How long a server goes on answering when its leader does not hear it. Where only the way
/// to the leader is cut, the leader sends for syncLimit ticks more before it drops the silent
/// follower, and the follower waits as long again for the word that does not come any more;
/// both look up once a tick.
pub fn lag_ns(header: &Header) -> u64 {
    let tick = header.tick_ms.saturating_mul(1_000_000);
    let patience = tick.saturating_mul(header.sync_limit.saturating_add(1));
    patience.saturating_mul(2)
}

/// A history cut into requests and sessions.
pub struct Case<'h> {
    /// The history.
    pub history: &'h History,
    /// Records in order of time.
    pub order: Vec<u32>,
    /// Every request in the order sent.
    pub requests: Vec<Request<'h>>,
    /// Request of each record that is a question or an answer, else `u32::MAX`.
    pub request_of: Vec<RequestIndex>,
    /// Every session.
    pub sessions: Vec<Session>,
    /// Session ids to numbers.
    pub session_index: FxHashMap<i64, SessionIndex>,
    /// Session in which each notification, ping and session event happened.
    pub session_of: FxHashMap<u32, SessionIndex>,
    /// Paths.
    pub paths: Paths<'h>,
    /// ACLs.
    pub acls: AclTable,
    /// The last transaction before the history.
    pub start_zxid: i64,
    /// First pair of answers of a connection that came in the wrong order.
    pub disorder: Option<(RequestIndex, RequestIndex)>,
}

#[derive(Default)]
struct Client {
    session: Option<SessionIndex>,
    connected: bool,
    connection: u32,
    last_time: u64,
    /// Requests sent and not yet answered, with the connection they were sent on.
    open: VecDeque<(i32, RequestIndex, u32)>,
    /// Requests sent before there was a session.
    homeless: Vec<RequestIndex>,
    last_returned: Option<RequestIndex>,
    credentials: Credentials,
}

struct Builder<'h> {
    case: Case<'h>,
    clients: FxHashMap<u32, Client>,
}

/// Cuts a history.
///
/// # Errors
/// [`Verdict::Malformed`].
pub fn cut(history: &History) -> Result<Case<'_>, Verdict> {
    let count = history.records.len();
    let mut order: Vec<u32> = (0..count as u32).collect();
    if !history.records.is_sorted_by_key(|record| record.time) {
        order.sort_by_key(|&index| history.records[index as usize].time);
    }
    let start_zxid = match history.header.start {
        Start::Fresh => 0,
        Start::Nodes { zxid, .. } => zxid,
    };
    let case = Case {
        history,
        order: Vec::new(),
        requests: Vec::with_capacity(count / 2 + 1),
        request_of: vec![u32::MAX; count],
        sessions: Vec::new(),
        session_index: FxHashMap::default(),
        session_of: FxHashMap::default(),
        paths: Paths::new(),
        acls: AclTable::new(),
        start_zxid,
        disorder: None,
    };
    let mut builder = Builder {
        case,
        clients: FxHashMap::default(),
    };
    if let Start::Nodes { nodes, .. } = &history.header.start {
        for node in nodes.iter().filter(|node| node.stat.ephemeral_owner != 0) {
            builder.session(node.stat.ephemeral_owner, u32::MAX);
        }
    }
    for index in 0..count as u32 {
        builder.take(index).map_err(|reason| Verdict::Malformed {
            record: index as usize,
            reason,
        })?;
    }
    builder.case.order = order;
    Ok(builder.case)
}

impl<'h> Builder<'h> {
    fn session(&mut self, id: i64, process: u32) -> SessionIndex {
        let sessions = &mut self.case.sessions;
        let index = *self.case.session_index.entry(id).or_insert_with(|| {
            sessions.push(Session {
                id,
                ..Session::default()
            });
            (sessions.len() - 1) as SessionIndex
        });
        self.case.sessions[index as usize].process = process;
        index
    }

    fn take(&mut self, index: u32) -> Result<(), String> {
        let history: &'h History = self.case.history;
        let record = &history.records[index as usize];
        let client = self.clients.entry(record.process).or_default();
        if record.time < client.last_time {
            return Err(format!("time runs backwards in process {}", record.process));
        }
        client.last_time = record.time;
        match &record.body {
            Body::Invoke { session, xid, op } => {
                self.invoke(index, record.process, record.time, *session, *xid, op)
            }
            Body::Return { xid, zxid, result } => self.answer(
                index,
                record.process,
                record.time,
                *xid,
                *zxid,
                Some(result),
            ),
            Body::Lost { xid } => self.answer(index, record.process, record.time, *xid, 0, None),
            Body::Notify { .. } | Body::Final => {
                self.note_session(index, record.process);
                Ok(())
            }
            Body::Ping { sent } => {
                if *sent > record.time {
                    return Err("the ping was answered before it was sent".into());
                }
                self.note_session(index, record.process);
                if let Some(session) = self
                    .clients
                    .get(&record.process)
                    .and_then(|client| client.session)
                {
                    let lag = lag_ns(&self.case.history.header);
                    let session = &mut self.case.sessions[session as usize];
                    session.answer(*sent, record.time, index, lag);
                }
                Ok(())
            }
            Body::Session(event) => {
                self.session_event(index, record.process, record.time, event);
                Ok(())
            }
        }
    }

    fn note_session(&mut self, index: u32, process: u32) {
        if let Some(session) = self.clients.get(&process).and_then(|client| client.session) {
            self.case.session_of.insert(index, session);
        }
    }

    fn invoke(
        &mut self,
        index: u32,
        process: u32,
        time: u64,
        session_id: i64,
        xid: i32,
        op: &'h Op,
    ) -> Result<(), String> {
        let known = match session_id {
            0 => self.clients.get(&process).and_then(|client| client.session),
            id => Some(self.session(id, process)),
        };
        let request = self.case.requests.len() as RequestIndex;
        let path = op.path().map_or(NO_PATH, |path| self.case.paths.id(path));
        let client = self.clients.entry(process).or_default();
        if client.open.iter().any(|(open, _, _)| *open == xid) {
            return Err(format!(
                "xid {xid} is asked a second time before the first is answered"
            ));
        }
        let connection = match client.connected {
            true => client.connection,
            false => u32::MAX,
        };
        client.open.push_back((xid, request, connection));
        if known.is_none() {
            client.homeless.push(request);
        }
        if let (Op::Close, Some(session)) = (op, known) {
            self.case.sessions[session as usize]
                .close_sent
                .get_or_insert(time);
        }
        self.case.request_of[index as usize] = request;
        self.case.requests.push(Request {
            invoke: index,
            done: index,
            session: known.unwrap_or(NO_SESSION),
            call: time,
            ret: u64::MAX,
            zxid: 0,
            op,
            answer: None,
            path,
            who: client.credentials.who(),
            role: if op.is_transaction() {
                Role::Unanswered
            } else {
                Role::Nothing
            },
            connection,
        });
        Ok(())
    }

    fn answer(
        &mut self,
        index: u32,
        process: u32,
        time: u64,
        xid: i32,
        zxid: i64,
        result: Option<&'h Result<Answer, ErrorCode>>,
    ) -> Result<(), String> {
        let client = self.clients.entry(process).or_default();
        let place = client.open.iter().position(|(open, _, _)| *open == xid);
        let (_, number, connection) = place
            .and_then(|place| client.open.remove(place))
            .ok_or_else(|| format!("xid {xid} of process {process} is answered, but not asked"))?;
        let request = &mut self.case.requests[number as usize];
        self.case.request_of[index as usize] = number;
        request.done = index;
        // What was sent on another connection than it was answered on, or perhaps was, has
        // no identities that are sure.
        if connection != client.connection || !client.connected || result.is_none() {
            request.who.surely = 0;
        }
        request.who = request.who.until(client.credentials.who());
        let Some(result) = result else { return Ok(()) };
        (request.ret, request.zxid, request.answer) = (time, zxid, Some(result));
        request.role = role(request.op, zxid, result);
        if let Some(last) = client.last_returned
            && last > number
            && self.case.disorder.is_none()
        {
            self.case.disorder = Some((last, number));
        }
        client.last_returned = client.last_returned.max(Some(number));
        let (call, role, invoke) = (request.call, request.role, request.invoke);
        if let Some(session) = self.case.sessions.get_mut(request.session as usize) {
            let reached_leader = match role {
                Role::Transaction => true,
                Role::Sync => self.case.history.header.sync == crate::history::SyncPromise::Quorum,
                Role::Read | Role::ReadSomewhere | Role::Nothing | Role::Unanswered => false,
            };
            if reached_leader && session.heard.is_none_or(|known| call >= known) {
                (session.heard, session.heard_record) = (Some(call), invoke);
            }
            if role != Role::Nothing {
                let lag = lag_ns(&self.case.history.header);
                session.answer(call, time, invoke, lag);
            }
        }
        Ok(())
    }

    fn session_event(&mut self, index: u32, process: u32, time: u64, event: &SessionEvent) {
        match event {
            SessionEvent::Connecting { .. } => {}
            SessionEvent::Connected {
                session,
                timeout_ms,
                address,
                ..
            } => {
                let session = self.session(*session, process);
                let known = &mut self.case.sessions[session as usize];
                known.timeout_ns = timeout_ms.saturating_mul(1_000_000);
                // Another server may know nothing of what was not told.
                known.untold.clear();
                let client = self.clients.entry(process).or_default();
                for request in std::mem::take(&mut client.homeless) {
                    self.case.requests[request as usize].session = session;
                    if self.case.requests[request as usize].op == &Op::Close {
                        known.close_sent.get_or_insert(time);
                    }
                }
                let fresh = client.session != Some(session);
                client.session = Some(session);
                client.connected = true;
                client.connection += 1;
                client.last_returned = None;
                let table = &mut self.case.acls;
                client
                    .credentials
                    .connected(address.as_deref(), fresh, table);
            }
            SessionEvent::Disconnected => {
                let client = self.clients.entry(process).or_default();
                client.connected = false;
                client.credentials.disconnected(&mut self.case.acls);
            }
            SessionEvent::Expired { session } | SessionEvent::Abandoned { session } => {
                let session = self.session(*session, process);
                if matches!(event, SessionEvent::Expired { .. }) {
                    self.case.sessions[session as usize]
                        .expired
                        .get_or_insert((time, index));
                }
                self.case.session_of.insert(index, session);
                let client = self.clients.entry(process).or_default();
                (client.session, client.connected) = (None, false);
                return;
            }
            SessionEvent::SetWatches { .. }
            | SessionEvent::SetWatchesDone { .. }
            | SessionEvent::WatchesLeftOut => {}
            SessionEvent::Auth { identity } => {
                let client = self.clients.entry(process).or_default();
                client
                    .credentials
                    .authenticate(identity, &mut self.case.acls);
            }
            SessionEvent::AuthDone { ok } => {
                let client = self.clients.entry(process).or_default();
                client.credentials.authenticated(*ok, &mut self.case.acls);
            }
        }
        self.note_session(index, process);
    }
}

/// What an answered request means for the order.
pub fn role(op: &Op, zxid: i64, result: &Result<Answer, ErrorCode>) -> Role {
    let silent = matches!(result, Err(code) if !is_decided_by_state(*code));
    match (op.is_transaction(), silent, op) {
        (_, true, _) => Role::Nothing,
        (true, false, _) => Role::Transaction,
        (false, false, Op::Sync { .. }) => Role::Sync,
        (false, false, _) if zxid > 0 => Role::Read,
        (false, false, op) if op.asks_no_node() => Role::Nothing,
        (false, false, _) => Role::ReadSomewhere,
    }
}

impl<'h> Request<'h> {
    /// As the tree is asked.
    ///
    /// # Panics
    /// If it was not answered.
    pub fn ask(&self) -> Ask<'h> {
        Ask {
            op: self.op,
            path: self.path,
            session: self.session,
            who: self.who,
            answer: (self.answer).expect("only answered requests stand in the order"),
        }
    }
}

impl Case<'_> {
    /// The number of a session id; [`NO_SESSION`] if it never occurs.
    pub fn index_of_session(&self, id: i64) -> SessionIndex {
        self.session_index.get(&id).copied().unwrap_or(NO_SESSION)
    }

    /// The number that a record's question had on its connection.
    pub fn xid_of(&self, invoke: u32) -> Option<i32> {
        match self.history.records.get(invoke as usize)?.body {
            Body::Invoke { xid, .. } => Some(xid),
            Body::Return { .. }
            | Body::Lost { .. }
            | Body::Notify { .. }
            | Body::Session(_)
            | Body::Ping { .. }
            | Body::Final => None,
        }
    }

    /// The earliest time at which a session can have expired; 0 if nothing is known.
    pub fn earliest_expiry(&self, session: SessionIndex, write_is_touch: bool) -> u64 {
        let Some(known) = self.sessions.get(session as usize) else {
            return 0;
        };
        if known.timeout_ns == 0 {
            return 0;
        }
        let header = &self.history.header;
        let drift = known.timeout_ns / 1_000_000 * header.clock_drift_ppm.min(1_000_000);
        let timeout = known.timeout_ns - drift.min(known.timeout_ns);
        let heard = known.heard.filter(|_| write_is_touch);
        let blur = header.clock_error_ns.saturating_mul(2);
        heard.max(known.answered).map_or(0, |base| {
            (base.saturating_add(timeout)).saturating_sub(blur)
        })
    }
}
