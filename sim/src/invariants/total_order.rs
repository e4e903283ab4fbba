//! `TotalOrder`: every process delivers in zxid order, each transaction once.

use super::{Breach, Invariant, Recovery, Witness};
use gamekeeper_core::base::{ServerId, Zxid};
use std::collections::BTreeMap;

/// See the module's head.
#[derive(Debug, Default)]
pub struct TotalOrder {
    /// Of the living process of each server: its number, what its state stands for.
    last: BTreeMap<ServerId, (u32, Zxid)>,
}

impl Invariant for TotalOrder {
    fn recovered(&mut self, by: Witness, found: Recovery) -> Result<(), Breach> {
        self.last
            .insert(by.server, (by.incarnation, found.snapshot));
        Ok(())
    }

    fn snapshot_installed(&mut self, by: Witness, zxid: Zxid, _: u64) -> Result<(), Breach> {
        self.last.insert(by.server, (by.incarnation, zxid));
        Ok(())
    }

    fn delivered(&mut self, by: Witness, zxid: Zxid, _: u32) -> Result<(), Breach> {
        let last = self.last.entry(by.server).or_default();
        if last.0 == by.incarnation && zxid <= last.1 {
            return Err(Breach::new(
                "TotalOrder",
                vec![
                    format!("{by} had delivered everything up to {:?}", last.1),
                    format!("{by} delivered {zxid:?} after that"),
                ],
            ));
        }
        *last = (by.incarnation, zxid);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::story::{delivered, recovered, tell, z};
    use super::*;

    #[test]
    fn delivery_of_the_past_is_a_breach() {
        let story = [(1, 1, delivered(z(1, 2), 0)), (1, 1, delivered(z(1, 1), 0))];
        assert!(tell(&mut TotalOrder::default(), &story).is_err());
        let twice = [(1, 1, delivered(z(1, 2), 0)), (1, 1, delivered(z(1, 2), 0))];
        assert!(tell(&mut TotalOrder::default(), &twice).is_err());
    }

    #[test]
    fn snapshot_stands_for_what_it_holds() {
        let story = [
            (1, 1, recovered(z(1, 5), z(1, 9), 1)),
            (1, 1, delivered(z(1, 5), 0)),
        ];
        assert!(tell(&mut TotalOrder::default(), &story).is_err());
    }

    #[test]
    fn next_process_delivers_its_log_again() {
        let story = [
            (1, 1, delivered(z(1, 2), 0)),
            (1, 2, recovered(z(0, 0), z(1, 2), 1)),
            (1, 2, delivered(z(1, 1), 0)),
        ];
        assert_eq!(tell(&mut TotalOrder::default(), &story), Ok(()));
    }
}
