//! What the proxy's ear makes of bytes: conversations, and anything else.

use gamekeeper_checker::history::{
    Acl, Answer, ErrorCode, Lapse, Op, SessionEvent, WatchKind, WatchMode,
};
use gamekeeper_cli::proxy::ear::{Ear, Heard, Password, Why};
use gamekeeper_core::base::{SessionId, Zxid};
use gamekeeper_core::jute::{Record, Writer};
use gamekeeper_core::proto::{
    self, AuthPacket, ConnectRequest, ConnectResponse, ErrorCode as Code, ReplyHeader, Request,
    RequestHeader, Response, SetWatches, WatchRequest, WatcherEvent, xid,
};
use proptest::prelude::*;

/// A frame with its length.
fn framed(body: &[u8]) -> Vec<u8> {
    let mut frame = (body.len() as i32).to_be_bytes().to_vec();
    frame.extend_from_slice(body);
    frame
}

fn hello(session: i64) -> Vec<u8> {
    let request = ConnectRequest {
        last_zxid_seen: 9,
        timeout_ms: 4000,
        session: SessionId(session),
        ..ConnectRequest::default()
    };
    framed(&request.to_bytes())
}

fn welcome(session: i64, timeout_ms: i32, read_only: bool) -> Vec<u8> {
    let answer = ConnectResponse {
        protocol_version: 0,
        timeout_ms,
        session: SessionId(session),
        password: vec![0; 16].into(),
        read_only: Some(read_only),
    };
    framed(&answer.to_bytes())
}

fn get(path: &str) -> Request {
    Request::GetData(WatchRequest {
        path: path.into(),
        watch: true,
    })
}

fn refused(number: i32, code: Code) -> Vec<u8> {
    framed(&ReplyHeader::new(number, Zxid::from_wire(12), code).frame())
}

/// An ear that has heard a session being opened.
fn open() -> Ear {
    let mut ear = Ear::default();
    ear.from_client(&hello(0));
    ear.from_server(&welcome(7, 4000, false));
    ear
}

fn raw(number: i32, op: i32, body: &[u8]) -> Vec<u8> {
    let mut out = Writer::new();
    RequestHeader { xid: number, op }.write(&mut out);
    out.raw(body);
    framed(&out.finish())
}

/// As a client's greeting shows it.
fn password(bytes: &[u8]) -> Password {
    let request = ConnectRequest {
        password: Some(bytes.to_vec().into()),
        ..ConnectRequest::default()
    };
    match Ear::default().from_client(&framed(&request.to_bytes()))[..] {
        [Heard::Connecting { password, .. }] => password,
        ref other => panic!("{other:?}"),
    }
}

#[test]
fn a_conversation_is_understood_in_whatever_pieces_it_comes() {
    let secret = Request::Auth(AuthPacket {
        scheme: Some("digest".into()),
        auth: Some("ann:owl".into()),
    });
    let client = [
        hello(5),
        framed(&secret.frame(xid::AUTH)),
        framed(&get("/a").frame(1)),
        framed(&Request::Ping.frame(xid::PING)),
        framed(&Request::CloseSession.frame(2)),
    ]
    .concat();
    let event = WatcherEvent {
        kind: gamekeeper_core::proto::EventType::NodeDeleted,
        path: "/a".into(),
    };
    let server = [
        welcome(5, 4000, false),
        refused(xid::AUTH, Code::Ok),
        refused(1, Code::NoNode),
        framed(&event.frame(-1)),
        refused(xid::PING, Code::Ok),
        framed(&Response::Empty.frame(2, Zxid::from_wire(13))),
    ]
    .concat();
    let mut told = None;
    for chunk in [1, 2, 3, 7, 4096] {
        let mut ear = Ear::default();
        let from_client: Vec<Heard> = client
            .chunks(chunk)
            .flat_map(|bytes| ear.from_client(bytes))
            .collect();
        let from_server: Vec<Heard> = server
            .chunks(chunk)
            .flat_map(|bytes| ear.from_server(bytes))
            .collect();
        let heard = [from_client, from_server].concat();
        assert_eq!(
            told.get_or_insert(heard.clone()),
            &heard,
            "in pieces of {chunk}"
        );
    }
    let heard = told.unwrap();
    assert!(!format!("{heard:?}").contains("owl"), "{heard:?}");
    assert_eq!(
        heard[0],
        Heard::Connecting {
            session: 5,
            last_zxid_seen: 9,
            password: password(&[]),
        }
    );
    assert!(matches!(
        &heard[2],
        Heard::Invoke {
            xid: 1,
            op: Op::Get { watch: true, .. }
        }
    ));
    assert_eq!(
        heard[5],
        Heard::Connected {
            session: 5,
            timeout_ms: 4000,
            reattached: true,
            password: password(&[0; 16]),
        }
    );
    assert_eq!(
        heard[6],
        Heard::Session(SessionEvent::AuthDone { ok: true })
    );
    assert_eq!(
        heard[7],
        Heard::Return {
            xid: 1,
            zxid: 12,
            result: Err(ErrorCode::NO_NODE),
            closes: false
        }
    );
    assert!(matches!(&heard[8], Heard::Notify { zxid: -1, .. }));
    assert_eq!(heard[9], Heard::PingAnswered);
    assert_eq!(
        heard[10],
        Heard::Return {
            xid: 2,
            zxid: 13,
            result: Ok(Answer::Done),
            closes: true
        }
    );
    assert_eq!(heard.len(), 11);
}

#[test]
fn a_session_that_is_gone_or_read_only_is_told_so() {
    let answer = |bytes: Vec<u8>| {
        let mut ear = Ear::default();
        ear.from_client(&hello(5));
        ear.from_server(&bytes)
    };
    assert_eq!(
        answer(welcome(0, 0, false)),
        [Heard::Expired { session: 5 }]
    );
    assert_eq!(
        answer(welcome(5, 4000, true)),
        [Heard::LeftOut(Why::ReadOnly)]
    );
}

#[test]
fn what_the_format_has_no_word_for_is_left_out_one_by_one() {
    let mut ear = open();
    // createTTL, an unknown operation, getEphemerals; then their answers, of any shape.
    for (op, writes) in [(21, true), (9999, true), (103, false), (14, true)] {
        assert_eq!(
            ear.from_client(&raw(op, op, &[1, 2, 3])),
            [Heard::Skipped { writes, op }]
        );
    }
    for number in [21, 9999, 103, 14] {
        assert_eq!(ear.from_server(&refused(number, Code::Unimplemented)), []);
    }
    // And the connection is still understood.
    assert!(matches!(
        ear.from_client(&framed(&get("/a").frame(30)))[..],
        [Heard::Invoke { xid: 30, .. }]
    ));
    assert!(matches!(
        ear.from_server(&refused(30, Code::NoAuth))[..],
        [Heard::Return { xid: 30, .. }]
    ));
}

/// The body of a create with such flags, and a time to live if it has one.
fn create(path: &str, flags: i32, ttl_ms: Option<i64>) -> Vec<u8> {
    let mut out = Writer::new();
    out.string(path);
    out.buffer(Some(b"x"));
    out.records(Some(&proto::Acl::open()));
    out.int(flags);
    ttl_ms.into_iter().for_each(|ttl_ms| out.long(ttl_ms));
    out.finish().to_vec()
}

fn made(path: &str, sequential: bool, lapse: Option<Lapse>, stat: bool) -> Op {
    Op::Create {
        path: path.into(),
        data: Some("x".into()),
        acl: Acl::open(),
        ephemeral: false,
        lapse,
        sequential,
        stat,
    }
}

#[test]
fn containers_and_ttl_nodes_are_heard() {
    let mut ear = open();
    let ttl = Some(Lapse::Ttl(5000));
    for (number, op, body, wanted) in [
        (
            1,
            19,
            create("/c", 4, None),
            made("/c", false, Some(Lapse::Container), true),
        ),
        // The code makes it a container, whatever the flags; these say how it is called.
        (
            2,
            19,
            create("/c", 3, None),
            made("/c", true, Some(Lapse::Container), true),
        ),
        (
            3,
            21,
            create("/t", 5, Some(5000)),
            made("/t", false, ttl, true),
        ),
        (
            4,
            21,
            create("/t", 6, Some(5000)),
            made("/t", true, ttl, true),
        ),
    ] {
        let heard = ear.from_client(&raw(number, op, &body));
        assert_eq!(
            heard,
            [Heard::Invoke {
                xid: number,
                op: wanted
            }]
        );
    }
    let mut answer = Writer::new();
    ReplyHeader::new(1, Zxid::from_wire(12), Code::Ok).write(&mut answer);
    answer.string("/c");
    let stat = proto::Stat::default();
    stat.write(&mut answer);
    let heard = ear.from_server(&framed(&answer.finish()));
    let [
        Heard::Return {
            result: Ok(Answer::Created { path, .. }),
            ..
        },
    ] = &heard[..]
    else {
        panic!("{heard:?}");
    };
    assert_eq!(&**path, "/c");
    // Flags and times to live that nothing may have: refused, or worse.
    for (op, body) in [
        (19, create("/c", 5, None)),
        (21, create("/t", 0, Some(-1))),
        (21, create("/t", 5, Some(0))),
        (21, create("/t", 5, Some(1 << 40))),
        (21, create("/t", 5, None)),
    ] {
        let heard = ear.from_client(&raw(9, op, &body));
        assert_eq!(heard, [Heard::Skipped { writes: true, op }]);
    }
}

#[test]
fn within_a_multi_the_flags_say_what_is_made() {
    let part = |op: i32, body: &[u8], out: &mut Writer| {
        out.int(op);
        out.bool(op == -1);
        out.int(-1);
        out.raw(body);
    };
    let multi = |parts: &[(i32, Vec<u8>)]| {
        let mut out = Writer::new();
        parts
            .iter()
            .for_each(|(op, body)| part(*op, body, &mut out));
        part(-1, &[], &mut out);
        out.finish().to_vec()
    };
    let mut ear = open();
    let parts = [
        (1, create("/c", 4, None)),
        (19, create("/p", 2, None)),
        (21, create("/t", 5, Some(7))),
    ];
    let heard = ear.from_client(&raw(1, 14, &multi(&parts)));
    let ops = vec![
        made("/c", false, Some(Lapse::Container), true),
        made("/p", true, None, true),
        made("/t", false, Some(Lapse::Ttl(7)), true),
    ];
    assert_eq!(
        heard,
        [Heard::Invoke {
            xid: 1,
            op: Op::Multi { ops }
        }]
    );
    let heard = ear.from_client(&raw(2, 14, &multi(&[(1, create("/t", 5, None))])));
    assert_eq!(
        heard,
        [Heard::Skipped {
            writes: true,
            op: 14
        }]
    );
}

#[test]
fn what_would_make_later_records_mean_something_else_ends_the_listening() {
    let why = |said: Vec<u8>| {
        let mut ear = open();
        let heard = ear.from_client(&said);
        assert_eq!(
            ear.from_client(&framed(&get("/a").frame(3))),
            [],
            "deaf from there on"
        );
        match heard[..] {
            [Heard::LeftOut(why)] => why,
            _ => panic!("{heard:?}"),
        }
    };
    assert_eq!(why(raw(1, 102, &[])), Why::Identity);
    let other = Request::Auth(AuthPacket {
        scheme: Some("sasl".into()),
        auth: None,
    });
    assert_eq!(why(framed(&other.frame(xid::AUTH))), Why::Identity);
    let above_all = Request::Auth(AuthPacket {
        scheme: Some("digest".into()),
        auth: Some("super:owl".into()),
    });
    assert_eq!(why(framed(&above_all.frame(xid::AUTH))), Why::Identity);
    let garbled = |said: Vec<u8>| assert!(matches!(why(said), Why::Garbled(_)));
    garbled(framed(&[1, 2, 3]));
    garbled(vec![0xff, 0, 0, 0]);
    // A number that is another's.
    garbled(framed(&get("/a").frame(xid::PING)));
}

/// Go's client numbers its credentials and watches like any request, and servers answer under
/// that number.
#[test]
fn credentials_and_watches_may_have_a_number_of_their_own() {
    let mut ear = open();
    let secret = Request::Auth(AuthPacket {
        scheme: Some("digest".into()),
        auth: Some("ann:owl".into()),
    });
    let watches = Request::SetWatches(SetWatches {
        relative_zxid: 9,
        data: vec!["/a".into()],
        exist: Vec::new(),
        child: Vec::new(),
    });
    assert!(matches!(
        ear.from_client(&framed(&secret.frame(1)))[..],
        [Heard::Session(SessionEvent::Auth { .. })]
    ));
    assert!(matches!(
        ear.from_client(&framed(&watches.frame(2)))[..],
        [Heard::Session(SessionEvent::SetWatches { .. })]
    ));
    assert_eq!(
        ear.from_client(&framed(&Request::Ping.frame(3))),
        [Heard::Ping]
    );
    assert_eq!(
        ear.from_server(&refused(1, Code::Ok)),
        [Heard::Session(SessionEvent::AuthDone { ok: true })]
    );
    assert_eq!(
        ear.from_server(&refused(2, Code::Ok)),
        [Heard::Session(SessionEvent::SetWatchesDone { zxid: 12 })]
    );
    assert_eq!(
        ear.from_server(&refused(xid::PING, Code::Ok)),
        [Heard::PingAnswered]
    );
}

/// addWatch, removeWatches and setWatches2, which our own servers do not take.
#[test]
fn watches_that_stay_are_heard() {
    let mut ear = open();
    let about = |path: &str, number| {
        let mut out = Writer::new();
        out.string(path);
        out.int(number);
        out.finish()
    };
    let mode = WatchMode::Recursive;
    let path = "/a".into();
    let op = Op::AddWatch { path, mode };
    let asked = ear.from_client(&raw(4, 106, &about("/a", 1)));
    assert_eq!(asked, [Heard::Invoke { xid: 4, op }]);
    let (path, watches) = ("/".into(), WatchKind::Any);
    let op = Op::RemoveWatches { path, watches };
    let asked = ear.from_client(&raw(5, 18, &about("/", 3)));
    assert_eq!(asked, [Heard::Invoke { xid: 5, op }]);
    // The answer to addWatch has an error code of its own in its body, which is never another.
    let mut answer = ReplyHeader::new(4, Zxid::from_wire(12), Code::Ok)
        .frame()
        .to_vec();
    answer.extend([0; 4]);
    let answered = |xid, result| Heard::Return {
        xid,
        zxid: 12,
        result,
        closes: false,
    };
    let done = ear.from_server(&framed(&answer));
    assert_eq!(done, [answered(4, Ok(Answer::Done))]);
    let none = ear.from_server(&refused(5, Code::NoWatcher));
    assert_eq!(none, [answered(5, Err(ErrorCode::NO_WATCHER))]);

    let mut lists = Writer::new();
    lists.long(9);
    for list in [&["/d"][..], &[], &["/c"], &["/p"], &["/r", "/"]] {
        lists.strings(list);
    }
    let again = SessionEvent::SetWatches {
        relative_zxid: 9,
        data: vec!["/d".into()],
        exist: Vec::new(),
        child: vec!["/c".into()],
        stays: WatchMode::join(vec!["/p".into()], vec!["/r".into(), "/".into()]),
    };
    let asked = ear.from_client(&raw(xid::SET_WATCHES, 105, &lists.finish()));
    assert_eq!(asked, [Heard::Session(again)]);
}

/// Requests about watches that no server understands: requests and answers are still heard.
#[test]
fn requests_on_watches_leave_out_nothing_but_watches() {
    let mut ear = open();
    let left_out = |said: &[Heard]| matches!(said, [Heard::WatchesLeftOut { .. }]);
    for op in [106, 18] {
        assert!(left_out(&ear.from_client(&raw(op, op, &[1, 2, 3]))));
        assert_eq!(ear.from_server(&refused(op, Code::Ok)), []);
    }
    // setWatches2 without its lists, under the number of its kind.
    let again = raw(xid::SET_WATCHES, 105, &[0; 8]);
    assert!(left_out(&ear.from_client(&again)));
    assert_eq!(
        ear.from_server(&refused(xid::SET_WATCHES, Code::Ok)),
        [Heard::Session(SessionEvent::SetWatchesDone { zxid: 12 })]
    );
    assert!(left_out(
        &ear.from_server(&refused(xid::SET_WATCHES, Code::Unimplemented))
    ));
    assert!(matches!(
        ear.from_client(&framed(&get("/a").frame(30)))[..],
        [Heard::Invoke { xid: 30, .. }]
    ));
}

#[test]
fn other_protocols_are_told_apart() {
    let first = |bytes: &[u8]| Ear::default().from_client(bytes);
    assert_eq!(first(b"ruok"), [Heard::LeftOut(Why::FourLetters)]);
    let foreign = [Heard::LeftOut(Why::Foreign)];
    for other in [
        &[0x16, 3, 1, 2, 0, 1][..],
        b"GET / HTTP/1.0",
        &framed(&[1; 9]),
    ] {
        assert_eq!(first(other), foreign);
    }
    assert!(matches!(
        Ear::default().from_server(b"\0\0\0\0")[..],
        [Heard::LeftOut(Why::Garbled(_))]
    ));
}

/// Who knocks in another protocol and is not answered has changed nothing.
#[test]
fn another_protocol_counts_once_it_is_answered() {
    assert!(!Why::Foreign.may_write());
    let mut ear = Ear::default();
    ear.from_client(&[0x16, 3, 1, 2, 0, 1]);
    assert_eq!(ear.from_client(b"more"), []);
    assert_eq!(ear.from_server(b""), []);
    assert_eq!(ear.from_server(&[0x16]), [Heard::ForeignAnswer]);
    assert_eq!(ear.from_server(&[3, 1]), []);
}

/// Who says how much, and what.
fn anything() -> impl Strategy<Value = Vec<(bool, Vec<u8>)>> {
    let noise = prop::collection::vec(any::<u8>(), 0..40);
    let frame = (any::<i32>(), -15..110, noise.clone()).prop_map(|(number, op, body)| {
        let number = if number % 2 == 0 { number } else { number % 12 };
        raw(number, op, &body)
    });
    let bytes = prop_oneof![
        3 => frame,
        1 => noise,
        1 => Just(hello(5)),
        1 => Just(welcome(5, 4000, false)),
    ];
    prop::collection::vec((any::<bool>(), bytes), 0..30)
}

proptest! {
    /// Hostile bytes from either side are never a panic, and once deaf an ear stays so.
    #[test]
    fn hostile_bytes_are_heard_without_harm(said in anything(), greeted in any::<bool>()) {
        let mut ear = if greeted { open() } else { Ear::default() };
        let (mut deaf, mut answered_before) = (false, false);
        for (client, bytes) in said {
            let heard = match client {
                true => ear.from_client(&bytes),
                false => ear.from_server(&bytes),
            };
            let answered = heard == [Heard::ForeignAnswer];
            prop_assert!(!deaf || heard.is_empty() || answered && !answered_before);
            answered_before |= answered;
            deaf |= heard.iter().any(|heard| matches!(heard, Heard::LeftOut(_)));
        }
    }
}
