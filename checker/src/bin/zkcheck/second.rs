//! The second opinion on a history that goes by, beside the judge of one pass.
//!
//! It is on whichever thread has less to do: where bytes are quickly taken apart, on that which
//! does so and has the records at hand; else on the judge's. What always holds: it hears of
//! every record before it hears of its place, and tells nobody what it thinks before the end.

use crate::ahead::{Held, Share};
use gamekeeper_checker::Placed;
use gamekeeper_checker::history::Header;
use gamekeeper_checker::verify::{Refusal, Terms, Verifier};

/// A verifier at work.
pub struct Second {
    verifier: Verifier<Held>,
    read: usize,
    opinion: Result<(), Refusal>,
}

impl Second {
    /// Begins a second opinion.
    pub fn begin(header: &Header, terms: Terms) -> Self {
        Second {
            verifier: Verifier::new(header, terms),
            read: 0,
            opinion: Ok(()),
        }
    }

    /// The next records.
    pub fn read(&mut self, records: Share) {
        if self.opinion.is_ok() {
            self.opinion = records.each(|record| {
                self.read += 1;
                self.verifier.read(self.read - 1, record)
            });
        }
    }

    /// What found its place with records that were read.
    pub fn show(&mut self, placed: Vec<Placed>) {
        if self.opinion.is_ok() {
            let mut placed = placed.into_iter();
            self.opinion = placed.try_for_each(|placed| placed.show(&mut self.verifier));
        }
    }

    /// There is no more.
    ///
    /// # Errors
    /// What the verifier does not accept.
    pub fn finish(self) -> Result<(), Refusal> {
        self.opinion.and_then(|()| self.verifier.finish())
    }
}
