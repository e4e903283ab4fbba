//! What was asked, by whom, when, and what became of it: a history read for the verifier.
//!
//! A second reading of the records, sharing no code with the judge's. It keeps what the
//! definition names (session, call, return, response, header zxid), the identities a request
//! was sent with, and how early each session can have ended.
//!
//! Answers to: `consistency.md` 3.1 and P14.

use super::rights::Who;
use super::tree::decided_by_state;
use crate::history::{
    Answer, Body, ErrorCode, Header, History, Identity, Op, SessionEvent, SyncPromise,
};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// A request.
pub struct Asked<'h> {
    /// Record that asked.
    pub invoke: usize,
    /// Session, 0 if it never had one.
    pub session: i64,
    /// When it was sent.
    pub call: u64,
    /// When it was answered; `u64::MAX` if it never was.
    pub ret: u64,
    /// Zxid of the reply.
    pub zxid: i64,
    /// The question.
    pub op: &'h Op,
    /// The answer, if it came and says anything about the tree.
    pub answer: Option<&'h Result<Answer, ErrorCode>>,
    /// Answered with an error that is none of the tree's.
    pub refused: bool,
    /// With which identities.
    pub who: Who,
    connection: usize,
}

/// What is known of the end of a session.
#[derive(Default)]
pub struct Life {
    timeout_ns: u64,
    /// First time the client asked to close it.
    pub close_sent: Option<u64>,
    /// A close was answered, and so stands in the order itself.
    pub close_answered: bool,
    /// When the client was told that it is gone, and the record.
    pub expired: Option<(u64, usize)>,
    /// When it was served last, and the record.
    pub served: Option<(u64, usize)>,
    heard_by_leader: Option<u64>,
    /// Sent and answered, by connection.
    talk: BTreeMap<usize, Vec<(u64, u64)>>,
}

/// A history, read.
#[derive(Default)]
pub struct Reading<'h> {
    /// Every request in the order sent.
    pub asked: Vec<Asked<'h>>,
    /// The request that each record asks, if it asks one.
    number: Vec<Option<u32>>,
    /// Sessions by id.
    pub lives: BTreeMap<i64, Life>,
}

#[derive(Default)]
struct Client {
    session: i64,
    connection: usize,
    open: BTreeMap<i32, usize>,
    offered: Vec<Identity>,
    surely: BTreeSet<Identity>,
    perhaps: BTreeSet<Identity>,
    /// The two above and whether the address is hidden, for requests to share.
    who: Who,
}

impl Client {
    fn renew(&mut self) {
        (self.who.surely, self.who.perhaps) =
            (Rc::new(self.surely.clone()), Rc::new(self.perhaps.clone()));
    }
}

/// Reads a history that the judge has found well formed.
pub fn read(history: &History) -> Reading<'_> {
    let mut reading = Reading {
        number: vec![None; history.records.len()],
        ..Reading::default()
    };
    let mut clients: BTreeMap<u32, Client> = BTreeMap::new();
    for (index, record) in history.records.iter().enumerate() {
        let client = clients.entry(record.process).or_default();
        match &record.body {
            Body::Invoke { session, xid, op } => {
                let session = if *session == 0 {
                    client.session
                } else {
                    *session
                };
                let number = reading.asked.len();
                client.open.insert(*xid, number);
                reading.number[index] = Some(number as u32);
                if matches!(op, Op::Close) {
                    reading.life(session).close_sent.get_or_insert(record.time);
                }
                reading.asked.push(Asked {
                    invoke: index,
                    session,
                    call: record.time,
                    ret: u64::MAX,
                    zxid: 0,
                    op,
                    answer: None,
                    refused: false,
                    who: client.who.clone(),
                    connection: client.connection,
                });
            }
            Body::Return { xid, zxid, result } => {
                let Some(asked) = client
                    .open
                    .remove(xid)
                    .map(|number| &mut reading.asked[number])
                else {
                    continue;
                };
                (asked.ret, asked.zxid) = (record.time, *zxid);
                asked.refused = result.as_ref().is_err_and(|code| !decided_by_state(*code));
                asked.answer = Some(result).filter(|_| !asked.refused);
                doubt(asked, client);
                let (session, call, op, refused) =
                    (asked.session, asked.call, asked.op, asked.refused);
                if refused {
                    continue;
                }
                let sync =
                    matches!(op, Op::Sync { .. }) && history.header.sync == SyncPromise::Quorum;
                let life = reading.life(session);
                life.close_answered |= matches!(op, Op::Close) && result.is_ok();
                life.served = Some((record.time, index));
                life.talk
                    .entry(client.connection)
                    .or_default()
                    .push((call, record.time));
                if op.is_transaction() || sync {
                    life.heard_by_leader = life.heard_by_leader.max(Some(call));
                }
            }
            Body::Lost { xid } => {
                if let Some(number) = client.open.remove(xid) {
                    let asked = &mut reading.asked[number];
                    asked.connection = usize::MAX;
                    doubt(asked, client);
                }
            }
            Body::Ping { sent } => {
                let talk = &mut reading.life(client.session).talk;
                talk.entry(client.connection)
                    .or_default()
                    .push((*sent, record.time));
            }
            Body::Session(event) => session_event(&mut reading, client, index, record.time, event),
            Body::Notify { .. } | Body::Final => {}
        }
    }
    reading.lives.remove(&0);
    reading
}

/// What was sent on another connection than it was answered on has no identities that are sure.
fn doubt(asked: &mut Asked<'_>, client: &Client) {
    if asked.connection != client.connection {
        asked.who.surely = Rc::default();
    }
    asked.who.perhaps = client.who.perhaps.clone();
    asked.who.address_unknown |= client.who.address_unknown;
}

fn session_event(
    reading: &mut Reading<'_>,
    client: &mut Client,
    index: usize,
    time: u64,
    event: &SessionEvent,
) {
    match event {
        SessionEvent::Connecting { .. }
        | SessionEvent::SetWatches { .. }
        | SessionEvent::SetWatchesDone { .. } => {
            return;
        }
        SessionEvent::Connected {
            session,
            timeout_ms,
            address,
            ..
        } => {
            if client.session != *session {
                client.perhaps.clear();
            }
            for &number in client.open.values().filter(|_| client.session == 0) {
                let asked = &mut reading.asked[number];
                if asked.session == 0 {
                    asked.session = *session;
                }
            }
            client.session = *session;
            client.connection = index + 1;
            client.offered.clear();
            let address = address.as_ref().map(|address| Identity::new("ip", address));
            client.who.address_unknown = address.is_none();
            client.perhaps.extend(address.clone());
            client.surely = address.into_iter().collect();
            let life = reading.life(*session);
            life.timeout_ns = timeout_ms.saturating_mul(1_000_000);
            life.served = Some((time, index));
        }
        SessionEvent::Disconnected => {
            client.connection = 0;
            client.offered.clear();
            client.surely.clear();
        }
        SessionEvent::Expired { session } => {
            reading.life(*session).expired.get_or_insert((time, index));
            (client.session, client.connection) = (0, 0);
        }
        SessionEvent::Abandoned { .. } => (client.session, client.connection) = (0, 0),
        SessionEvent::Auth { identity } => {
            client.offered.push(identity.clone());
            client.perhaps.insert(identity.clone());
        }
        SessionEvent::AuthDone { ok } => {
            let first = (!client.offered.is_empty()).then(|| client.offered.remove(0));
            client.surely.extend(first.filter(|_| *ok));
        }
    }
    client.renew();
}

impl Reading<'_> {
    fn life(&mut self, session: i64) -> &mut Life {
        self.lives.entry(session).or_default()
    }

    /// The request that a record asks.
    pub fn number_of(&self, record: usize) -> Option<usize> {
        let number = self.number.get(record).copied().flatten()?;
        Some(number as usize)
    }

    /// The earliest time at which a session can have expired.
    pub fn expiry(&self, session: i64, header: &Header, write_is_touch: bool) -> u64 {
        let Some(life) = self.lives.get(&session).filter(|life| life.timeout_ns > 0) else {
            return 0;
        };
        // Followers pass on every half tick whom they heard. A leader drops those that say
        // nothing for syncLimit ticks, and they wait as long for its word: who went on
        // answering for longer than both together had told it.
        let lag = header
            .tick_ms
            .saturating_mul(1_000_000)
            .saturating_mul(header.sync_limit.saturating_add(1))
            .saturating_mul(2);
        let told = life.talk.values().filter_map(|talk| {
            let last = talk.iter().map(|(sent, _)| *sent).max()?;
            let passed_on = talk
                .iter()
                .filter(|(_, answered)| answered.saturating_add(lag) <= last);
            passed_on.map(|(sent, _)| *sent).max()
        });
        let heard = told
            .max()
            .max(life.heard_by_leader.filter(|_| write_is_touch));
        let drift = life.timeout_ns / 1_000_000 * header.clock_drift_ppm.min(1_000_000);
        let patience = life.timeout_ns - drift.min(life.timeout_ns);
        let error = header.clock_error_ns.saturating_mul(2);
        heard.map_or(0, |heard| {
            heard.saturating_add(patience).saturating_sub(error)
        })
    }
}
