//! The ensemble's own log, read over its shoulder: which request stands at which zxid.
//!
//! Proposals are read off the wire between the servers, and kept when a server delivers
//! them. The judge gets the result as a witness for requests whose answer was lost; it is
//! not what convicts.
//!
//! What always holds: a transaction is in it only if some server delivered it; it says that
//! it is whole only if every delivered transaction could be read.
//!
//! Answers to: `consistency.md` 3.2, "a server transaction log may be imported as one more
//! witness, never as truth".

use bytes::Bytes;
use gamekeeper_checker::history::{History, Txn, TxnKind};
use gamekeeper_core::base::{Event, Zxid};
use gamekeeper_core::peer::Output;
use gamekeeper_core::txn::{self, Txn as Body};
use gamekeeper_core::zab::message::Message;
use gamekeeper_core::zab::wire;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// First byte of a proposal on the peer wire.
const PROPOSE: u8 = 11;
/// First byte of what an observer is sent instead.
const INFORM: u8 = 17;

/// What is known of the log.
#[derive(Debug, Default)]
struct Pages {
    /// Proposed and not yet delivered anywhere, as far as seen.
    proposed: BTreeMap<Zxid, Vec<Bytes>>,
    /// Delivered somewhere; `None` where no proposal was seen that fits.
    committed: BTreeMap<Zxid, Option<Txn>>,
}

/// The log of a run. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Ledger(Arc<Mutex<Pages>>);

impl Ledger {
    /// What a server puts out.
    pub fn read(&self, outputs: &[Output]) {
        for output in outputs {
            match output {
                Output::LinkSend { message, .. } => self.sent(message),
                Output::Event(Event::Delivered { zxid, hash }) => self.lock().deliver(*zxid, *hash),
                Output::Event(_)
                | Output::ClientSend { .. }
                | Output::ClientClose { .. }
                | Output::ClientPause { .. }
                | Output::Dial { .. }
                | Output::LinkClose { .. }
                | Output::Disk(_)
                | Output::Halt { .. } => {}
            }
        }
    }

    fn sent(&self, message: &Bytes) {
        if !matches!(message.first(), Some(&(PROPOSE | INFORM))) {
            return;
        }
        let (Ok(Message::Propose { zxid, payload }) | Ok(Message::Inform { zxid, payload })) =
            wire::decode(message)
        else {
            return;
        };
        let mut pages = self.lock();
        if pages.committed.contains_key(&zxid) {
            return;
        }
        let known = pages.proposed.entry(zxid).or_default();
        if !known.contains(&payload) {
            known.push(payload);
        }
    }

    /// Adds the log to a history, as a witness.
    pub fn testify(&self, history: &mut History) {
        let pages = self.lock();
        history.txns = pages.committed.values().flatten().copied().collect();
        history.header.txns = Some(pages.committed.len() as u64);
    }

    fn lock(&self) -> MutexGuard<'_, Pages> {
        // Every change is whole: a panic elsewhere leaves it readable.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pages {
    fn deliver(&mut self, zxid: Zxid, hash: u32) {
        if self.committed.contains_key(&zxid) {
            return;
        }
        let proposed = self.proposed.remove(&zxid).unwrap_or_default();
        let mut fitting = proposed
            .iter()
            .filter(|payload| crc32fast::hash(payload) == hash);
        self.committed
            .insert(zxid, fitting.next().and_then(|payload| txn_of(payload)));
    }
}

fn txn_of(payload: &[u8]) -> Option<Txn> {
    let (header, body) = txn::decode(payload).ok()?;
    Some(Txn {
        zxid: header.zxid.to_wire(),
        session: header.session.0,
        xid: header.cxid,
        kind: kind_of(&body),
    })
}

fn kind_of(body: &Body) -> TxnKind {
    match body {
        Body::CreateSession { .. } => TxnKind::Open,
        Body::CloseSession { .. } => TxnKind::Close,
        Body::Error { .. } => TxnKind::Refused,
        // A multi of which one part failed did nothing.
        Body::Multi(parts) if parts.iter().any(|part| matches!(part, Body::Error { .. })) => {
            TxnKind::Refused
        }
        Body::Create(_)
        | Body::Delete { .. }
        | Body::SetData { .. }
        | Body::SetAcl { .. }
        | Body::Check { .. }
        | Body::Multi(_) => TxnKind::Write,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gamekeeper_core::base::{Epoch, LinkId, SessionId};
    use gamekeeper_core::txn::TxnHeader;

    fn payload(zxid: Zxid, body: &Body) -> Bytes {
        let header = TxnHeader {
            session: SessionId(7),
            cxid: 9,
            zxid,
            time_ms: 1,
        };
        txn::encode(&header, body)
    }

    fn sent(message: &Message) -> Output {
        Output::LinkSend {
            link: LinkId(1),
            message: wire::encode(message),
        }
    }

    fn delivered(zxid: Zxid, payload: &Bytes) -> Output {
        let hash = crc32fast::hash(payload);
        Output::Event(Event::Delivered { zxid, hash })
    }

    fn testimony(ledger: &Ledger) -> History {
        let mut history = History::default();
        ledger.testify(&mut history);
        history
    }

    #[test]
    fn only_what_was_delivered_is_in_the_log() {
        let ledger = Ledger::default();
        let delete = Body::Delete { path: "/a".into() };
        let (first, second) = (Zxid::new(Epoch(1), 1), Zxid::new(Epoch(1), 2));
        let (one, other) = (
            payload(first, &delete),
            payload(first, &Body::Error { code: -4 }),
        );
        let propose = |zxid, payload: &Bytes| {
            let payload = payload.clone();
            sent(&Message::Propose { zxid, payload })
        };
        ledger.read(&[propose(first, &one), propose(first, &other)]);
        ledger.read(&[propose(second, &payload(second, &delete))]);
        assert_eq!(testimony(&ledger).txns, []);
        ledger.read(&[delivered(first, &other), delivered(first, &one)]);
        let history = testimony(&ledger);
        assert!(history.log_is_whole());
        let refused = Txn {
            zxid: first.to_wire(),
            session: 7,
            xid: 9,
            kind: TxnKind::Refused,
        };
        assert_eq!(history.txns, [refused]);
    }

    #[test]
    fn observer_is_read_too_and_what_was_never_proposed_makes_a_gap() {
        let ledger = Ledger::default();
        let (first, second) = (Zxid::new(Epoch(1), 1), Zxid::new(Epoch(1), 2));
        let bytes = payload(first, &Body::CloseSession { paths: None });
        let payload = bytes.clone();
        let zxid = first;
        ledger.read(&[
            sent(&Message::Inform { zxid, payload }),
            delivered(first, &bytes),
            delivered(second, &bytes),
        ]);
        let history = testimony(&ledger);
        assert_eq!(history.txns.len(), 1);
        assert_eq!(history.txns[0].kind, TxnKind::Close);
        assert!(!history.log_is_whole());
    }
}
