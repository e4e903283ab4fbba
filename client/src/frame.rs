//! Cutting a byte stream into frames: four bytes of length, then so many bytes.
//!
//! Not a codec: what a frame means is the session's business. The counterpart of the server's
//! cutter; answers to `protocol.md` section 2.

use crate::limits::REPLY_BYTES_MAX;
use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;

/// A length that no server sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("frame length {0} is outside 0..={REPLY_BYTES_MAX}")]
pub struct BadLength(pub i32);

/// Bytes in, whole frames out.
#[derive(Debug, Default)]
pub struct FrameCutter {
    bytes: BytesMut,
}

impl FrameCutter {
    /// Takes what the connection gave.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole frame without its length, `None` until one is complete.
    ///
    /// # Errors
    ///
    /// A negative or absurd length: the stream is lost, drop the connection.
    pub fn cut(&mut self) -> Result<Option<Bytes>, BadLength> {
        let Some(head) = self.bytes.first_chunk::<4>() else {
            return Ok(None);
        };
        let length = i32::from_be_bytes(*head);
        let Some(want) = usize::try_from(length)
            .ok()
            .filter(|want| *want <= REPLY_BYTES_MAX)
        else {
            return Err(BadLength(length));
        };
        if self.bytes.len() - 4 < want {
            return Ok(None);
        }
        self.bytes.advance(4);
        Ok(Some(self.bytes.split_to(want).freeze()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_whole_whatever_the_chunks() {
        let stream = [0, 0, 0, 2, 7, 8, 0, 0, 0, 0, 0, 0, 0, 1, 9];
        for chunk in 1..=stream.len() {
            let mut cutter = FrameCutter::default();
            let mut frames = Vec::new();
            for part in stream.chunks(chunk) {
                cutter.feed(part);
                while let Some(frame) = cutter.cut().expect("sound lengths") {
                    frames.push(frame.to_vec());
                }
            }
            assert_eq!(frames, vec![vec![7, 8], vec![], vec![9]]);
        }
    }

    #[test]
    fn a_negative_or_absurd_length_is_an_error() {
        for bad in [-1, i32::MAX] {
            let mut cutter = FrameCutter::default();
            cutter.feed(&i32::to_be_bytes(bad));
            assert_eq!(cutter.cut(), Err(BadLength(bad)));
        }
    }
}
