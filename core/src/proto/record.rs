//! Records that stand on their own: stat, ACL, headers, the handshake, the watch event.
//!
//! Answers to `zookeeper.jute` and, for the handshake's two forms, `ProtocolManager`.

use super::code::{ErrorCode, EventType};
use super::xid;
use crate::base::{SessionId, Zxid};
use crate::jute::{JuteError, Reader, Record, Writer};
use bytes::Bytes;
use std::borrow::Cow;
use std::sync::Arc;

/// Permission bits of an ACL entry.
pub mod perms {
    /// Read data and children.
    pub const READ: i32 = 1;
    /// Write data.
    pub const WRITE: i32 = 2;
    /// Create children.
    pub const CREATE: i32 = 4;
    /// Delete children.
    pub const DELETE: i32 = 8;
    /// Change the ACL.
    pub const ADMIN: i32 = 16;
    /// All of them.
    pub const ALL: i32 = 31;
}

/// Who: an authentication scheme and an id in it. A null on the wire reads as "": clients
/// send one for the other, and no scheme tells them apart.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Hash, Default)]
pub struct Id {
    /// The scheme, as "world", "ip", "digest".
    pub scheme: Cow<'static, str>,
    /// The id, in the scheme's own form.
    pub id: Cow<'static, str>,
}

impl Id {
    /// An id.
    pub fn new(scheme: impl AsRef<str>, id: impl AsRef<str>) -> Id {
        Id {
            scheme: kept(scheme.as_ref().into()),
            id: kept(id.as_ref().into()),
        }
    }

    /// Everyone.
    pub fn anyone() -> Id {
        Id::new("world", "anyone")
    }
}

impl Record for Id {
    fn write(&self, out: &mut Writer) {
        out.string(&self.scheme);
        out.string(&self.id);
    }

    fn read(from: &mut Reader<'_>) -> Result<Id, JuteError> {
        Ok(Id {
            scheme: kept(from.opt_string()?.unwrap_or_default()),
            id: kept(from.opt_string()?.unwrap_or_default()),
        })
    }
}

/// A text to keep. Nearly every list is open to everyone: those words are not copied.
fn kept(text: Cow<'_, str>) -> Cow<'static, str> {
    const USUAL: [&str; 3] = ["world", "anyone", "digest"];
    match USUAL.iter().find(|usual| **usual == text) {
        Some(usual) => Cow::Borrowed(usual),
        None => Cow::Owned(text.into_owned()),
    }
}

/// One entry of an access-control list. The bits are not checked: ZooKeeper stores any.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct Acl {
    /// Permission bits, see [`perms`].
    pub perms: i32,
    /// To whom they are given.
    pub id: Id,
}

impl Acl {
    /// An entry.
    pub fn new(perms: i32, id: Id) -> Acl {
        Acl { perms, id }
    }

    /// Everything to everyone (`OPEN_ACL_UNSAFE`).
    pub fn open() -> Vec<Acl> {
        vec![Acl::new(perms::ALL, Id::anyone())]
    }

    /// Reading to everyone (`READ_ACL_UNSAFE`).
    pub fn read_only() -> Vec<Acl> {
        vec![Acl::new(perms::READ, Id::anyone())]
    }

    /// Everything to the identities of whoever creates the node (`CREATOR_ALL_ACL`).
    pub fn creator_all() -> Vec<Acl> {
        vec![Acl::new(perms::ALL, Id::new("auth", ""))]
    }
}

impl Record for Acl {
    fn write(&self, out: &mut Writer) {
        out.int(self.perms);
        self.id.write(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Acl, JuteError> {
        Ok(Acl {
            perms: from.int()?,
            id: Id::read(from)?,
        })
    }
}

/// A node's figures as clients see them, 68 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stat {
    /// The transaction that created it.
    pub czxid: Zxid,
    /// The transaction that last changed its data.
    pub mzxid: Zxid,
    /// When it was created, Unix ms by the leader's clock.
    pub ctime: i64,
    /// When its data was last changed, Unix ms by the leader's clock.
    pub mtime: i64,
    /// Changes of the data.
    pub version: i32,
    /// Creates and deletes of children.
    pub cversion: i32,
    /// Changes of the ACL.
    pub aversion: i32,
    /// The owner of an ephemeral, else [`SessionId::NONE`].
    pub owner: SessionId,
    /// Bytes of data.
    pub data_length: i32,
    /// Children.
    pub num_children: i32,
    /// The transaction that last created or deleted a child.
    pub pzxid: Zxid,
}

impl Record for Stat {
    fn write(&self, out: &mut Writer) {
        out.long(self.czxid.to_wire());
        out.long(self.mzxid.to_wire());
        out.long(self.ctime);
        out.long(self.mtime);
        out.int(self.version);
        out.int(self.cversion);
        out.int(self.aversion);
        out.long(self.owner.0);
        out.int(self.data_length);
        out.int(self.num_children);
        out.long(self.pzxid.to_wire());
    }

    fn read(from: &mut Reader<'_>) -> Result<Stat, JuteError> {
        Ok(Stat {
            czxid: Zxid::from_wire(from.long()?),
            mzxid: Zxid::from_wire(from.long()?),
            ctime: from.long()?,
            mtime: from.long()?,
            version: from.int()?,
            cversion: from.int()?,
            aversion: from.int()?,
            owner: SessionId(from.long()?),
            data_length: from.int()?,
            num_children: from.int()?,
            pzxid: Zxid::from_wire(from.long()?),
        })
    }
}

/// The first frame of a connection, client to server. It has no request header.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ConnectRequest {
    /// Always 0.
    pub protocol_version: i32,
    /// The greatest zxid the client saw in a reply; 0 for none.
    pub last_zxid_seen: i64,
    /// The session timeout it asks for, ms.
    pub timeout_ms: i32,
    /// The session to attach to; [`SessionId::NONE`] asks for a new one.
    pub session: SessionId,
    /// 16 bytes; may be null or empty for a new session.
    pub password: Option<Bytes>,
    /// May a read-only server take it? `None`: the older form without the field, whose
    /// answer must be without it, too.
    pub read_only: Option<bool>,
}

impl Record for ConnectRequest {
    fn write(&self, out: &mut Writer) {
        out.int(self.protocol_version);
        out.long(self.last_zxid_seen);
        out.int(self.timeout_ms);
        out.long(self.session.0);
        out.buffer(self.password.as_deref());
        if let Some(read_only) = self.read_only {
            out.bool(read_only);
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<ConnectRequest, JuteError> {
        Ok(ConnectRequest {
            protocol_version: from.int()?,
            last_zxid_seen: from.long()?,
            timeout_ms: from.int()?,
            session: SessionId(from.long()?),
            password: from.buffer()?,
            read_only: if from.left() > 0 {
                Some(from.bool()?)
            } else {
                None
            },
        })
    }
}

/// The answer to [`ConnectRequest`]. It has no reply header.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConnectResponse {
    /// Always 0.
    pub protocol_version: i32,
    /// The negotiated timeout, ms; 0: the session is gone.
    pub timeout_ms: i32,
    /// The session, [`SessionId::NONE`] when it is gone.
    pub session: SessionId,
    /// 16 bytes.
    pub password: Bytes,
    /// Whether the server is read-only; written only to clients whose request had the field.
    pub read_only: Option<bool>,
}

impl ConnectResponse {
    /// "The session is gone", in the form of a client that asked with `read_only`.
    pub fn expired(with_read_only: bool) -> ConnectResponse {
        ConnectResponse {
            protocol_version: 0,
            timeout_ms: 0,
            session: SessionId::NONE,
            password: Bytes::from_static(&[0; 16]),
            read_only: with_read_only.then_some(false),
        }
    }
}

impl Record for ConnectResponse {
    fn write(&self, out: &mut Writer) {
        out.int(self.protocol_version);
        out.int(self.timeout_ms);
        out.long(self.session.0);
        out.buffer(Some(&self.password));
        if let Some(read_only) = self.read_only {
            out.bool(read_only);
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<ConnectResponse, JuteError> {
        Ok(ConnectResponse {
            protocol_version: from.int()?,
            timeout_ms: from.int()?,
            session: SessionId(from.long()?),
            password: from.buffer()?.ok_or(JuteError::UnexpectedNull)?,
            read_only: if from.left() > 0 {
                Some(from.bool()?)
            } else {
                None
            },
        })
    }
}

/// In front of every request but the first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestHeader {
    /// The client's number for it, echoed in the reply.
    pub xid: i32,
    /// The operation, see [`super::OpCode`]; any number may arrive.
    pub op: i32,
}

impl RequestHeader {
    /// Splits a frame into its header and the request's body.
    pub fn split(frame: &[u8]) -> Result<(RequestHeader, &[u8]), JuteError> {
        let mut from = Reader::new(frame);
        let header = RequestHeader::read(&mut from)?;
        Ok((header, from.rest()))
    }
}

impl Record for RequestHeader {
    fn write(&self, out: &mut Writer) {
        out.int(self.xid);
        out.int(self.op);
    }

    fn read(from: &mut Reader<'_>) -> Result<RequestHeader, JuteError> {
        Ok(RequestHeader {
            xid: from.int()?,
            op: from.int()?,
        })
    }
}

/// In front of every reply and notification but the handshake's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplyHeader {
    /// The request's number, or one of [`super::xid`].
    pub xid: i32,
    /// The state the reply reflects, signed as on the wire.
    pub zxid: i64,
    /// 0, or why it failed; clients must not read a body then.
    pub err: i32,
}

impl ReplyHeader {
    /// The header of a reply.
    pub fn new(xid: i32, zxid: Zxid, err: ErrorCode) -> ReplyHeader {
        ReplyHeader {
            xid,
            zxid: zxid.to_wire(),
            err: err.to_wire(),
        }
    }

    /// The header alone: a failed request, or one whose success has no body.
    pub fn frame(self) -> Bytes {
        self.to_bytes()
    }

    /// Splits a frame into its header and the response's body.
    pub fn split(frame: &[u8]) -> Result<(ReplyHeader, &[u8]), JuteError> {
        let mut from = Reader::new(frame);
        let header = ReplyHeader::read(&mut from)?;
        Ok((header, from.rest()))
    }
}

impl Record for ReplyHeader {
    fn write(&self, out: &mut Writer) {
        out.int(self.xid);
        out.long(self.zxid);
        out.int(self.err);
    }

    fn read(from: &mut Reader<'_>) -> Result<ReplyHeader, JuteError> {
        Ok(ReplyHeader {
            xid: from.int()?,
            zxid: from.long()?,
            err: from.int()?,
        })
    }
}

/// What a watch tells its client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WatcherEvent {
    /// What happened.
    pub kind: EventType,
    /// To which node.
    pub path: Arc<str>,
}

impl WatcherEvent {
    /// `SyncConnected`, the only state a server ever sends.
    const SYNC_CONNECTED: i32 = 3;

    /// The whole notification. `zxid` is the transaction's that fired the watch, -1 for one
    /// fired by SetWatches.
    pub fn frame(&self, zxid: i64) -> Bytes {
        let mut out = Writer::with_capacity(28 + self.path.len());
        ReplyHeader {
            xid: xid::NOTIFICATION,
            zxid,
            err: 0,
        }
        .write(&mut out);
        self.write(&mut out);
        out.finish()
    }
}

impl Record for WatcherEvent {
    fn write(&self, out: &mut Writer) {
        out.int(self.kind.to_wire());
        out.int(Self::SYNC_CONNECTED);
        out.string(&self.path);
    }

    fn read(from: &mut Reader<'_>) -> Result<WatcherEvent, JuteError> {
        let kind = from.int()?;
        let kind = EventType::from_wire(kind)
            .ok_or(JuteError::BadValue(i64::from(kind), "watch event type"))?;
        let _state = from.int()?;
        Ok(WatcherEvent {
            kind,
            path: from.shared()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_handshake_is_told_by_the_missing_byte() {
        let mut request = ConnectRequest {
            timeout_ms: 4000,
            password: Some(Bytes::from_static(&[0; 16])),
            read_only: Some(false),
            ..ConnectRequest::default()
        };
        assert_eq!(request.to_bytes().len(), 45);
        assert_eq!(
            ConnectRequest::from_slice(&request.to_bytes()),
            Ok(request.clone())
        );
        request.read_only = None;
        assert_eq!(request.to_bytes().len(), 44);
        assert_eq!(
            ConnectRequest::from_slice(&request.to_bytes()),
            Ok(request.clone())
        );
    }

    #[test]
    fn stat_takes_68_bytes() {
        assert_eq!(Stat::default().to_bytes().len(), 68);
    }

    #[test]
    fn a_null_id_reads_as_empty() {
        let mut out = Writer::new();
        out.string("auth");
        out.opt_string(None);
        assert_eq!(Id::from_slice(&out.finish()), Ok(Id::new("auth", "")));
    }

    #[test]
    fn a_notification_has_its_own_xid_and_the_one_state() {
        let event = WatcherEvent {
            kind: EventType::NodeDeleted,
            path: "/a".into(),
        };
        let frame = event.frame(7);
        let (header, body) = ReplyHeader::split(&frame).unwrap();
        assert_eq!((header.xid, header.zxid, header.err), (-1, 7, 0));
        assert_eq!(WatcherEvent::from_slice(body), Ok(event));
        assert_eq!(body[4..8], [0, 0, 0, 3]);
    }
}
