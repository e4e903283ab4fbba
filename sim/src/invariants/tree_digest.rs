//! Tree digest per zxid: after the same transaction every server's tree and sessions are
//! equal, whether they came by transactions or by a snapshot.

use super::ledger::Ledger;
use super::{Breach, Invariant, Witness};
use gamekeeper_core::base::Zxid;

/// See the module's head.
#[derive(Debug, Default)]
pub struct TreeDigest {
    digests: Ledger<(u64, Witness)>,
}

impl Invariant for TreeDigest {
    fn applied(&mut self, by: Witness, zxid: Zxid, digest: u64) -> Result<(), Breach> {
        let (first_digest, first) = *self.digests.first(zxid, (digest, by));
        if first_digest == digest {
            return Ok(());
        }
        Err(Breach::new(
            "TreeDigest",
            vec![
                format!("{first} has digest {first_digest:016x} after {zxid:?}"),
                format!("{by} has digest {digest:016x} after {zxid:?}"),
            ],
        ))
    }

    fn snapshot_installed(&mut self, by: Witness, zxid: Zxid, digest: u64) -> Result<(), Breach> {
        self.applied(by, zxid, digest)
    }
}

#[cfg(test)]
mod tests {
    use super::super::story::{tell, z};
    use super::*;
    use gamekeeper_core::base::Event;

    #[test]
    fn trees_that_differ_after_the_same_transaction_are_a_breach() {
        let applied = |digest| Event::Applied {
            zxid: z(1, 1),
            digest,
        };
        let installed = Event::SnapshotInstalled {
            zxid: z(1, 1),
            digest: 6,
        };
        let story = [(1, 1, applied(5)), (2, 1, applied(5)), (3, 1, installed)];
        assert!(tell(&mut TreeDigest::default(), &story[..2]).is_ok());
        assert!(tell(&mut TreeDigest::default(), &story).is_err());
    }
}
