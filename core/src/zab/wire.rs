//! The bytes of [`Message`]: own layout, versioned by the link's hello, safe against hostile
//! bytes. Framing and checksum are the shell's.
//!
//! One byte of kind, then the fields big-endian; flags and states one byte each; lists with
//! a 4-byte count; payloads last, without a length. Payloads share the frame's memory.

use super::message::{Formation, Message, PeerState, Vote};
use crate::base::limits::HISTORY_EPOCHS_MAX;
use crate::base::{Epoch, ServerId, Zxid};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use thiserror::Error;

/// Why bytes are not a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum WireError {
    /// The bytes end inside a field.
    #[error("peer message ends inside a field")]
    Short,
    /// No such kind.
    #[error("peer message of unknown kind {0}")]
    Kind(u8),
    /// A state, flag or count that means nothing.
    #[error("peer message with a bad value {0}")]
    Value(u32),
}

/// Most epochs a history may list on the wire: one more than is planned with, so that the
/// leader can see that there were too many.
const HISTORY_WIRE_MAX: u32 = HISTORY_EPOCHS_MAX as u32 + 1;

/// The bytes of a message.
pub fn encode(message: &Message) -> Bytes {
    let mut b = BytesMut::with_capacity(bytes_of(message));
    match message {
        Message::Notification {
            state,
            vote,
            round,
            formation,
        } => {
            b.put_u8(1);
            b.put_u8(match state {
                PeerState::Looking => 0,
                PeerState::Following => 1,
                PeerState::Leading => 2,
                PeerState::Observing => 3,
            });
            b.put_u8(match formation {
                Formation::Empty => 0,
                Formation::Founding => 1,
                Formation::Formed => 2,
            });
            b.put_u64(*round);
            b.put_u8(u8::from(vote.is_some()));
            if let Some(vote) = vote {
                b.put_u8(vote.leader.0);
                b.put_u64(vote.zxid.0);
                b.put_u32(vote.epoch.0);
            }
        }
        Message::LearnerInfo {
            accepted,
            voting,
            needs_snapshot,
            amnesiac,
        } => {
            b.put_u8(2);
            b.put_u32(accepted.0);
            b.put_u8(u8::from(*voting));
            b.put_u8(u8::from(*needs_snapshot));
            b.put_u8(u8::from(*amnesiac));
        }
        Message::LeaderInfo { epoch } => {
            b.put_u8(3);
            b.put_u32(epoch.0);
        }
        Message::AckEpoch {
            promised,
            current,
            history,
        } => {
            b.put_u8(4);
            b.put_u8(u8::from(*promised));
            b.put_u32(current.0);
            let listed = history.len().min(HISTORY_WIRE_MAX as usize);
            b.put_u32(listed as u32);
            for zxid in &history[history.len() - listed..] {
                b.put_u64(zxid.0);
            }
        }
        Message::Diff { from } => put_zxid(&mut b, 5, *from),
        Message::Trunc { after } => put_zxid(&mut b, 6, *after),
        Message::SnapBegin { zxid } => put_zxid(&mut b, 7, *zxid),
        Message::SnapChunk(chunk) => {
            b.put_u8(8);
            b.put_slice(chunk);
        }
        Message::SnapAck { chunks } => {
            b.put_u8(9);
            b.put_u32(*chunks);
        }
        Message::SnapEnd { crc } => {
            b.put_u8(10);
            b.put_u32(*crc);
        }
        Message::Propose { zxid, payload } => {
            put_zxid(&mut b, 11, *zxid);
            b.put_slice(payload);
        }
        Message::NewLeader { epoch } => {
            b.put_u8(12);
            b.put_u32(epoch.0);
        }
        Message::AckNewLeader { epoch } => {
            b.put_u8(13);
            b.put_u32(epoch.0);
        }
        Message::UpToDate {
            committed,
            restore_vote,
        } => {
            put_zxid(&mut b, 14, *committed);
            b.put_u8(u8::from(*restore_vote));
        }
        Message::Ack { zxid } => put_zxid(&mut b, 15, *zxid),
        Message::Commit { zxid } => put_zxid(&mut b, 16, *zxid),
        Message::Inform { zxid, payload } => {
            put_zxid(&mut b, 17, *zxid);
            b.put_slice(payload);
        }
        Message::Ping { round } => {
            b.put_u8(18);
            b.put_u64(*round);
        }
        Message::Pong { round } => {
            b.put_u8(19);
            b.put_u64(*round);
        }
        Message::App(bytes) => {
            b.put_u8(20);
            b.put_slice(bytes);
        }
    }
    debug_assert_eq!(b.len(), bytes_of(message), "{message:?}");
    b.freeze()
}

/// How many bytes a message takes. A buffer that is filled to the last byte becomes
/// [`Bytes`] as it is; one with room left would cost an allocation more.
fn bytes_of(message: &Message) -> usize {
    const ZXID: usize = 1 + 8;
    const EPOCH: usize = 1 + 4;
    match message {
        Message::Notification { vote, .. } => 12 + if vote.is_some() { 13 } else { 0 },
        Message::LearnerInfo { .. } => EPOCH + 3,
        Message::AckEpoch { history, .. } => {
            EPOCH + 5 + 8 * history.len().min(HISTORY_WIRE_MAX as usize)
        }
        Message::LeaderInfo { .. }
        | Message::NewLeader { .. }
        | Message::AckNewLeader { .. }
        | Message::SnapAck { .. }
        | Message::SnapEnd { .. } => EPOCH,
        Message::Diff { .. }
        | Message::Trunc { .. }
        | Message::SnapBegin { .. }
        | Message::Ack { .. }
        | Message::Commit { .. }
        | Message::Ping { .. }
        | Message::Pong { .. } => ZXID,
        Message::UpToDate { .. } => ZXID + 1,
        Message::Propose { payload, .. } | Message::Inform { payload, .. } => ZXID + payload.len(),
        Message::SnapChunk(bytes) | Message::App(bytes) => 1 + bytes.len(),
    }
}

fn put_zxid(b: &mut BytesMut, kind: u8, zxid: Zxid) {
    b.put_u8(kind);
    b.put_u64(zxid.0);
}

/// Reads what [`encode`] wrote.
///
/// # Errors
/// [`WireError`] for anything else, whatever it is.
pub fn decode(bytes: &Bytes) -> Result<Message, WireError> {
    let mut b = bytes.clone();
    Ok(match u8_of(&mut b)? {
        1 => notification(&mut b)?,
        2 => Message::LearnerInfo {
            accepted: Epoch(u32_of(&mut b)?),
            voting: flag(&mut b)?,
            needs_snapshot: flag(&mut b)?,
            amnesiac: flag(&mut b)?,
        },
        3 => Message::LeaderInfo {
            epoch: Epoch(u32_of(&mut b)?),
        },
        4 => ack_epoch(&mut b)?,
        5 => Message::Diff {
            from: zxid_of(&mut b)?,
        },
        6 => Message::Trunc {
            after: zxid_of(&mut b)?,
        },
        7 => Message::SnapBegin {
            zxid: zxid_of(&mut b)?,
        },
        8 => Message::SnapChunk(b),
        9 => Message::SnapAck {
            chunks: u32_of(&mut b)?,
        },
        10 => Message::SnapEnd {
            crc: u32_of(&mut b)?,
        },
        11 => Message::Propose {
            zxid: zxid_of(&mut b)?,
            payload: b,
        },
        12 => Message::NewLeader {
            epoch: Epoch(u32_of(&mut b)?),
        },
        13 => Message::AckNewLeader {
            epoch: Epoch(u32_of(&mut b)?),
        },
        14 => Message::UpToDate {
            committed: zxid_of(&mut b)?,
            restore_vote: flag(&mut b)?,
        },
        15 => Message::Ack {
            zxid: zxid_of(&mut b)?,
        },
        16 => Message::Commit {
            zxid: zxid_of(&mut b)?,
        },
        17 => Message::Inform {
            zxid: zxid_of(&mut b)?,
            payload: b,
        },
        18 => Message::Ping {
            round: u64_of(&mut b)?,
        },
        19 => Message::Pong {
            round: u64_of(&mut b)?,
        },
        20 => Message::App(b),
        kind => return Err(WireError::Kind(kind)),
    })
}

fn notification(b: &mut Bytes) -> Result<Message, WireError> {
    let state = match u8_of(b)? {
        0 => PeerState::Looking,
        1 => PeerState::Following,
        2 => PeerState::Leading,
        3 => PeerState::Observing,
        other => return Err(WireError::Value(u32::from(other))),
    };
    let formation = match u8_of(b)? {
        0 => Formation::Empty,
        1 => Formation::Founding,
        2 => Formation::Formed,
        other => return Err(WireError::Value(u32::from(other))),
    };
    let round = u64_of(b)?;
    let vote = if flag(b)? {
        Some(Vote {
            leader: ServerId(u8_of(b)?),
            zxid: zxid_of(b)?,
            epoch: Epoch(u32_of(b)?),
        })
    } else {
        None
    };
    Ok(Message::Notification {
        state,
        vote,
        round,
        formation,
    })
}

fn ack_epoch(b: &mut Bytes) -> Result<Message, WireError> {
    let promised = flag(b)?;
    let current = Epoch(u32_of(b)?);
    let listed = u32_of(b)?;
    if listed > HISTORY_WIRE_MAX {
        return Err(WireError::Value(listed));
    }
    let history = (0..listed).map(|_| zxid_of(b)).collect::<Result<_, _>>()?;
    Ok(Message::AckEpoch {
        promised,
        current,
        history,
    })
}

fn u8_of(b: &mut Bytes) -> Result<u8, WireError> {
    b.try_get_u8().map_err(|_| WireError::Short)
}

fn u32_of(b: &mut Bytes) -> Result<u32, WireError> {
    b.try_get_u32().map_err(|_| WireError::Short)
}

fn u64_of(b: &mut Bytes) -> Result<u64, WireError> {
    b.try_get_u64().map_err(|_| WireError::Short)
}

fn zxid_of(b: &mut Bytes) -> Result<Zxid, WireError> {
    u64_of(b).map(Zxid)
}

fn flag(b: &mut Bytes) -> Result<bool, WireError> {
    match u8_of(b)? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(WireError::Value(u32::from(other))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message() -> impl Strategy<Value = Message> {
        let zxid = any::<u64>().prop_map(Zxid);
        let bytes = prop::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from);
        let vote = (any::<u8>(), any::<u64>(), any::<u32>()).prop_map(|(l, z, e)| Vote {
            leader: ServerId(l),
            zxid: Zxid(z),
            epoch: Epoch(e),
        });
        let state = prop_oneof![
            Just(PeerState::Looking),
            Just(PeerState::Following),
            Just(PeerState::Leading),
            Just(PeerState::Observing)
        ];
        let formation = prop_oneof![
            Just(Formation::Empty),
            Just(Formation::Founding),
            Just(Formation::Formed)
        ];
        prop_oneof![
            (state, prop::option::of(vote), any::<u64>(), formation).prop_map(
                |(state, vote, round, formation)| Message::Notification {
                    state,
                    vote,
                    round,
                    formation
                }
            ),
            (any::<u32>(), any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
                |(e, voting, needs_snapshot, amnesiac)| Message::LearnerInfo {
                    accepted: Epoch(e),
                    voting,
                    needs_snapshot,
                    amnesiac
                }
            ),
            (
                any::<bool>(),
                any::<u32>(),
                prop::collection::vec(zxid.clone(), 0..9)
            )
                .prop_map(|(promised, current, history)| Message::AckEpoch {
                    promised,
                    current: Epoch(current),
                    history
                }),
            (zxid.clone(), bytes.clone())
                .prop_map(|(zxid, payload)| Message::Propose { zxid, payload }),
            (zxid.clone(), bytes.clone())
                .prop_map(|(zxid, payload)| Message::Inform { zxid, payload }),
            (zxid.clone(), any::<bool>()).prop_map(|(committed, restore_vote)| {
                Message::UpToDate {
                    committed,
                    restore_vote,
                }
            }),
            zxid.clone().prop_map(|zxid| Message::Commit { zxid }),
            zxid.clone().prop_map(|zxid| Message::Ack { zxid }),
            zxid.clone().prop_map(|zxid| Message::SnapBegin { zxid }),
            zxid.clone().prop_map(|after| Message::Trunc { after }),
            zxid.prop_map(|from| Message::Diff { from }),
            bytes.clone().prop_map(Message::SnapChunk),
            bytes.prop_map(Message::App),
            any::<u32>().prop_map(|crc| Message::SnapEnd { crc }),
            any::<u32>().prop_map(|chunks| Message::SnapAck { chunks }),
            any::<u32>().prop_map(|e| Message::LeaderInfo { epoch: Epoch(e) }),
            any::<u32>().prop_map(|e| Message::NewLeader { epoch: Epoch(e) }),
            any::<u32>().prop_map(|e| Message::AckNewLeader { epoch: Epoch(e) }),
            any::<u64>().prop_map(|round| Message::Ping { round }),
            any::<u64>().prop_map(|round| Message::Pong { round }),
        ]
    }

    proptest! {
        #[test]
        fn what_was_written_reads_back(message in message()) {
            prop_assert_eq!(decode(&encode(&message)), Ok(message));
        }

        #[test]
        fn hostile_bytes_are_an_error_or_a_message_never_a_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..80)
        ) {
            let _ = decode(&Bytes::from(bytes));
        }
    }
}
