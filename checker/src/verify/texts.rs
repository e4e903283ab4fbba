//! Own copies of texts that others share.
//!
//! A text of a history lies beside the count of those who share it. While another thread
//! reads on and shares it further, every look at it here would wait for that thread's
//! cache; so it is looked at once, and known again by where it lies.
//!
//! What always holds: a text that is known is held, so no other can come to lie there.
//!
//! Answers to: nothing but the clock.

use crate::history::Path;
use rustc_hash::FxHashMap;
use std::rc::Rc;

/// Most texts that are known; all are forgotten when there are so many.
const TEXTS_MAX: usize = 1 << 16;

/// Texts by where they lie.
#[derive(Default)]
pub struct Texts(FxHashMap<usize, (Path, Rc<str>)>);

impl Texts {
    /// The same text, for this thread alone.
    pub fn own(&mut self, text: &Path) -> Rc<str> {
        let place = text.as_ptr().addr();
        if let Some((_, own)) = self.0.get(&place) {
            return own.clone();
        }
        if self.0.len() == TEXTS_MAX {
            self.0.clear();
        }
        let own: Rc<str> = (&**text).into();
        self.0.insert(place, (text.clone(), own.clone()));
        own
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_never_taken_for_another() {
        let mut texts = Texts::default();
        for number in 0..3 * TEXTS_MAX {
            let text: Path = format!("/{number}").into();
            assert_eq!(*texts.own(&text), *text);
            assert_eq!(*texts.own(&text), *text);
        }
        assert!(texts.0.len() <= TEXTS_MAX);
    }
}
