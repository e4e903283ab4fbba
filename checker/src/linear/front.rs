//! A set of configurations in which none makes another needless.
//!
//! A configuration is a state and what of the operations in flight has been applied. Of an
//! answered operation that changes the state a configuration may also say *either*: it has
//! been hidden where nobody could see it, or it is still to come, whichever is needed
//! later. One configuration makes another needless if it allows all that the other allows:
//!
//! * it has applied every read that the other has (an applied read is a duty less);
//! * it stands the same, or *either*, on every answered operation that changes the state;
//! * it has used no unanswered operation that the other has not.

use super::mask::Mask;
use rustc_hash::FxHashSet;

/// No entry.
const NONE: u32 = u32::MAX;

/// How many configurations of one state a new one may make needless. A larger figure removes
/// more and costs more per removal.
const COMPARED_MAX: usize = 256;

/// How many configurations of one state may make a new one needless before only equal ones are
/// looked for: whole lists would take quadratic time.
const COVERING_MAX: usize = 1 << 12;

/// One way to have explained everything so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Configuration<K> {
    /// Number of the state.
    pub(super) state: u32,
    /// Last link of its chain.
    pub(super) chain: u32,
    /// The last step overwrote the state, and nothing has looked at it since.
    pub(super) unseen: bool,
    /// Slots that have been applied.
    pub(super) applied: K,
    /// Slots that were hidden or are still to come.
    pub(super) either: K,
}

/// What the slots in flight hold; decides which configuration allows more.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kinds<K> {
    /// Operations that change nothing.
    pub(super) reads: K,
    /// Operations that never return.
    pub(super) optional: K,
}

impl<K: Mask> Configuration<K> {
    fn alike(&self) -> Alike<K> {
        (self.state, self.unseen, self.applied, self.either)
    }

    /// Whether `other` can be forgotten beside this one.
    fn covers(&self, other: &Self, kinds: &Kinds<K>) -> bool {
        let lacks_read = other.applied.minus(self.applied).and(kinds.reads);
        let spent_more = self.applied.minus(other.applied).and(kinds.optional);
        let stands_else = (self.applied.differ(other.applied).or(other.either))
            .minus(kinds.reads.or(kinds.optional))
            .minus(self.either);
        self.state == other.state
            && (!self.unseen || other.unseen)
            && lacks_read.or(spent_more).or(stands_else).is_empty()
    }
}

/// The set. What always holds: nothing is inserted after entries were changed in place, until
/// it was cleared.
pub(super) struct Front<K> {
    entries: Vec<Configuration<K>>,
    /// Per entry: the one before it with the same state (or gone, then skipped).
    older: Vec<u32>,
    gone: Vec<bool>,
    alive: usize,
    /// Heads of the lists, by state; an entry counts only with today's stamp.
    heads: Vec<(u32, u32)>,
    stamp: u32,
    /// The states with long lists, and what is in these.
    long: FxHashSet<u32>,
    listed: FxHashSet<Alike<K>>,
    changed: bool,
    /// How many the one inserted last was compared with.
    walked: usize,
}

/// What makes two configurations equal.
type Alike<K> = (u32, bool, K, K);

impl<K: Mask> Front<K> {
    /// Nothing.
    pub(super) fn new() -> Self {
        Front {
            entries: Vec::new(),
            older: Vec::new(),
            gone: Vec::new(),
            alive: 0,
            heads: vec![(0, NONE); 64],
            stamp: 1,
            long: FxHashSet::default(),
            listed: FxHashSet::default(),
            changed: false,
            walked: 0,
        }
    }

    /// Removes everything.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.older.clear();
        self.gone.clear();
        self.alive = 0;
        self.long.clear();
        self.listed.clear();
        self.changed = false;
        self.stamp = match self.stamp.checked_add(1) {
            Some(stamp) => stamp,
            None => {
                self.heads.fill((0, NONE));
                1
            }
        };
    }

    /// How many are in the set.
    pub(super) fn len(&self) -> usize {
        self.alive
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.entries.capacity() * (std::mem::size_of::<Configuration<K>>() + 5)
            + self.heads.capacity() * 8
            + self.listed.capacity() * (std::mem::size_of::<Alike<K>>() + 1)
    }

    /// The entries, needless ones left out.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Configuration<K>> {
        self.entries
            .iter()
            .zip(&self.gone)
            .filter(|(_, gone)| !**gone)
            .map(|(entry, _)| entry)
    }

    /// As [`Front::iter`], to tell all of them apart by one more slot or one less. (That some
    /// may cover others afterwards costs time, not truth.)
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Configuration<K>> {
        self.changed = true;
        self.entries
            .iter_mut()
            .zip(&self.gone)
            .filter(|(_, gone)| !**gone)
            .map(|(entry, _)| entry)
    }

    /// The last links of all entries.
    pub(super) fn chains(&mut self) -> impl Iterator<Item = &mut u32> {
        self.entries.iter_mut().map(|entry| &mut entry.chain)
    }

    /// Entry number `at`, counting the needless, or `None` past the end.
    pub(super) fn get(&self, at: usize) -> Option<(Configuration<K>, bool)> {
        Some((*self.entries.get(at)?, self.gone[at]))
    }

    /// Sets the chain of the entry that was inserted last.
    pub(super) fn chain_last(&mut self, chain: u32) {
        self.entries
            .last_mut()
            .expect("something was inserted")
            .chain = chain;
    }

    /// How many the one inserted last, or refused, was compared with.
    pub(super) fn walked(&self) -> usize {
        self.walked
    }

    /// Adds `new` unless something covers it; says whether it was added.
    pub(super) fn insert(&mut self, new: Configuration<K>, kinds: &Kinds<K>) -> bool {
        assert!(!self.changed, "what is listed as equal may not be any more");
        let head = self.head(new.state);
        let mut at = self.heads[head].1;
        let mut compared = 0;
        self.walked = 0;
        while at != NONE {
            if self.walked == COVERING_MAX {
                if !self.list(&new, at) {
                    return false;
                }
                break;
            }
            self.walked += 1;
            let entry = at as usize;
            at = self.older[entry];
            if self.gone[entry] {
                continue;
            }
            let old = &self.entries[entry];
            if old.covers(&new, kinds) {
                return false;
            }
            if compared < COMPARED_MAX && new.covers(old, kinds) {
                self.gone[entry] = true;
                self.alive -= 1;
            }
            compared += 1;
        }
        self.older.push(self.heads[head].1);
        self.heads[head] = (self.stamp, self.entries.len() as u32);
        self.entries.push(new);
        self.gone.push(false);
        self.alive += 1;
        if self.entries.len() * 2 > self.heads.len() {
            self.grow();
        }
        true
    }

    /// Keeps `new`, whose list goes on at `rest`, among what equal ones are looked for in; false
    /// if it was there.
    fn list(&mut self, new: &Configuration<K>, rest: u32) -> bool {
        if self.long.insert(new.state) {
            let mut at = rest;
            while at != NONE {
                let entry = at as usize;
                if !self.gone[entry] {
                    self.listed.insert(self.entries[entry].alike());
                }
                at = self.older[entry];
            }
        }
        self.listed.insert(new.alike())
    }

    /// The place in the table where the list of `state` is or would begin.
    fn head(&mut self, state: u32) -> usize {
        let mask = self.heads.len() - 1;
        let mut at = (state.wrapping_mul(0x9e37_79b1) >> 7) as usize & mask;
        loop {
            let (stamp, entry) = self.heads[at];
            if stamp != self.stamp {
                self.heads[at] = (self.stamp, NONE);
                return at;
            }
            // A place taken for a state whose insertion was refused has no entry: take it.
            if entry == NONE || self.entries[entry as usize].state == state {
                return at;
            }
            at = (at + 1) & mask;
        }
    }

    fn grow(&mut self) {
        self.heads = vec![(0, NONE); self.heads.len() * 4];
        self.stamp = 1;
        for entry in 0..self.entries.len() {
            let head = self.head(self.entries[entry].state);
            self.older[entry] = self.heads[head].1;
            self.heads[head] = (self.stamp, entry as u32);
        }
    }
}
