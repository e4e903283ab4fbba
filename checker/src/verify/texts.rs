//! Texts as small numbers, for this thread alone.
//!
//! A text of a history lies beside the count of those who share it. While another thread
//! reads on and shares it further, every look at it here would wait for that thread's
//! cache; so it is looked at once, and known again by where it lies.
//!
//! What always holds: a text that is known by its place is held, so no other can come to lie
//! there.
//!
//! Answers to: nothing but the clock.

use crate::history::Path;
use rustc_hash::FxHashMap;
use std::rc::Rc;

/// Most texts that are known by their place; all are forgotten when there are so many.
const LYING_MAX: usize = 1 << 16;

/// Texts, numbered as they come.
#[derive(Default)]
pub struct Texts {
    lying: FxHashMap<usize, (Path, u32)>,
    known: FxHashMap<Rc<str>, u32>,
    all: Vec<Rc<str>>,
}

impl Texts {
    /// The number of a text that a history shares.
    #[inline]
    pub fn shared(&mut self, text: &Path) -> u32 {
        match self.lying.get(&text.as_ptr().addr()) {
            Some((_, number)) => *number,
            None => self.lie(text),
        }
    }

    #[cold]
    fn lie(&mut self, text: &Path) -> u32 {
        if self.lying.len() == LYING_MAX {
            self.lying.clear();
        }
        let number = self.number(text);
        self.lying
            .insert(text.as_ptr().addr(), (text.clone(), number));
        number
    }

    /// The number of any text.
    pub fn number(&mut self, text: &str) -> u32 {
        if let Some(number) = self.known.get(text) {
            return *number;
        }
        let (text, number): (Rc<str>, u32) = (text.into(), self.all.len() as u32);
        self.all.push(text.clone());
        self.known.insert(text, number);
        number
    }

    /// The text of a number.
    pub fn text(&self, number: u32) -> &Rc<str> {
        &self.all[number as usize]
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_never_taken_for_another() {
        let mut texts = Texts::default();
        for number in 0..3 * LYING_MAX {
            let text: Path = format!("/{number}").into();
            assert_eq!(texts.shared(&text) as usize, number);
            assert_eq!(texts.shared(&text), texts.number(&text));
            assert_eq!(**texts.text(number as u32), *text);
        }
        assert!(texts.lying.len() <= LYING_MAX);
    }
}
