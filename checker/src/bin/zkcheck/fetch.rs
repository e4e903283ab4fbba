//! Bytes of a large file, fetched before they are asked for.
//!
//! Copying bytes out of the system's memory is work that needs nobody's attention; a thread of
//! its own does it while the others are busy with the bytes before. What always holds: the
//! bytes come in order, then the end or the error that fetching ended with, and no more than
//! [`PIECES_AHEAD`] pieces are fetched that nobody asked for.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Bytes in a piece.
const PIECE_BYTES: usize = 256 << 10;

/// Pieces that are fetched before anybody asks for them.
const PIECES_AHEAD: usize = 4;

/// What is fetched from a source on another thread.
pub struct Fetched {
    piece: Vec<u8>,
    at: usize,
    pieces: Receiver<io::Result<Vec<u8>>>,
    back: SyncSender<Vec<u8>>,
}

impl Fetched {
    /// Begins to fetch.
    pub fn of(mut source: impl Read + Send + 'static) -> Self {
        let (full, pieces) = sync_channel(PIECES_AHEAD);
        // Room for all there are: those ahead, one being filled and one being read.
        let (back, empty) = sync_channel::<Vec<u8>>(PIECES_AHEAD + 2);
        std::thread::spawn(move || {
            loop {
                let mut piece = empty.try_recv().unwrap_or_default();
                let fetched = refill(&mut source, &mut piece);
                let ended = piece.is_empty();
                // Nobody takes it if the reader has seen enough.
                let taken = ended || full.send(Ok(piece)).is_ok();
                if let Err(error) = fetched {
                    let _ = full.send(Err(error));
                    return;
                }
                if ended || !taken {
                    return;
                }
            }
        });
        Fetched {
            piece: Vec::new(),
            at: 0,
            pieces,
            back,
        }
    }
}

/// Reads a piece over what is in it, which is shorter at the end, and where an error comes.
fn refill(mut source: impl Read, piece: &mut Vec<u8>) -> io::Result<()> {
    piece.resize(PIECE_BYTES, 0);
    let mut filled = 0;
    let ended = loop {
        match source.read(&mut piece[filled..]) {
            Ok(0) => break Ok(()),
            Ok(bytes) => filled += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break Err(error),
        }
    };
    piece.truncate(filled);
    ended
}

impl Read for Fetched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.fill_buf()?.read(buffer)?;
        self.consume(bytes);
        Ok(bytes)
    }
}

impl BufRead for Fetched {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.piece.len() {
            let next = match self.pieces.recv() {
                Ok(piece) => piece?,
                Err(_) => return Ok(&[]),
            };
            let read = std::mem::replace(&mut self.piece, next);
            let _ = self.back.try_send(read);
            self.at = 0;
        }
        Ok(&self.piece[self.at..])
    }

    fn consume(&mut self, bytes: usize) {
        self.at += bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives its bytes in odd pieces, then fails if it is told to.
    struct Source {
        left: usize,
        fails: bool,
    }

    impl Read for Source {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.left == 0 && self.fails {
                return Err(io::Error::other("gone"));
            }
            let count = buffer.len().min(self.left).min(70_001);
            for byte in &mut buffer[..count] {
                *byte = (self.left % 251) as u8;
                self.left -= 1;
            }
            Ok(count)
        }
    }

    const BYTES: usize = 10 * PIECE_BYTES + 77;

    #[test]
    fn all_bytes_come_in_order_and_then_the_end_or_the_error() {
        for (left, fails) in [
            (BYTES, false),
            (BYTES, true),
            (PIECE_BYTES, true),
            (0, false),
        ] {
            let mut got = Vec::new();
            let mut fetched = Fetched::of(Source { left, fails });
            let end = fetched
                .read_to_end(&mut got)
                .map_err(|error| error.to_string());
            let wanted: Vec<u8> = (1..=left).rev().map(|at| (at % 251) as u8).collect();
            assert!(got == wanted, "{} of {left} bytes", got.len());
            assert_eq!(end, if fails { Err("gone".into()) } else { Ok(left) });
            assert!(fails || fetched.read(&mut [0]).is_ok_and(|more| more == 0));
        }
    }

    #[test]
    fn who_has_seen_enough_does_not_fetch_the_rest() {
        let mut fetched = Fetched::of(io::repeat(7));
        let mut some = [0; 100];
        assert!(fetched.read_exact(&mut some).is_ok());
        assert_eq!(some, [7; 100]);
    }
}
