//! One znode, as the second opinion keeps it.
//!
//! What it is not: a place in the tree, which may be empty. Always true: what nobody was told
//! yet of its numbers is learnt from who is told first, and stays.
//!
//! Answers to: `protocol.md` 9.3, 9.4 and 9.5.

use super::rights::{Caller, Rights};
use crate::history::{Header, Lapse, Stat, Value};
use std::rc::Rc;

/// A number that the order does not always tell (a wall clock time, a zxid that was not
/// recorded): who sees it first says what it is, and then it stays.
pub type Learnt = Option<i64>;

/// Known, unless it is 0.
pub fn learnt(zxid: i64) -> Learnt {
    (zxid != 0).then_some(zxid)
}

#[derive(Debug, Clone, Default)]
pub struct Znode {
    pub data: Option<Value>,
    pub czxid: Learnt,
    pub mzxid: Learnt,
    pub pzxid: Learnt,
    pub ctime: Learnt,
    pub mtime: Learnt,
    pub version: i32,
    pub aversion: i32,
    pub creates: i32,
    pub children: i32,
    pub owner: i64,
    /// How it goes by the servers' own doing, if it does.
    pub lapse: Option<Lapse>,
    /// No earlier than then it was made or set last; None if that was before the history.
    pub changed: Option<u64>,
    pub rights: Rc<Rights>,
    /// `/zookeeper/config`: the server's own affair.
    pub opaque: bool,
}

impl Znode {
    /// True if a Stat that `by` was told is this node's.
    pub fn has_stat(&mut self, seen: &Stat, by: &Caller<'_>) -> bool {
        let length = self.data.as_ref().map_or(0, |data| data.bytes().len());
        let cversion = self.creates.wrapping_mul(2).wrapping_sub(self.children);
        self.opaque
            || by.zxid == 0 && *seen == Stat::default()
            || *seen
                == Stat {
                    czxid: *self.czxid.get_or_insert(seen.czxid),
                    mzxid: *self.mzxid.get_or_insert(seen.mzxid),
                    pzxid: *self.pzxid.get_or_insert(seen.pzxid),
                    ctime: *self.ctime.get_or_insert(seen.ctime),
                    mtime: *self.mtime.get_or_insert(seen.mtime),
                    version: self.version,
                    aversion: self.aversion,
                    cversion,
                    num_children: self.children,
                    data_length: length as i32,
                    ephemeral_owner: self.shown_owner(seen.ephemeral_owner),
                }
    }

    /// Of a node that goes by itself servers show no owner, or the number that stands for how.
    fn shown_owner(&self, seen: i64) -> i64 {
        let kind = match self.lapse {
            None => self.owner,
            Some(Lapse::Container) => i64::MIN,
            Some(Lapse::Ttl(ms)) => -(1 << 56) | ms as i64,
        };
        match seen == kind {
            true => kind,
            false => self.owner,
        }
    }

    /// The earliest time at which the servers may remove it by themselves.
    ///
    /// # Errors
    /// Why they may not, ever.
    pub fn lapses_from(&self, header: &Header) -> Result<u64, &'static str> {
        let kind = self.lapse.ok_or("it does not go by itself")?;
        if self.children > 0 {
            return Err("it has children");
        }
        let ms = match kind {
            Lapse::Ttl(ms) => ms,
            Lapse::Container if self.creates > 0 => return Ok(0),
            Lapse::Container if header.container_unused_ms > 0 => header.container_unused_ms,
            Lapse::Container => return Err("it never had a child"),
        };
        // Where their clock runs fast, so many nanoseconds of each of its milliseconds are missing.
        let ns_each = 1_000_000 - header.clock_drift_ppm.min(1_000_000);
        let wait = ms.saturating_mul(ns_each);
        Ok(self
            .changed
            .map_or(0, |changed| changed.saturating_add(wait)))
    }
}
