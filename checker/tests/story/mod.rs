//! Stories of a few lines, written by hand: requests with their answers, and what else was
//! observed, turned into histories and judged.

#![allow(dead_code)]

use gamekeeper_checker::history::*;
use gamekeeper_checker::{Options, Property, Verdict, judge};

pub const MS: u64 = 1_000_000;

/// One line of a story: a request with its answer, or something else that was observed.
#[derive(Clone)]
pub enum Line {
    Request {
        session: i64,
        time: (u64, u64),
        zxid: i64,
        op: Op,
        result: Result<Answer, ErrorCode>,
    },
    Lost {
        session: i64,
        time: (u64, u64),
        op: Op,
    },
    Note {
        session: i64,
        time: u64,
        body: Body,
    },
}

pub use Line::{Lost, Note, Request};

pub fn start() -> Header {
    let node = |path: &str, data: &str, zxid: i64, creates: i32| StartNode {
        path: path.into(),
        data: Some(data.into()),
        stat: Stat {
            cversion: creates * 2,
            ..stat(zxid, zxid, 0, data)
        },
        acl: Vec::new(),
        lapse: None,
    };
    let mut nodes: Vec<StartNode> = ["/a", "/x", "/y"]
        .iter()
        .zip(1..)
        .map(|(path, zxid)| node(path, "0", zxid, 0))
        .collect();
    nodes.push(node("/q", "", 4, 3));
    nodes.push(StartNode {
        acl: vec![Acl::new(31, "digest", "owner:hash")],
        ..node("/secret", "s", 4, 0)
    });
    Header {
        start: Start::Nodes { zxid: 4, nodes },
        ..Header::default()
    }
}

pub fn stat(czxid: i64, mzxid: i64, version: i32, data: &str) -> Stat {
    Stat {
        czxid,
        mzxid,
        pzxid: czxid,
        version,
        data_length: data.len() as i32,
        ..Stat::default()
    }
}

pub fn history(header: Header, lines: &[Line]) -> History {
    let mut history = History::new(header);
    let mut events = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let xid = index as i32 + 1;
        let invoke = |session: i64, op: &Op| Body::Invoke {
            session,
            xid,
            op: op.clone(),
        };
        match line {
            Request {
                session,
                time,
                zxid,
                op,
                result,
            } => {
                events.push((time.0 * MS, *session, invoke(*session, op)));
                events.push((
                    time.1 * MS,
                    *session,
                    Body::Return {
                        xid,
                        zxid: *zxid,
                        result: result.clone(),
                    },
                ));
            }
            Lost { session, time, op } => {
                events.push((time.0 * MS, *session, invoke(*session, op)));
                events.push((time.1 * MS, *session, Body::Lost { xid }));
            }
            Note {
                session,
                time,
                body,
            } => events.push((time * MS, *session, body.clone())),
        }
    }
    events.sort_by_key(|(time, _, _)| *time);
    for (time, session, body) in events {
        history.push(session as u32, time, body);
    }
    history
}

/// Convicts of `property`; without the line at any of `needed` it is legal.
pub fn convicts_in(header: Header, property: Property, lines: &[Line], needed: &[usize]) {
    let verdict = judge(&history(header.clone(), lines), &Options::default());
    assert_eq!(verdict.property(), Some(property), "{verdict}");
    for &index in needed {
        let mut rest = lines.to_vec();
        rest.remove(index);
        let verdict = judge(&history(header.clone(), &rest), &Options::default());
        assert!(
            matches!(verdict, Verdict::Valid(_)),
            "without line {index}: {verdict}"
        );
    }
}

pub fn convicts(property: Property, lines: &[Line], needed: &[usize]) {
    convicts_in(start(), property, lines, needed);
}

pub fn acquits(lines: &[Line]) {
    let verdict = judge(&history(start(), lines), &Options::default());
    assert!(matches!(verdict, Verdict::Valid(_)), "{verdict}");
}

pub fn create_with(path: &str, ephemeral: bool, sequential: bool) -> Op {
    Op::Create {
        path: path.into(),
        data: Some("".into()),
        acl: Acl::open(),
        ephemeral,
        lapse: None,
        sequential,
        stat: false,
    }
}

pub fn create(session: i64, time: (u64, u64), path: &str, zxid: i64) -> Line {
    Request {
        session,
        time,
        zxid,
        op: create_with(path, false, false),
        result: Ok(Answer::Path(path.into())),
    }
}

pub fn set_op(path: &str, data: &str, version: i32) -> Op {
    Op::Set {
        path: path.into(),
        data: Some(data.into()),
        version,
    }
}

pub fn set(session: i64, time: (u64, u64), path: &str, data: &str, stat: Stat) -> Line {
    Request {
        session,
        time,
        zxid: stat.mzxid,
        op: set_op(path, data, -1),
        result: Ok(Answer::Stat(stat)),
    }
}

pub fn get(session: i64, time: (u64, u64), path: &str, data: &str, stat: Stat, zxid: i64) -> Line {
    get_watching(session, time, path, data, stat, zxid, false)
}

pub fn get_watching(
    session: i64,
    time: (u64, u64),
    path: &str,
    data: &str,
    stat: Stat,
    zxid: i64,
    watch: bool,
) -> Line {
    let op = Op::Get {
        path: path.into(),
        watch,
    };
    Request {
        session,
        time,
        zxid,
        op,
        result: Ok(Answer::Data {
            data: Some(data.into()),
            stat,
        }),
    }
}

pub fn exists(
    session: i64,
    time: (u64, u64),
    path: &str,
    zxid: i64,
    result: Result<Stat, ErrorCode>,
) -> Line {
    let op = Op::Exists {
        path: path.into(),
        watch: false,
    };
    Request {
        session,
        time,
        zxid,
        op,
        result: result.map(Answer::Stat),
    }
}

pub fn notify(session: i64, time: u64, event: EventType, path: &str, zxid: i64) -> Line {
    Note {
        session,
        time,
        body: Body::Notify {
            zxid,
            event,
            path: path.into(),
        },
    }
}

pub fn connected(session: i64, time: u64, timeout_ms: u64) -> Line {
    let event = SessionEvent::Connected {
        session,
        timeout_ms,
        reattached: false,
        address: None,
    };
    Note {
        session,
        time,
        body: Body::Session(event),
    }
}

pub const A0: Stat = Stat {
    czxid: 1,
    mzxid: 1,
    pzxid: 1,
    data_length: 1,
    ..ZERO
};
pub const ZERO: Stat = Stat {
    czxid: 0,
    mzxid: 0,
    ctime: 0,
    mtime: 0,
    version: 0,
    cversion: 0,
    aversion: 0,
    ephemeral_owner: 0,
    data_length: 0,
    num_children: 0,
    pzxid: 0,
};

pub fn after_set(created: i64, zxid: i64, version: i32, data: &str) -> Stat {
    stat(created, zxid, version, data)
}

pub fn ephemeral(session: i64, time: (u64, u64), zxid: i64) -> Line {
    let op = create_with("/e", true, false);
    Request {
        session,
        time,
        zxid,
        op,
        result: Ok(Answer::Path("/e".into())),
    }
}

pub fn closed(session: i64, time: (u64, u64), zxid: i64) -> Line {
    Request {
        session,
        time,
        zxid,
        op: Op::Close,
        result: Ok(Answer::Done),
    }
}

pub fn both(results: Vec<SubAnswer>, time: (u64, u64)) -> Line {
    let ops = vec![set_op("/x", "1", 0), set_op("/y", "1", 0)];
    Request {
        session: 1,
        time,
        zxid: 5,
        op: Op::Multi { ops },
        result: Ok(Answer::Multi(results)),
    }
}
