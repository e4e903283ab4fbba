//! Session ids and passwords.
//!
//! An id must never be given out twice, also not by a server that crashed and came back with
//! its clock behind: the caller hands in entropy that differs in every process. Passwords
//! are a function of the id that every server computes alike; nothing is stored. They equal
//! ZooKeeper's (`ZooKeeperServer.generatePasswd`) and are no secret.

use crate::base::{ServerId, SessionId};

/// Gives out session ids of one server process.
#[derive(Clone, Debug)]
pub struct SessionIds {
    server: ServerId,
    next: u64,
}

/// The 56 bits below the server's byte.
const LOW_BITS: u64 = (1 << 56) - 1;

impl SessionIds {
    /// Ids of `server`, starting where `entropy` points. All shifts are unsigned, so no bit
    /// of the entropy can spill over the server's byte (ZOOKEEPER-1622).
    pub fn new(server: ServerId, entropy: u64) -> SessionIds {
        SessionIds {
            server,
            next: entropy & LOW_BITS,
        }
    }

    /// The next id that `taken` does not know. Never 0 nor `i64::MIN`.
    pub fn next(&mut self, taken: impl Fn(SessionId) -> bool) -> SessionId {
        loop {
            let id = SessionId(((u64::from(self.server.0) << 56) | self.next) as i64);
            self.next = self.next.wrapping_add(1) & LOW_BITS;
            if id != SessionId::NONE && id.0 != i64::MIN && !taken(id) {
                return id;
            }
        }
    }
}

/// What `java.util.Random` seeded with the id yields.
pub fn password(session: SessionId) -> [u8; 16] {
    const MULTIPLIER: u64 = 0x5_DEEC_E66D;
    const MASK: u64 = (1 << 48) - 1;
    let seed = session.0 ^ 0xB341_5C00;
    let mut state = (seed as u64 ^ MULTIPLIER) & MASK;
    let mut bytes = [0; 16];
    for word in bytes.chunks_exact_mut(4) {
        state = (state.wrapping_mul(MULTIPLIER).wrapping_add(0xB)) & MASK;
        word.copy_from_slice(&((state >> 16) as u32).to_le_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_carry_the_server_and_skip_what_is_taken() {
        let mut ids = SessionIds::new(ServerId(200), u64::MAX);
        let first = ids.next(|_| false);
        assert_eq!(first.0 as u64 >> 56, 200);
        let second = ids.next(|_| false);
        assert_eq!(
            second.0 as u64,
            200 << 56,
            "the counter wraps below the server's byte"
        );
        let mut again = SessionIds::new(ServerId(200), u64::MAX);
        assert_eq!(again.next(|id| id == first), second);
    }

    #[test]
    fn no_server_gives_out_the_reserved_ids() {
        let mut ids = SessionIds::new(ServerId(128), 0);
        assert_ne!(ids.next(|_| false).0, i64::MIN);
    }

    /// `new java.util.Random(0L).nextInt()` is -1155484576, a value its documentation's
    /// algorithm yields; the id that seeds with 0 is the constant itself.
    #[test]
    fn the_password_is_what_java_util_random_yields() {
        let bytes = password(SessionId(0xB341_5C00));
        assert_eq!(bytes[..4], (-1_155_484_576_i32).to_le_bytes());
        assert_eq!(bytes[4..8], (-723_955_400_i32).to_le_bytes());
    }
}
