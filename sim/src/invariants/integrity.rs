//! `Integrity`: what is delivered was proposed, by a leader, with the same content.

use super::ledger::Ledger;
use super::{Breach, Invariant, Witness};
use gamekeeper_core::base::Zxid;
use std::collections::BTreeSet;

/// See the module's head.
#[derive(Debug, Default)]
pub struct Integrity {
    /// Two leaders may propose different things at one zxid (an epoch begun twice); which of
    /// them is right is another page's matter.
    /// The content first proposed at each zxid.
    proposed: Ledger<u32>,
    /// What was proposed at a zxid that had another content already: the pages of order
    /// convict that, not this one.
    again: BTreeSet<(Zxid, u32)>,
}

impl Invariant for Integrity {
    fn proposed(&mut self, _: Witness, zxid: Zxid, hash: u32) -> Result<(), Breach> {
        if *self.proposed.first(zxid, hash) != hash {
            self.again.insert((zxid, hash));
        }
        Ok(())
    }

    fn delivered(&mut self, by: Witness, zxid: Zxid, hash: u32) -> Result<(), Breach> {
        if self.proposed.get(zxid) == Some(&hash) || self.again.contains(&(zxid, hash)) {
            return Ok(());
        }
        Err(Breach::new(
            "Integrity",
            vec![format!(
                "{by} delivered {zxid:?} with content {hash:08x}, which nobody proposed"
            )],
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::super::story::{delivered, proposed, tell, z};
    use super::*;

    #[test]
    fn delivery_of_what_nobody_proposed_is_a_breach() {
        let invented = [(1, 1, delivered(z(1, 1), 7))];
        assert!(tell(&mut Integrity::default(), &invented).is_err());
        let changed = [(1, 1, proposed(z(1, 1), 7)), (2, 1, delivered(z(1, 1), 8))];
        assert!(tell(&mut Integrity::default(), &changed).is_err());
        let sound = [(1, 1, proposed(z(1, 1), 7)), (2, 1, delivered(z(1, 1), 7))];
        assert_eq!(tell(&mut Integrity::default(), &sound), Ok(()));
    }
}
