//! `Agreement`: nobody delivers another transaction at a zxid than anybody else.

use super::ledger::Ledger;
use super::{Breach, Invariant, Witness};
use gamekeeper_core::base::Zxid;

/// See the module's head.
#[derive(Debug, Default)]
pub struct Agreement {
    delivered: Ledger<(u32, Witness)>,
}

impl Agreement {
    /// How many distinct transactions were delivered.
    pub fn commits(&self) -> u64 {
        self.delivered.count()
    }
}

impl Invariant for Agreement {
    fn delivered(&mut self, by: Witness, zxid: Zxid, hash: u32) -> Result<(), Breach> {
        let (first_hash, first) = *self.delivered.first(zxid, (hash, by));
        if first_hash == hash {
            return Ok(());
        }
        Err(Breach::new(
            "Agreement",
            vec![
                format!("{first} delivered {zxid:?} with content {first_hash:08x}"),
                format!("{by} delivered {zxid:?} with content {hash:08x}"),
            ],
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::super::story::{delivered, tell, z};
    use super::*;

    #[test]
    fn two_contents_of_one_zxid_are_a_breach() {
        let story = [
            (1, 1, delivered(z(1, 1), 7)),
            (2, 1, delivered(z(1, 1), 7)),
            (3, 1, delivered(z(1, 1), 8)),
        ];
        let mut page = Agreement::default();
        assert!(tell(&mut page, &story).is_err());
        assert_eq!(page.commits(), 1);
    }
}
