//! How frames lie in the byte streams: client framing and the peer wire.
//!
//! Only cutting and staging of bytes; the layout is drawn in `docs/FORMATS.md`.
//!
//! The client's framing is ZooKeeper's: a length and so many bytes, no checksum. The peer
//! wire is our own: a hello each way, then frames whose checksum binds the frame's place in
//! the stream, so that a byte changed, a frame lost, doubled or moved ends the link and
//! never becomes a message (ZooKeeper trusts TCP here).

use bytes::{Buf, BufMut, Bytes};
use crc32fast::Hasher;
use gamekeeper_core::base::ServerId;
use gamekeeper_core::zab::LinkKind;
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

/// First bytes of a peer connection.
pub const HELLO_MAGIC: u32 = u32::from_be_bytes(*b"GKPW");

/// Version of the peer wire. Servers of another do not link.
pub const PEER_WIRE_VERSION: u16 = 1;

/// Length of a hello, bytes.
pub const HELLO_BYTES: usize = 24;

/// The first thing either side of a peer connection says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hello {
    /// Said by the side that dialled; the other side answers with false.
    pub dialled: bool,
    /// The ensemble.
    pub cluster_id: u64,
    /// Who speaks.
    pub from: ServerId,
    /// To whom.
    pub to: ServerId,
    /// What the link carries.
    pub kind: LinkKind,
}

/// Why a hello was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum HelloError {
    /// Not a peer of ours: something else speaks on this port.
    #[error("it does not begin like a peer's hello")]
    Magic,
    /// The checksum is wrong.
    #[error("its hello does not match its checksum")]
    Checksum,
    /// Another version of the wire.
    #[error("it speaks version {0} of the peer wire and this server version {PEER_WIRE_VERSION}")]
    Version(u16),
    /// A kind of link this version does not know.
    #[error("it asks for a link of unknown kind {0}")]
    Kind(u8),
    /// Its checksum is right and a flag makes no sense.
    #[error("it claims the wrong end of the connection")]
    Side,
    /// A server of another ensemble.
    #[error("it belongs to cluster {theirs:#x} and this server to {ours:#x}")]
    Cluster {
        /// Theirs.
        theirs: u64,
        /// Ours.
        ours: u64,
    },
    /// The connection was meant for another server.
    #[error("it wants server {to} and this is server {me}")]
    Addressee {
        /// Whom it wants.
        to: ServerId,
        /// Who is here.
        me: ServerId,
    },
    /// Not a server of the configuration, or this server itself, or not the one dialled.
    #[error("server {0} is not expected here")]
    Stranger(ServerId),
    /// The answer is for another kind of link.
    #[error("it answers for another kind of link")]
    OtherKind,
}

impl Hello {
    /// The bytes.
    pub fn encode(&self) -> [u8; HELLO_BYTES] {
        let mut bytes = [0; HELLO_BYTES];
        let mut out = &mut bytes[..];
        out.put_u32(HELLO_MAGIC);
        out.put_u16(PEER_WIRE_VERSION);
        out.put_u8(kind_byte(self.kind));
        out.put_u8(u8::from(self.dialled));
        out.put_u8(self.from.0);
        out.put_u8(self.to.0);
        out.put_u16(0);
        out.put_u64(self.cluster_id);
        let crc = crc32fast::hash(&bytes[..HELLO_BYTES - 4]);
        bytes[HELLO_BYTES - 4..].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    /// Reads the bytes. The magic comes first, so that a stranger is called a stranger, and
    /// the version before the checksum, so that a later one is told by its name.
    pub fn decode(bytes: &[u8; HELLO_BYTES]) -> Result<Hello, HelloError> {
        let mut input = &bytes[..];
        if input.get_u32() != HELLO_MAGIC {
            return Err(HelloError::Magic);
        }
        let version = input.get_u16();
        if version != PEER_WIRE_VERSION {
            return Err(HelloError::Version(version));
        }
        let (kind, side) = (input.get_u8(), input.get_u8());
        let (from, to) = (ServerId(input.get_u8()), ServerId(input.get_u8()));
        let _reserved = input.get_u16();
        let cluster_id = input.get_u64();
        if input.get_u32() != crc32fast::hash(&bytes[..HELLO_BYTES - 4]) {
            return Err(HelloError::Checksum);
        }
        if side > 1 {
            return Err(HelloError::Side);
        }
        Ok(Hello {
            dialled: side == 1,
            cluster_id,
            from,
            to,
            kind: kind_of(kind)?,
        })
    }

    /// What the other side must say to this hello.
    pub fn answer(&self) -> Hello {
        Hello {
            dialled: false,
            cluster_id: self.cluster_id,
            from: self.to,
            to: self.from,
            kind: self.kind,
        }
    }

    /// Checks the answer to this hello.
    pub fn check_answer(&self, answer: &Hello) -> Result<(), HelloError> {
        let wanted = self.answer();
        if answer.dialled {
            Err(HelloError::Side)
        } else if answer.cluster_id != wanted.cluster_id {
            Err(HelloError::Cluster {
                theirs: answer.cluster_id,
                ours: wanted.cluster_id,
            })
        } else if answer.from != wanted.from {
            Err(HelloError::Stranger(answer.from))
        } else if answer.to != wanted.to {
            Err(HelloError::Addressee {
                to: answer.to,
                me: wanted.to,
            })
        } else if answer.kind != wanted.kind {
            Err(HelloError::OtherKind)
        } else {
            Ok(())
        }
    }
}

fn kind_byte(kind: LinkKind) -> u8 {
    match kind {
        LinkKind::Election => 1,
        LinkKind::Learner => 2,
    }
}

fn kind_of(byte: u8) -> Result<LinkKind, HelloError> {
    match byte {
        1 => Ok(LinkKind::Election),
        2 => Ok(LinkKind::Learner),
        other => Err(HelloError::Kind(other)),
    }
}
