//! The judge of one pass that goes back where it doubts.
//!
//! What one answer at a time does not decide (a lost write that lies in front of what its session
//! did later, several that explain each other) a stretch of history mostly does. So the last
//! records are kept, with the judge as it was before them. When it doubts, more are gathered; then
//! the thorough judge is asked about this stretch alone, and where it would place what is of
//! unknown fate is told to the judge of one pass, which goes through the stretch again. Memory is
//! that of a stretch, however long the history.
//!
//! The thorough judge's word is a hint here and no more: it has seen a stretch, without watches
//! and without what is long past. What always holds: what is acquitted has gone by one stream
//! that did not doubt, from the first record to the last, and is shown to a second opinion as
//! that stream placed it.
//!
//! Answers to: `consistency.md` 3.2, "Complexity" (streaming), unanswered transactions.

use super::stretch::{Prelude, Stretch};
use super::{Doubt, Placed, Stream};
use crate::history::{Header, Record, Txn};
use crate::verdict::Summary;
use crate::walk::Options;
use std::borrow::Borrow;
use std::collections::VecDeque;

/// Records of a stretch, if the tree is not larger: the thorough judge takes some 400 bytes for
/// each.
pub const STRETCH: usize = 1 << 16;

/// Times that the thorough judge is asked for the sake of one doubt, each of less.
const ASKED_MAX: usize = 8;

/// The stream as it was at some record.
struct Mark<R> {
    stream: Stream<R>,
    prelude: Prelude,
    /// What was placed since, up to the next mark.
    placed: Vec<Placed>,
}

/// A judgement under way.
pub struct Stretches<R> {
    live: Stream<R>,
    prelude: Prelude,
    /// How it was: where it goes back to, and, later by `young_from` records, where it will.
    old: Mark<R>,
    young: Option<Mark<R>>,
    young_from: usize,
    /// Every record since `old`.
    kept: Vec<R>,
    stretch: usize,
    /// Why it will have to go back when there are enough records.
    doubt: Option<Doubt>,
    /// The servers' log says what is of unknown fate, and nobody else is asked.
    logged: bool,
    /// What was placed for good and not fetched yet.
    ready: Vec<Placed>,
}

impl<R: Borrow<Record> + Clone> Stretches<R> {
    /// Begins a judgement that sorts answers within a window of so many, and goes back at most
    /// about `stretch` records: [`STRETCH`], or more if the window is wide or the tree large.
    pub fn new(header: &Header, options: &Options, window: usize, stretch: usize) -> Self {
        let live = Stream::new(header, options, window);
        Stretches {
            old: Mark::of(&live, &Prelude::default()),
            live,
            prelude: Prelude::default(),
            young: None,
            young_from: 0,
            kept: Vec::new(),
            stretch: stretch.max(4 * window),
            doubt: None,
            logged: false,
            ready: Vec::new(),
        }
    }

    /// As [`Stream::exhibit`].
    pub fn exhibit(&mut self) {
        self.live.exhibit();
        self.old.stream.exhibit();
    }

    /// As [`Stream::placed`]; what may still be taken back is not among it.
    pub fn placed(&mut self) -> Vec<Placed> {
        std::mem::take(&mut self.ready)
    }

    /// As [`Stream::log`]. Where there is one nobody else is asked.
    pub fn log(&mut self, txns: &[Txn]) {
        if !txns.is_empty() && !self.logged {
            self.logged = true;
            self.settle_all();
            (self.kept, self.young) = (Vec::new(), None);
        }
        self.live.log(txns);
    }

    /// How far it is: answers that have found their place, and records taken.
    pub fn progress(&self) -> (usize, usize) {
        let (settled, taken) = self.live.progress();
        (settled, taken.max(self.old.stream.taken + self.kept.len()))
    }

    /// Takes the next record, in the order observed.
    ///
    /// # Errors
    /// The first doubt that going back does not clear up; nothing more is to be asked then.
    pub fn take(&mut self, record: R) -> Result<(), Doubt> {
        if self.logged {
            self.doubt.map_or(Ok(()), Err)?;
            let taken = self.live.take(record);
            self.settle_all();
            return taken;
        }
        let index = self.old.stream.taken + self.kept.len();
        self.kept.push(record.clone());
        self.prelude.take(index, record.borrow());
        if self.doubt.is_none() {
            self.doubt = self.live.take(record).err();
            self.settle_live();
            if let Some(doubt) = self.doubt.filter(Doubt::is_of_order) {
                return Err(doubt);
            }
        }
        let enough = self.stretch.max(self.live.tree.paths.len());
        match self.doubt {
            Some(doubt) if self.kept.len() >= enough => self.go_back(doubt, false).map(drop),
            None if self.kept.len() - self.young_from >= enough / 4 => {
                self.mark();
                Ok(())
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The history ends here; what is left finds its place, to be fetched for the last time.
    ///
    /// # Errors
    /// As [`Stretches::take`].
    pub fn finish(&mut self) -> Result<Summary, Doubt> {
        let found = match self.doubt {
            Some(doubt) => Err(doubt),
            None => self.live.finish(),
        };
        let summary = match found {
            Err(doubt) if !self.logged && !doubt.is_of_order() => {
                self.go_back(doubt, true)?.unwrap_or_default()
            }
            found => found?,
        };
        self.settle_all();
        Ok(summary)
    }

    /// What the stream has placed is noted, to be shown when it cannot be taken back any more.
    fn settle_live(&mut self) {
        let placed = match &mut self.young {
            Some(young) => &mut young.placed,
            None => &mut self.old.placed,
        };
        placed.extend(self.live.placed());
    }

    /// Nothing is taken back any more.
    fn settle_all(&mut self) {
        self.settle_live();
        self.ready.append(&mut self.old.placed);
        if let Some(young) = &mut self.young {
            self.ready.append(&mut young.placed);
        }
    }

    /// Remembers how the stream is, and forgets how it was longest ago.
    fn mark(&mut self) {
        if let Some(young) = self.young.take() {
            self.ready.append(&mut self.old.placed);
            self.kept.drain(..self.young_from);
            self.old = young;
        }
        self.young_from = self.kept.len();
        self.young = Some(Mark::of(&self.live, &self.prelude));
    }

    /// What the thorough judge says of all that is kept, and from which record of that on. It
    /// knows nothing of what happened before, which the stream may: so where it stops at an
    /// answer that the stream did not doubt, it is asked again of what comes after.
    ///
    /// # Errors
    /// The doubt, if that one does not know either.
    fn ask(&self, doubt: Doubt) -> Result<(usize, VecDeque<Txn>), Doubt> {
        let (mut stream, mut prelude) = (self.old.stream.clone(), self.old.prelude.clone());
        let mut from = 0;
        for _ in 0..ASKED_MAX {
            let stretch = Stretch::of(&stream, &prelude, &self.kept[from..]);
            let zxid = match stretch.hints(&self.live.options) {
                Ok(hints) => return Ok((from, hints)),
                Err(zxid) => zxid.ok_or(doubt)?,
            };
            if stream.settled_to > zxid {
                return Err(doubt);
            }
            while stream.settled_to <= zxid {
                let record = self.kept.get(from).ok_or(doubt)?;
                prelude.take(stream.taken, record.borrow());
                stream.take(record.clone()).map_err(|_| doubt)?;
                drop(stream.placed());
                from += 1;
            }
        }
        Err(doubt)
    }

    /// Goes through all that is kept again, with what the thorough judge says of it; if the
    /// history ends there, to the end.
    ///
    /// # Errors
    /// The doubt stays, or another comes.
    fn go_back(&mut self, doubt: Doubt, ends: bool) -> Result<Option<Summary>, Doubt> {
        let (from, hints) = self.ask(doubt)?;
        let (mut live, mut prelude) = (self.old.stream.clone(), self.old.prelude.clone());
        let mut hints = Some(hints);
        let (count, mut placed) = (self.kept.len(), Vec::new());
        let old_from = if ends { count } else { count / 2 };
        let young_from = count - count / 4;
        let mut marks: [Option<Mark<R>>; 2] = [None, None];
        for (at, record) in self.kept.iter().enumerate() {
            if at == from {
                live.follow_hints(hints.take());
            }
            if at == old_from {
                placed.extend(live.placed());
                marks[0] = Some(Mark::of(&live, &prelude));
            } else if let (true, [Some(old), young]) = (at == young_from, &mut marks) {
                old.placed.extend(live.placed());
                *young = Some(Mark::of(&live, &prelude));
            }
            prelude.take(live.taken, record.borrow());
            live.take(record.clone())?;
        }
        let summary = match ends {
            true => Some(live.finish()?),
            false => None,
        };
        live.follow_hints(None);
        self.ready.append(&mut placed);
        self.kept.drain(..old_from);
        let [old, young] = marks;
        match old {
            Some(old) => self.old = old,
            None => self.old.placed.clear(),
        }
        (self.young, self.young_from) = (young, young_from.saturating_sub(old_from));
        (self.live, self.doubt) = (live, None);
        self.settle_live();
        Ok(summary)
    }
}

impl<R: Borrow<Record> + Clone> Mark<R> {
    fn of(stream: &Stream<R>, prelude: &Prelude) -> Self {
        let mut stream = stream.clone();
        stream.follow_hints(None);
        Mark {
            stream,
            prelude: prelude.clone(),
            placed: Vec::new(),
        }
    }
}
