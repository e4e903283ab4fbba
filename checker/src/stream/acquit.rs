//! One pass over a history in memory.

use super::{Doubt, NARROW_WINDOW, Stream, WINDOW};
use crate::history::History;
use crate::verdict::Summary;
use crate::verify::{Refusal, Verifier};
use crate::walk::Options;

/// Asks the judge of one pass about a whole history in memory.
///
/// # Errors
/// The doubt that is left after a window as long as the history.
pub fn acquit(history: &History, options: &Options) -> Result<Summary, Doubt> {
    widening(history, |window| {
        let mut stream = Stream::new(&history.header, options, window);
        stream.log(&history.txns);
        let mut records = history.records.iter();
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
    widening(history, |window| {
        let terms = options.for_service(&history.header).terms();
        let mut stream = Stream::new(&history.header, options, window);
        stream.exhibit();
        stream.log(&history.txns);
        let mut verifier = Verifier::new(&history.header, terms);
        let mut opinion = Ok(());
        for (index, record) in history.records.iter().enumerate() {
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

/// Judges with wider and wider windows, as long as that may help.
fn widening<T>(history: &History, judge: impl Fn(usize) -> Result<T, Doubt>) -> Result<T, Doubt> {
    let mut found = judge(NARROW_WINDOW);
    for window in [WINDOW, history.records.len()] {
        if matches!(&found, Err(doubt) if doubt.late) {
            found = judge(window);
        }
    }
    found
}
