//! Why a request failed, told apart by what the caller may conclude.

use gamekeeper_core::proto::ErrorCode;
use thiserror::Error;

/// The end of a request that did not succeed.
///
/// | variant | did it happen? |
/// |---|---|
/// | `Server` | no: the server said so |
/// | `ConnectionLoss` | **unknown**: it was sent and the answer never came |
/// | everything else | no: it was never sent |
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum ClientError {
    /// The server refused it; nothing changed.
    #[error("the server answered {0:?}")]
    Server(ErrorCode),
    /// Sent, and the connection was lost before the answer. The client never sends it again
    /// by itself: a write may have happened (JETCD-0.8.2).
    #[error("connection lost before the answer: outcome unknown")]
    ConnectionLoss,
    /// No connection was had for a whole session timeout; never sent.
    #[error("no connection: not sent")]
    NotSent,
    /// Larger than any server accepts; never sent.
    #[error("request larger than a frame: not sent")]
    TooLarge,
    /// A ping, credential or setWatches: sessions send these themselves; not sent.
    #[error("sent by sessions themselves: not sent")]
    NotARequest,
    /// More credentials than a session may carry; never sent.
    #[error("too many credentials: not sent")]
    TooManyCredentials,
    /// The session has expired; never sent.
    #[error("the session has expired")]
    SessionExpired,
    /// The session's authentication failed; never sent.
    #[error("authentication failed")]
    AuthFailed,
    /// The session was closed by its own side; never sent.
    #[error("the session is closed")]
    Closed,
}

impl ClientError {
    /// True when the request may or may not have taken effect.
    pub fn outcome_unknown(self) -> bool {
        self == ClientError::ConnectionLoss
    }
}
