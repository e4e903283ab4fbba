//! One client of a world in which others write too: what it asked and was answered, a line each.

#![allow(dead_code)]

use gamekeeper_checker::history::{
    Acl, Answer, Body, ErrorCode, Header, History, Op, Record, SessionEvent, Stat, Value, World,
};
use gamekeeper_checker::{Options, Property, Verdict, judge, judge_verified};

/// One client that asks one thing after another.
pub struct Talk(pub History);

impl Talk {
    pub fn new() -> Talk {
        let mut history = History::new(Header {
            world: World::Open,
            ..Header::default()
        });
        history.push(1, 1, session(9));
        Talk(history)
    }

    pub fn ask(mut self, op: Op, zxid: i64, result: Result<Answer, ErrorCode>) -> Talk {
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

    pub fn get(self, zxid: i64, data: &str, stat: Stat) -> Talk {
        let op = Op::Get {
            path: "/p/a".into(),
            watch: false,
        };
        let data = Some(Value::from(data));
        self.ask(op, zxid, Ok(Answer::Data { data, stat }))
    }

    pub fn gone(self, zxid: i64) -> Talk {
        let op = Op::Exists {
            path: "/p/a".into(),
            watch: false,
        };
        self.ask(op, zxid, Err(ErrorCode::NO_NODE))
    }

    pub fn set(self, version: i32, data: &str, zxid: i64, stat: Stat) -> Talk {
        let op = Op::Set {
            path: "/p/a".into(),
            data: Some(Value::from(data)),
            version,
        };
        self.ask(op, zxid, Ok(Answer::Stat(stat)))
    }

    pub fn create(self, path: &str, zxid: i64) -> Talk {
        let op = Op::Create {
            path: path.into(),
            data: Some(Value::from("x")),
            acl: Acl::open(),
            ephemeral: false,
            lapse: None,
            sequential: false,
            stat: false,
        };
        self.ask(op, zxid, Ok(Answer::Path(path.into())))
    }

    pub fn names(self, zxid: i64, names: &[&str]) -> Talk {
        let op = Op::Children {
            path: "/p".into(),
            watch: false,
            stat: false,
        };
        let names = names.iter().map(|&name| name.into()).collect();
        self.ask(op, zxid, Ok(Answer::Names(names)))
    }

    pub fn valid(self) -> Talk {
        match judge_verified(&self.0, &Options::default()) {
            Verdict::Valid(_) => self,
            other => panic!("{other}"),
        }
    }

    pub fn breaks(self, property: Property) {
        match judge(&self.0, &Options::default()) {
            Verdict::Invalid(violation) => assert_eq!(violation.property, property, "{violation}"),
            other => panic!("{other}"),
        }
    }
}

pub fn session(id: i64) -> Body {
    Body::Session(SessionEvent::Connected {
        session: id,
        timeout_ms: 4000,
        reattached: false,
        address: Some("10.0.0.1".into()),
    })
}

/// `/p/a`, made at 10, last set at `mzxid` as the `version`th, one byte of data.
pub fn stat(mzxid: i64, version: i32) -> Stat {
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

pub fn seen() -> Talk {
    Talk::new().get(20, "x", stat(12, 2))
}

/// Another client, which makes a node.
pub fn beside(mut talk: Talk, path: &str, zxid: i64) -> Talk {
    talk.0.push(2, 5, session(8));
    for Record { time, body, .. } in Talk::new().create(path, zxid).0.records.split_off(1) {
        let mut body = body;
        if let Body::Invoke { session, .. } = &mut body {
            *session = 8;
        }
        talk.0.push(2, time, body);
    }
    talk
}
