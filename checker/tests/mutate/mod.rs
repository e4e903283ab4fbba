//! For each property a way to break it, and nothing else, in a valid history of a whole life.
//!
//! A mutator looks for every place where one small change breaks its property, draws one and
//! makes the change; it returns nothing where a life offers no place. It leaves alone what
//! requests of unknown fate touch, for there the change might be explained.

#![allow(dead_code)]

mod node;
mod order;
mod read;
mod stays;
mod watch;

pub use crate::dice::Dice;
use gamekeeper_checker::Property;
use gamekeeper_checker::history::{read as read_history, *};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Breaks one property somewhere; None if there is no place for it.
pub type Mutator = fn(&Life<'_>, &mut Dice) -> Option<History>;

/// One or two mutators a property.
pub const MUTATORS: [(Property, &str, Mutator); 25] = [
    (
        Property::LinearizableWrites,
        "a write is sent after a later one was answered",
        order::sent_too_late,
    ),
    (
        Property::ConditionalWrites,
        "a write succeeds on another version than it named",
        order::wrong_version,
    ),
    (
        Property::SessionFifo,
        "two transactions of a session change places",
        order::out_of_turn,
    ),
    (
        Property::ReadYourWrites,
        "a read sees less than its session wrote",
        order::before_own_write,
    ),
    (
        Property::MonotonicReads,
        "a read sees less than one before it",
        order::back_in_time,
    ),
    (
        Property::OneOrder,
        "a read misses a write that was under way",
        read::misses_running_write,
    ),
    (
        Property::NoFutureReads,
        "a read sees what nobody wrote",
        read::invented,
    ),
    (
        Property::NoFutureReads,
        "a read sees what was not asked for yet",
        order::seen_too_early,
    ),
    (
        Property::SyncThenRead,
        "a read after sync misses what was answered before",
        order::stale_after_sync,
    ),
    (
        Property::Durability,
        "a read misses a write that was answered before",
        read::misses_answered_write,
    ),
    (
        Property::WatchBeforeData,
        "a notification comes after newer data",
        watch::too_late,
    ),
    (
        Property::WatchOneShot,
        "a notification comes twice",
        watch::twice,
    ),
    (
        Property::WatchNotSpurious,
        "a notification that nobody waited for",
        watch::unasked,
    ),
    (
        Property::WatchNotSpurious,
        "a notification of another type",
        watch::of_another_type,
    ),
    (
        Property::EphemeralsEnd,
        "an ephemeral is seen after its session closed",
        node::left_behind,
    ),
    (
        Property::EphemeralsStay,
        "an ephemeral is gone while its session writes",
        node::gone_early,
    ),
    (
        Property::SequentialNames,
        "a sequential node has the number of another",
        node::number_again,
    ),
    (
        Property::MultiAtomic,
        "a read misses a part of a multi",
        read::misses_part_of_multi,
    ),
    (
        Property::MultiAtomic,
        "one part of a multi fails alone",
        node::part_fails,
    ),
    (
        Property::StatArithmetic,
        "a Stat miscounts",
        node::miscounts,
    ),
    (
        Property::ReplicasAgree,
        "two sessions read other bytes at one zxid",
        read::differs_from_twin,
    ),
    (
        Property::ZxidSanity,
        "a transaction at the start of an epoch",
        order::start_of_epoch,
    ),
    (
        Property::ZxidSanity,
        "two transactions at one zxid",
        order::one_number_twice,
    ),
    (
        Property::AccessControl,
        "a read is denied what everybody may",
        node::denied,
    ),
    (
        Property::AccessControl,
        "a read is allowed what it may not",
        node::allowed,
    ),
];

/// What can be broken where watches stay when they fire, which the simulator's clients have not.
pub const OF_STAYING: [(Property, &str, Mutator); 5] = [
    (
        Property::WatchBeforeData,
        "a watch that stays is told after newer data",
        stays::too_late,
    ),
    (
        Property::WatchOneShot,
        "a watch that stays skips a change",
        stays::skipped,
    ),
    (
        Property::WatchOneShot,
        "a watch that stays is told twice",
        stays::twice,
    ),
    (
        Property::WatchNotSpurious,
        "a watch that stays is told of nothing",
        stays::of_nothing,
    ),
    (
        Property::WatchNotSpurious,
        "a recursive watch is told of a list",
        stays::of_a_list,
    ),
];

/// What can be broken where clients come back with watches.
pub const OF_RETURNING: [(Property, &str, Mutator); 1] = [(
    Property::NoFutureReads,
    "watches are registered again in a state to come",
    watch::again_too_early,
)];

/// Lives of the simulator, with their servers' log: the ones kept here, or `LIVES=DIR`, a folder
/// of history files or of run directories.
pub fn lives() -> Vec<(PathBuf, History)> {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lives");
    let folder = std::env::var_os("LIVES").map_or(kept, PathBuf::from);
    let entries =
        std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .map(|path| match path.is_dir() {
            true => path.join("history.jsonl"),
            false => path,
        })
        .filter(|path| path.extension().is_some_and(|end| end == "jsonl") && path.exists())
        .collect();
    files.sort();
    let life = |path: PathBuf| {
        let file = std::fs::File::open(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let history = read_history(std::io::BufReader::new(file));
        let history = history.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (path, history)
    };
    files.into_iter().map(life).collect()
}

/// P7: watches are registered again in a state that has what was asked for afterwards.
pub fn registered_too_early(life: &Life<'_>, seed: u64) -> Option<History> {
    watch::again_too_early(life, &mut Dice(seed))
}

/// P10: a notification comes after an answer that shows as much.
pub fn late_notification(life: &Life<'_>, seed: u64) -> Option<History> {
    watch::too_late(life, &mut Dice(seed))
}

/// A request of a life.
pub struct Asked<'h> {
    pub invoke: usize,
    pub done: usize,
    pub process: u32,
    pub session: i64,
    pub call: u64,
    pub ret: u64,
    pub zxid: i64,
    pub op: &'h Op,
    /// None if it was lost.
    pub result: Option<&'h Result<Answer, ErrorCode>>,
}

impl<'h> Asked<'h> {
    /// Answered, with a place among the transactions.
    pub fn is_write(&self) -> bool {
        self.op.is_transaction() && self.is_placed()
    }

    /// A read, not a sync, answered at a known prefix.
    pub fn is_read(&self) -> bool {
        !self.op.is_transaction() && !self.is_sync() && self.is_placed()
    }

    pub fn is_sync(&self) -> bool {
        matches!(self.op, Op::Sync { .. })
    }

    fn is_placed(&self) -> bool {
        let decided = |code: &ErrorCode| (-111..=-101).contains(&code.0);
        self.zxid > 0
            && self
                .result
                .is_some_and(|result| result.as_ref().err().is_none_or(decided))
    }

    pub fn path(&self) -> &'h str {
        self.op.path().map_or("", |path| path)
    }

    /// The Stat it was told.
    pub fn stat(&self) -> Option<&'h Stat> {
        match self.result? {
            Ok(
                Answer::Created { stat, .. }
                | Answer::Stat(stat)
                | Answer::Data { stat, .. }
                | Answer::NamesStat { stat, .. }
                | Answer::Acl { stat, .. },
            ) => Some(stat),
            Ok(Answer::Done | Answer::Path(_) | Answer::Names(_) | Answer::Multi(_)) | Err(_) => {
                None
            }
        }
    }

    /// The last transaction that its Stat names.
    pub fn newest(&self) -> Option<i64> {
        self.stat()
            .map(|stat| stat.czxid.max(stat.mzxid).max(stat.pzxid))
    }
}

/// A valid history, read for whoever wants to break it.
pub struct Life<'h> {
    pub history: &'h History,
    /// In the order sent.
    pub asked: Vec<Asked<'h>>,
    /// Requests of each session, in the order sent.
    pub sessions: BTreeMap<i64, Vec<usize>>,
    /// The answered transactions by zxid.
    pub writes: BTreeMap<i64, usize>,
    /// What requests of unknown fate may have touched.
    murky: BTreeSet<&'h str>,
}

impl<'h> Life<'h> {
    pub fn of(history: &'h History) -> Self {
        let mut asked: Vec<Asked<'h>> = Vec::new();
        let mut open: BTreeMap<(u32, i32), usize> = BTreeMap::new();
        for (
            index,
            Record {
                process,
                time,
                body,
                ..
            },
        ) in history.records.iter().enumerate()
        {
            match body {
                Body::Invoke { session, xid, op } => {
                    open.insert((*process, *xid), asked.len());
                    asked.push(Asked {
                        invoke: index,
                        done: index,
                        process: *process,
                        session: *session,
                        call: *time,
                        ret: u64::MAX,
                        zxid: 0,
                        op,
                        result: None,
                    });
                }
                Body::Return { xid, zxid, result } => {
                    let asked = &mut asked[open[&(*process, *xid)]];
                    (asked.done, asked.ret, asked.zxid) = (index, *time, *zxid);
                    asked.result = Some(result);
                }
                Body::Lost { .. }
                | Body::Notify { .. }
                | Body::Session(_)
                | Body::Ping { .. }
                | Body::Final => {}
            }
        }
        let mut life = Life {
            history,
            sessions: BTreeMap::new(),
            writes: BTreeMap::new(),
            murky: BTreeSet::new(),
            asked: Vec::new(),
        };
        for (number, asked) in asked.iter().enumerate() {
            life.sessions.entry(asked.session).or_default().push(number);
            if asked.is_write() {
                life.writes.insert(asked.zxid, number);
            } else if asked.result.is_none() {
                touched(asked.op, &mut life.murky);
            }
        }
        life.sessions.remove(&0);
        life.asked = asked;
        life
    }

    /// True if nothing of unknown fate can have had to do with a path.
    pub fn is_clear(&self, path: &str) -> bool {
        let related = |murky: &&str| {
            path.starts_with(*murky)
                || murky
                    .rsplit_once('/')
                    .is_some_and(|(parent, _)| parent == path)
        };
        !self.murky.iter().any(related)
    }

    /// How far a session had come before its request at `index` of its list.
    pub fn position(&self, session: i64, index: usize) -> i64 {
        let before = self.sessions[&session][..index]
            .iter()
            .map(|&number| &self.asked[number]);
        let placed = before.filter(|asked| asked.is_write() || asked.is_read() || asked.is_sync());
        placed.map(|asked| asked.zxid).max().unwrap_or(0)
    }

    /// Other sessions' reads of the same path at the same zxid.
    pub fn twins<'a>(&'a self, read: &'a Asked<'h>) -> impl Iterator<Item = &'a Asked<'h>> {
        self.asked.iter().filter(|twin| {
            twin.is_read()
                && (twin.zxid, twin.path()) == (read.zxid, read.path())
                && twin.session != read.session
        })
    }

    /// True if no other session read the same path at the same zxid.
    pub fn is_alone(&self, read: &Asked<'h>) -> bool {
        self.twins(read).next().is_none()
    }

    /// The history with another answer to one request.
    pub fn answering(
        &self,
        asked: &Asked<'_>,
        zxid: i64,
        told: &Result<Answer, ErrorCode>,
    ) -> History {
        let mut history = self.history.clone();
        if let Body::Return {
            zxid: place,
            result,
            ..
        } = &mut history.records[asked.done].body
        {
            (*place, *result) = (zxid, told.clone());
        }
        history
    }

    /// The history with all that a process saw from one record on happening later.
    pub fn delaying(&self, process: u32, from: usize, by: u64) -> History {
        let mut history = self.history.clone();
        for record in history.records[from..]
            .iter_mut()
            .filter(|record| record.process == process)
        {
            record.time += by;
            if let Body::Ping { sent } = &mut record.body {
                *sent += by;
            }
        }
        history.records.sort_by_key(|record| record.time);
        history
    }
}

fn touched<'h>(op: &'h Op, paths: &mut BTreeSet<&'h str>) {
    match op {
        Op::Multi { ops } => ops.iter().for_each(|op| touched(op, paths)),
        op if op.is_transaction() => paths.extend(op.path().map(|path| &**path)),
        _ => {}
    }
}
