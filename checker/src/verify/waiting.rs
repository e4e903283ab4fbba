//! Requests that have no place yet, by the record that asked.
//!
//! Records come in order and most requests find their place soon, so a request is found by how
//! far its record lies behind the newest one: a short queue of numbers, and slots that are used
//! again while they are warm. What waits longer, or came out of order, is looked up in a map.
//! What always holds: the queue has at most [`NEAR_MAX`] numbers, however long one waits.

use super::asked::Asked;
use rustc_hash::FxHashMap;
use std::collections::VecDeque;

/// How far back a request is found without a map, records.
const NEAR_MAX: usize = 1 << 16;

/// No slot.
const NOBODY: u32 = u32::MAX;

/// The requests.
pub struct Waiting<R> {
    /// The record that the first number of `near` is for.
    first: usize,
    /// Slots by record.
    near: VecDeque<u32>,
    /// Slots of those that `near` does not reach.
    far: FxHashMap<usize, u32>,
    slots: Vec<Option<Asked<R>>>,
    free: Vec<u32>,
}

impl<R> Waiting<R> {
    /// Nobody.
    pub fn new() -> Self {
        Waiting {
            first: 0,
            near: VecDeque::new(),
            far: FxHashMap::default(),
            slots: Vec::new(),
            free: Vec::new(),
        }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Lets a request wait.
    pub fn insert(&mut self, asked: Asked<R>) {
        let record = asked.invoke;
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(None);
                (self.slots.len() - 1) as u32
            }
        };
        self.slots[slot as usize] = Some(asked);
        if record >= self.first + self.near.len() + NEAR_MAX {
            while !self.near.is_empty() {
                self.leave_first();
            }
        }
        if self.near.is_empty() {
            self.first = record;
        }
        let Some(at) = record.checked_sub(self.first) else {
            self.far.insert(record, slot);
            return;
        };
        while self.near.len() <= at {
            self.near.push_back(NOBODY);
        }
        self.near[at] = slot;
        self.leave();
    }

    /// Shortens the queue: what nobody waits at is forgotten, what waits long is moved.
    fn leave(&mut self) {
        while self.near.len() > NEAR_MAX || self.near.front() == Some(&NOBODY) {
            self.leave_first();
        }
    }

    fn leave_first(&mut self) {
        if let Some(slot) = self.near.pop_front().filter(|slot| *slot != NOBODY) {
            self.far.insert(self.first, slot);
        }
        self.first += 1;
    }

    fn slot(&self, record: usize) -> Option<usize> {
        let near = record.checked_sub(self.first);
        let near = near.and_then(|at| self.near.get(at).copied());
        match near {
            Some(slot) if slot != NOBODY => Some(slot as usize),
            Some(_) | None if self.far.is_empty() => None,
            Some(_) | None => self.far.get(&record).map(|&slot| slot as usize),
        }
    }

    /// The request of a record, if it waits.
    pub fn get(&self, record: usize) -> Option<&Asked<R>> {
        self.slots[self.slot(record)?].as_ref()
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, record: usize) -> Option<&mut Asked<R>> {
        let slot = self.slot(record)?;
        self.slots[slot].as_mut()
    }

    /// Takes the request of a record out.
    pub fn remove(&mut self, record: usize) -> Option<Asked<R>> {
        let slot = self.slot(record)?;
        match record.checked_sub(self.first) {
            Some(at) if self.near.get(at) == Some(&(slot as u32)) => self.near[at] = NOBODY,
            Some(_) | None => drop(self.far.remove(&record)),
        }
        self.free.push(slot as u32);
        self.leave();
        self.slots[slot].take()
    }

    /// Forgets those that are not worth keeping.
    pub fn retain(&mut self, keep: impl Fn(&Asked<R>) -> bool) {
        let gone = self.iter().filter(|asked| !keep(asked));
        let gone: Vec<usize> = gone.map(|asked| asked.invoke).collect();
        for record in gone {
            self.remove(record);
        }
    }

    /// All that wait.
    pub fn iter(&self) -> impl Iterator<Item = &Asked<R>> {
        self.slots.iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Body, Header, Op, Record};
    use crate::verify::asked::Reading;

    /// Requests of one client, sent in the order of `records`.
    fn asked(records: &[usize]) -> Reading<Record> {
        let mut reading = Reading::new(&Header::default());
        for (at, &record) in records.iter().enumerate() {
            let body = Body::Invoke {
                session: 1,
                xid: at as i32 + 1,
                op: Op::Close,
            };
            let question = Record {
                process: 1,
                server: None,
                time: at as u64,
                body,
            };
            reading.read(record, question).expect("nothing is wrong");
        }
        reading
    }

    #[test]
    fn each_is_found_by_its_record_however_long_it_waits() {
        let late = 3 * NEAR_MAX;
        let records = [7, 3, 8, 100, NEAR_MAX + 9, late, late + 1, 5];
        let mut waiting = asked(&records).waiting;
        assert_eq!(waiting.len(), records.len());
        for record in records {
            assert_eq!(waiting.get(record).map(|asked| asked.invoke), Some(record));
        }
        assert!(waiting.get(9).is_none());
        for (gone, record) in records.into_iter().enumerate() {
            let asked = waiting.remove(record).expect("it waits");
            assert_eq!(asked.invoke, record);
            assert!(waiting.remove(record).is_none());
            assert_eq!(waiting.len(), records.len() - gone - 1);
        }
        assert_eq!(waiting.near.len(), 0);
    }

    #[test]
    fn one_that_waits_for_ever_keeps_nobody_else() {
        let mut waiting = asked(&[0]).waiting;
        for record in 1..3 * NEAR_MAX {
            let mut others = asked(&[record]).waiting;
            waiting.insert(others.remove(record).expect("it waits"));
            waiting.remove(record).expect("it waits");
            assert!(waiting.near.len() <= NEAR_MAX && waiting.slots.len() == 2);
        }
        assert_eq!(waiting.get(0).map(|asked| asked.invoke), Some(0));
    }
}
