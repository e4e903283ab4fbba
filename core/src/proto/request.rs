//! Requests: what a client asks for, behind its header.
//!
//! Not judged here: paths, flags of a single create, ACLs. They are decided in the order of
//! the server's checks, by `pipeline`, because the order is visible to clients.

use super::code::{ErrorCode, OpCode};
use super::multi::{self, MultiOp};
use super::record::{Acl, RequestHeader};
use crate::jute::{JuteError, Reader, Record, Writer};
use bytes::Bytes;
use std::sync::Arc;

/// Why a request's body is refused as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are no such request: answered with -5, the connection stays. (An auth
    /// packet is the exception: the connection is closed without an answer.)
    #[error("malformed request: {0}")]
    Marshalling(JuteError),
    /// No such operation here, or not from a client: answered with -6, then closed.
    #[error("operation {0} is not implemented")]
    Unimplemented(i32),
}

impl DecodeError {
    /// The code of the answer.
    pub fn code(self) -> ErrorCode {
        match self {
            DecodeError::Marshalling(_) => ErrorCode::MarshallingError,
            DecodeError::Unimplemented(_) => ErrorCode::Unimplemented,
        }
    }
}

impl From<JuteError> for DecodeError {
    fn from(e: JuteError) -> DecodeError {
        DecodeError::Marshalling(e)
    }
}

/// Which create it was: they differ in the answer and in the type of the transaction.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum CreateOp {
    /// Answered with the path.
    Create,
    /// Answered with path and stat.
    Create2,
}

impl CreateOp {
    /// Its operation code.
    pub fn op(self) -> OpCode {
        match self {
            CreateOp::Create => OpCode::Create,
            CreateOp::Create2 => OpCode::Create2,
        }
    }
}

/// What kind of node a create makes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CreateMode {
    /// It ends with its session.
    pub ephemeral: bool,
    /// The parent's counter is appended to its name.
    pub sequential: bool,
}

impl CreateMode {
    /// The flags' number, 0 to 3.
    pub fn flags(self) -> i32 {
        i32::from(self.ephemeral) | i32::from(self.sequential) << 1
    }

    /// The mode of flags 0 to 3, the ones without container or time to live.
    pub fn from_flags(flags: i32) -> Option<CreateMode> {
        (0..=3).contains(&flags).then_some(CreateMode {
            ephemeral: flags & 1 != 0,
            sequential: flags & 2 != 0,
        })
    }
}

/// The flags of a container.
const FLAGS_CONTAINER: i32 = 4;

/// Create a node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CreateRequest {
    /// Which create.
    pub op: CreateOp,
    /// Where, before a sequence number is appended.
    pub path: Arc<str>,
    /// Its data; null is kept as null.
    pub data: Option<Bytes>,
    /// Its ACL as sent; null is refused later, with its own code.
    pub acl: Option<Vec<Acl>>,
    /// The mode as sent, see [`CreateRequest::mode`].
    pub flags: i32,
}

impl CreateRequest {
    /// What its flags ask for, or the code to refuse them with. Flags 4 (container) under
    /// the codes of plain creates make a plain persistent node, as in ZooKeeper: at top
    /// level the operation decides, not the flags. (Within multi it is the other way round,
    /// so flags 4 never decode there.)
    pub fn mode(&self) -> Result<CreateMode, ErrorCode> {
        if self.flags == FLAGS_CONTAINER {
            return Ok(CreateMode::default());
        }
        CreateMode::from_flags(self.flags).ok_or(ErrorCode::BadArguments)
    }

    pub(super) fn write(&self, out: &mut Writer) {
        out.string(&self.path);
        out.buffer(self.data.as_deref());
        out.records(self.acl.as_deref());
        out.int(self.flags);
    }

    pub(super) fn read(op: CreateOp, from: &mut Reader<'_>) -> Result<CreateRequest, JuteError> {
        Ok(CreateRequest {
            op,
            path: from.shared()?,
            data: from.buffer()?,
            acl: from.records()?,
            flags: from.int()?,
        })
    }

    /// The rules of creates within multi: flags and a null ACL fail the whole request.
    pub(super) fn check_in_multi(&self) -> Result<(), DecodeError> {
        if self.flags == FLAGS_CONTAINER {
            return Err(DecodeError::Unimplemented(
                OpCode::CreateContainer.to_wire(),
            ));
        }
        if CreateMode::from_flags(self.flags).is_none() {
            return Err(JuteError::BadValue(i64::from(self.flags), "create mode").into());
        }
        if self.acl.is_none() {
            return Err(JuteError::UnexpectedNull.into());
        }
        Ok(())
    }
}

/// Delete a node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeleteRequest {
    /// Which.
    pub path: Arc<str>,
    /// The version it must have; -1 for any.
    pub version: i32,
}

impl Record for DeleteRequest {
    fn write(&self, out: &mut Writer) {
        out.string(&self.path);
        out.int(self.version);
    }

    fn read(from: &mut Reader<'_>) -> Result<DeleteRequest, JuteError> {
        Ok(DeleteRequest {
            path: from.shared()?,
            version: from.int()?,
        })
    }
}

/// Compare a node's version.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CheckRequest {
    /// Which node.
    pub path: Arc<str>,
    /// The version it must have; -1 for any.
    pub version: i32,
}

impl Record for CheckRequest {
    fn write(&self, out: &mut Writer) {
        out.string(&self.path);
        out.int(self.version);
    }

    fn read(from: &mut Reader<'_>) -> Result<CheckRequest, JuteError> {
        Ok(CheckRequest {
            path: from.shared()?,
            version: from.int()?,
        })
    }
}

/// Replace a node's data.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SetDataRequest {
    /// Which node.
    pub path: Arc<str>,
    /// The new data; null is kept as null.
    pub data: Option<Bytes>,
    /// The version it must have; -1 for any.
    pub version: i32,
}

impl Record for SetDataRequest {
    fn write(&self, out: &mut Writer) {
        out.string(&self.path);
        out.buffer(self.data.as_deref());
        out.int(self.version);
    }

    fn read(from: &mut Reader<'_>) -> Result<SetDataRequest, JuteError> {
        Ok(SetDataRequest {
            path: from.shared()?,
            data: from.buffer()?,
            version: from.int()?,
        })
    }
}

/// Replace a node's ACL.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SetAclRequest {
    /// Which node.
    pub path: Arc<str>,
    /// The new list as sent; null is refused later, with its own code.
    pub acl: Option<Vec<Acl>>,
    /// The ACL version it must have; -1 for any.
    pub version: i32,
}

impl Record for SetAclRequest {
    fn write(&self, out: &mut Writer) {
        out.string(&self.path);
        out.records(self.acl.as_deref());
        out.int(self.version);
    }

    fn read(from: &mut Reader<'_>) -> Result<SetAclRequest, JuteError> {
        Ok(SetAclRequest {
            path: from.shared()?,
            acl: from.records()?,
            version: from.int()?,
        })
    }
}

/// A read that may leave a watch behind: exists, getData, getChildren, getChildren2.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WatchRequest {
    /// Which node.
    pub path: Arc<str>,
    /// Leave a watch?
    pub watch: bool,
}

impl Record for WatchRequest {
    fn write(&self, out: &mut Writer) {
        out.string(&self.path);
        out.bool(self.watch);
    }

    fn read(from: &mut Reader<'_>) -> Result<WatchRequest, JuteError> {
        Ok(WatchRequest {
            path: from.shared()?,
            watch: from.bool()?,
        })
    }
}

/// Credentials for one scheme.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuthPacket {
    /// The scheme; null fails like an unknown one.
    pub scheme: Option<String>,
    /// The credentials in the scheme's own form.
    pub auth: Option<Bytes>,
}

impl Record for AuthPacket {
    fn write(&self, out: &mut Writer) {
        out.int(0);
        out.opt_string(self.scheme.as_deref());
        out.buffer(self.auth.as_deref());
    }

    fn read(from: &mut Reader<'_>) -> Result<AuthPacket, JuteError> {
        let _ignored = from.int()?;
        Ok(AuthPacket {
            scheme: from.opt_string()?.map(|s| s.into_owned()),
            auth: from.buffer()?,
        })
    }
}

/// Watches to be registered again after a reconnect, or fired at once when what they wait
/// for has happened meanwhile.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SetWatches {
    /// The greatest zxid the client saw in a reply, signed as on the wire.
    pub relative_zxid: i64,
    /// Watches left by getData, and by exists on nodes that were there.
    pub data: Vec<Arc<str>>,
    /// Watches left by exists on nodes that were not there.
    pub exist: Vec<Arc<str>>,
    /// Watches left by getChildren.
    pub child: Vec<Arc<str>>,
}

impl Record for SetWatches {
    fn write(&self, out: &mut Writer) {
        out.long(self.relative_zxid);
        out.strings(&self.data);
        out.strings(&self.exist);
        out.strings(&self.child);
    }

    fn read(from: &mut Reader<'_>) -> Result<SetWatches, JuteError> {
        Ok(SetWatches {
            relative_zxid: from.long()?,
            data: list(from)?,
            exist: list(from)?,
            child: list(from)?,
        })
    }
}

/// A vector that must not be null.
fn list(from: &mut Reader<'_>) -> Result<Vec<Arc<str>>, JuteError> {
    from.strings()?.ok_or(JuteError::UnexpectedNull)
}

/// A client's request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    /// create, create2.
    Create(CreateRequest),
    /// delete.
    Delete(DeleteRequest),
    /// exists.
    Exists(WatchRequest),
    /// getData.
    GetData(WatchRequest),
    /// setData.
    SetData(SetDataRequest),
    /// getACL.
    GetAcl {
        /// Which node.
        path: Arc<str>,
    },
    /// setACL.
    SetAcl(SetAclRequest),
    /// getChildren.
    GetChildren(WatchRequest),
    /// getChildren2.
    GetChildren2(WatchRequest),
    /// sync.
    Sync {
        /// Echoed back; means nothing else.
        path: Arc<str>,
    },
    /// ping.
    Ping,
    /// multi.
    Multi(Vec<MultiOp>),
    /// auth.
    Auth(AuthPacket),
    /// setWatches, and setWatches2 without persistent watches.
    SetWatches(SetWatches),
    /// closeSession.
    CloseSession,
}

impl Request {
    /// Reads the body of a request. Trailing bytes are ignored.
    pub fn decode(op: i32, body: &[u8]) -> Result<Request, DecodeError> {
        let unimplemented = Err(DecodeError::Unimplemented(op));
        let Some(known) = OpCode::from_wire(op) else {
            return unimplemented;
        };
        let mut from = Reader::new(body);
        let from = &mut from;
        Ok(match known {
            OpCode::Create => Request::Create(CreateRequest::read(CreateOp::Create, from)?),
            OpCode::Create2 => Request::Create(CreateRequest::read(CreateOp::Create2, from)?),
            OpCode::Delete => Request::Delete(Record::read(from)?),
            OpCode::Exists => Request::Exists(Record::read(from)?),
            OpCode::GetData => Request::GetData(Record::read(from)?),
            OpCode::SetData => Request::SetData(Record::read(from)?),
            OpCode::GetAcl => Request::GetAcl {
                path: from.shared()?,
            },
            OpCode::SetAcl => Request::SetAcl(Record::read(from)?),
            OpCode::GetChildren => Request::GetChildren(Record::read(from)?),
            OpCode::GetChildren2 => Request::GetChildren2(Record::read(from)?),
            OpCode::Sync => Request::Sync {
                path: from.shared()?,
            },
            OpCode::Ping => Request::Ping,
            OpCode::Multi => Request::Multi(multi::read_ops(from)?),
            OpCode::Auth => Request::Auth(Record::read(from)?),
            OpCode::SetWatches => Request::SetWatches(Record::read(from)?),
            OpCode::SetWatches2 => Request::SetWatches(read_set_watches2(from)?),
            OpCode::CloseSession => Request::CloseSession,
            // Known to ZooKeeper; not here yet, or never from a client.
            OpCode::Notification
            | OpCode::Check
            | OpCode::Reconfig
            | OpCode::CheckWatches
            | OpCode::RemoveWatches
            | OpCode::CreateContainer
            | OpCode::DeleteContainer
            | OpCode::CreateTtl
            | OpCode::MultiRead
            | OpCode::Sasl
            | OpCode::GetEphemerals
            | OpCode::GetAllChildrenNumber
            | OpCode::AddWatch
            | OpCode::WhoAmI
            | OpCode::CreateSession
            | OpCode::Error => return unimplemented,
        })
    }

    /// Its operation code.
    pub fn op(&self) -> OpCode {
        match self {
            Request::Create(create) => create.op.op(),
            Request::Delete(_) => OpCode::Delete,
            Request::Exists(_) => OpCode::Exists,
            Request::GetData(_) => OpCode::GetData,
            Request::SetData(_) => OpCode::SetData,
            Request::GetAcl { .. } => OpCode::GetAcl,
            Request::SetAcl(_) => OpCode::SetAcl,
            Request::GetChildren(_) => OpCode::GetChildren,
            Request::GetChildren2(_) => OpCode::GetChildren2,
            Request::Sync { .. } => OpCode::Sync,
            Request::Ping => OpCode::Ping,
            Request::Multi(_) => OpCode::Multi,
            Request::Auth(_) => OpCode::Auth,
            Request::SetWatches(_) => OpCode::SetWatches,
            Request::CloseSession => OpCode::CloseSession,
        }
    }

    /// Writes the body.
    pub fn encode(&self, out: &mut Writer) {
        match self {
            Request::Create(r) => r.write(out),
            Request::Delete(r) => r.write(out),
            Request::Exists(r)
            | Request::GetData(r)
            | Request::GetChildren(r)
            | Request::GetChildren2(r) => r.write(out),
            Request::SetData(r) => r.write(out),
            Request::SetAcl(r) => r.write(out),
            Request::GetAcl { path } | Request::Sync { path } => out.string(path),
            Request::Multi(ops) => multi::write_ops(ops, out),
            Request::Auth(r) => r.write(out),
            Request::SetWatches(r) => r.write(out),
            Request::Ping | Request::CloseSession => {}
        }
    }

    /// The whole frame: header and body.
    pub fn frame(&self, xid: i32) -> Bytes {
        let mut out = Writer::with_capacity(64);
        RequestHeader {
            xid,
            op: self.op().to_wire(),
        }
        .write(&mut out);
        self.encode(&mut out);
        out.finish()
    }
}

/// A client sends this form only while it has persistent watches, which it cannot have here.
fn read_set_watches2(from: &mut Reader<'_>) -> Result<SetWatches, DecodeError> {
    let watches = SetWatches::read(from)?;
    if list(from)?.is_empty() && list(from)?.is_empty() {
        Ok(watches)
    } else {
        Err(DecodeError::Unimplemented(OpCode::SetWatches2.to_wire()))
    }
}
