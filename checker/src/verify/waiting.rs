//! Requests that have no place yet, by their number in the order sent.
//!
//! Most find their place soon, so a request is found by how far behind the newest it was sent,
//! in a queue. Those that wait much longer than the others are looked up in a map. What always
//! holds: the queue is not much longer than twice those that wait in it.

use super::asked::Asked;
use rustc_hash::FxHashMap;
use std::collections::VecDeque;

/// Places in the queue that may be empty besides.
const EMPTY_MAX: usize = 1 << 10;

/// The requests.
pub struct Waiting<R> {
    /// The number of the first in the queue.
    first: u64,
    near: VecDeque<Option<Asked<R>>>,
    /// Those that the queue does not reach.
    far: FxHashMap<u64, Asked<R>>,
    len: usize,
}

impl<R> Default for Waiting<R> {
    fn default() -> Self {
        Waiting {
            first: 0,
            near: VecDeque::new(),
            far: FxHashMap::default(),
            len: 0,
        }
    }
}

impl<R> Waiting<R> {
    /// How many wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The number of the next request.
    pub fn next(&self) -> u64 {
        self.first + self.near.len() as u64
    }

    /// Lets the next request wait.
    pub fn push(&mut self, asked: Asked<R>) {
        self.near.push_back(Some(asked));
        self.len += 1;
        if self.near.len() > EMPTY_MAX {
            self.leave();
        }
    }

    /// Shortens the queue.
    fn leave(&mut self) {
        let near_max = 2 * (self.len - self.far.len()) + EMPTY_MAX;
        while let Some(first) = self.near.front()
            && (first.is_none() || self.near.len() > near_max)
        {
            if let Some(asked) = self.near.pop_front().flatten() {
                self.far.insert(self.first, asked);
            }
            self.first += 1;
        }
    }

    /// A request, if it waits.
    pub fn get_mut(&mut self, number: u64) -> Option<&mut Asked<R>> {
        match number.checked_sub(self.first) {
            Some(at) => self.near.get_mut(at as usize)?.as_mut(),
            None => self.far.get_mut(&number),
        }
    }

    /// Lets a request go where it lies; true if it waited.
    pub fn remove(&mut self, number: u64) -> bool {
        let waited = match number.checked_sub(self.first) {
            Some(at) => match self.near.get_mut(at as usize) {
                Some(place) => std::mem::take(place).is_some(),
                None => false,
            },
            None => self.far.remove(&number).is_some(),
        };
        self.len -= usize::from(waited);
        if number == self.first {
            self.leave();
        }
        waited
    }

    /// Forgets those that are not worth keeping.
    pub fn retain(&mut self, keep: impl Fn(&Asked<R>) -> bool) {
        for place in &mut self.near {
            place.take_if(|asked| !keep(asked));
        }
        self.far.retain(|_, asked| keep(asked));
        self.len = self.far.len() + self.near.iter().flatten().count();
        self.leave();
    }

    /// All that wait.
    pub fn iter(&self) -> impl Iterator<Item = &Asked<R>> {
        self.far.values().chain(self.near.iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Body, Header, Op, Record};
    use crate::verify::asked::Reading;

    /// The next request of one client.
    fn ask(reading: &mut Reading<Record>) -> u64 {
        let number = reading.waiting.next();
        let body = Body::Invoke {
            session: 1,
            xid: number as i32 + 1,
            op: Op::Close,
        };
        let question = Record {
            process: 1,
            server: None,
            time: number,
            body,
        };
        let read = reading.read(number as usize, question);
        assert!(read.is_ok());
        number
    }

    #[test]
    fn each_is_found_by_its_number_however_long_it_waits() {
        let mut reading = Reading::new(&Header::default());
        for _ in 0..20 * EMPTY_MAX {
            ask(&mut reading);
        }
        let waiting = &mut reading.waiting;
        let (kept, soon): (Vec<u64>, Vec<u64>) =
            (0..waiting.next()).partition(|number| number % 7 == 0);
        assert!(soon.into_iter().all(|number| waiting.remove(number)));
        waiting.leave();
        assert!(waiting.near.len() <= 2 * waiting.len() + EMPTY_MAX && !waiting.far.is_empty());
        for (gone, &number) in kept.iter().enumerate() {
            assert_eq!(waiting.len(), kept.len() - gone);
            let asked = waiting.get_mut(number).map(|asked| asked.invoke);
            assert_eq!(asked, Some(number as usize));
            assert!(waiting.remove(number) && !waiting.remove(number));
        }
        assert!(waiting.near.is_empty() && waiting.far.is_empty());
    }

    #[test]
    fn one_that_waits_for_ever_keeps_nobody_else() {
        let mut reading = Reading::new(&Header::default());
        let first = ask(&mut reading);
        for _ in 0..5 * EMPTY_MAX {
            let number = ask(&mut reading);
            assert!(reading.waiting.remove(number));
            assert!(reading.waiting.near.len() <= 4 + EMPTY_MAX);
        }
        assert!(reading.waiting.remove(first));
        assert_eq!(reading.waiting.len(), 0);
    }
}
