//! Requests about watches that stay when they fire, as the bytes have them.
//!
//! Our own servers and clients know none yet, so `core` has no words for them; the history has.
//! What these do not decode, no server takes either: it answers an error and registers nothing.
//!
//! Answers to: `protocol.md` 5 and 12 (AddWatchRequest, RemoveWatchesRequest, SetWatches2).

use gamekeeper_checker::history::{Op, SessionEvent, WatchKind, WatchMode};
use gamekeeper_core::jute::{JuteError, Reader, Record};
use gamekeeper_core::proto::{OpCode, SetWatches};

/// The request of an addWatch or removeWatches; None if it is none.
pub fn request(code: OpCode, body: &[u8]) -> Option<Op> {
    let mut from = Reader::new(body);
    let path = from.shared().ok()?;
    let number = from.int().ok()?;
    match code {
        OpCode::AddWatch => WatchMode::of_number(number).map(|mode| Op::AddWatch { path, mode }),
        OpCode::RemoveWatches => {
            WatchKind::of_number(number).map(|watches| Op::RemoveWatches { path, watches })
        }
        _ => None,
    }
}

/// A setWatches2; None if it is none.
pub fn set_again(body: &[u8]) -> Option<SessionEvent> {
    let mut from = Reader::new(body);
    let lists = |from: &mut Reader<'_>| -> Result<_, JuteError> {
        Ok((SetWatches::read(from)?, from.strings()?, from.strings()?))
    };
    let (once, persistent, recursive) = lists(&mut from).ok()?;
    Some(SessionEvent::SetWatches {
        relative_zxid: once.relative_zxid,
        data: once.data,
        exist: once.exist,
        child: once.child,
        stays: WatchMode::join(persistent?, recursive?),
    })
}
