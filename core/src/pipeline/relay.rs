//! What servers say to each other about requests: opaque bytes to Zab, on the same FIFO link
//! as proposals and commits, so that "assigned" precedes its commit and "synced" follows
//! every commit before it.
//!
//! | message | from | meaning |
//! |---|---|---|
//! | `Request` | learner | judge this write of a session of mine |
//! | `Open` | learner | create this session |
//! | `Attach` | learner | a client came to me with this session: is it alive? it is mine now |
//! | `Sync` | learner | prove that you lead |
//! | `Touch` | learner | these sessions were heard from |
//! | `Assigned` | leader | your request became this transaction |
//! | `Refused` | leader | your request was not taken: close the client's connection |
//! | `Attached` | leader | the answer to `Attach` |
//! | `Synced` | leader | I led after you asked |
//!
//! Answers to REQUEST, REVALIDATE, SYNC and the payload of PING replies (`Learner`,
//! `LearnerHandler`), but matches answers by an own number instead of (session, xid), which
//! a moved session can repeat (ZOOKEEPER-2684, CH-114401).

use crate::auth::Identities;
use crate::base::limits::IDENTITIES_MAX;
use crate::base::{SessionId, Zxid};
use crate::jute::{JuteError, Reader, Record, Writer};
use crate::proto::{Id, Request};
use bytes::Bytes;
use thiserror::Error;

/// Numbers the requests of one server process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct RequestId(pub u64);

/// One message.
#[derive(Clone, PartialEq, Debug)]
pub enum Relay {
    /// A write.
    Request {
        /// Its number at the origin.
        id: RequestId,
        /// The session it belongs to.
        session: SessionId,
        /// Its xid, for the transaction header.
        cxid: i32,
        /// The identities of the connection it came on.
        identities: Identities,
        /// The request itself.
        request: Request,
    },
    /// A new session.
    Open {
        /// Its number at the origin.
        id: RequestId,
        /// The id the origin made up.
        session: SessionId,
        /// The negotiated timeout, ms.
        timeout_ms: u32,
    },
    /// A session re-attached to the origin.
    Attach {
        /// Its number at the origin.
        id: RequestId,
        /// The session.
        session: SessionId,
    },
    /// A sync.
    Sync {
        /// Its number at the origin.
        id: RequestId,
        /// The session that asks: the leader has heard from it.
        session: SessionId,
    },
    /// Sessions heard from since the last one.
    Touch(Vec<SessionId>),
    /// The request's transaction.
    Assigned {
        /// The request.
        id: RequestId,
        /// Its place in the order.
        zxid: Zxid,
    },
    /// The session is closing, unknown or somebody else's.
    Refused {
        /// The request.
        id: RequestId,
    },
    /// The answer to an attach.
    Attached {
        /// The request.
        id: RequestId,
        /// The session's timeout, ms; `None` when it does not exist (any more).
        timeout_ms: Option<u32>,
        /// Everything proposed before the session moved: the origin serves it only from
        /// there on, so that a session sees its own earlier writes also across servers.
        fence: Zxid,
    },
    /// The sync is confirmed.
    Synced {
        /// The request.
        id: RequestId,
        /// Everything committed when the leader was asked: the origin answers once it has
        /// applied this. (It may know of the commit and still wait for its own disk.)
        upto: Zxid,
    },
}

/// Most sessions in one [`Relay::Touch`].
pub const TOUCH_MAX: usize = 4096;

/// Why bytes are not a relay.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum RelayError {
    /// The encoding is broken.
    #[error("relay message: {0}")]
    Jute(#[from] JuteError),
    /// The kind is not known.
    #[error("relay message of unknown kind {0}")]
    Kind(u8),
    /// The request inside does not decode.
    #[error("relay message with an undecodable request of type {0}")]
    Request(i32),
}

impl Relay {
    /// The bytes, for [`Relay::decode`].
    pub fn encode(&self) -> Bytes {
        let mut w = Writer::new();
        match self {
            Relay::Request {
                id,
                session,
                cxid,
                identities,
                request,
            } => {
                w.byte(1);
                w.long(id.0 as i64);
                w.long(session.0);
                w.int(*cxid);
                w.count(identities.len());
                for identity in identities.iter() {
                    identity.write(&mut w);
                }
                w.int(request.op().to_wire());
                request.encode(&mut w);
            }
            Relay::Open {
                id,
                session,
                timeout_ms,
            } => {
                w.byte(2);
                w.long(id.0 as i64);
                w.long(session.0);
                w.int(*timeout_ms as i32);
            }
            Relay::Attach { id, session } => {
                w.byte(3);
                w.long(id.0 as i64);
                w.long(session.0);
            }
            Relay::Sync { id, session } => {
                w.byte(4);
                w.long(id.0 as i64);
                w.long(session.0);
            }
            Relay::Touch(sessions) => {
                w.byte(5);
                w.int(sessions.len() as i32);
                for session in sessions {
                    w.long(session.0);
                }
            }
            Relay::Assigned { id, zxid } => {
                w.byte(6);
                w.long(id.0 as i64);
                w.long(zxid.to_wire());
            }
            Relay::Refused { id } => {
                w.byte(7);
                w.long(id.0 as i64);
            }
            Relay::Attached {
                id,
                timeout_ms,
                fence,
            } => {
                w.byte(8);
                w.long(id.0 as i64);
                w.int(timeout_ms.map_or(-1, |t| t as i32));
                w.long(fence.to_wire());
            }
            Relay::Synced { id, upto } => {
                w.byte(9);
                w.long(id.0 as i64);
                w.long(upto.to_wire());
            }
        }
        w.finish()
    }

    /// Reads what [`Relay::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Relay, RelayError> {
        let mut r = Reader::new(bytes);
        Ok(match r.byte()? {
            1 => Relay::decode_request(&mut r)?,
            2 => Relay::Open {
                id: RequestId(r.long()? as u64),
                session: SessionId(r.long()?),
                timeout_ms: r.int()?.max(0) as u32,
            },
            3 => Relay::Attach {
                id: RequestId(r.long()? as u64),
                session: SessionId(r.long()?),
            },
            4 => Relay::Sync {
                id: RequestId(r.long()? as u64),
                session: SessionId(r.long()?),
            },
            5 => {
                let n = r.int()?.clamp(0, TOUCH_MAX as i32);
                Relay::Touch(
                    (0..n)
                        .map(|_| r.long().map(SessionId))
                        .collect::<Result<_, _>>()?,
                )
            }
            6 => Relay::Assigned {
                id: RequestId(r.long()? as u64),
                zxid: Zxid::from_wire(r.long()?),
            },
            7 => Relay::Refused {
                id: RequestId(r.long()? as u64),
            },
            8 => Relay::Attached {
                id: RequestId(r.long()? as u64),
                timeout_ms: u32::try_from(r.int()?).ok(),
                fence: Zxid::from_wire(r.long()?),
            },
            9 => Relay::Synced {
                id: RequestId(r.long()? as u64),
                upto: Zxid::from_wire(r.long()?),
            },
            kind => return Err(RelayError::Kind(kind)),
        })
    }

    fn decode_request(r: &mut Reader<'_>) -> Result<Relay, RelayError> {
        let id = RequestId(r.long()? as u64);
        let session = SessionId(r.long()?);
        let cxid = r.int()?;
        let known = r.int()?.clamp(0, IDENTITIES_MAX as i32);
        let identities: Identities = (0..known)
            .map(|_| Id::read(r))
            .collect::<Result<_, JuteError>>()?;
        let op = r.int()?;
        let request = Request::decode(op, r.rest()).map_err(|_| RelayError::Request(op))?;
        Ok(Relay::Request {
            id,
            session,
            cxid,
            identities,
            request,
        })
    }
}
