//! The client protocol: codes, records, requests and responses.
//!
//! Frames here are without their 4-byte length, which the shell adds and takes off. This
//! room decides only what the bytes say; whether a request is allowed, valid in its path or
//! possible is for `pipeline`.
//!
//! What always holds: what [`Request::decode`] accepts, [`Request::encode`] can say; hostile
//! bytes are an error value.
//!
//! | operations | today |
//! |---|---|
//! | create, create2, delete, exists, getData, setData, getACL, setACL, getChildren, getChildren2, sync, ping, multi, auth, setWatches, setWatches2 (without persistent watches), closeSession | decoded |
//! | everything else of ZooKeeper, and what a client must not send | [`DecodeError::Unimplemented`] |
//!
//! Answers to `zookeeper.jute`, `ZooDefs`, `KeeperException`, `MultiOperationRecord` and `MultiResponse`.

pub mod code;
pub mod multi;
pub mod record;
pub mod request;
pub mod response;

pub use code::{ErrorCode, EventType, OpCode};
pub use multi::{MultiOp, MultiResult};
pub use record::{
    Acl, ConnectRequest, ConnectResponse, Id, ReplyHeader, RequestHeader, Stat, WatcherEvent, perms,
};
pub use request::{
    AuthPacket, CheckRequest, CreateMode, CreateOp, CreateRequest, DecodeError, DeleteRequest,
    Request, SetAclRequest, SetDataRequest, SetWatches, WatchRequest,
};
pub use response::Response;

/// Reserved transaction ids of the client protocol.
pub mod xid {
    /// A watch notification, server to client.
    pub const NOTIFICATION: i32 = -1;
    /// A ping and its reply.
    pub const PING: i32 = -2;
    /// An auth packet and its reply.
    pub const AUTH: i32 = -4;
    /// SetWatches and SetWatches2 and their reply.
    pub const SET_WATCHES: i32 = -8;
}
