//! A walk through an ordered map as it was when the walk began, in steps, while the map
//! goes on changing.
//!
//! The map's owner calls [`Walk::before_write`] before it changes, adds or removes a key;
//! the walk keeps what was there, unless it has passed the key already or kept it before.
//! [`Walk::step`] merges what is live with what was kept. Nothing is copied when the walk
//! begins, and what it keeps is bounded by the keys written meanwhile.
//!
//! What always holds: the keys and values visited are exactly those of the map at the
//! moment of [`Walk::new`], ascending, each once.

use std::collections::BTreeMap;
use std::ops::Bound;

/// A position, and the past of everything behind it that has changed since.
#[derive(Clone, Debug)]
pub struct Walk<K, I> {
    passed: Option<K>,
    /// The past of keys not passed yet; `None`: the key was not there.
    saved: BTreeMap<K, Option<I>>,
    done: bool,
}

/// What stood at a key when the walk began.
#[derive(Debug)]
pub enum Seen<'a, V, I> {
    /// What still stands there.
    Live(&'a V),
    /// What stood there then.
    Saved(I),
    /// Nothing; the key came later.
    Absent,
}

impl<K: Ord + Clone, I> Walk<K, I> {
    /// A walk through the map as it is now.
    pub fn new() -> Walk<K, I> {
        Walk {
            passed: None,
            saved: BTreeMap::new(),
            done: false,
        }
    }

    /// Must be called before the map changes at `key`; `image` is what stands there now.
    pub fn before_write(&mut self, key: &K, image: impl FnOnce() -> Option<I>) {
        let passed = self.done || self.passed.as_ref().is_some_and(|p| key <= p);
        if !passed && !self.saved.contains_key(key) {
            self.saved.insert(key.clone(), image());
        }
    }

    /// Visits key by key until `visit` says false (the key it was shown counts as visited)
    /// or the map is at its end. True at the end.
    pub fn step<V>(
        &mut self,
        live: &BTreeMap<K, V>,
        mut visit: impl FnMut(&K, Seen<'_, V, I>) -> bool,
    ) -> bool {
        let from = match &self.passed {
            None => Bound::Unbounded,
            Some(key) => Bound::Excluded(key.clone()),
        };
        let mut alive = live.range((from, Bound::Unbounded)).peekable();
        while !self.done {
            let next_saved = self.saved.first_key_value().map(|(key, _)| key);
            let saved_first = match (next_saved, alive.peek()) {
                (None, None) => {
                    self.done = true;
                    break;
                }
                (Some(saved), Some((live, _))) => saved <= *live,
                (Some(_), None) => true,
                (None, Some(_)) => false,
            };
            let go_on = if saved_first {
                let (key, image) = self.saved.pop_first().expect("just seen");
                alive.next_if(|(live, _)| **live == key);
                let go_on = visit(&key, image.map_or(Seen::Absent, Seen::Saved));
                self.passed = Some(key);
                go_on
            } else {
                let (key, value) = alive.next().expect("just seen");
                let go_on = visit(key, Seen::Live(value));
                self.passed = Some(key.clone());
                go_on
            };
            if !go_on {
                break;
            }
        }
        self.done
    }
}

impl<K: Ord + Clone, I> Default for Walk<K, I> {
    fn default() -> Self {
        Walk::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Writes and steps in any order; the walk sees the map of its beginning.
        #[test]
        fn a_walk_sees_the_past(
            start in prop::collection::btree_map(0u8..40, any::<u16>(), 0..30),
            script in prop::collection::vec((0u8..44, prop::option::of(any::<u16>()), 0usize..3), 0..60),
        ) {
            let mut map = start.clone();
            let mut walk = Walk::new();
            let mut seen = Vec::new();
            let mut visit_some = |walk: &mut Walk<u8, u16>, map: &BTreeMap<u8, u16>, mut n: usize| {
                while n > 0 {
                    n -= 1;
                    walk.step(map, |key, what| {
                        match what {
                            Seen::Live(v) => seen.push((*key, *v)),
                            Seen::Saved(v) => seen.push((*key, v)),
                            Seen::Absent => {}
                        }
                        false
                    });
                }
            };
            for (key, write, steps) in script {
                walk.before_write(&key, || map.get(&key).copied());
                match write {
                    Some(v) => { map.insert(key, v); }
                    None => { map.remove(&key); }
                }
                visit_some(&mut walk, &map, steps);
            }
            visit_some(&mut walk, &map, 200);
            prop_assert!(walk.step(&map, |_, _| true));
            prop_assert!(walk.saved.is_empty());
            prop_assert_eq!(seen, start.into_iter().collect::<Vec<_>>());
        }
    }
}
