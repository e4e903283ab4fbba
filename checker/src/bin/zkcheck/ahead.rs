//! Reading ahead: one thread takes bytes apart while another judges.
//!
//! Records go over in lots and are judged where they lie. A lot whose records have all been
//! judged goes back to the reading thread, which lets go of them and fills it again, so
//! that hardly anything is copied or allocated, and the threads do not write to the same
//! texts' reference counts; nor, more than once a lot, to that of a lot. What always holds: the judge gets every record in the order of the
//! file, then the end or what is wrong with the file, however fast either thread is.

use crate::source::Input;
use gamekeeper_checker::history::{Batch, ReadError, Reader, Record};
use std::borrow::Borrow;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

/// Entries in a lot.
const LOT: usize = 256;

/// Lots that are read before the judge has taken them.
const LOTS_AHEAD: usize = 16;

/// Lots on their way back; more are dropped where they are.
const LOTS_BACK: usize = 64;

/// A request that is never answered keeps its whole lot. With so many lots kept, further
/// records are moved out of theirs.
const LOTS_KEPT_MAX: usize = 2048;

/// Records on the judge's side, for any thread to look at.
#[derive(Clone)]
pub struct Share {
    lot: Option<Arc<Lot>>,
    /// Each by itself, if the lot is not to be kept for the sake of one of them.
    alone: Vec<Arc<Record>>,
}

/// A record that is being judged, on one thread.
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
    pub fn alone(records: impl Iterator<Item = Record>) -> Self {
        Share {
            lot: None,
            alone: records.map(Arc::new).collect(),
        }
    }

    /// The records in order.
    pub fn held(self) -> impl Iterator<Item = Held> {
        let inside = self.lot.map(Own).map(Rc::new).into_iter();
        let inside = inside.flat_map(|lot| {
            let records = lot.0.batch.records.len() as u32;
            (0..records).map(move |at| Held::Lot(lot.clone(), at))
        });
        inside.chain(self.alone.into_iter().map(Held::Alone))
    }
}

/// One thread's hold of a lot, whose count no other thread touches.
pub struct Own(Arc<Lot>);

/// A batch on the judge's side; goes back when nobody holds a record of it.
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

/// What is read ahead, on the judge's side.
pub struct Ahead {
    begun: std::vec::IntoIter<Record>,
    lots: Receiver<Result<Batch, ReadError>>,
    back: SyncSender<Batch>,
    count: Arc<()>,
    kept_max: usize,
}

impl Ahead {
    /// The next lot; None at the end.
    ///
    /// # Errors
    /// The place that is not of the format, or that reading failed.
    pub fn lot(&mut self) -> Result<Option<Batch>, ReadError> {
        let records: Vec<Record> = self.begun.by_ref().take(LOT).collect();
        match records.is_empty() {
            true => self.lots.recv().ok().transpose(),
            false => Ok(Some(Batch {
                records,
                txns: Vec::new(),
            })),
        }
    }

    /// The records of a lot, for judging.
    pub fn share(&self, batch: Batch) -> Share {
        if Arc::strong_count(&self.count) > self.kept_max {
            return Share::alone(batch.records.into_iter());
        }
        let (back, count) = (self.back.clone(), self.count.clone());
        Share {
            alone: Vec::new(),
            lot: Some(Arc::new(Lot {
                batch,
                back,
                _count: count,
            })),
        }
    }
}

/// Reads the rest of a history on a thread of its own while `work` goes through it, what was
/// read before first.
pub fn reading<T>(begun: Batch, mut reader: Reader<Input>, work: impl FnOnce(Ahead) -> T) -> T {
    thread::scope(|scope| {
        let (full, lots) = sync_channel(LOTS_AHEAD);
        // It has room for a lot, so that this does not wait.
        let _ = full.send(Ok(Batch {
            records: Vec::new(),
            txns: begun.txns,
        }));
        let (back, empty) = sync_channel(LOTS_BACK);
        scope.spawn(move || {
            loop {
                let mut batch: Batch = empty.try_recv().unwrap_or_default();
                batch.clear();
                let read = reader.batch(&mut batch, LOT);
                // Nobody takes it if the judge has seen enough.
                if full.send(Ok(batch)).is_err() {
                    return;
                }
                match read {
                    Ok(true) => {}
                    Ok(false) => return,
                    Err(error) => {
                        let _ = full.send(Err(error));
                        return;
                    }
                }
            }
        });
        work(Ahead {
            begun: begun.records.into_iter(),
            lots,
            back,
            count: Arc::new(()),
            kept_max: LOTS_KEPT_MAX,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use gamekeeper_checker::history::{Body, Header, History, write};
    use std::io::{BufReader, Cursor};

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
        let bytes: Box<dyn std::io::Read + Send> = Box::new(Cursor::new(bytes));
        Reader::new(BufReader::new(bytes)).unwrap()
    }

    /// What was read before, that there is a second piece, and everything held at once.
    fn all(kept_max: usize, end: &str) -> (Vec<Held>, Option<ReadError>) {
        let begun = Batch {
            records: history().records,
            txns: Vec::new(),
        };
        reading(begun, reader(end), |mut ahead| {
            ahead.kept_max = kept_max;
            let mut held = Vec::new();
            loop {
                match ahead.lot() {
                    Ok(Some(batch)) => held.extend(ahead.share(batch).held()),
                    Ok(None) => return (held, None),
                    Err(error) => return (held, Some(error)),
                }
            }
        })
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
        assert!(error.starts_with("line 2569, field `xid`"), "{error}");
    }

    #[test]
    fn a_judge_that_has_seen_enough_does_not_wait_for_the_rest() {
        let seen = reading(Batch::default(), reader(""), |mut ahead| {
            ahead
                .lot()
                .unwrap()
                .map(|batch| ahead.share(batch).held().count())
        });
        assert_eq!(seen, Some(0), "the transactions of what was read before");
    }
}
