//! The first thing either side of a peer connection says: who it is, whom it wants, what for.
//!
//! Meant against mistakes (a wrong address in a file, another ensemble on the same ports,
//! two versions) and not against attackers; the layout is drawn in `docs/FORMATS.md`.

use bytes::{Buf, BufMut};
use gamekeeper_core::base::ServerId;
use gamekeeper_core::zab::LinkKind;
use thiserror::Error;

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

    /// Checks the hello of a server that dialled `me`, who is in the same configuration as
    /// those for whom `known` is true.
    pub fn check_dialled(
        &self,
        cluster_id: u64,
        me: ServerId,
        known: impl FnOnce(ServerId) -> bool,
    ) -> Result<(), HelloError> {
        if !self.dialled {
            Err(HelloError::Side)
        } else if self.cluster_id != cluster_id {
            Err(HelloError::Cluster {
                theirs: self.cluster_id,
                ours: cluster_id,
            })
        } else if self.to != me {
            Err(HelloError::Addressee { to: self.to, me })
        } else if self.from == me || !known(self.from) {
            Err(HelloError::Stranger(self.from))
        } else {
            Ok(())
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    const ME: ServerId = ServerId(2);

    fn hello() -> Hello {
        Hello {
            dialled: true,
            cluster_id: 7,
            from: ServerId(1),
            to: ME,
            kind: LinkKind::Learner,
        }
    }

    #[test]
    fn hello_survives_its_bytes_and_no_changed_bit_does() {
        let bytes = hello().encode();
        assert_eq!(Hello::decode(&bytes), Ok(hello()));
        for bit in 0..HELLO_BYTES * 8 {
            let mut changed = bytes;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(Hello::decode(&changed).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn stranger_is_called_a_stranger_before_its_checksum_is_looked_at() {
        assert_eq!(
            Hello::decode(b"GET / HTTP/1.1\r\nHost: zk"),
            Err(HelloError::Magic)
        );
        let mut later = hello().encode();
        later[5] = 2;
        assert_eq!(Hello::decode(&later), Err(HelloError::Version(2)));
    }

    #[test]
    fn only_a_known_server_that_wants_this_one_is_let_in() {
        let check = |hello: Hello| hello.check_dialled(7, ME, |from| from.0 <= 3);
        let (theirs, ours) = (8, 7);
        let (to, me) = (ServerId(3), ME);
        for (said, expected) in [
            (hello(), Ok(())),
            (hello().answer(), Err(HelloError::Side)),
            (
                Hello {
                    cluster_id: 8,
                    ..hello()
                },
                Err(HelloError::Cluster { theirs, ours }),
            ),
            (
                Hello { to, ..hello() },
                Err(HelloError::Addressee { to, me }),
            ),
            (
                Hello {
                    from: ME,
                    ..hello()
                },
                Err(HelloError::Stranger(ME)),
            ),
            (
                Hello {
                    from: ServerId(9),
                    ..hello()
                },
                Err(HelloError::Stranger(ServerId(9))),
            ),
        ] {
            assert_eq!(check(said), expected, "{said:?}");
        }
    }

    #[test]
    fn answer_must_come_from_the_one_that_was_dialled() {
        let good = hello().answer();
        let election = LinkKind::Election;
        assert_eq!(hello().check_answer(&good), Ok(()));
        for bad in [
            hello(),
            Hello {
                cluster_id: 8,
                ..good
            },
            Hello {
                from: ServerId(3),
                ..good
            },
            Hello {
                to: ServerId(3),
                ..good
            },
            Hello {
                kind: election,
                ..good
            },
        ] {
            assert!(hello().check_answer(&bad).is_err(), "{bad:?}");
        }
    }
}
