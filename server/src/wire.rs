//! How frames lie in the byte streams: client framing and the peer wire.
//!
//! Only cutting and staging of bytes; the layout is drawn in `docs/FORMATS.md`.
//!
//! The client's framing is ZooKeeper's: a length and so many bytes, no checksum. The peer
//! wire is our own: after a `hello` each way come frames whose checksum binds the frame's
//! place in the stream, so that a byte changed, a frame lost, doubled or moved ends the link
//! and never becomes a message (ZooKeeper trusts TCP here).
//!
//! A length is checked before anything is done with it.

use bytes::{Buf, BufMut, Bytes};
use crc32fast::Hasher;
use thiserror::Error;

/// Why a stream cannot be read any further.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum WireError {
    /// A length outside its bounds ("Len error" in ZooKeeper's log).
    #[error("a frame of {length} bytes is outside its bounds")]
    Length {
        /// The length read.
        length: i64,
    },
    /// The frame's bytes or its place in the stream are not what the sender sent.
    #[error("frame {sequence} does not match its checksum")]
    Checksum {
        /// Its number in the stream, from 0.
        sequence: u64,
    },
}

/// What was cut: whole frames at the start of a buffer, and what is wrong or missing after.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cut {
    /// Bytes of whole, good frames.
    pub whole: usize,
    /// What the next frame needs from its first byte on, bytes; at least its header.
    pub next: Result<usize, WireError>,
}

/// How to find the frames of one direction of one connection.
pub trait Framing: Send {
    /// Finds the whole frames at the start of `bytes`. They are cut once: the next call
    /// must begin after them.
    fn cut(&mut self, bytes: &[u8]) -> Cut;
}

/// Client frames: length, payload.
#[derive(Clone, Copy, Debug)]
pub struct ClientFraming {
    /// Largest payload, bytes.
    pub bytes_max: usize,
}

/// Bytes before a client's payload.
pub const CLIENT_HEADER_BYTES: usize = 4;

impl Framing for ClientFraming {
    fn cut(&mut self, bytes: &[u8]) -> Cut {
        let mut whole = 0;
        loop {
            let rest = &bytes[whole..];
            let Some(mut header) = rest.get(..CLIENT_HEADER_BYTES) else {
                let next = Ok(CLIENT_HEADER_BYTES);
                return Cut { whole, next };
            };
            let length = i64::from(header.get_i32());
            // A frame of nothing is closed as well: it is too short for any header.
            if length <= 0 || length > self.bytes_max as i64 {
                let next = Err(WireError::Length { length });
                return Cut { whole, next };
            }
            let frame = CLIENT_HEADER_BYTES + length as usize;
            if rest.len() < frame {
                let next = Ok(frame);
                return Cut { whole, next };
            }
            whole += frame;
        }
    }
}

/// Takes the first frame of a batch that [`ClientFraming`] cut.
pub fn take_client_frame(batch: &mut Bytes) -> Option<Bytes> {
    if batch.is_empty() {
        return None;
    }
    let length = batch.get_i32();
    Some(batch.split_to(length as usize))
}

/// Appends a client frame.
pub fn put_client_frame(out: &mut Vec<u8>, payload: &[u8]) {
    let length = i32::try_from(payload.len()).expect("a reply fits its length field");
    out.put_i32(length);
    out.put_slice(payload);
}

/// Peer frames: length, checksum, payload.
#[derive(Clone, Copy, Debug)]
pub struct PeerFraming {
    /// Largest payload, bytes.
    pub bytes_max: usize,
    /// Frames cut so far.
    pub sequence: u64,
}

/// Bytes before a peer's payload.
pub const PEER_HEADER_BYTES: usize = 8;

impl Framing for PeerFraming {
    fn cut(&mut self, bytes: &[u8]) -> Cut {
        let mut whole = 0;
        loop {
            let rest = &bytes[whole..];
            let Some(mut header) = rest.get(..PEER_HEADER_BYTES) else {
                let next = Ok(PEER_HEADER_BYTES);
                return Cut { whole, next };
            };
            let (length, crc) = (header.get_u32() as usize, header.get_u32());
            if length > self.bytes_max {
                let length = length as i64;
                let next = Err(WireError::Length { length });
                return Cut { whole, next };
            }
            let frame = PEER_HEADER_BYTES + length;
            let Some(payload) = rest.get(PEER_HEADER_BYTES..frame) else {
                let next = Ok(frame);
                return Cut { whole, next };
            };
            if peer_checksum(self.sequence, payload) != crc {
                let sequence = self.sequence;
                let next = Err(WireError::Checksum { sequence });
                return Cut { whole, next };
            }
            self.sequence += 1;
            whole += frame;
        }
    }
}

/// Takes the first message of a batch that [`PeerFraming`] cut.
pub fn take_peer_frame(batch: &mut Bytes) -> Option<Bytes> {
    if batch.is_empty() {
        return None;
    }
    let length = batch.get_u32();
    batch.advance(PEER_HEADER_BYTES - 4);
    Some(batch.split_to(length as usize))
}

/// Appends the peer frame with this number of its stream.
pub fn put_peer_frame(out: &mut Vec<u8>, sequence: u64, payload: &[u8]) {
    let length = u32::try_from(payload.len()).expect("a message fits its length field");
    out.put_u32(length);
    out.put_u32(peer_checksum(sequence, payload));
    out.put_slice(payload);
}

fn peer_checksum(sequence: u64, payload: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&sequence.to_be_bytes());
    hasher.update(&(payload.len() as u32).to_be_bytes());
    hasher.update(payload);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(bytes: &[u8]) -> Cut {
        ClientFraming { bytes_max: 10 }.cut(bytes)
    }

    fn peer(bytes: &[u8]) -> Cut {
        let (bytes_max, sequence) = (10, 0);
        PeerFraming {
            bytes_max,
            sequence,
        }
        .cut(bytes)
    }

    fn too_long(length: i64) -> Result<usize, WireError> {
        Err(WireError::Length { length })
    }

    #[test]
    fn client_length_is_checked_as_zookeeper_does() {
        for (length, expected) in [
            (1, Ok(5)),
            (10, Ok(14)),
            (11, too_long(11)),
            (0, too_long(0)),
            (-1, too_long(-1)),
            (i32::MIN, too_long(i64::from(i32::MIN))),
            (i32::from_be_bytes(*b"ruok"), too_long(0x7275_6f6b)),
        ] {
            let cut = client(&length.to_be_bytes());
            assert_eq!((cut.whole, cut.next), (0, expected), "{length}");
        }
    }

    #[test]
    fn good_frames_before_a_bad_one_are_kept() {
        let mut bytes = Vec::new();
        put_client_frame(&mut bytes, b"one");
        put_client_frame(&mut bytes, b"two");
        bytes.extend([0xff; 9]);
        let cut = client(&bytes);
        assert_eq!((cut.whole, cut.next), (14, too_long(-1)));
        let mut batch = Bytes::copy_from_slice(&bytes[..cut.whole]);
        assert_eq!(take_client_frame(&mut batch).as_deref(), Some(&b"one"[..]));
        assert_eq!(take_client_frame(&mut batch).as_deref(), Some(&b"two"[..]));
        assert_eq!(take_client_frame(&mut batch), None);
    }

    #[test]
    fn a_stream_cut_anywhere_yields_the_same_frames() {
        let mut stream = Vec::new();
        for (sequence, said) in [&b"a"[..], b"", b"ten bytes."].iter().enumerate() {
            put_peer_frame(&mut stream, sequence as u64, said);
        }
        for at in 0..=stream.len() {
            let (bytes_max, sequence) = (10, 0);
            let mut framing = PeerFraming {
                bytes_max,
                sequence,
            };
            let first = framing.cut(&stream[..at]);
            let second = framing.cut(&stream[first.whole..]);
            assert_eq!(first.whole + second.whole, stream.len(), "cut at {at}");
            let missing = first.next.expect("nothing is wrong");
            assert!(
                missing > at - first.whole,
                "cut at {at} needs more than it has"
            );
        }
    }

    #[test]
    fn no_changed_bit_of_a_peer_frame_passes() {
        let mut frame = Vec::new();
        put_peer_frame(&mut frame, 0, b"message");
        put_peer_frame(&mut frame, 1, b"x");
        let first = frame.len() - PEER_HEADER_BYTES - 1;
        for bit in 0..first * 8 {
            let mut changed = frame.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(peer(&changed).whole, 0, "bit {bit}");
        }
    }

    #[test]
    fn lost_repeated_and_swapped_frames_are_noticed() {
        let said = [&b"same"[..], b"same", b"same"];
        let frames: Vec<Vec<u8>> = said
            .iter()
            .zip(0..)
            .map(|(said, n)| {
                let mut frame = Vec::new();
                put_peer_frame(&mut frame, n, said);
                frame
            })
            .collect();
        for (order, good) in [
            ([0, 1, 2], 3),
            ([0, 2, 1], 1),
            ([0, 0, 1], 1),
            ([1, 2, 0], 0),
        ] {
            let stream: Vec<u8> = order.iter().flat_map(|&n| frames[n].clone()).collect();
            assert_eq!(peer(&stream).whole, good * frames[0].len(), "{order:?}");
        }
    }
}
