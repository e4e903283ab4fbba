//! What the bytes of one connection say, both ways. Pure: bytes in, [`Heard`] out.
//!
//! It listens like a bystander: it never answers, never changes a byte, and what it does not
//! understand it says so. Requests that the history's format has no word for are left out one
//! by one where that does no harm ([`Heard::Skipped`]), else the connection is left out from
//! there on ([`Heard::LeftOut`]), because what is recorded of it later could mean something
//! else than it seems to.
//!
//! What always holds: hostile bytes never panic, and what is kept of a connection is bounded
//! by one frame each way and [`WAITING_MAX`] requests.
//!
//! Answers to: `protocol.md` sections 2 to 5 and 12, `ClientCnxn.SendThread.readResponse`.

use super::{lapsing, stays};
use bytes::Bytes;
use gamekeeper_checker::history::{self as seen, Answer, Identity, Op, SessionEvent};
use gamekeeper_client::frame::{BadLength, FrameCutter};
use gamekeeper_core::jute::Record;
use gamekeeper_core::proto::{
    AuthPacket, ConnectRequest, ConnectResponse, OpCode, ReplyHeader, Request, RequestHeader,
    Response, WatcherEvent, xid,
};
use gamekeeper_workload::convert;
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Most requests of one connection that wait for an answer.
pub const WAITING_MAX: usize = 1 << 16;

/// The user whom servers may take for one that stands above all ACLs
/// (`DigestAuthenticationProvider.superDigest`).
const SUPER: &str = "super:";

/// Something said on a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// The client greets.
    Connecting {
        /// The session to attach to again, 0 for a new one.
        session: i64,
        /// What it has seen.
        last_zxid_seen: i64,
        /// What it says to prove that the session is its own.
        password: Password,
    },
    /// The server grants a session.
    Connected {
        /// Which.
        session: i64,
        /// Negotiated timeout, milliseconds.
        timeout_ms: u64,
        /// It is the one that was asked for.
        reattached: bool,
        /// What will prove that it is the client's.
        password: Password,
    },
    /// The server says that the session asked for is gone.
    Expired {
        /// Which.
        session: i64,
    },
    /// A request.
    Invoke {
        /// Its number.
        xid: i32,
        /// What is asked.
        op: Op,
    },
    /// An answer.
    Return {
        /// Number of the request.
        xid: i32,
        /// The header's zxid.
        zxid: i64,
        /// The answer, or why not.
        result: Result<Answer, seen::ErrorCode>,
        /// The session was closed by it.
        closes: bool,
    },
    /// Credentials or watches, and their answers.
    Session(SessionEvent),
    /// A sign of life.
    Ping,
    /// Its answer.
    PingAnswered,
    /// A watch fired.
    Notify {
        /// The header's zxid.
        zxid: i64,
        /// What happened.
        event: seen::EventType,
        /// To which node.
        path: seen::Path,
    },
    /// A request on watches that nobody can tell the fate of: from here on those of this
    /// connection are not known.
    WatchesLeftOut {
        /// Its operation's number.
        op: i32,
    },
    /// A request that the format has no word for.
    Skipped {
        /// It may have changed the tree.
        writes: bool,
        /// Its operation's number.
        op: i32,
    },
    /// Nothing that follows on this connection can be recorded.
    LeftOut(Why),
    /// A server answers in another protocol: what it was asked may have changed the tree.
    ForeignAnswer,
}

/// A session's password, known again but not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Password(u64);

impl Password {
    fn of(bytes: &Option<Bytes>) -> Password {
        let mut hasher = DefaultHasher::new();
        bytes.as_deref().unwrap_or_default().hash(&mut hasher);
        Password(hasher.finish())
    }
}

/// Why a connection cannot be recorded (any further).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// A four-letter word: no client of the tree.
    FourLetters,
    /// Another protocol: TLS, or no client of ours at all.
    Foreign,
    /// Not what the protocol has at that place; what it is instead.
    Garbled(&'static str),
    /// It names a session, but has not its password.
    Stranger,
    /// Identities that the bytes do not tell: SASL, schemes other than digest, super-users.
    Identity,
    /// A server that serves reads cut off from its ensemble.
    ReadOnly,
    /// Too many requests without an answer.
    TooMany,
}

impl Why {
    /// True if what is not recorded may change the tree.
    pub fn may_write(self) -> bool {
        match self {
            // Of a foreign one, only once it is answered.
            Why::FourLetters | Why::ReadOnly | Why::Stranger | Why::Foreign => false,
            Why::Garbled(_) | Why::Identity | Why::TooMany => true,
        }
    }
}

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nobody has spoken.
    Silent,
    /// The client has greeted, asking for this session.
    Greeted(i64),
    /// The server has answered.
    Open,
    /// Another protocol; only whether it is answered counts.
    Foreign,
    /// Nothing is listened to any more.
    Deaf,
}

/// A request on its way.
#[derive(Debug)]
struct Waiting {
    xid: i32,
    what: What,
}

/// What an answer is to.
#[derive(Debug, Clone, Copy)]
enum What {
    /// A request of the history.
    Op(OpCode),
    /// Credentials.
    Auth,
    /// setWatches.
    Watches,
    /// addWatch, removeWatches: nothing that matters is in the body.
    Arranged,
    /// Something whose answer does not matter.
    LeftOut,
}

/// See the module's head.
#[derive(Debug)]
pub struct Ear {
    stage: Stage,
    client: FrameCutter,
    server: FrameCutter,
    waiting: VecDeque<Waiting>,
}

impl Default for Ear {
    fn default() -> Ear {
        Ear {
            stage: Stage::Silent,
            client: FrameCutter::default(),
            server: FrameCutter::default(),
            waiting: VecDeque::new(),
        }
    }
}

impl Ear {
    /// Bytes from the client; what they complete.
    pub fn from_client(&mut self, bytes: &[u8]) -> Vec<Heard> {
        let mut heard = Vec::new();
        if self.is_deaf() {
            return heard;
        }
        self.client.feed(bytes);
        while !self.is_deaf() {
            match self.client.cut() {
                Ok(None) => break,
                Ok(Some(frame)) => {
                    let said = self.request(&frame);
                    self.take(said, &mut heard);
                }
                Err(BadLength(length)) => {
                    let why = self.no_frame(length);
                    self.take(Heard::LeftOut(why), &mut heard);
                }
            }
        }
        heard
    }

    /// Bytes from the server; what they complete.
    pub fn from_server(&mut self, bytes: &[u8]) -> Vec<Heard> {
        let mut heard = Vec::new();
        if self.stage == Stage::Foreign && !bytes.is_empty() {
            self.stage = Stage::Deaf;
            heard.push(Heard::ForeignAnswer);
        }
        if self.is_deaf() {
            return heard;
        }
        self.server.feed(bytes);
        while !self.is_deaf() {
            match self.server.cut() {
                Ok(None) => break,
                Ok(Some(frame)) => {
                    if let Some(said) = self.reply(&frame) {
                        self.take(said, &mut heard);
                    }
                }
                Err(BadLength(_)) => self.take(garbled("a server's frame too long"), &mut heard),
            }
        }
        heard
    }

    fn take(&mut self, said: Heard, heard: &mut Vec<Heard>) {
        if let Heard::LeftOut(why) = said {
            let stage = match why {
                Why::Foreign => Stage::Foreign,
                _ => Stage::Deaf,
            };
            *self = Ear {
                stage,
                ..Ear::default()
            };
        }
        heard.push(said);
    }

    fn is_deaf(&self) -> bool {
        matches!(self.stage, Stage::Foreign | Stage::Deaf)
    }

    /// What the first bytes are if they are no frame.
    fn no_frame(&self, length: i32) -> Why {
        let first = length.to_be_bytes();
        match self.stage {
            Stage::Silent if first.iter().all(u8::is_ascii_lowercase) => Why::FourLetters,
            Stage::Silent => Why::Foreign,
            Stage::Greeted(_) | Stage::Open | Stage::Foreign | Stage::Deaf => {
                Why::Garbled("a client's frame too long")
            }
        }
    }

    fn request(&mut self, frame: &Bytes) -> Heard {
        if self.stage == Stage::Silent {
            return self.greeting(frame);
        }
        let Ok((header, body)) = RequestHeader::split(frame) else {
            return garbled("a request without a header");
        };
        if self.waiting.len() >= WAITING_MAX {
            return Heard::LeftOut(Why::TooMany);
        }
        let request = match Request::decode(header.op, body) {
            Ok(request) => request,
            Err(_) => return self.unknown_to_servers(header, body),
        };
        let what = match &request {
            Request::Auth(_) => What::Auth,
            Request::SetWatches(_) => What::Watches,
            // Answered under the number of its kind, whatever its own is.
            Request::Ping => return Heard::Ping,
            Request::Create(r) if r.mode().is_err() || !(0..=3).contains(&r.flags) => {
                return self.without_a_word(header);
            }
            request => What::Op(request.op()),
        };
        if let Err(left_out) = self.await_answer(header.xid, what) {
            return left_out;
        }
        match request {
            Request::Auth(packet) => auth(&packet),
            Request::SetWatches(r) => Heard::Session(SessionEvent::SetWatches {
                relative_zxid: r.relative_zxid,
                data: r.data,
                exist: r.exist,
                child: r.child,
                stays: Vec::new(),
            }),
            request => Heard::Invoke {
                xid: header.xid,
                op: convert::op(&request),
            },
        }
    }

    /// Remembers what an answer under this number will be to. Credentials and watches have one
    /// of their own that need not be remembered, and that no other request can have: its answer
    /// could not be told from theirs.
    fn await_answer(&mut self, number: i32, what: What) -> Result<(), Heard> {
        match (number, what) {
            (xid::AUTH, What::Auth) | (xid::SET_WATCHES, What::Watches) => {}
            (xid::NOTIFICATION | xid::PING | xid::AUTH | xid::SET_WATCHES, _) => {
                return Err(garbled("a request under a number that is another's"));
            }
            (_, _) => self.waiting.push_back(Waiting { xid: number, what }),
        }
        Ok(())
    }

    fn greeting(&mut self, frame: &Bytes) -> Heard {
        match ConnectRequest::from_slice(frame) {
            Ok(greeting) => {
                self.stage = Stage::Greeted(greeting.session.0);
                Heard::Connecting {
                    session: greeting.session.0,
                    last_zxid_seen: greeting.last_zxid_seen,
                    password: Password::of(&greeting.password),
                }
            }
            Err(_) => Heard::LeftOut(Why::Foreign),
        }
    }

    /// A request that our own servers do not take, though the history may have a word for it.
    fn unknown_to_servers(&mut self, header: RequestHeader, body: &[u8]) -> Heard {
        let (what, said) = match OpCode::from_wire(header.op) {
            Some(code @ (OpCode::AddWatch | OpCode::RemoveWatches)) => {
                let op = stays::request(code, body);
                let xid = header.xid;
                (What::Arranged, op.map(|op| Heard::Invoke { xid, op }))
            }
            Some(OpCode::SetWatches2) => {
                let event = stays::set_again(body);
                (What::Watches, event.map(Heard::Session))
            }
            Some(_) | None => {
                let op = lapsing::op(header.op, body);
                let answered_as = match op {
                    Some(Op::Multi { .. }) => OpCode::Multi,
                    _ => OpCode::Create2,
                };
                let xid = header.xid;
                let said = op.map(|op| Heard::Invoke { xid, op });
                (What::Op(answered_as), said)
            }
        };
        match said {
            Some(said) => self.await_answer(header.xid, what).err().unwrap_or(said),
            None => self.without_a_word(header),
        }
    }

    /// A request that the history cannot hold.
    fn without_a_word(&mut self, header: RequestHeader) -> Heard {
        let op = header.op;
        let writes = match OpCode::from_wire(op) {
            Some(OpCode::SetWatches2) => {
                let known = self.await_answer(header.xid, What::Watches);
                return known.err().unwrap_or(Heard::WatchesLeftOut { op });
            }
            Some(OpCode::AddWatch | OpCode::RemoveWatches) => {
                let known = self.await_answer(header.xid, What::LeftOut);
                return known.err().unwrap_or(Heard::WatchesLeftOut { op });
            }
            Some(OpCode::Sasl | OpCode::Auth) => return Heard::LeftOut(Why::Identity),
            Some(
                OpCode::CheckWatches
                | OpCode::MultiRead
                | OpCode::GetEphemerals
                | OpCode::GetAllChildrenNumber
                | OpCode::WhoAmI
                | OpCode::Exists
                | OpCode::GetData
                | OpCode::GetAcl
                | OpCode::GetChildren
                | OpCode::GetChildren2
                | OpCode::Sync
                | OpCode::Ping,
            ) => false,
            Some(
                OpCode::Notification
                | OpCode::Create
                | OpCode::Delete
                | OpCode::SetData
                | OpCode::SetAcl
                | OpCode::Check
                | OpCode::Multi
                | OpCode::Create2
                | OpCode::Reconfig
                | OpCode::CreateContainer
                | OpCode::DeleteContainer
                | OpCode::CreateTtl
                | OpCode::SetWatches
                | OpCode::CreateSession
                | OpCode::CloseSession
                | OpCode::Error,
            )
            | None => true,
        };
        let known = self.await_answer(header.xid, What::LeftOut);
        known.err().unwrap_or(Heard::Skipped { writes, op })
    }

    fn reply(&mut self, frame: &Bytes) -> Option<Heard> {
        match self.stage {
            Stage::Silent | Stage::Foreign | Stage::Deaf => {
                return Some(garbled("a server that speaks first"));
            }
            Stage::Greeted(asked) => return Some(self.greeted(asked, frame)),
            Stage::Open => {}
        }
        let Ok((header, body)) = ReplyHeader::split(frame) else {
            return Some(garbled("an answer without a header"));
        };
        let heard = match header.xid {
            xid::NOTIFICATION => match WatcherEvent::from_slice(body) {
                Ok(event) => Heard::Notify {
                    zxid: header.zxid,
                    event: convert::event(event.kind),
                    path: event.path,
                },
                Err(_) => garbled("a notification of something unknown"),
            },
            xid::PING => Heard::PingAnswered,
            xid::AUTH => auth_done(&header),
            xid::SET_WATCHES => watches_set(&header),
            _ => return self.answer(header, body),
        };
        Some(heard)
    }

    fn greeted(&mut self, asked: i64, frame: &Bytes) -> Heard {
        let Ok(answer) = ConnectResponse::from_slice(frame) else {
            return garbled("a handshake that is none");
        };
        self.stage = Stage::Open;
        let session = answer.session.0;
        match u64::try_from(answer.timeout_ms) {
            Ok(0) | Err(_) => Heard::Expired { session: asked },
            Ok(_) if answer.read_only == Some(true) => Heard::LeftOut(Why::ReadOnly),
            Ok(_) if session == 0 => garbled("a session without a number"),
            Ok(timeout_ms) => Heard::Connected {
                session,
                timeout_ms,
                reattached: asked == session,
                password: Password::of(&Some(answer.password)),
            },
        }
    }

    /// The answer to a numbered request; nothing if that was left out.
    fn answer(&mut self, header: ReplyHeader, body: &[u8]) -> Option<Heard> {
        let place = self.waiting.iter().position(|w| w.xid == header.xid);
        let Some(waiting) = place.and_then(|place| self.waiting.remove(place)) else {
            return Some(garbled("an answer to what nobody asked"));
        };
        let op = match waiting.what {
            What::Op(op) => op,
            What::Arranged => return Some(arranged(&header)),
            What::Auth => return Some(auth_done(&header)),
            What::Watches => return Some(watches_set(&header)),
            What::LeftOut => return None,
        };
        let result = match header.err {
            0 => match Response::decode(op, body) {
                Ok(response) => Ok(convert::answer(&response)),
                Err(_) => return Some(garbled("an answer of another shape than asked for")),
            },
            code => Err(seen::ErrorCode(code)),
        };
        Some(Heard::Return {
            xid: header.xid,
            zxid: header.zxid.max(0),
            closes: op == OpCode::CloseSession && result.is_ok(),
            result,
        })
    }
}

fn garbled(what: &'static str) -> Heard {
    Heard::LeftOut(Why::Garbled(what))
}

fn arranged(header: &ReplyHeader) -> Heard {
    Heard::Return {
        xid: header.xid,
        zxid: header.zxid.max(0),
        result: match header.err {
            0 => Ok(Answer::Done),
            code => Err(seen::ErrorCode(code)),
        },
        closes: false,
    }
}

fn auth_done(header: &ReplyHeader) -> Heard {
    Heard::Session(SessionEvent::AuthDone {
        ok: header.err == 0,
    })
}

fn watches_set(header: &ReplyHeader) -> Heard {
    match header.err {
        0 => Heard::Session(SessionEvent::SetWatchesDone {
            zxid: header.zxid.max(0),
        }),
        // Which of them are set is not told.
        _ => Heard::WatchesLeftOut {
            op: OpCode::SetWatches.to_wire(),
        },
    }
}

/// Credentials; of a secret only the identity that it adds is kept.
fn auth(packet: &AuthPacket) -> Heard {
    match (packet.scheme.as_deref(), packet.auth.as_deref()) {
        (Some("digest"), Some(secret)) => {
            let identity = seen::digest_identity(&String::from_utf8_lossy(secret));
            if identity.id.starts_with(SUPER) {
                // Perhaps it may do anything; the bytes do not tell.
                return Heard::LeftOut(Why::Identity);
            }
            Heard::Session(SessionEvent::Auth { identity })
        }
        // Adds nothing: the address counts without it.
        (Some("ip"), _) => Heard::Session(SessionEvent::Auth {
            identity: Identity::new("ip", ""),
        }),
        (_, _) => Heard::LeftOut(Why::Identity),
    }
}
