//! What a stretch of history leaves behind, so that another can begin there.
//!
//! Used to show a failure without the hours before it. What it is not: a judgement. Where
//! the stretch is not explained by one order, there is no state to begin from.

use super::case;
use super::replay::Replay;
use super::times::Times;
use super::{Meter, Options, Verdict};
use crate::history::{History, StartNode};

/// The tree after a stretch of history.
pub struct Left {
    /// Every node, in the order of paths.
    pub nodes: Vec<StartNode>,
    /// Records of the requests of unknown fate that took effect on the way.
    pub placed: Vec<u32>,
}

/// The tree that a history leaves behind.
///
/// # Errors
/// The verdict of the walk, if it found no order.
pub fn left_by(history: &History, options: &Options, meter: &mut Meter) -> Result<Left, Verdict> {
    let mut case = case::cut(history)?;
    let times = Times::of(&case);
    let options = options.for_service(&history.header);
    let mut replay = Replay::new(&mut case, &times, &options);
    let ran = replay.run();
    meter.steps += replay.work;
    ran?;
    let candidates = replay.candidates.list.iter();
    let placed = candidates
        .filter(|candidate| candidate.assigned.is_some())
        .filter_map(|candidate| candidate.request)
        .map(|request| replay.case.requests[request as usize].invoke)
        .collect();
    Ok(Left {
        nodes: replay.tree.start_nodes(),
        placed,
    })
}
