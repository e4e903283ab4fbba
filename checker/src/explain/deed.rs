//! One thing a client did or was told, in words: a request with its answer, a notification,
//! an event of its session, an operation of a history that others wrote.

use super::units::{self, Unit};
use super::words;
use crate::history::{Body, History};
use serde::{Serialize, Serializer};

/// What kind of thing, which is also how it is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A request answered without an error.
    Ok,
    /// A request answered with an error.
    Failed,
    /// A request given up, or not answered when the history ends.
    Unanswered,
    /// A notification.
    Notified,
    /// An event of the session or connection, or an answered ping.
    Session,
}

impl Kind {
    /// A word, as in the enum's names.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Ok => "ok",
            Kind::Failed => "failed",
            Kind::Unanswered => "unanswered",
            Kind::Notified => "notified",
            Kind::Session => "session",
        }
    }
}

/// Where a deed stands in the file that tells of it, which also says how its times are told.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Places {
    /// Records of one of our histories, as indices from 0; times are nanoseconds. As JSON they
    /// count from 1, as they do in words.
    #[serde(serialize_with = "from_one")]
    Records(Vec<usize>),
    /// A line of a history that others wrote, from 1; times are numbers as the file has them.
    Line(u32),
}

fn from_one<S: Serializer>(records: &[usize], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(records.iter().map(|index| index + 1))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it so")]
fn session_text<S: Serializer>(session: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    match session {
        0 => serializer.serialize_none(),
        session => serializer.collect_str(&format_args!("{session:#x}")),
    }
}

/// How times are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// Nanoseconds, told as seconds.
    Nanoseconds,
    /// Numbers, told as they are.
    Numbers,
}

impl Clock {
    /// A time, or a stretch of it.
    pub fn words(self, time: u64) -> String {
        match self {
            Clock::Nanoseconds => words::time(time),
            Clock::Numbers => time.to_string(),
        }
    }
}

/// One thing a client did or was told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Deed {
    /// What kind of thing.
    pub kind: Kind,
    /// The client.
    pub process: u32,
    /// Its session, 0 if none is known. As JSON a text, as histories have it.
    #[serde(serialize_with = "session_text")]
    pub session: i64,
    /// The server it was talking to, where known.
    pub server: Option<u32>,
    /// When it began, by its clock.
    pub from: u64,
    /// When it was answered or given up, same clock; None for what has no end.
    pub until: Option<u64>,
    /// The zxid in its header, if there was one.
    pub zxid: Option<i64>,
    /// What it is: `set /a to "x", expecting version 3`.
    pub what: String,
    /// What came of it: `version 4, czxid …`; empty for what has no answer.
    pub told: String,
    /// Where the file tells of it.
    #[serde(flatten)]
    pub places: Places,
}

impl Deed {
    /// Everything that happened in a history, in the order of first records.
    pub fn all(history: &History) -> Vec<Deed> {
        let units = units::cut(history);
        units.iter().map(|unit| Deed::of(history, unit)).collect()
    }

    pub(super) fn of(history: &History, unit: &Unit) -> Deed {
        let record = &history.records[unit.first as usize];
        let answer = unit.second.map(|second| &history.records[second as usize]);
        let (kind, what) = match &record.body {
            Body::Invoke { op, .. } => (Kind::Unanswered, words::op(op)),
            body @ (Body::Notify { .. } | Body::Return { .. }) => {
                (Kind::Notified, words::body(body))
            }
            body @ (Body::Session(_) | Body::Ping { .. } | Body::Lost { .. } | Body::Final) => {
                (Kind::Session, words::body(body))
            }
        };
        let mut deed = Deed {
            kind,
            process: record.process,
            session: unit.session,
            server: answer.and_then(|answer| answer.server).or(record.server),
            from: record.time,
            until: answer.map(|answer| answer.time),
            zxid: unit.zxid,
            what,
            told: String::new(),
            places: Places::Records(unit.records().map(|record| record as usize).collect()),
        };
        match answer.map(|answer| &answer.body) {
            Some(Body::Return { result, .. }) => {
                deed.kind = if result.is_ok() {
                    Kind::Ok
                } else {
                    Kind::Failed
                };
                deed.told = words::outcome(result);
            }
            Some(Body::Lost { .. }) => deed.told = "given up, its fate unknown".into(),
            Some(_) => {}
            None if kind == Kind::Unanswered => deed.told = "never answered".into(),
            None => {}
        }
        deed
    }

    /// Who: `client 4, session 0x11, at server 2`.
    pub fn who(&self) -> String {
        let mut who = format!("client {}", self.process);
        if self.session != 0 {
            who.push_str(&format!(", session {:#x}", self.session));
        }
        if let Some(server) = self.server {
            who.push_str(&format!(", at server {server}"));
        }
        who
    }

    /// When and where in the order: `2.500000 s to 2.500812 s, zxid 0x5`.
    pub fn when(&self) -> String {
        let clock = self.clock();
        let mut when = clock.words(self.from);
        match (self.until, clock) {
            (Some(until), _) => when.push_str(&format!(" to {}", clock.words(until))),
            (None, Clock::Numbers) => when.push_str(" to never"),
            (None, Clock::Nanoseconds) => {}
        }
        match (self.zxid, clock) {
            (Some(zxid), Clock::Nanoseconds) => when.push_str(&format!(", zxid {zxid:#x}")),
            (Some(zxid), Clock::Numbers) => when.push_str(&format!(", zxid {zxid}")),
            (None, _) => {}
        }
        when
    }

    /// How its times are told.
    pub fn clock(&self) -> Clock {
        match self.places {
            Places::Records(_) => Clock::Nanoseconds,
            Places::Line(_) => Clock::Numbers,
        }
    }

    /// Its records as a reader of the file counts them: `records 3 and 8`, from 1; or its line.
    pub fn places(&self) -> String {
        match &self.places {
            Places::Line(line) => format!("line {line}"),
            Places::Records(records) => match records.as_slice() {
                [one] => format!("record {}", one + 1),
                [one, two] => format!("records {} and {}", one + 1, two + 1),
                _ => String::new(),
            },
        }
    }

    /// Its records, as indices into the history; none if it is of a history that others wrote.
    pub fn records(&self) -> &[usize] {
        match &self.places {
            Places::Records(records) => records,
            Places::Line(_) => &[],
        }
    }
}
