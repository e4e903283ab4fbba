//! The bytes of replies.

use super::replica::Applied;
use crate::base::{SessionId, Zxid};
use crate::jute::Record;
use crate::proto::{ConnectResponse, ErrorCode, ReplyHeader};
use crate::session::password;
use bytes::Bytes;

/// A header without a body.
pub fn header(xid: i32, zxid: Zxid, code: ErrorCode) -> Bytes {
    ReplyHeader::new(xid, zxid, code).frame()
}

/// The reply to a write that was applied at `zxid`.
pub fn write(xid: i32, zxid: Zxid, applied: &Applied) -> Bytes {
    match &applied.result {
        Ok(response) => response.frame(xid, zxid),
        Err(code) => header(xid, zxid, *code),
    }
}

/// The handshake succeeded.
pub fn connected(session: SessionId, timeout_ms: u32, with_read_only: bool) -> Bytes {
    ConnectResponse {
        protocol_version: 0,
        timeout_ms: i32::try_from(timeout_ms).unwrap_or(i32::MAX),
        session,
        password: Bytes::copy_from_slice(&password(session)),
        read_only: with_read_only.then_some(false),
    }
    .to_bytes()
}

/// The session does not exist (any more), or the password is wrong.
pub fn refused(with_read_only: bool) -> Bytes {
    ConnectResponse::expired(with_read_only).to_bytes()
}
