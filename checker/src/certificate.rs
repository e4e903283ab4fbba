//! The certificate of an acquittal: the order of the transactions and a prefix for every read.
//!
//! A valid verdict claims that there are a total order T of the transactions that took effect
//! and a prefix of it for every read. Here they are, as plain data that names records of the
//! history by index, so that whoever doubts the judge can check them without it.
//!
//! Answers to: `consistency.md` 3.1 (T and pos) and 6.

use crate::history::{Body, History, Path};

/// What took effect at one place of the order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// A request, answered or of unknown fate: index of the record that asked it. One of
    /// unknown fate that cannot succeed at its place failed there and changed nothing.
    Request(usize),
    /// The end of the session with this id, told to nobody: by expiry, or by a close whose
    /// answer was lost.
    End(i64),
    /// The servers removed the container or TTL node at this path, told to nobody.
    Lapse(Path),
}

/// One place of the order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The transaction's zxid; 0 if it is not known.
    pub zxid: i64,
    /// What happened.
    pub effect: Effect,
}

/// How much of the order a read, or a sync, saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sight {
    /// Index of the record that asked.
    pub invoke: usize,
    /// How many transactions, from the first on, lie before it.
    pub prefix: usize,
}

/// T and pos: the witness that a history is consistent. [`crate::verify`] checks it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Certificate {
    /// The transactions in order.
    pub order: Vec<Step>,
    /// The answered reads and syncs, in the order asked.
    pub sights: Vec<Sight>,
}

impl Certificate {
    /// The order in words, one line a transaction: for people who check by hand.
    pub fn describe(&self, history: &History) -> String {
        let line = |(place, step): (usize, &Step)| {
            let what = match &step.effect {
                Effect::End(session) => format!("end of session {session:#x}"),
                Effect::Lapse(path) => format!("{path} goes by itself"),
                &Effect::Request(invoke) => {
                    match history.records.get(invoke).map(|asked| &asked.body) {
                        Some(Body::Invoke { session, op, .. }) => {
                            format!("record {}: session {session:#x} {op:?}", invoke + 1)
                        }
                        Some(_) | None => format!("record {}, which asks nothing", invoke + 1),
                    }
                }
            };
            format!("{}: zxid {:#x}: {what}\n", place + 1, step.zxid)
        };
        self.order.iter().enumerate().map(line).collect()
    }
}
