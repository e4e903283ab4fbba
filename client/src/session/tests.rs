//! Conversations between a session and a scripted server: what is said, in which order, when.
//!
//! Time is virtual and explicit. A session talks to three servers and asks for 6 s; so a
//! connection has 2 s to stand and 2 s to greet, pings come after 2 s of quiet and a silent
//! server is left after 4 s.

use super::*;
use gamekeeper_core::jute::Record;
use gamekeeper_core::proto::{
    ConnectRequest, ConnectResponse, DeleteRequest, EventType, ReplyHeader, RequestHeader, Stat,
    WatchRequest, WatcherEvent, xid,
};

const SESSION: SessionId = SessionId(0x0100_0000_0000_0007);

/// A session and what it has said.
struct Talk {
    session: ClientSession,
    now: Mono,
    said: Vec<Output>,
    ids: u64,
}

impl Talk {
    fn new() -> Talk {
        let config = SessionConfig {
            servers: 3,
            timeout_ms: 6000,
            rest_ms: 500,
        };
        let mut talk = Talk {
            session: ClientSession::new(config),
            now: Mono(0),
            said: Vec::new(),
            ids: 0,
        };
        talk.step(Input::Start);
        talk
    }

    /// A session attached to server 0, with nothing left to hear.
    fn attached() -> Talk {
        let mut talk = Talk::new();
        talk.step(Input::Linked);
        talk.greet();
        talk.said();
        talk
    }

    fn step(&mut self, input: Input) {
        self.session.step(self.now, input, &mut self.said);
    }

    fn greet(&mut self) {
        self.frame(&ConnectResponse {
            protocol_version: 0,
            timeout_ms: 6000,
            session: SESSION,
            password: Bytes::from_static(b"sixteen bytes ok"),
            read_only: Some(false),
        });
    }

    fn frame(&mut self, record: &impl Record) {
        self.step(Input::Frame(record.to_bytes()));
    }

    fn submit(&mut self, request: Request) -> RequestId {
        self.ids += 1;
        let id = RequestId(self.ids);
        self.step(Input::Submit { id, request });
        id
    }

    fn reply(&mut self, xid: i32, zxid: u64, response: Response) {
        self.step(Input::Frame(response.frame(xid, Zxid(zxid))));
    }

    fn refuse(&mut self, xid: i32, zxid: u64, code: ErrorCode) {
        self.frame(&ReplyHeader::new(xid, Zxid(zxid), code));
    }

    /// What was said since last asked, one line each.
    fn said(&mut self) -> Vec<String> {
        self.said.drain(..).map(|output| line(&output)).collect()
    }

    /// Goes to the session's own deadline and lets it act.
    fn sleep(&mut self) {
        self.now = self.session.deadline().expect("something to wait for");
        self.step(Input::Timer);
    }

    fn ms(&self) -> u64 {
        self.now.ms_since(Mono(0))
    }
}

fn line(output: &Output) -> String {
    match output {
        Output::Connect { server } => format!("connect {server}"),
        Output::Send { frame, what } => format!("send {}", sent(frame, what)),
        Output::Drop { reason, .. } => format!("drop {reason:?}"),
        Output::Reply {
            id, zxid, result, ..
        } => match result {
            Ok(_) => format!("reply {} ok at {}", id.0, zxid.0),
            Err(code) => format!("reply {} {code:?} at {}", id.0, zxid.0),
        },
        Output::Lost { id, .. } => format!("lost {}", id.0),
        Output::Refused { id, error } => format!("refused {} {error:?}", id.0),
        Output::AuthAnswered { id, error } => {
            format!("auth {:?} {error:?}", id.map(|id| id.0))
        }
        Output::SetWatchesAnswered { .. } => "watches set".into(),
        Output::PingAnswered { .. } => "pong".into(),
        Output::Event(watched) => format!("{:?} {}", watched.event.kind, watched.event.path),
        Output::State(State::Connected { reattached, .. }) => match reattached {
            true => "reattached".into(),
            false => "new session".into(),
        },
        Output::State(state) => format!("{state:?}").to_lowercase(),
    }
}

/// Says what a frame is, having checked that its bytes say the same.
fn sent(frame: &Bytes, what: &Sent) -> String {
    let (length, body) = frame.split_at(4);
    assert_eq!(length, (body.len() as u32).to_be_bytes());
    if let Sent::Connect {
        session,
        last_zxid_seen,
    } = what
    {
        let request = ConnectRequest::from_slice(body).expect("a handshake");
        assert_eq!(request.session, *session);
        assert_eq!(request.last_zxid_seen, last_zxid_seen.to_wire());
        assert_eq!(request.read_only, Some(false));
        return format!("greeting {} seen {}", session.0 & 0xff, last_zxid_seen.0);
    }
    let (header, body) = RequestHeader::split(body).expect("a header");
    let request = Request::decode(header.op, body).expect("a request");
    match what {
        Sent::Connect { .. } => unreachable!("handled above"),
        Sent::Request { xid, request: told } => {
            assert_eq!((header.xid, &request), (xid.0, &**told));
            format!("{:?} as {}", request.op(), xid.0)
        }
        Sent::SetWatches { relative, lists } => {
            assert_eq!(header.xid, xid::SET_WATCHES);
            format!("{} watches since {}", lists.len(), relative.0)
        }
        Sent::Auth { scheme, .. } => {
            assert_eq!(header.xid, xid::AUTH);
            format!("auth {scheme}")
        }
        Sent::Ping => {
            assert_eq!((header.xid, request), (xid::PING, Request::Ping));
            "ping".into()
        }
    }
}

fn watch(path: &str) -> WatchRequest {
    let path = path.into();
    WatchRequest { path, watch: true }
}

fn delete(path: &str) -> Request {
    let (path, version) = (path.into(), -1);
    Request::Delete(DeleteRequest { path, version })
}

fn data() -> Response {
    let (data, stat) = (None, Stat::default());
    Response::GetData { data, stat }
}

#[test]
fn a_new_session_greets_and_is_attached() {
    let mut talk = Talk::new();
    assert_eq!(talk.said(), ["connecting", "connect 0"]);
    talk.step(Input::Linked);
    assert_eq!(talk.said(), ["send greeting 0 seen 0"]);
    talk.greet();
    assert_eq!(talk.said(), ["new session"]);
}

#[test]
fn requests_submitted_before_the_handshake_wait_for_it() {
    let mut talk = Talk::new();
    talk.submit(delete("/a"));
    talk.step(Input::Linked);
    talk.said();
    talk.greet();
    assert_eq!(talk.said(), ["new session", "send Delete as 1"]);
}

#[test]
fn a_pipeline_that_loses_its_connection_is_unknown_and_never_sent_again() {
    let mut talk = Talk::attached();
    for path in ["/a", "/b", "/c"] {
        talk.submit(delete(path));
    }
    talk.reply(1, 5, Response::Empty);
    talk.said();
    talk.step(Input::Disconnected);
    assert_eq!(
        talk.said(),
        [
            "drop Broken",
            "lost 2",
            "lost 3",
            "disconnected",
            "connect 1"
        ]
    );
    talk.step(Input::Linked);
    talk.greet();
    assert_eq!(talk.said(), ["send greeting 7 seen 5", "reattached"]);
    assert_eq!(talk.session.outstanding(), 0);
    talk.submit(delete("/d"));
    assert_eq!(talk.said(), ["send Delete as 4"], "numbers go on");
}

#[test]
fn a_session_that_moves_on_takes_what_it_has_seen_to_the_next_server() {
    let mut talk = Talk::attached();
    talk.submit(delete("/a"));
    talk.reply(1, 5, Response::Empty);
    talk.said();
    talk.step(Input::MoveOn);
    assert_eq!(talk.said(), ["drop Broken", "disconnected", "connect 1"]);
    talk.step(Input::MoveOn);
    assert_eq!(talk.said(), [""; 0], "it is on its way already");
    talk.step(Input::Linked);
    talk.greet();
    assert_eq!(talk.said(), ["send greeting 7 seen 5", "reattached"]);
}

#[test]
fn expiry_ends_everything_that_waits() {
    let mut talk = Talk::attached();
    talk.step(Input::Disconnected);
    talk.submit(delete("/a"));
    talk.step(Input::Linked);
    talk.said();
    talk.frame(&ConnectResponse::expired(true));
    assert_eq!(
        talk.said(),
        ["drop Expired", "refused 1 SessionExpired", "expired"]
    );
    assert!(talk.session.is_over());
    assert_eq!(talk.session.deadline(), None);
    talk.submit(delete("/b"));
    assert_eq!(talk.said(), ["refused 2 SessionExpired"]);
}

#[test]
fn a_server_that_gives_another_session_has_forgotten_ours() {
    let mut talk = Talk::attached();
    talk.step(Input::Disconnected);
    talk.step(Input::Linked);
    talk.said();
    talk.frame(&ConnectResponse {
        protocol_version: 0,
        timeout_ms: 6000,
        session: SessionId(99),
        password: Bytes::from_static(&[1; 16]),
        read_only: Some(false),
    });
    assert_eq!(talk.said(), ["drop Expired", "expired"]);
}

#[test]
fn a_server_behind_closes_and_the_next_is_tried_until_a_rest() {
    let mut talk = Talk::attached();
    talk.submit(delete("/a"));
    talk.reply(1, 9, Response::Empty);
    talk.step(Input::Disconnected);
    talk.step(Input::Linked);
    talk.said();
    // The server closes without a word: it has not seen zxid 9.
    talk.step(Input::Disconnected);
    assert_eq!(talk.said(), ["drop Broken", "connect 2"]);
    talk.step(Input::Disconnected);
    assert_eq!(talk.said(), ["drop Broken"], "a full round: rest first");
    talk.sleep();
    assert_eq!((talk.said(), talk.ms()), (vec!["connect 0".into()], 500));
    talk.step(Input::Linked);
    assert_eq!(talk.said(), ["send greeting 7 seen 9"]);
}

#[test]
fn watches_go_before_requests_and_after_credentials_all_since_the_same_zxid() {
    let mut talk = Talk::attached();
    let id = RequestId(100);
    let (scheme, secret) = ("digest".into(), Bytes::from_static(b"ann:owl"));
    talk.step(Input::AddAuth { id, scheme, secret });
    talk.refuse(xid::AUTH, 0, ErrorCode::Ok);
    assert_eq!(talk.said(), ["send auth digest", "auth Some(100) None"]);
    let long = "x".repeat(1000);
    for i in 0..200 {
        talk.submit(Request::GetData(watch(&format!("/{i:03}{long}"))));
        talk.reply(i + 1, 40 + i as u64, data());
    }
    talk.step(Input::Disconnected);
    talk.submit(delete("/a"));
    talk.step(Input::Linked);
    talk.said();
    talk.greet();
    assert_eq!(
        talk.said(),
        [
            "reattached",
            "send auth digest",
            "send 130 watches since 239",
            "send 70 watches since 239",
            "send Delete as 201"
        ]
    );
    talk.refuse(xid::AUTH, 0, ErrorCode::Ok);
    talk.refuse(xid::SET_WATCHES, 300, ErrorCode::Ok);
    assert_eq!(talk.said(), ["auth None None", "watches set"]);
    // Lost between the two answers: the second list is still relative to 239.
    talk.step(Input::Disconnected);
    talk.step(Input::Linked);
    assert_eq!(talk.said().pop().unwrap(), "send greeting 7 seen 239");
    talk.greet();
    assert_eq!(
        talk.said()[2..],
        ["send 130 watches since 239", "send 70 watches since 239"]
    );
}

#[test]
fn what_fired_is_not_registered_again_and_a_missing_node_is_an_exist_watch() {
    let mut talk = Talk::attached();
    talk.submit(Request::GetData(watch("/a")));
    talk.submit(Request::Exists(watch("/b")));
    talk.submit(Request::GetChildren(watch("/c")));
    talk.reply(1, 5, data());
    talk.refuse(2, 5, ErrorCode::NoNode);
    talk.refuse(3, 5, ErrorCode::NoNode);
    let (kind, path) = (EventType::NodeDataChanged, "/a".into());
    talk.step(Input::Frame(WatcherEvent { kind, path }.frame(6)));
    assert_eq!(talk.said().pop().unwrap(), "NodeDataChanged /a");
    talk.step(Input::Disconnected);
    talk.step(Input::Linked);
    talk.greet();
    let lists = talk.said.iter().find_map(|output| match output {
        Output::Send {
            what: Sent::SetWatches { lists, .. },
            ..
        } => Some(lists.clone()),
        _ => None,
    });
    let exist = vec!["/b".into()];
    let expected = WatchLists {
        exist,
        ..WatchLists::default()
    };
    assert_eq!(lists, Some(expected));
}

#[test]
fn only_positive_zxids_of_replies_raise_what_the_session_has_seen() {
    let mut talk = Talk::attached();
    let seen = |talk: &Talk| talk.session.last_zxid_seen.0;
    talk.step(Input::Timer);
    talk.refuse(xid::PING, 70, ErrorCode::Ok);
    let (kind, path) = (EventType::NodeCreated, "/a".into());
    talk.step(Input::Frame(WatcherEvent { kind, path }.frame(80)));
    assert_eq!(seen(&talk), 0);
    talk.submit(delete("/a"));
    talk.refuse(1, 9, ErrorCode::NoNode);
    assert_eq!(seen(&talk), 9, "an error is a reply");
    talk.submit(delete("/a"));
    let (xid, zxid, err) = (2, -1, 0);
    talk.frame(&ReplyHeader { xid, zxid, err });
    assert_eq!(seen(&talk), 9);
}

#[test]
fn quiet_is_broken_by_a_ping_and_silence_ends_the_connection() {
    let mut talk = Talk::attached();
    talk.sleep();
    assert_eq!((talk.said(), talk.ms()), (vec!["send ping".into()], 2000));
    talk.refuse(xid::PING, 1, ErrorCode::Ok);
    talk.said();
    talk.sleep();
    assert_eq!((talk.said(), talk.ms()), (vec!["send ping".into()], 4000));
    // No answer: heard last at 2000.
    talk.sleep();
    assert_eq!(talk.ms(), 6000);
    assert_eq!(talk.said(), ["drop Silence", "disconnected", "connect 1"]);
}

#[test]
fn requests_count_as_signs_of_life() {
    let mut talk = Talk::attached();
    talk.now = talk.now.plus_ms(1500);
    talk.submit(delete("/a"));
    talk.reply(1, 5, Response::Empty);
    talk.said();
    talk.sleep();
    assert_eq!((talk.said(), talk.ms()), (vec!["send ping".into()], 3500));
}

#[test]
fn a_connection_has_its_share_of_the_timeout_to_stand_and_again_to_greet() {
    let mut talk = Talk::new();
    talk.said();
    talk.sleep();
    assert_eq!(talk.ms(), 2000);
    assert_eq!(talk.said(), ["drop ConnectTimeout", "connect 1"]);
    talk.now = talk.now.plus_ms(1000);
    talk.step(Input::Linked);
    talk.said();
    talk.sleep();
    assert_eq!(talk.ms(), 5000);
    assert_eq!(talk.said(), ["drop ConnectTimeout", "connect 2"]);
}

#[test]
fn a_request_that_finds_no_connection_for_a_whole_timeout_is_not_sent() {
    let mut talk = Talk::new();
    talk.submit(delete("/a"));
    let mut refused_at = None;
    while refused_at.is_none() {
        talk.sleep();
        let said = talk.said();
        refused_at = said
            .contains(&"refused 1 NotSent".into())
            .then_some(talk.ms());
    }
    assert_eq!(refused_at, Some(6000));
}

#[test]
fn an_answer_out_of_order_ends_the_connection() {
    let mut talk = Talk::attached();
    talk.submit(delete("/a"));
    talk.submit(delete("/b"));
    talk.said();
    talk.reply(2, 5, Response::Empty);
    assert_eq!(talk.said()[..3], ["drop OutOfOrder", "lost 1", "lost 2"]);
}

#[test]
fn an_answer_that_cannot_be_read_is_as_good_as_lost() {
    let mut talk = Talk::attached();
    talk.submit(Request::GetData(watch("/a")));
    talk.submit(delete("/b"));
    talk.said();
    talk.reply(1, 5, Response::Empty);
    assert_eq!(talk.said()[..3], ["lost 1", "drop Garbled", "lost 2"]);
}

#[test]
fn close_waits_behind_what_was_sent_and_ends_with_its_answer() {
    let mut talk = Talk::attached();
    talk.submit(delete("/a"));
    talk.step(Input::Close { id: RequestId(50) });
    talk.submit(delete("/b"));
    assert_eq!(
        talk.said(),
        [
            "send Delete as 1",
            "send CloseSession as 2",
            "refused 2 Closed"
        ]
    );
    talk.reply(1, 5, Response::Empty);
    talk.reply(2, 6, Response::Empty);
    assert_eq!(
        talk.said(),
        [
            "reply 1 ok at 5",
            "reply 50 ok at 6",
            "drop Closed",
            "closed"
        ]
    );
}

#[test]
fn a_close_whose_answer_is_lost_does_not_come_back() {
    let mut talk = Talk::attached();
    talk.step(Input::Close { id: RequestId(50) });
    talk.said();
    talk.step(Input::Disconnected);
    assert_eq!(talk.said(), ["drop Broken", "lost 50", "closed"]);
}

#[test]
fn a_refused_credential_ends_the_object() {
    let mut talk = Talk::attached();
    talk.submit(delete("/a"));
    let id = RequestId(100);
    let (scheme, secret) = ("nonsense".into(), Bytes::new());
    talk.step(Input::AddAuth { id, scheme, secret });
    talk.said();
    talk.refuse(xid::AUTH, 0, ErrorCode::AuthFailed);
    assert_eq!(
        talk.said(),
        [
            "auth Some(100) Some(AuthFailed)",
            "drop AuthFailed",
            "lost 1",
            "authfailed"
        ]
    );
}

#[test]
fn what_sessions_send_themselves_and_what_no_server_takes_is_refused() {
    let mut talk = Talk::attached();
    talk.submit(Request::Ping);
    talk.submit(delete(&"x".repeat(FRAME_BYTES_MAX)));
    assert_eq!(talk.said(), ["refused 1 NotARequest", "refused 2 TooLarge"]);
}

#[test]
fn xids_wrap_to_one() {
    let mut talk = Talk::attached();
    talk.session.next_xid = i32::MAX;
    talk.submit(delete("/a"));
    talk.submit(delete("/b"));
    assert_eq!(
        talk.said(),
        ["send Delete as 2147483647", "send Delete as 1"]
    );
}
