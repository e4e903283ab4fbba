//! The second opinion on a long history, beside the judge of one pass.
//!
//! The verifier reads the records and takes the places on a thread of its own, so that a
//! second opinion costs little time where there is a second processor. What always holds:
//! judge and verifier are at most [`TOLD_MAX`] lots apart, so memory stays bounded.

use crate::ahead::Share;
use gamekeeper_checker::Placed;
use gamekeeper_checker::history::Header;
use gamekeeper_checker::verify::{Refusal, Terms, Verifier};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// Lots, and what was placed with them, on their way.
const TOLD_MAX: usize = 32;

enum Told {
    Records(Share),
    Placed(Vec<Placed>),
}

/// A verifier at work.
pub struct Second {
    sender: SyncSender<Told>,
    thread: JoinHandle<Result<(), Refusal>>,
}

impl Second {
    /// Begins a second opinion.
    pub fn begin(header: &Header, terms: Terms) -> Self {
        let (sender, receiver) = sync_channel(TOLD_MAX);
        let header = header.clone();
        Second {
            sender,
            thread: std::thread::spawn(move || listen(&header, terms, &receiver)),
        }
    }

    /// The next records.
    pub fn read(&mut self, records: Share) {
        self.tell(Told::Records(records));
    }

    /// What found its place with the last records.
    pub fn show(&mut self, placed: impl Iterator<Item = Placed>) {
        let placed: Vec<Placed> = placed.collect();
        if !placed.is_empty() {
            self.tell(Told::Placed(placed));
        }
    }

    /// What finds its place at the end.
    ///
    /// # Errors
    /// What the verifier does not accept.
    pub fn finish(mut self, placed: impl Iterator<Item = Placed>) -> Result<(), Refusal> {
        self.show(placed);
        drop(self.sender);
        match self.thread.join() {
            Ok(opinion) => opinion,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    fn tell(&mut self, told: Told) {
        // One that refused listens no more, and says why at the end.
        let _ = self.sender.send(told);
    }
}

fn listen(header: &Header, terms: Terms, told: &Receiver<Told>) -> Result<(), Refusal> {
    let mut verifier = Verifier::new(header, terms);
    let mut index = 0;
    for told in told {
        match told {
            Told::Records(records) => {
                for record in records.held() {
                    verifier.read(index, record)?;
                    index += 1;
                }
            }
            Told::Placed(placed) => {
                let mut placed = placed.into_iter();
                placed.try_for_each(|placed| placed.show(&mut verifier))?;
            }
        }
    }
    verifier.finish()
}
