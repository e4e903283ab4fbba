//! Where others write too: what no stranger can excuse is convicted, everything else goes.

mod dice;
mod toy;

use gamekeeper_checker::history::{
    Acl, Answer, Body, ErrorCode, Header, History, Op, Record, SessionEvent, Stat, Value, World,
};
use gamekeeper_checker::{Options, Property, Verdict, judge, judge_verified};
use std::collections::BTreeSet;
use toy::{Shape, valid_history};

/// A valid life of which only some clients were recorded, from some moment on.
fn overheard(seed: u64) -> History {
    let mut history = valid_history(seed, Shape::default());
    history.header.world = World::Open;
    let last = history.records.last().map_or(0, |record| record.time);
    let from = last * (seed % 4) / 8;
    // A client whose beginning was missed has watches and credentials that nobody knows of.
    let begun_later = |process: u32| {
        let first = history.records.iter().find(|r| r.process == process);
        first.is_some_and(|first| first.time >= from)
    };
    let kept: BTreeSet<u32> = history
        .records
        .iter()
        .map(|record| record.process)
        .filter(|&process| from == 0 || begun_later(process))
        .filter(|&process| (seed >> 2 >> (process % 8)) & 1 == 0)
        .collect();
    history.records.retain(|r| kept.contains(&r.process));
    history
}

#[test]
fn what_some_of_the_clients_saw_is_valid_where_others_write_too() {
    let mut requests = 0;
    for seed in 0..600 {
        match judge_verified(&overheard(seed), &Options::default()) {
            Verdict::Valid(summary) => requests += summary.requests,
            other => panic!("seed {seed}: {other}"),
        }
    }
    assert!(requests > 10_000, "{requests} requests are no test");
}

/// One client that asks one thing after another.
struct Talk(History);

impl Talk {
    fn new() -> Talk {
        let mut history = History::new(Header {
            world: World::Open,
            ..Header::default()
        });
        history.push(1, 1, session(9));
        Talk(history)
    }

    fn ask(mut self, op: Op, zxid: i64, result: Result<Answer, ErrorCode>) -> Talk {
        let xid = self.0.records.len() as i32;
        let time = 10 * xid as u64;
        let session = 9;
        let records = [
            (time, Body::Invoke { session, xid, op }),
            (time + 5, Body::Return { xid, zxid, result }),
        ];
        for (time, body) in records {
            self.0.push(1, time, body);
        }
        self
    }

    fn get(self, zxid: i64, data: &str, stat: Stat) -> Talk {
        let op = Op::Get {
            path: "/p/a".into(),
            watch: false,
        };
        let data = Some(Value::from(data));
        self.ask(op, zxid, Ok(Answer::Data { data, stat }))
    }

    fn gone(self, zxid: i64) -> Talk {
        let op = Op::Exists {
            path: "/p/a".into(),
            watch: false,
        };
        self.ask(op, zxid, Err(ErrorCode::NO_NODE))
    }

    fn set(self, version: i32, data: &str, zxid: i64, stat: Stat) -> Talk {
        let op = Op::Set {
            path: "/p/a".into(),
            data: Some(Value::from(data)),
            version,
        };
        self.ask(op, zxid, Ok(Answer::Stat(stat)))
    }

    fn create(self, path: &str, zxid: i64) -> Talk {
        let op = Op::Create {
            path: path.into(),
            data: Some(Value::from("x")),
            acl: Acl::open(),
            ephemeral: false,
            sequential: false,
            stat: false,
        };
        self.ask(op, zxid, Ok(Answer::Path(path.into())))
    }

    fn names(self, zxid: i64, names: &[&str]) -> Talk {
        let op = Op::Children {
            path: "/p".into(),
            watch: false,
            stat: false,
        };
        let names = names.iter().map(|&name| name.into()).collect();
        self.ask(op, zxid, Ok(Answer::Names(names)))
    }

    fn valid(self) -> Talk {
        match judge(&self.0, &Options::default()) {
            Verdict::Valid(_) => self,
            other => panic!("{other}"),
        }
    }

    fn breaks(self, property: Property) {
        match judge(&self.0, &Options::default()) {
            Verdict::Invalid(violation) => assert_eq!(violation.property, property, "{violation}"),
            other => panic!("{other}"),
        }
    }
}

fn session(id: i64) -> Body {
    Body::Session(SessionEvent::Connected {
        session: id,
        timeout_ms: 4000,
        reattached: false,
        address: None,
    })
}

/// `/p/a`, made at 10, last set at `mzxid` as the `version`th, one byte of data.
fn stat(mzxid: i64, version: i32) -> Stat {
    Stat {
        czxid: 10,
        mzxid,
        pzxid: 10,
        version,
        mtime: mzxid,
        data_length: 1,
        ..Stat::default()
    }
}

fn seen() -> Talk {
    Talk::new().get(20, "x", stat(12, 2))
}

#[test]
fn strangers_may_do_whatever_a_client_could() {
    let later = Stat {
        czxid: 40,
        pzxid: 40,
        ..stat(41, 1)
    };
    seen()
        .get(22, "x", stat(12, 2))
        .names(23, &["a", "b"])
        .set(-1, "y", 25, stat(25, 7))
        .get(26, "y", stat(25, 7))
        .get(30, "z", stat(28, 9))
        .gone(35)
        .names(36, &[])
        .get(45, "w", later)
        .valid();
}

#[test]
fn p2_a_set_that_wanted_a_version_leaves_the_next() {
    seen().set(2, "y", 25, stat(25, 3)).valid();
    seen()
        .set(2, "y", 25, stat(25, 4))
        .breaks(Property::ConditionalWrites);
}

#[test]
fn p7_one_mzxid_is_one_value() {
    seen()
        .get(25, "y", stat(12, 2))
        .breaks(Property::NoFutureReads);
    let written = || seen().set(-1, "y", 25, stat(25, 3));
    written()
        .get(26, "z", stat(25, 3))
        .breaks(Property::NoFutureReads);
    let made = Stat {
        czxid: 25,
        pzxid: 25,
        ..stat(25, 0)
    };
    let create = || Talk::new().create("/p/a", 25);
    create().get(27, "x", made).valid();
    create().get(27, "y", made).breaks(Property::NoFutureReads);
}

#[test]
fn p9_what_is_there_before_and_after_is_there_in_between() {
    let after = |talk: Talk| talk.get(30, "x", stat(12, 2));
    after(seen().gone(25)).breaks(Property::Durability);
    after(Talk::new().gone(25)).breaks(Property::Durability);
    after(seen().names(25, &["b"])).breaks(Property::Durability);
    after(seen().names(25, &["b", "a"])).valid();
}

#[test]
fn p13_an_ephemeral_of_a_closed_session_is_gone() {
    let mut talk = Talk::new();
    talk.0.push(2, 2, session(7));
    let (session, xid) = (7, 1);
    let (op, zxid, result) = (Op::Close, 15, Ok(Answer::Done));
    talk.0.push(2, 3, Body::Invoke { session, xid, op });
    talk.0.push(2, 4, Body::Return { xid, zxid, result });
    let owned = Stat {
        ephemeral_owner: 7,
        ..stat(12, 2)
    };
    talk.get(20, "x", owned).breaks(Property::EphemeralsEnd);
}

#[test]
fn p17_stats_are_chains() {
    for wrong in [
        stat(12, 3),
        stat(11, 2),
        stat(18, 3),
        stat(24, 2),
        stat(24, 1),
        Stat {
            pzxid: 24,
            ..stat(12, 2)
        },
        Stat {
            cversion: 1,
            ..stat(12, 2)
        },
        Stat {
            ctime: 5,
            ..stat(12, 2)
        },
        Stat {
            data_length: 2,
            ..stat(12, 2)
        },
        Stat {
            mzxid: 26,
            ..stat(12, 2)
        },
        // Another life that began while this one was still seen.
        Stat {
            czxid: 15,
            pzxid: 15,
            ..stat(15, 0)
        },
    ] {
        seen().get(25, "x", wrong).breaks(Property::StatArithmetic);
    }
    seen().get(25, "y", stat(24, 3)).valid();
    // Whose zxid it is is known: the client's own, of another node.
    let made = || Talk::new().create("/p/b", 12);
    made()
        .get(20, "x", stat(12, 2))
        .breaks(Property::StatArithmetic);
    made().get(20, "x", stat(13, 2)).valid();
}

#[test]
fn p18_one_zxid_is_one_state() {
    seen().get(20, "x", stat(12, 2)).valid();
    seen()
        .get(20, "x", stat(11, 1))
        .breaks(Property::ReplicasAgree);
    seen().gone(20).breaks(Property::ReplicasAgree);
}

#[test]
fn p19_two_requests_are_not_one_transaction() {
    let mut talk = Talk::new().create("/p/a", 25);
    talk.0.push(2, 1, session(8));
    let other = Talk::new().create("/p/b", 25);
    for Record { time, body, .. } in &other.0.records[1..] {
        let mut body = body.clone();
        if let Body::Invoke { session, .. } = &mut body {
            *session = 8;
        }
        talk.0.push(2, *time, body);
    }
    talk.breaks(Property::ZxidSanity);
}

#[test]
fn servers_write_below_zookeeper_without_a_transaction() {
    let config = |mtime, zxid| {
        let path = "/zookeeper/config".into();
        let op = Op::Exists { path, watch: false };
        (
            op,
            zxid,
            Ok(Answer::Stat(Stat {
                mtime,
                ..Stat::default()
            })),
        )
    };
    let ((a, x, b), (c, y, d)) = (config(1, 5), config(2, 5));
    Talk::new().ask(a, x, b).ask(c, y, d).valid();
}
