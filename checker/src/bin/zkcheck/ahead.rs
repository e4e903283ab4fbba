//! Reading ahead: one thread takes bytes apart while another judges.
//!
//! Records go over in lots and are judged where they lie. A lot whose records have all been
//! judged goes back to the reading thread, which lets go of them and fills it again, so
//! that hardly anything is copied or allocated, and the threads do not write to the same
//! texts' reference counts; nor, more than once a lot, to that of a lot. The reading thread may
//! give the second opinion as well. What always holds: the judge gets every record in the order
//! of the file, then the end or what is wrong with the file, however fast either thread is.

use crate::second::Second;
use crate::source::Input;
use gamekeeper_checker::history::{Batch, ReadError, Reader, Record, Txn};
use gamekeeper_checker::verify::{Refusal, Terms};
use gamekeeper_checker::{InOrder, Placed};
use std::borrow::Borrow;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

/// Entries in a lot. With fewer, threads wake each other more often; and a lot is filled again
/// while its last records still lie in the cache of who judged them, and have to be fetched.
const LOT: usize = 1 << 10;

/// Lots that are read before the judge has taken them.
const LOTS_AHEAD: usize = 16;

/// Lots whose records' places are on their way to the second opinion: the judge never waits
/// for that one unless it waits for the judge.
const PLACED_MAX: usize = 2 * LOTS_AHEAD;

/// Lots on their way back; more are dropped where they are.
const LOTS_BACK: usize = 64;

/// A request that is never answered keeps its whole lot. With so many lots kept, further
/// records are moved out of theirs.
const LOTS_KEPT_MAX: usize = 512;

/// Records for any thread to look at.
#[derive(Clone)]
pub enum Share {
    /// In the lot in which they were read.
    Lot(Arc<Lot>),
    /// Each by itself, if a lot is not to be kept for the sake of one of them.
    Alone(Vec<Arc<Record>>, Arc<[Txn]>),
}

/// A record that is being judged, on one thread.
#[derive(Clone)]
pub enum Held {
    /// It lies in its lot.
    Lot(Rc<Own>, u32),
    /// It lies alone.
    Alone(Arc<Record>),
}

impl Borrow<Record> for Held {
    fn borrow(&self) -> &Record {
        match self {
            Held::Lot(lot, at) => &lot.0.batch.records[*at as usize],
            Held::Alone(record) => record,
        }
    }
}

impl Share {
    /// Records that lie in no lot.
    pub fn alone(batch: Batch) -> Self {
        let records = batch.records.into_iter().map(Arc::new);
        Share::Alone(records.collect(), batch.txns.into())
    }

    /// What the servers' log says beside them.
    pub fn txns(&self) -> &[Txn] {
        match self {
            Share::Lot(lot) => &lot.batch.txns,
            Share::Alone(_, txns) => txns,
        }
    }

    /// Hands out the records in order, until one is not taken.
    ///
    /// # Errors
    /// What that one's taker says.
    #[inline]
    pub fn each<E>(self, take: impl FnMut(Held) -> Result<(), E>) -> Result<(), E> {
        let (lot, records, alone) = match self {
            Share::Alone(alone, _) => (None, alone.len(), alone),
            Share::Lot(lot) => {
                let records = lot.batch.records.len();
                (Some(Rc::new(Own(lot))), records, Vec::new())
            }
        };
        let held = |at: usize| match &lot {
            Some(lot) => Held::Lot(lot.clone(), at as u32),
            None => Held::Alone(Arc::clone(&alone[at])),
        };
        (0..records).map(held).try_for_each(take)
    }
}

/// One thread's hold of a lot, whose count no other thread touches.
pub struct Own(Arc<Lot>);

/// A batch that was read; goes back when nobody holds a record of it.
pub struct Lot {
    batch: Batch,
    back: SyncSender<Batch>,
    /// As many clones of this exist as there are lots.
    _count: Arc<()>,
}

impl Drop for Lot {
    fn drop(&mut self) {
        // If it is not wanted any more it ends here.
        let _ = self.back.try_send(std::mem::take(&mut self.batch));
    }
}

/// The reading thread's side.
struct Feed {
    begun: std::vec::IntoIter<Record>,
    txns: Vec<Txn>,
    reader: Reader<Input>,
    order: Option<InOrder>,
    empty: Receiver<Batch>,
    back: SyncSender<Batch>,
    count: Arc<()>,
    kept_max: usize,
}

impl Feed {
    /// The next lot, and whether there are more.
    fn lot(&mut self) -> (Share, Result<bool, ReadError>) {
        let mut batch = self.empty.try_recv().unwrap_or_default();
        batch.clear();
        batch.txns.append(&mut self.txns);
        batch.records.extend(self.begun.by_ref().take(LOT));
        let more = match batch.records.is_empty() {
            true => self.reader.batch(&mut batch, LOT),
            false => Ok(true),
        };
        if let Some(order) = &mut self.order {
            batch.records = order.pass(std::mem::take(&mut batch.records));
            if !matches!(more, Ok(true)) {
                batch.records.extend(order.rest());
            }
        }
        (self.share(batch), more)
    }

    /// The records of a lot, for judging.
    fn share(&self, batch: Batch) -> Share {
        if Arc::strong_count(&self.count) > self.kept_max {
            return Share::alone(batch);
        }
        let (back, count) = (self.back.clone(), self.count.clone());
        Share::Lot(Arc::new(Lot {
            batch,
            back,
            _count: count,
        }))
    }

    /// Hands over lot after lot, as long as somebody takes them.
    fn run(mut self, full: &SyncSender<Result<Share, ReadError>>, mut tell: impl FnMut(Share)) {
        loop {
            let (share, more) = self.lot();
            if full.send(Ok(share.clone())).is_err() {
                return;
            }
            tell(share);
            match more {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    let _ = full.send(Err(error));
                    return;
                }
            }
        }
    }
}

/// What is read ahead, on the judge's side.
pub struct Ahead {
    lots: Receiver<Result<Share, ReadError>>,
    placed: SyncSender<Vec<Placed>>,
    thread: JoinHandle<Result<(), Refusal>>,
}

impl Ahead {
    /// Reads the rest of a history on a thread of its own, what was read before first; puts
    /// records into order, if something to do so is given. That thread gives a second opinion
    /// too, if terms are named for one.
    pub fn of(
        begun: Batch,
        reader: Reader<Input>,
        order: Option<InOrder>,
        terms: Option<Terms>,
    ) -> Self {
        Ahead::keeping(LOTS_KEPT_MAX, begun, reader, order, terms)
    }

    fn keeping(
        kept_max: usize,
        begun: Batch,
        reader: Reader<Input>,
        order: Option<InOrder>,
        terms: Option<Terms>,
    ) -> Self {
        let (full, lots) = sync_channel(LOTS_AHEAD);
        let (placed, told) = sync_channel(PLACED_MAX);
        let read = move || {
            let (back, empty) = sync_channel(LOTS_BACK);
            let mut second = terms.map(|terms| Second::begin(reader.header(), terms));
            let feed = Feed {
                begun: begun.records.into_iter(),
                txns: begun.txns,
                reader,
                order,
                empty,
                back,
                count: Arc::new(()),
                kept_max,
            };
            feed.run(&full, |share| {
                if let Some(second) = &mut second {
                    second.read(share);
                    told.try_iter().for_each(|placed| second.show(placed));
                }
            });
            // The judge waits for more, and then has no more to tell.
            drop(full);
            let Some(mut second) = second else {
                return Ok(());
            };
            told.iter().for_each(|placed| second.show(placed));
            second.finish()
        };
        let thread = thread::spawn(read);
        Ahead {
            lots,
            placed,
            thread,
        }
    }

    /// The next lot; None at the end.
    ///
    /// # Errors
    /// The place that is not of the format, or that reading failed.
    pub fn lot(&mut self) -> Result<Option<Share>, ReadError> {
        self.lots.recv().ok().transpose()
    }

    /// What found its place with the last records, for the second opinion.
    pub fn show(&mut self, placed: Vec<Placed>) {
        if !placed.is_empty() {
            // Who gives no opinion does not listen.
            let _ = self.placed.send(placed);
        }
    }

    /// The second opinion, once everything has been read and shown; none is no objection.
    ///
    /// # Errors
    /// What it does not accept.
    pub fn finish(self) -> Result<(), Refusal> {
        drop((self.lots, self.placed));
        match self.thread.join() {
            Ok(opinion) => opinion,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gamekeeper_checker::history::{Body, Header, History, write};
    use std::io::Cursor;

    const RECORDS: u64 = 10 * LOT as u64 + 7;

    fn history() -> History {
        let mut history = History::new(Header::default());
        (0..RECORDS).for_each(|time| history.push(1, time, Body::Final));
        history
    }

    fn reader(end: &str) -> Reader<Input> {
        let mut bytes = Vec::new();
        write(&mut bytes, &history()).unwrap();
        bytes.extend(end.as_bytes());
        let bytes: Input = Box::new(Cursor::new(bytes));
        Reader::new(bytes).unwrap()
    }

    /// What was read before, that there is a second piece, and everything held at once.
    fn all(kept_max: usize, end: &str) -> (Vec<Held>, Option<ReadError>) {
        let begun = Batch {
            records: history().records,
            txns: Vec::new(),
        };
        let mut ahead = Ahead::keeping(kept_max, begun, reader(end), None, None);
        let mut held = Vec::new();
        loop {
            match ahead.lot() {
                Ok(Some(share)) => drop(share.each(|record| {
                    held.push(record);
                    Ok::<(), ()>(())
                })),
                Ok(None) => return (held, None),
                Err(error) => return (held, Some(error)),
            }
        }
    }

    #[test]
    fn records_come_in_order_whether_in_lots_or_alone_and_then_the_end() {
        let wanted: Vec<Record> = [history().records, history().records].concat();
        for (kept_max, lots) in [(0, 0), (3, 3), (LOTS_KEPT_MAX, usize::MAX)] {
            let (held, error) = all(kept_max, "");
            assert!(error.is_none());
            let got: Vec<&Record> = held.iter().map(Held::borrow).collect();
            assert!(got.into_iter().eq(&wanted));
            let together = |held: &&Held| matches!(held, Held::Lot(..));
            let together = held.iter().filter(together).count();
            assert!(together <= lots.saturating_mul(LOT), "{together}");
            assert!(together > 0 || lots == 0);
        }
    }

    #[test]
    fn what_is_wrong_comes_after_everything_before_it() {
        let (held, error) = all(LOTS_KEPT_MAX, "{\"type\":\"ok\"}\n");
        assert_eq!(held.len() as u64, 2 * RECORDS);
        let error = error.unwrap().to_string();
        let line = RECORDS + 2;
        assert!(
            error.starts_with(&format!("line {line}, field `xid`")),
            "{error}"
        );
    }

    #[test]
    fn a_judge_that_has_seen_enough_does_not_wait_for_the_rest() {
        let terms = gamekeeper_checker::Options::default().terms();
        let mut ahead = Ahead::of(Batch::default(), reader(""), None, Some(terms));
        assert!(ahead.lot().is_ok_and(|lot| lot.is_some()));
        assert_eq!(ahead.finish(), Ok(()));
    }
}
