//! A server that keeps nothing: what the world costs without the service in it.
//!
//! It has the traffic of one, so that the comparison is fair: every client request is told
//! to every other server and written and synced to a file, links are dialled, kept warm with
//! heartbeats and redialled; but every request is answered at once with an error. It judges
//! the shell and the world, for `sim calibrate`.

use bytes::{BufMut, Bytes, BytesMut};
use gamekeeper_core::base::{
    ConnId, DiskLane, DiskOp, DiskRequest, DiskToken, LinkId, Mono, Now, ServerId, SessionId,
};
use gamekeeper_core::peer::{Input, Machine, Outbox, Output};
use gamekeeper_core::zab::LinkKind;
use std::collections::{BTreeMap, BTreeSet};

/// The file it writes to.
const FILE: &str = "log.null";
/// Bytes it keeps of the file before it begins again from the start.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Error code of an operation that is not implemented, on the client wire.
const UNIMPLEMENTED: i32 = -6;
/// Operation codes of the client wire it must know to keep sessions alive.
const PING: i32 = 11;
const CLOSE_SESSION: i32 = -11;
/// Bytes of a heartbeat, and of what is told for each request.
const MESSAGE_BYTES: usize = 64;

/// See the module's head.
pub struct NullMachine {
    me: ServerId,
    others: Vec<ServerId>,
    heartbeat_ms: u64,
    due: Mono,
    links: BTreeMap<LinkId, bool>,
    greeted: BTreeSet<ConnId>,
    dialled: u64,
    sessions: i64,
    tokens: u64,
    offset: u64,
}

impl NullMachine {
    /// Server `me` of `servers`, with a heartbeat every half tick.
    pub fn new(me: ServerId, servers: u8, tick_ms: u64) -> NullMachine {
        NullMachine {
            me,
            others: (1..=servers).map(ServerId).filter(|s| *s != me).collect(),
            heartbeat_ms: (tick_ms / 2).max(1),
            due: Mono::default(),
            links: BTreeMap::new(),
            greeted: BTreeSet::new(),
            dialled: 0,
            sessions: 0,
            tokens: 0,
            offset: 0,
        }
    }

    fn dial(&mut self, to: ServerId, out: &mut Outbox) {
        self.dialled += 1;
        let link = LinkId::dialled(self.dialled);
        self.links.insert(link, false);
        out.push(Output::Dial {
            link,
            to,
            kind: LinkKind::Election,
        });
    }

    fn tell(&self, out: &mut Outbox) {
        let message = Bytes::from_static(&[0; MESSAGE_BYTES]);
        for (link, up) in &self.links {
            if *up {
                out.push(Output::LinkSend {
                    link: *link,
                    message: message.clone(),
                });
            }
        }
    }

    fn disk(&mut self, op: DiskOp, out: &mut Outbox) {
        self.tokens += 1;
        out.push(Output::Disk(DiskRequest {
            token: DiskToken(self.tokens),
            lane: DiskLane::Log,
            op,
        }));
    }

    fn write(&mut self, data: Bytes, out: &mut Outbox) {
        let offset = self.offset;
        self.offset = (offset + data.len() as u64) % FILE_BYTES_MAX;
        let file = FILE.to_string();
        self.disk(DiskOp::Write { file, offset, data }, out);
        let file = FILE.to_string();
        self.disk(DiskOp::Sync { file }, out);
    }

    fn request(&mut self, conn: ConnId, frame: Bytes, out: &mut Outbox) {
        if self.greeted.insert(conn) {
            let frame = self.greeting(&frame);
            return out.push(Output::ClientSend { conn, frame });
        }
        let (Some(xid), Some(op)) = (int(&frame, 0), int(&frame, 4)) else {
            return out.push(Output::ClientClose { conn });
        };
        let error = match op {
            PING | CLOSE_SESSION => 0,
            _ => UNIMPLEMENTED,
        };
        if error != 0 {
            self.write(frame, out);
            self.tell(out);
        }
        let mut reply = BytesMut::with_capacity(16);
        reply.put_i32(xid);
        reply.put_i64(0);
        reply.put_i32(error);
        out.push(Output::ClientSend {
            conn,
            frame: reply.freeze(),
        });
        if op == CLOSE_SESSION {
            out.push(Output::ClientClose { conn });
        }
    }

    /// A connect response: the timeout asked for, a session, a password of zeroes.
    fn greeting(&mut self, request: &Bytes) -> Bytes {
        let timeout = int(request, 12).unwrap_or(0).max(1);
        self.sessions += 1;
        let SessionId(session) = SessionId((i64::from(self.me.0) << 56) | self.sessions);
        let mut reply = BytesMut::with_capacity(37);
        reply.put_i32(0);
        reply.put_i32(timeout);
        reply.put_i64(session);
        reply.put_i32(16);
        reply.put_bytes(0, 16);
        reply.put_u8(0);
        reply.freeze()
    }
}

fn int(frame: &Bytes, at: usize) -> Option<i32> {
    let bytes = frame.get(at..at + 4)?;
    Some(i32::from_be_bytes(bytes.try_into().ok()?))
}

impl Machine for NullMachine {
    fn start(&mut self, now: Now, out: &mut Outbox) {
        let file = FILE.to_string();
        self.disk(DiskOp::Create { file }, out);
        for to in self.others.clone() {
            // As with the real one, the larger number dials.
            if to < self.me {
                self.dial(to, out);
            }
        }
        self.due = now.mono.plus_ms(self.heartbeat_ms);
    }

    fn step(&mut self, now: Now, input: Input, out: &mut Outbox) {
        match input {
            Input::Timer => {
                self.tell(out);
                for to in self.others.clone() {
                    let lost = to < self.me && self.links.len() < self.others.len();
                    if lost {
                        self.dial(to, out);
                        break;
                    }
                }
                self.due = now.mono.plus_ms(self.heartbeat_ms);
            }
            Input::ClientOpened { .. } | Input::Disk(_) | Input::Rejoin => {}
            Input::LinkMessage { .. } => {}
            Input::ClientFrame { conn, frame } => self.request(conn, frame, out),
            Input::ClientClosed { conn } => {
                self.greeted.remove(&conn);
            }
            Input::LinkUp { link, .. } => {
                self.links.insert(link, true);
            }
            Input::LinkDown { link } => {
                self.links.remove(&link);
            }
        }
    }

    fn deadline(&self) -> Option<Mono> {
        Some(self.due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greets_answers_and_tells_the_others() {
        let mut null = NullMachine::new(ServerId(2), 3, 200);
        let mut out = Outbox::new();
        null.start(Now::default(), &mut out);
        let link = LinkId::dialled(1);
        let peer = ServerId(1);
        let kind = LinkKind::Election;
        null.step(Now::default(), Input::LinkUp { link, peer, kind }, &mut out);
        let conn = ConnId(1);
        let frame = Bytes::from_static(&[0; 44]);
        null.step(Now::default(), Input::ClientFrame { conn, frame }, &mut out);
        out.clear();
        let frame = Bytes::from_static(&[0, 0, 0, 7, 0, 0, 0, 5]);
        null.step(Now::default(), Input::ClientFrame { conn, frame }, &mut out);
        assert_eq!(out.len(), 4, "write, sync, one link, one answer");
        let Some(Output::ClientSend { frame, .. }) = out.last() else {
            panic!("no answer");
        };
        assert_eq!(int(frame, 0), Some(7));
        assert_eq!(int(frame, 12), Some(UNIMPLEMENTED));
    }
}
