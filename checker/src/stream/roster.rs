//! Every client object of a stream, by its number.
//!
//! Recorders number their clients from 0 or 1 on, so that most are found by looking at one place of
//! a short list; those with large numbers are found by hashing. What always holds: a client that
//! was asked for stays.

use super::clients::Client;
use super::watches::ConnectionId;
use rustc_hash::FxHashMap;

/// Numbers below this are found without hashing.
const NEAR: usize = 1 << 10;

/// No client of a near number.
const NOBODY: u32 = u32::MAX;

/// All clients.
#[derive(Clone)]
pub struct Roster<R> {
    clients: Vec<Client<R>>,
    /// Places of clients with small numbers.
    near: Vec<u32>,
    /// Those of all others.
    far: FxHashMap<u32, u32>,
}

impl<R> Roster<R> {
    /// Nobody yet.
    pub fn new() -> Self {
        Roster {
            clients: Vec::new(),
            near: vec![NOBODY; NEAR],
            far: FxHashMap::default(),
        }
    }

    fn place(&self, process: u32) -> Option<u32> {
        match self.near.get(process as usize) {
            Some(&place) => (place != NOBODY).then_some(place),
            None => self.far.get(&process).copied(),
        }
    }

    /// The client of a number, if it was asked for before.
    pub fn get_mut(&mut self, process: u32) -> Option<&mut Client<R>> {
        let place = self.place(process)?;
        self.clients.get_mut(place as usize)
    }

    /// The client of a number; one that is new takes the next number of a connection.
    #[inline]
    pub fn get(&mut self, process: u32, connections: &mut ConnectionId) -> &mut Client<R> {
        let place = self.place(process);
        let place = place.unwrap_or_else(|| self.enter(process, connections));
        &mut self.clients[place as usize]
    }

    #[cold]
    fn enter(&mut self, process: u32, connections: &mut ConnectionId) -> u32 {
        let place = self.clients.len() as u32;
        *connections += 1;
        self.clients.push(Client::new(*connections));
        match self.near.get_mut(process as usize) {
            Some(near) => *near = place,
            None => drop(self.far.insert(process, place)),
        }
        place
    }

    /// All of them, in the order in which they came.
    pub fn values(&self) -> std::slice::Iter<'_, Client<R>> {
        self.clients.iter()
    }

    /// As [`Roster::values`], to be changed.
    pub fn values_mut(&mut self) -> std::slice::IterMut<'_, Client<R>> {
        self.clients.iter_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_found_again_whether_its_number_is_small_or_large() {
        let mut roster: Roster<()> = Roster::new();
        let numbers = [0, NEAR as u32 - 1, NEAR as u32, u32::MAX];
        let mut connections = 0;
        for (before, number) in numbers.into_iter().enumerate() {
            assert!(roster.get_mut(number).is_none());
            let fresh = roster.get(number, &mut connections).shown.id;
            assert_eq!(fresh as usize, before + 1);
        }
        for (before, number) in numbers.into_iter().enumerate() {
            let known = roster.get(number, &mut connections).shown.id;
            assert_eq!(known as usize, before + 1);
            assert!(roster.get_mut(number).is_some());
        }
        assert_eq!(connections, 4);
        assert_eq!(roster.values_mut().count(), 4);
    }
}
