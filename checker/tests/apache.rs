//! What histories of Apache's servers have in them and ours seldom: clients that leave by the
//! dozen and expire together, starts in the middle of a life, events without a zxid, and
//! `sync = leader` with all that it does not promise.

use gamekeeper_checker::history::{
    Acl, Answer, Body, ErrorCode, EventType, Header, History, Op, Record, SessionEvent, Start,
    StartNode, Stat, SyncPromise, Value, World,
};
use gamekeeper_checker::{Options, Verdict, judge_verified};

/// A history in the making: one client object a session, both with the same number.
struct Book {
    history: History,
    time: u64,
    xid: i32,
}

const EPHEMERAL: bool = true;

impl Book {
    fn new(header: Header) -> Book {
        Book {
            history: History::new(header),
            time: 0,
            xid: 0,
        }
    }

    fn push(&mut self, client: u32, body: Body) {
        self.time += 1_000_000;
        self.history.push(client, self.time, body);
    }

    fn open(&mut self, client: u32) {
        self.push(
            client,
            Body::Session(SessionEvent::Connected {
                session: client.into(),
                timeout_ms: 4000,
                reattached: false,
                address: None,
            }),
        );
    }

    fn ask(&mut self, client: u32, op: Op, zxid: i64, result: Result<Answer, ErrorCode>) {
        self.xid += 1;
        let xid = self.xid;
        let session = client.into();
        self.push(client, Body::Invoke { session, xid, op });
        self.push(client, Body::Return { xid, zxid, result });
    }

    fn create(&mut self, client: u32, path: &str, ephemeral: bool, zxid: i64) {
        let op = Op::Create {
            path: path.into(),
            data: Some(Value::from("")),
            acl: Acl::open(),
            ephemeral,
            lapse: None,
            sequential: false,
            stat: false,
        };
        self.ask(client, op, zxid, Ok(Answer::Path(path.into())));
    }

    fn names(&mut self, client: u32, path: &str, names: &[String], zxid: i64) {
        let op = Op::Children {
            path: path.into(),
            watch: false,
            stat: false,
        };
        let names = names.iter().map(|name| name.as_str().into()).collect();
        self.ask(client, op, zxid, Ok(Answer::Names(names)));
    }

    fn set(&mut self, client: u32, path: &str, stat: Stat) {
        let op = Op::Set {
            path: path.into(),
            data: Some(Value::from("")),
            version: -1,
        };
        self.ask(client, op, stat.mzxid, Ok(Answer::Stat(stat)));
    }

    fn valid(&self, options: &Options) {
        match judge_verified(&self.history, options) {
            Verdict::Valid(_) => {}
            other => panic!("{other:?}"),
        }
    }

    fn invalid(&self, word: &str) {
        match judge_verified(&self.history, &Options::default()) {
            Verdict::Invalid(violation) => assert!(violation.reason.contains(word), "{violation}"),
            other => panic!("{other:?}"),
        }
    }
}

/// What is there, in the other order than it came and goes.
fn names(from: u32, to: u32) -> Vec<String> {
    (from..to)
        .rev()
        .map(|client| format!("e{client}"))
        .collect()
}

/// Sixty clients leave; their sessions end one by one, in an order that only the reads of a
/// client in between can tell. Few tries must do: each sighting of a node that only its
/// session's end can have removed bounds that end.
#[test]
fn sessions_that_end_by_the_dozen_are_placed_by_what_was_last_seen_of_them() {
    const MANY: u32 = 60;
    let mut book = Book::new(Header::default());
    book.open(1000);
    book.create(1000, "/q", !EPHEMERAL, 1);
    for client in 1..=MANY {
        book.open(client);
        book.create(
            client,
            &format!("/q/e{client}"),
            EPHEMERAL,
            1 + i64::from(client),
        );
    }
    // After the timeout; ends at 101, 103, …, each with a write of the reader behind it.
    book.time += 5_000_000_000;
    book.create(1000, "/r", !EPHEMERAL, 100);
    let mut stat = Stat {
        czxid: 100,
        mzxid: 100,
        pzxid: 100,
        ..Stat::default()
    };
    for gone in 1..=MANY {
        stat.mzxid += 2;
        stat.version += 1;
        (stat.ctime, stat.mtime) = (5000, 5000 + stat.mzxid);
        book.set(1000, "/r", stat);
        book.names(1000, "/q", &names(gone + 1, MANY + 1), stat.mzxid);
    }
    let options = Options {
        tries_max: 2 * u64::from(MANY),
        ..Options::default()
    };
    book.valid(&options);
    // Seen again after it was seen to be gone.
    book.names(1000, "/q", &names(1, 2), stat.mzxid);
    book.invalid("/q/e1 was there");
}

fn start(acl: Vec<Acl>) -> Header {
    let stat = Stat {
        czxid: 5,
        mzxid: 5,
        pzxid: 5,
        ..Stat::default()
    };
    let node = StartNode {
        path: "/run".into(),
        data: Some(Value::from("")),
        stat,
        acl,
        lapse: None,
    };
    Header {
        start: Start::Nodes {
            zxid: 7,
            nodes: vec![node],
        },
        ..Header::default()
    }
}

fn run_acl(book: &mut Book) {
    let Start::Nodes { nodes, .. } = &book.history.header.start else {
        unreachable!("started with nodes")
    };
    let answer = Answer::Acl {
        acl: Acl::open().to_vec(),
        stat: nodes[0].stat,
    };
    let path = "/run".into();
    book.ask(1, Op::GetAcl { path }, 7, Ok(answer));
}

#[test]
fn a_start_node_without_an_acl_is_open_to_the_world() {
    for acl in [Vec::new(), Acl::open().to_vec()] {
        let mut book = Book::new(start(acl));
        book.open(1);
        run_acl(&mut book);
        book.valid(&Options::default());
    }
    let mut book = Book::new(start(vec![Acl::new(1, "world", "anyone")]));
    book.open(1);
    run_acl(&mut book);
    book.invalid("ACL");
}

/// exists on a node that only somebody else may read: told or refused, both go where
/// `sync = leader` (ZOOKEEPER-2590); our own servers must refuse.
#[test]
fn exists_without_read_is_judged_for_our_own_servers_only() {
    let book = |sync, answer: Result<Answer, ErrorCode>| {
        let mut book = Book::new(Header {
            sync,
            ..start(vec![Acl::new(31, "digest", "ann:x")])
        });
        book.open(1);
        let op = Op::Exists {
            path: "/run".into(),
            watch: false,
        };
        book.ask(1, op, 7, answer);
        book
    };
    let Start::Nodes { nodes, .. } = start(Vec::new()).start else {
        unreachable!("started with nodes")
    };
    let told = || Ok(Answer::Stat(nodes[0].stat));
    book(SyncPromise::Leader, told()).valid(&Options::default());
    book(SyncPromise::Leader, Err(ErrorCode::NO_AUTH)).valid(&Options::default());
    book(SyncPromise::Quorum, Err(ErrorCode::NO_AUTH)).valid(&Options::default());
    book(SyncPromise::Quorum, told()).invalid("forbids");
}

/// A multi may take a node away and make it again; in an open world, too, it is there then.
#[test]
fn a_node_that_one_multi_deletes_and_creates_is_there_afterwards() {
    let mut book = Book::new(Header {
        world: World::Open,
        sync: SyncPromise::Leader,
        ..start(Vec::new())
    });
    book.open(1);
    let create = Op::Create {
        path: "/run".into(),
        data: Some(Value::from("")),
        acl: Acl::open(),
        ephemeral: false,
        lapse: None,
        sequential: false,
        stat: false,
    };
    let delete = Op::Delete {
        path: "/run".into(),
        version: -1,
    };
    let ops = vec![delete, create];
    let results = vec![Ok(Answer::Done), Ok(Answer::Path("/run".into()))];
    book.ask(1, Op::Multi { ops }, 8, Ok(Answer::Multi(results)));
    // And something of a stranger's.
    for (path, zxid) in [("/run", 8), ("/strange", 9)] {
        let stat = Stat {
            czxid: zxid,
            mzxid: zxid,
            pzxid: zxid,
            ctime: zxid,
            mtime: zxid,
            ..Stat::default()
        };
        let path = path.into();
        let op = Op::Exists { path, watch: false };
        book.ask(1, op, zxid, Ok(Answer::Stat(stat)));
    }
    book.valid(&Options::default());
}

/// closeSession is answered before the connection ends, and until then its watches still fire.
#[test]
fn a_watch_may_still_fire_once_its_session_is_closed() {
    let book = |zxid, world, path: &str| {
        let mut book = Book::new(Header {
            world,
            ..start(Vec::new())
        });
        book.open(1);
        book.open(2);
        let op = Op::Exists {
            path: "/new".into(),
            watch: true,
        };
        book.ask(1, op, 7, Err(ErrorCode::NO_NODE));
        book.ask(1, Op::Close, 8, Ok(Answer::Done));
        book.create(2, "/new", !EPHEMERAL, 9);
        book.create(2, "/other", !EPHEMERAL, 10);
        let (path, event) = (path.into(), EventType::NodeCreated);
        book.push(1, Body::Notify { zxid, event, path });
        book.push(1, Body::Session(SessionEvent::Disconnected));
        book
    };
    for (zxid, world) in [(-1, World::Closed), (9, World::Closed), (-1, World::Open)] {
        book(zxid, world, "/new").valid(&Options::default());
    }
    book(-1, World::Closed, "/other").invalid("waiting");
}

/// Before 3.9 a notification's header says -1 (ZOOKEEPER-4655): it is matched by type and
/// path, in the order of what happened.
#[test]
fn notifications_without_a_zxid_are_matched_in_order() {
    let book = |event, places: usize| {
        let mut book = Book::new(start(Vec::new()));
        book.open(1);
        let op = Op::Get {
            path: "/run".into(),
            watch: true,
        };
        let Start::Nodes { nodes, .. } = &book.history.header.start else {
            unreachable!("started with nodes")
        };
        let mut stat = nodes[0].stat;
        let data = Some(Value::from(""));
        book.ask(1, op, 7, Ok(Answer::Data { data, stat }));
        (stat.mzxid, stat.version) = (8, 1);
        (stat.ctime, stat.mtime) = (0, 9);
        book.set(1, "/run", stat);
        // Between the question and the answer, or before both.
        let path = "/run".into();
        let zxid = -1;
        let told = Body::Notify { zxid, event, path };
        let at = book.history.records.len() - places;
        let time = book.history.records[at].time - 1;
        let record = Record {
            process: 1,
            server: None,
            time,
            body: told,
        };
        book.history.records.insert(at, record);
        book
    };
    book(EventType::NodeDataChanged, 1).valid(&Options::default());
    book(EventType::NodeDeleted, 1).invalid("can only have fired on NodeDataChanged");
    book(EventType::NodeDataChanged, 2).invalid("came before the transaction at 0x8 was sent");
}
