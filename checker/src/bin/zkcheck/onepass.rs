//! Who judges while a history is read: the judge of one pass alone, or with a way back.
//!
//! The first pass over a history is for those that hold no doubt, and keeps no record longer than it
//! must. What always holds: both place what they are sure of in the order in which they were
//! given records.

use crate::ahead::{Held, Share};
use gamekeeper_checker::history::{Header, Txn};
use gamekeeper_checker::{
    Doubt, NARROW_WINDOW, Options, Placed, STRETCH, Stream, Stretches, Summary, WINDOW,
};

/// How far a judge of one pass goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    /// Answers that it sorts.
    pub window: usize,
    /// It may go back where it doubts.
    pub back: bool,
}

impl Reach {
    /// Of the first pass.
    pub const FIRST: Reach = Reach {
        window: NARROW_WINDOW,
        back: false,
    };
    /// Of the next, if that one doubts.
    pub const BACK: Reach = Reach {
        back: true,
        ..Reach::FIRST
    };
    /// Of one for answers that come very late.
    pub const FAR_BACK: Reach = Reach {
        window: WINDOW,
        back: true,
    };
    /// For those who can read nothing again.
    pub const WIDE: Reach = Reach {
        window: WINDOW,
        back: false,
    };
}

/// A judge of one pass.
pub enum OnePass {
    /// Its first doubt is final.
    Once(Box<Stream<Held>>),
    /// It goes back a stretch.
    Back(Box<Stretches<Held>>),
}

impl OnePass {
    /// Begins a judgement; `exhibit` if what is placed will be asked for.
    pub fn new(header: &Header, options: &Options, reach: Reach, exhibit: bool) -> Self {
        if reach.back {
            let mut stretches = Stretches::new(header, options, reach.window, STRETCH);
            if exhibit {
                stretches.exhibit();
            }
            return OnePass::Back(Box::new(stretches));
        }
        let mut stream = Stream::new(header, options, reach.window);
        if exhibit {
            stream.exhibit();
        }
        OnePass::Once(Box::new(stream))
    }

    /// The servers' own log goes on.
    pub fn log(&mut self, txns: &[Txn]) {
        match self {
            OnePass::Once(stream) => stream.log(txns),
            OnePass::Back(stretches) => stretches.log(txns),
        }
    }

    /// Takes the next records.
    ///
    /// # Errors
    /// The doubt at which it stopped.
    pub fn take(&mut self, share: Share) -> Result<(), Doubt> {
        match self {
            OnePass::Once(stream) => share.each(|record| stream.take(record)),
            OnePass::Back(stretches) => share.each(|record| stretches.take(record)),
        }
    }

    /// What was placed for good since this was asked last.
    pub fn placed(&mut self) -> Vec<Placed> {
        match self {
            OnePass::Once(stream) => stream.placed(),
            OnePass::Back(stretches) => stretches.placed(),
        }
    }

    /// Judges what has come already. Who goes back waits for more.
    ///
    /// # Errors
    /// A doubt.
    pub fn catch_up(&mut self, idle_ns: u64) -> Result<(), Doubt> {
        match self {
            OnePass::Once(stream) => stream.catch_up(idle_ns),
            OnePass::Back(_) => Ok(()),
        }
    }

    /// Answers that have found their place, and records taken.
    pub fn progress(&self) -> (usize, usize) {
        match self {
            OnePass::Once(stream) => stream.progress(),
            OnePass::Back(stretches) => stretches.progress(),
        }
    }

    /// The history ends here.
    ///
    /// # Errors
    /// A doubt.
    pub fn finish(&mut self) -> Result<Summary, Doubt> {
        match self {
            OnePass::Once(stream) => stream.finish(),
            OnePass::Back(stretches) => stretches.finish(),
        }
    }
}
