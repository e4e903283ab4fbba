//! The window: what was answered lately, put in the order of zxids.
//!
//! Answers come nearly in that order. Entries gather until there are twice as many as the
//! window holds; then they are sorted and the older half leaves. What comes later than
//! its turn is a doubt, never misplaced.
//!
//! Answers to: `consistency.md` 3.2 step 1 and "Complexity".

use super::Doubt;

/// How far a new key is carried back at once; what lies further back is sorted later.
const SIFT_MAX: usize = 32;

/// Where an entry belongs: by zxid, and at one zxid the transaction first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(u64);

/// What stands at a zxid, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rank {
    /// A transaction.
    Transaction = 0,
    /// A notification of it.
    Notification = 1,
    /// A read that saw it.
    Read = 2,
    /// The end of a connection that had seen it.
    Gone = 3,
}

impl Place {
    /// # Errors
    /// The zxid is none that fits.
    pub fn new(zxid: i64, rank: Rank) -> Result<Self, Doubt> {
        match u64::try_from(zxid) {
            Ok(zxid) if zxid < 1 << 62 => Ok(Place(zxid << 2 | rank as u64)),
            Ok(_) | Err(_) => Err(Doubt::because("a zxid that no server gives")),
        }
    }

    /// The zxid.
    pub fn zxid(self) -> i64 {
        (self.0 >> 2) as i64
    }

    /// True for a notification.
    pub fn is_notification(self) -> bool {
        self.0 & 3 == Rank::Notification as u64
    }

    /// True for a transaction.
    pub fn is_transaction(self) -> bool {
        self.0 & 3 == Rank::Transaction as u64
    }
}

/// Where an entry belongs, and where it lies.
pub type Key = (Place, u32);

/// Entries that wait for their turn.
#[derive(Clone)]
pub struct Window<E> {
    keys: Vec<Key>,
    /// Whether the keys are in order.
    sorted: bool,
    entries: Vec<Option<E>>,
    /// Where entries have left.
    free: Vec<u32>,
    last_left: Option<Place>,
    size: usize,
}

impl<E> Window<E> {
    /// A window that keeps at least `size` entries.
    pub fn new(size: usize) -> Self {
        Window {
            keys: Vec::new(),
            sorted: true,
            entries: Vec::new(),
            free: Vec::new(),
            last_left: None,
            size: size.clamp(1, u32::MAX as usize / 2),
        }
    }

    /// Adds an entry; true if it is time to let some leave.
    ///
    /// # Errors
    /// Its turn is over.
    #[inline(always)]
    pub fn push(&mut self, place: Place, entry: E) -> Result<bool, Doubt> {
        if self.last_left.is_some_and(|last| place < last) {
            return Err(Doubt::late());
        }
        let index = match self.free.pop() {
            Some(index) => {
                let place = &mut self.entries[index as usize];
                assert!(place.is_none(), "nothing lies where others have left");
                *place = Some(entry);
                index
            }
            None => {
                self.entries.push(Some(entry));
                (self.entries.len() - 1) as u32
            }
        };
        self.keys.push((place, index));
        self.sift();
        Ok(self.keys.len() >= 2 * self.size)
    }

    /// Moves the last key to where it belongs if that is near, as it nearly always is.
    fn sift(&mut self) {
        let Some((&key, before)) = self.keys.split_last() else {
            return;
        };
        let later = before.iter().rev().take(SIFT_MAX + 1);
        let later = later.take_while(|other| other.0 > key.0).count();
        if later > SIFT_MAX {
            self.sorted = false;
        } else if later > 0 {
            let (at, last) = (before.len() - later, before.len());
            self.keys.copy_within(at..last, at + 1);
            self.keys[at] = key;
        }
    }

    /// Lets the older entries leave until `keep` are left, in order; each lies where it lay
    /// until it is taken.
    ///
    /// # Errors
    /// Two transactions have one place.
    pub fn leave(&mut self, keep: usize, left: &mut Vec<Key>) -> Result<(), Doubt> {
        let count = self.keys.len().saturating_sub(keep);
        if !self.sorted {
            // Of one place, in the order in which they came.
            self.keys.sort_by_key(|(place, _)| *place);
            self.sorted = true;
        }
        for &(place, _) in &self.keys[..count] {
            if place.is_transaction() && self.last_left == Some(place) {
                return Err(Doubt::because("two requests at one zxid"));
            }
            self.last_left = Some(place);
        }
        left.extend(self.keys.drain(..count));
        Ok(())
    }

    /// An entry that has left and was not taken.
    pub fn entry_mut(&mut self, (_, index): Key) -> Option<&mut E> {
        self.entries[index as usize].as_mut()
    }

    /// Takes an entry that has left.
    #[inline(always)]
    pub fn take(&mut self, (_, index): Key) -> Option<E> {
        self.free.push(index);
        self.entries[index as usize].take()
    }

    /// True if everything up to a place has left.
    pub fn is_past(&self, place: Place) -> bool {
        self.last_left.is_some_and(|last| place < last)
    }

    /// What waits, in no order, and before it what has left and was not taken.
    pub fn entries<'a>(&'a self, left: &'a [Key]) -> impl Iterator<Item = (Place, &'a E)> {
        let keys = left.iter().chain(&self.keys);
        keys.filter_map(|&(place, index)| Some((place, self.entries[index as usize].as_ref()?)))
    }

    /// How many entries lie after a zxid.
    pub fn after(&mut self, zxid: i64) -> usize {
        let after = self.keys.iter().filter(|(place, _)| place.zxid() > zxid);
        after.count()
    }

    /// How many entries it keeps at least.
    pub fn size(&self) -> usize {
        self.size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(zxid: i64, rank: Rank) -> Place {
        Place::new(zxid, rank).unwrap()
    }

    #[test]
    fn entries_leave_in_order_and_what_comes_too_late_is_refused() {
        let mut window = Window::new(2);
        assert!(!window.push(place(7, Rank::Read), 'd').unwrap());
        assert!(!window.push(place(5, Rank::Read), 'b').unwrap());
        assert!(!window.push(place(5, Rank::Transaction), 'a').unwrap());
        assert!(window.push(place(6, Rank::Transaction), 'c').unwrap());
        let mut left = Vec::new();
        window.leave(2, &mut left).unwrap();
        assert!(window.push(place(5, Rank::Transaction), 'x').is_err());
        window.push(place(6, Rank::Read), 'e').unwrap();
        window.leave(0, &mut left).unwrap();
        assert_eq!(window.entries(&left).count(), 5);
        let left: String = left.iter().filter_map(|key| window.take(*key)).collect();
        assert_eq!(left, "abced");
    }

    #[test]
    fn two_transactions_at_one_place_are_refused() {
        let mut window = Window::new(2);
        for _ in 0..2 {
            window.push(place(5, Rank::Transaction), ()).unwrap();
        }
        assert!(window.leave(0, &mut Vec::new()).is_err());
        assert!(Place::new(-1, Rank::Read).is_err());
    }
}
