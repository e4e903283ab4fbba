//! Where setWatches were answered, if nobody told by a zxid.
//!
//! A client that comes back names the watches it has left, and its server tells at once of what
//! changed on their paths meanwhile. The walk has to know up to where. The answers before say from
//! where on that can have been, and what was told says more: what it tells of had happened, and the
//! earliest place by which all of it had asks for no more to have been told than must be.
//!
//! What it is not: a search. Where that place is wrong the order that was found is refused.
//!
//! Answers to: `consistency.md` P10, P12 (after a reconnect).

use crate::history::{Body, EventType, SessionEvent};
use crate::model::{PathId, Tree};
use crate::walk::case::Case;
use rustc_hash::FxHashMap;

/// One node after so many transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    count: usize,
    exists: bool,
    mzxid: i64,
    pzxid: i64,
}

impl State {
    /// True if setWatches tells of an event there, given what its client had seen.
    fn shows(&self, event: EventType, seen: i64) -> bool {
        match event {
            EventType::NodeCreated => self.exists,
            EventType::NodeDeleted => !self.exists,
            EventType::NodeDataChanged => self.exists && self.mzxid > seen,
            EventType::NodeChildrenChanged => self.exists && self.pzxid > seen,
        }
    }
}

/// What setWatches made up for, and the nodes concerned along an order.
pub struct Again {
    /// By the record of each answer to setWatches.
    told: FxHashMap<u32, Vec<(EventType, PathId)>>,
    states: FxHashMap<PathId, Vec<State>>,
}

impl Again {
    /// What was told in a history while setWatches were on their way.
    pub fn of(case: &Case<'_>, tree: &Tree<'_>) -> Self {
        let mut again = Again {
            told: FxHashMap::default(),
            states: FxHashMap::default(),
        };
        let mut under_way: FxHashMap<u32, Vec<(EventType, PathId)>> = FxHashMap::default();
        for (index, record) in (0..).zip(&case.history.records) {
            match &record.body {
                Body::Session(SessionEvent::SetWatches { .. }) => {
                    under_way.entry(record.process).or_default();
                }
                Body::Session(SessionEvent::SetWatchesDone { .. }) => {
                    let told = under_way.get_mut(&record.process);
                    let told = told.map(std::mem::take).unwrap_or_default();
                    let paths = told.iter().map(|&(_, path)| (path, Vec::new()));
                    again.states.extend(paths);
                    again.told.insert(index, told);
                }
                Body::Session(
                    SessionEvent::Connecting { .. }
                    | SessionEvent::Connected { .. }
                    | SessionEvent::Disconnected
                    | SessionEvent::Expired { .. }
                    | SessionEvent::Abandoned { .. },
                ) => drop(under_way.remove(&record.process)),
                Body::Notify { event, path, .. } => {
                    if let Some(told) = under_way.get_mut(&record.process) {
                        told.extend(tree.paths.find(path).map(|path| (*event, path)));
                    }
                }
                Body::Session(
                    SessionEvent::WatchesLeftOut
                    | SessionEvent::Auth { .. }
                    | SessionEvent::AuthDone { .. },
                )
                | Body::Invoke { .. }
                | Body::Return { .. }
                | Body::Lost { .. }
                | Body::Ping { .. }
                | Body::Final => {}
            }
        }
        again
    }

    /// The order has gone on to so many transactions.
    pub fn note(&mut self, tree: &Tree<'_>, count: usize) {
        for (&path, states) in &mut self.states {
            let node = tree.node(path);
            let state = State {
                count,
                exists: node.exists,
                mzxid: node.mzxid,
                pzxid: node.pzxid,
            };
            let same = |last: &State| State { count, ..*last } == state;
            if !states.last().is_some_and(same) {
                states.push(state);
            }
        }
    }

    /// After how many transactions an answer to setWatches can have been given at the earliest,
    /// within such bounds, if its client had seen what it says; the lower bound if never.
    pub fn place(&self, done: u32, seen: i64, (least, most): (usize, usize)) -> usize {
        let Some(told) = self.told.get(&done) else {
            return least;
        };
        let states = told.iter().filter_map(|(_, path)| self.states.get(path));
        let mut counts: Vec<usize> = states.flatten().map(|state| state.count).collect();
        counts.retain(|&count| least < count && count <= most);
        counts.push(least);
        counts.sort_unstable();
        let fits = |count: usize| {
            told.iter().all(|(event, path)| {
                let states = self.states.get(path).map_or(&[][..], Vec::as_slice);
                let upto = states.partition_point(|state| state.count <= count);
                let state = upto.checked_sub(1).map(|last| states[last]);
                state.is_some_and(|state| state.shows(*event, seen))
            })
        };
        let mut counts = counts.into_iter();
        counts.find(|&count| fits(count)).unwrap_or(least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hidden::{CONFIGURATIONS, judge_without_zxids};
    use crate::history::{
        Acl, Answer, ErrorCode, Header, History, Identity, Op, Path, SessionEvent, Stat, Value,
    };
    use crate::walk::Options;

    /// Client 2 makes `/a` and sets it so often, and then client 1, which came back meanwhile and
    /// watches its bytes, is told of a change while setWatches is on its way, or not; both as
    /// behind a client library that shows no zxids. Then it is set once more, and told.
    fn came_back(sets: i32, made_up_for: bool) -> &'static str {
        let path: Path = "/a".into();
        let data = |version: i32| Some(Value::from(version.to_string().as_str()));
        let stat = |version| Stat {
            version,
            data_length: 1,
            ..Stat::default()
        };
        let everybody = Acl {
            perms: 31,
            identity: Identity::new("world", "anyone"),
        };
        let create = Op::Create {
            path: path.clone(),
            data: data(0),
            acl: [everybody].into(),
            ephemeral: false,
            sequential: false,
            stat: false,
            lapse: None,
        };
        let set = |version| Op::Set {
            path: path.clone(),
            data: data(version),
            version: -1,
        };
        let get = Op::Get {
            path: path.clone(),
            watch: true,
        };
        let shown = Ok(Answer::Data {
            data: data(0),
            stat: stat(0),
        });
        let session = |event| Body::Session(event);
        let connected = || {
            session(SessionEvent::Connected {
                session: 1,
                timeout_ms: 4000,
                reattached: false,
                address: None,
            })
        };
        let again = session(SessionEvent::SetWatches {
            relative_zxid: 0,
            data: vec![path.clone()],
            exist: Vec::new(),
            child: Vec::new(),
            stays: Vec::new(),
        });
        let ask = |session, xid, op| Body::Invoke { session, xid, op };
        let tell = |xid, result: Result<Answer, ErrorCode>| Body::Return {
            xid,
            zxid: 0,
            result,
        };
        let changed = || Body::Notify {
            zxid: -1,
            event: EventType::NodeDataChanged,
            path: path.clone(),
        };
        let mut bodies = vec![
            (1, connected()),
            (2, ask(2, 1, create)),
            (2, tell(1, Ok(Answer::Path(path.clone())))),
            (1, ask(1, 1, get)),
            (1, tell(1, shown)),
            (1, session(SessionEvent::Disconnected)),
        ];
        for version in 1..=sets {
            bodies.push((2, ask(2, version + 1, set(version))));
            bodies.push((2, tell(version + 1, Ok(Answer::Stat(stat(version))))));
        }
        bodies.extend([(1, connected()), (1, again)]);
        bodies.extend(made_up_for.then(|| (1, changed())));
        bodies.push((1, session(SessionEvent::SetWatchesDone { zxid: 0 })));
        let last = sets + 1;
        bodies.push((2, ask(2, last + 1, set(last))));
        bodies.push((2, tell(last + 1, Ok(Answer::Stat(stat(last))))));
        bodies.extend((!made_up_for).then(|| (1, changed())));
        let mut history = History::new(Header::default());
        for (process, body) in bodies {
            let time = history.records.len() as u64;
            history.push(process, time, body);
        }
        judge_without_zxids(&history, &Options::default(), CONFIGURATIONS).word()
    }

    #[test]
    fn what_was_made_up_for_tells_how_far_a_server_was() {
        assert_eq!(came_back(0, false), "valid");
        assert_eq!(came_back(2, false), "valid", "it may have lagged");
        assert_eq!(came_back(2, true), "valid");
        assert_ne!(came_back(0, true), "valid", "nothing had changed");
    }
}
