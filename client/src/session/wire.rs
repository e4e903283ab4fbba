//! Between the session's words and the protocol's bytes. No decisions.
//!
//! Frames made here carry their four bytes of length; frames read here have lost them.

use super::WatchLists;
use bytes::Bytes;
use gamekeeper_core::base::{SessionId, Xid, Zxid};
use gamekeeper_core::jute::{JuteError, Record, Writer};
use gamekeeper_core::proto::{
    AuthPacket, ConnectRequest, ConnectResponse, ErrorCode, ReplyHeader, Request, RequestHeader,
    Response, SetWatches, WatcherEvent, xid,
};
use thiserror::Error;

/// A frame that no sound server sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub(super) enum Garbled {
    /// Not a record.
    #[error("{0}")]
    Jute(#[from] JuteError),
    /// An error code that is not the protocol's.
    #[error("unknown error code {0}")]
    Code(i32),
    /// A session without an id, or a negative timeout.
    #[error("senseless handshake")]
    Handshake,
}

/// The answer to the handshake.
#[derive(Debug)]
pub(super) struct Greeting {
    /// 0: the session is gone.
    pub(super) timeout_ms: u64,
    pub(super) session: SessionId,
    pub(super) password: Bytes,
}

/// The header of a frame, by what it answers.
#[derive(Debug)]
pub(super) enum Reply {
    Notification {
        zxid: i64,
    },
    Ping {
        zxid: Zxid,
    },
    Auth {
        error: Option<ErrorCode>,
    },
    SetWatches {
        zxid: Zxid,
    },
    Request {
        xid: Xid,
        zxid: Zxid,
        error: Option<ErrorCode>,
    },
}

fn framed(body: impl FnOnce(&mut Writer)) -> Bytes {
    let mut out = Writer::with_capacity(64);
    out.framed(body);
    out.finish()
}

fn with_header(xid: i32, request: &Request) -> Bytes {
    framed(|out| {
        let op = request.op().to_wire();
        RequestHeader { xid, op }.write(out);
        request.encode(out);
    })
}

pub(super) fn connect(seen: Zxid, timeout_ms: u32, session: SessionId, password: &Bytes) -> Bytes {
    let request = ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: seen.to_wire(),
        timeout_ms: i32::try_from(timeout_ms).unwrap_or(i32::MAX),
        session,
        password: Some(password.clone()),
        read_only: Some(false),
    };
    framed(|out| request.write(out))
}

pub(super) fn request(xid: Xid, request: &Request) -> Bytes {
    assert!(xid.0 > 0, "xids of requests are positive");
    with_header(xid.0, request)
}

/// Length of a request's frame, bytes.
pub(super) fn frame_bytes(request: &Request) -> usize {
    let mut out = Writer::new();
    request.encode(&mut out);
    out.len() + 8
}

pub(super) fn set_watches(relative: Zxid, lists: &WatchLists) -> Bytes {
    let request = Request::SetWatches(SetWatches {
        relative_zxid: relative.to_wire(),
        data: lists.data.clone(),
        exist: lists.exist.clone(),
        child: lists.child.clone(),
    });
    with_header(xid::SET_WATCHES, &request)
}

pub(super) fn auth(scheme: &str, secret: &Bytes) -> Bytes {
    let packet = AuthPacket {
        scheme: Some(scheme.to_owned()),
        auth: Some(secret.clone()),
    };
    with_header(xid::AUTH, &Request::Auth(packet))
}

pub(super) fn ping() -> Bytes {
    with_header(xid::PING, &Request::Ping)
}

pub(super) fn read_connect(frame: &[u8]) -> Result<Greeting, Garbled> {
    let answer = ConnectResponse::from_slice(frame)?;
    // Zero and less mean that the session is gone.
    let timeout_ms = u64::try_from(answer.timeout_ms).unwrap_or(0);
    if timeout_ms > 0 && answer.session == SessionId::NONE {
        return Err(Garbled::Handshake);
    }
    Ok(Greeting {
        timeout_ms,
        session: answer.session,
        password: answer.password,
    })
}

/// Splits a frame into what it answers and its body. Zxids below zero count as none.
pub(super) fn read_reply(frame: &[u8]) -> Result<(Reply, &[u8]), Garbled> {
    let (header, body) = ReplyHeader::split(frame)?;
    let error = match ErrorCode::from_wire(header.err) {
        Some(ErrorCode::Ok) => None,
        Some(error) => Some(error),
        None => return Err(Garbled::Code(header.err)),
    };
    let zxid = Zxid::from_wire(header.zxid.max(0));
    let reply = match header.xid {
        xid::NOTIFICATION => Reply::Notification { zxid: header.zxid },
        xid::PING => Reply::Ping { zxid },
        xid::AUTH => Reply::Auth { error },
        xid::SET_WATCHES => Reply::SetWatches { zxid },
        other => Reply::Request {
            xid: Xid(other),
            zxid,
            error,
        },
    };
    Ok((reply, body))
}

pub(super) fn read_event(body: &[u8]) -> Result<WatcherEvent, Garbled> {
    Ok(WatcherEvent::from_slice(body)?)
}

pub(super) fn read_response(request: &Request, body: &[u8]) -> Result<Response, Garbled> {
    Ok(Response::decode(request.op(), body)?)
}
