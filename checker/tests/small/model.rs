//! A tree of a few nodes, copied at every step: what the small histories are made of and
//! what the enumerator replays. Neither the judge's model nor the verifier's; no ACLs.

use gamekeeper_checker::history::*;
use std::collections::BTreeMap;

/// One node; `stat.cversion` is only right in what is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Leaf {
    data: Option<Value>,
    stat: Stat,
    creates: i32,
    lapse: Option<Lapse>,
}

/// All nodes by path.
pub type State = BTreeMap<String, Leaf>;

/// The last transaction before every small history.
pub const START_ZXID: i64 = 4;

/// The start state: the nodes of a fresh tree, and `/a` with data `0`.
pub fn start() -> (State, Start) {
    start_with(None)
}

/// As [`start`], where `/a` may go by itself.
pub fn start_with(lapse: Option<Lapse>) -> (State, Start) {
    let mut state = State::new();
    let leaf = |data: &str, zxid: i64, children: i32| Leaf {
        data: Some(data.into()),
        stat: Stat {
            czxid: zxid,
            mzxid: zxid,
            pzxid: zxid,
            num_children: children,
            data_length: data.len() as i32,
            ..Stat::default()
        },
        creates: children,
        lapse: None,
    };
    let mut nodes = Vec::new();
    let a = Leaf {
        lapse,
        ..leaf("0", 4, 0)
    };
    for (path, leaf) in [("/", leaf("", 0, 2)), ("/a", a)] {
        nodes.push(StartNode {
            path: path.into(),
            data: leaf.data.clone(),
            stat: shown(&leaf),
            acl: Vec::new(),
            lapse: leaf.lapse,
        });
        state.insert(path.into(), leaf);
    }
    (
        state,
        Start::Nodes {
            zxid: START_ZXID,
            nodes,
        },
    )
}

fn shown(leaf: &Leaf) -> Stat {
    let cversion = 2 * leaf.creates - leaf.stat.num_children;
    Stat {
        cversion,
        ..leaf.stat
    }
}

fn parent_of(path: &str) -> String {
    match path.rfind('/') {
        Some(0) | None => "/".into(),
        Some(slash) => path[..slash].into(),
    }
}

/// The state after a transaction, and what it answers. A multi that fails answers with the
/// errors of its parts; whatever fails changes nothing.
pub fn write(
    state: &State,
    op: &Op,
    session: i64,
    zxid: i64,
) -> (State, Result<Answer, ErrorCode>) {
    let mut after = state.clone();
    let result = match op {
        Op::Multi { ops } => {
            let mut results = Vec::new();
            for op in ops {
                match single(&mut after, op, session, zxid) {
                    Ok(answer) => results.push(Ok(answer)),
                    Err(code) => {
                        results = vec![Err(ErrorCode::OK); results.len()];
                        results.push(Err(code));
                        results.resize(ops.len(), Err(ErrorCode::RUNTIME_INCONSISTENCY));
                        return (state.clone(), Ok(Answer::Multi(results)));
                    }
                }
            }
            Ok(Answer::Multi(results))
        }
        Op::Close => {
            after = end(state, session, zxid);
            Ok(Answer::Done)
        }
        op => single(&mut after, op, session, zxid),
    };
    match result {
        Ok(_) => (after, result),
        Err(_) => (state.clone(), result),
    }
}

/// What watches on each path would fire on if this were done, in order; none if it fails.
pub fn events(state: &State, op: &Op, session: i64, zxid: i64) -> Vec<(EventType, String)> {
    let (after, result) = write(state, op, session, zxid);
    match (op, result) {
        (Op::Multi { ops }, Ok(Answer::Multi(results))) if results.iter().all(Result::is_ok) => {
            let mut state = state.clone();
            let mut all = Vec::new();
            for op in ops {
                let (after, _) = write(&state, op, session, zxid);
                all.extend(events_between(&state, &after));
                state = after;
            }
            all
        }
        _ => events_between(state, &after),
    }
}

/// What watches fire on when one state becomes the other in one step.
pub fn events_between(before: &State, after: &State) -> Vec<(EventType, String)> {
    let mut events = Vec::new();
    let paths: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for path in paths {
        let mut fire = |event| events.push((event, path.clone()));
        match (before.get(path), after.get(path)) {
            (None, Some(_)) => fire(EventType::NodeCreated),
            (Some(_), None) => fire(EventType::NodeDeleted),
            (Some(old), Some(new)) => {
                if old.stat.version != new.stat.version {
                    fire(EventType::NodeDataChanged);
                }
                let children = |leaf: &Leaf| (leaf.creates, leaf.stat.num_children);
                if children(old) != children(new) {
                    fire(EventType::NodeChildrenChanged);
                }
            }
            (None, None) => {}
        }
    }
    events
}

fn single(state: &mut State, op: &Op, session: i64, zxid: i64) -> Result<Answer, ErrorCode> {
    let path = op.path().expect("single writes have a path").to_string();
    let parent = parent_of(&path);
    let version_of = |state: &State, wanted: i32| match state.get(&path) {
        None => Err(ErrorCode::NO_NODE),
        Some(leaf) if wanted != -1 && wanted != leaf.stat.version => Err(ErrorCode::BAD_VERSION),
        Some(_) => Ok(()),
    };
    match op {
        Op::Create {
            data,
            ephemeral,
            lapse,
            sequential,
            stat: with_stat,
            ..
        } => {
            let above = state.get(&parent).ok_or(ErrorCode::NO_NODE)?;
            let path = match sequential {
                true => format!("{path}{:010}", above.creates),
                false => path,
            };
            if state.contains_key(&path) {
                return Err(ErrorCode::NODE_EXISTS);
            }
            if above.stat.ephemeral_owner != 0 {
                return Err(ErrorCode::NO_CHILDREN_FOR_EPHEMERALS);
            }
            let stat = Stat {
                czxid: zxid,
                mzxid: zxid,
                pzxid: zxid,
                ephemeral_owner: if *ephemeral { session } else { 0 },
                data_length: data.as_ref().map_or(0, |data| data.bytes().len() as i32),
                ..Stat::default()
            };
            state.insert(
                path.clone(),
                Leaf {
                    data: data.clone(),
                    stat,
                    creates: 0,
                    lapse: *lapse,
                },
            );
            let above = state.get_mut(&parent).expect("found above");
            above.creates += 1;
            above.stat.num_children += 1;
            above.stat.pzxid = zxid;
            let path = path.as_str().into();
            Ok(match with_stat {
                true => Answer::Created { path, stat },
                false => Answer::Path(path),
            })
        }
        Op::Delete { version, .. } => {
            version_of(state, *version)?;
            if state[&path].stat.num_children > 0 {
                return Err(ErrorCode::NOT_EMPTY);
            }
            remove(state, &path, zxid);
            Ok(Answer::Done)
        }
        Op::Set { data, version, .. } => {
            version_of(state, *version)?;
            let leaf = state.get_mut(&path).expect("its version was looked at");
            leaf.data = data.clone();
            leaf.stat.data_length = data.as_ref().map_or(0, |data| data.bytes().len() as i32);
            leaf.stat.version += 1;
            leaf.stat.mzxid = zxid;
            Ok(Answer::Stat(shown(leaf)))
        }
        Op::Check { version, .. } => version_of(state, *version).map(|()| Answer::Done),
        other => unreachable!("{other:?} is no single write of small histories"),
    }
}

fn remove(state: &mut State, path: &str, zxid: i64) {
    state.remove(path);
    let above = state
        .get_mut(&parent_of(path))
        .expect("parents outlive children");
    above.stat.num_children -= 1;
    above.stat.pzxid = zxid;
}

/// The state after a session's end.
pub fn end(state: &State, session: i64, zxid: i64) -> State {
    let mut after = state.clone();
    for (path, leaf) in state {
        if leaf.stat.ephemeral_owner == session {
            remove(&mut after, path, zxid);
        }
    }
    after
}

/// What may go by itself, but for the time, and how long it has to wait after which zxid.
pub fn lapsing(state: &State) -> Vec<(String, Option<(i64, u64)>)> {
    let childless = state.iter().filter(|(_, leaf)| leaf.stat.num_children == 0);
    let lapsing = childless.filter_map(|(path, leaf)| match leaf.lapse? {
        Lapse::Container => (leaf.creates > 0).then(|| (path.clone(), None)),
        Lapse::Ttl(ttl_ms) => Some((path.clone(), Some((leaf.stat.mzxid, ttl_ms)))),
    });
    lapsing.collect()
}

/// The state after a node has gone by itself.
pub fn lapse(state: &State, path: &str, zxid: i64) -> State {
    let mut after = state.clone();
    remove(&mut after, path, zxid);
    after
}

/// What a read, or a sync, answers in a state; names in order.
pub fn read(state: &State, op: &Op) -> Result<Answer, ErrorCode> {
    if matches!(op, Op::Sync { .. }) {
        return Ok(Answer::Done);
    }
    let path = &**op.path().expect("reads have a path");
    let leaf = state.get(path).ok_or(ErrorCode::NO_NODE)?;
    let stat = shown(leaf);
    Ok(match op {
        Op::Get { .. } => Answer::Data {
            data: leaf.data.clone(),
            stat,
        },
        Op::Children {
            stat: with_stat, ..
        } => {
            let below = state
                .keys()
                .filter(|below| *below != "/" && parent_of(below) == path);
            let names = below.map(|below| below.rsplit('/').next().expect("a last part").into());
            // `/` has `/zookeeper` too, which nothing here touches.
            let hidden = (path == "/").then(|| "zookeeper".into());
            let mut names: Vec<Path> = names.chain(hidden).collect();
            names.sort();
            match with_stat {
                true => Answer::NamesStat { names, stat },
                false => Answer::Names(names),
            }
        }
        _ => Answer::Stat(stat),
    })
}
