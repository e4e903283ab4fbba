//! One pass over a history in memory.

use super::{DISORDERED, Doubt, NARROW_WINDOW, Stream, WINDOW, in_order_of_time};
use crate::history::{History, Record};
use crate::verdict::Summary;
use crate::verify::{Refusal, Verifier};
use crate::walk::Options;

/// Asks the judge of one pass about a whole history in memory.
///
/// # Errors
/// The doubt that is left after a window as long as the history.
pub fn acquit(history: &History, options: &Options) -> Result<Summary, Doubt> {
    widening(history, |window, mut records| {
        let mut stream = Stream::new(&history.header, options, window);
        stream.log(&history.txns);
        records.try_for_each(|record| stream.take(record))?;
        stream.finish()
    })
}

/// As [`acquit`]; a second opinion looks on.
///
/// # Errors
/// As [`acquit`]; of an acquittal, what the second opinion does not accept.
pub fn acquit_verified(
    history: &History,
    options: &Options,
) -> Result<(Summary, Result<(), Refusal>), Doubt> {
    widening(history, |window, records| {
        let terms = options.for_service(&history.header).terms();
        let mut stream = Stream::new(&history.header, options, window);
        stream.exhibit();
        stream.log(&history.txns);
        let mut verifier = Verifier::new(&history.header, terms);
        let mut opinion = Ok(());
        for (index, record) in records.enumerate() {
            stream.take(record)?;
            opinion = opinion.and_then(|()| verifier.read(index, record));
            for placed in stream.placed() {
                opinion = opinion.and_then(|()| placed.show(&mut verifier));
            }
        }
        let summary = stream.finish()?;
        for placed in stream.placed() {
            opinion = opinion.and_then(|()| placed.show(&mut verifier));
        }
        Ok((summary, opinion.and_then(|()| verifier.finish())))
    })
}

/// Judges with wider and wider windows, as long as that may help, and in the order of time if
/// that is not the order of the records.
fn widening<'h, T>(
    history: &'h History,
    judge: impl Fn(usize, Records<'h>) -> Result<T, Doubt>,
) -> Result<T, Doubt> {
    let records = &history.records;
    let mut found = judge(NARROW_WINDOW, Records::AsTheyCame(records.iter()));
    let disordered = matches!(&found, Err(doubt) if doubt.reason == DISORDERED);
    let again = |window| match disordered {
        true => judge(
            window,
            Records::Sorted(in_order_of_time(records).into_iter()),
        ),
        false => judge(window, Records::AsTheyCame(records.iter())),
    };
    for window in [WINDOW, records.len()] {
        if matches!(&found, Err(doubt) if doubt.late) {
            found = again(window);
        }
    }
    found
}

/// The records of a history in memory.
enum Records<'h> {
    AsTheyCame(std::slice::Iter<'h, Record>),
    Sorted(std::vec::IntoIter<&'h Record>),
}

impl<'h> Iterator for Records<'h> {
    type Item = &'h Record;

    fn next(&mut self) -> Option<&'h Record> {
        match self {
            Records::AsTheyCame(records) => records.next(),
            Records::Sorted(records) => records.next(),
        }
    }
}
