//! What a learner needs to have the leader's history: pure arithmetic over two histories.
//!
//! A history is a list that [`super::window::Window`] makes: the base (all up to it is
//! state; the leader's floor, the learner's delivered point), then the last zxid of every
//! epoch after it. Zxids of an epoch are
//! contiguous from counter 1 and belong to one leader, so two servers that hold (e, c) hold
//! the same transactions up to it. The common point is therefore computed, never assumed
//! from "between min and max" (ZOOKEEPER-1154, ZOOKEEPER-2832).

use crate::base::limits::HISTORY_EPOCHS_MAX;
use crate::base::{Epoch, Zxid};
use std::collections::BTreeMap;

/// How to bring a learner to the leader's history.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SyncPlan {
    /// It holds a prefix that ends here: send what follows.
    Diff {
        /// Its last zxid.
        from: Zxid,
    },
    /// It holds more than the common prefix: cut, then send what follows.
    Trunc {
        /// The last common zxid.
        after: Zxid,
    },
    /// The common prefix ends below what either still has in its log: send everything.
    Snap,
}

/// Plans for one learner.
pub fn plan(learner: &[Zxid], leader: &[Zxid]) -> SyncPlan {
    let (Some(learner_floor), Some(leader_floor)) = (learner.first(), leader.first()) else {
        return SyncPlan::Snap;
    };
    let ours = ends(leader);
    let common = ends(learner)
        .iter()
        .filter_map(|(epoch, theirs)| ours.get(epoch).map(|own| *own.min(theirs)))
        .max();
    let last = learner.iter().max().expect("has a floor");
    // A list of full length may leave epochs out behind its base.
    let incomplete = learner.len() >= HISTORY_EPOCHS_MAX && common == Some(*learner_floor);
    match common.filter(|_| !incomplete) {
        Some(point) if point >= *leader_floor && point >= *learner_floor => {
            if point == *last {
                SyncPlan::Diff { from: point }
            } else {
                SyncPlan::Trunc { after: point }
            }
        }
        Some(_) | None => SyncPlan::Snap,
    }
}

fn ends(history: &[Zxid]) -> BTreeMap<Epoch, Zxid> {
    let mut ends = BTreeMap::new();
    for zxid in history {
        let end = ends.entry(zxid.epoch()).or_insert(*zxid);
        *end = (*end).max(*zxid);
    }
    ends
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn z(epoch: u32, counter: u32) -> Zxid {
        Zxid::new(Epoch(epoch), counter)
    }

    const ZERO: Zxid = Zxid::ZERO;

    #[test]
    fn a_table_of_plans() {
        use SyncPlan::{Diff, Snap, Trunc};
        for (story, learner, leader, expected) in [
            (
                "equal",
                vec![ZERO, z(1, 3)],
                vec![ZERO, z(1, 3)],
                Diff { from: z(1, 3) },
            ),
            (
                "behind",
                vec![ZERO, z(1, 3)],
                vec![ZERO, z(1, 9)],
                Diff { from: z(1, 3) },
            ),
            (
                "empty",
                vec![ZERO],
                vec![ZERO, z(1, 9)],
                Diff { from: ZERO },
            ),
            (
                "empty, old log gone",
                vec![ZERO],
                vec![z(1, 4), z(1, 9)],
                Snap,
            ),
            (
                "stray tail",
                vec![ZERO, z(1, 9)],
                vec![ZERO, z(1, 3)],
                Trunc { after: z(1, 3) },
            ),
            (
                "stray entry of a middle epoch (1154, 2832)",
                vec![ZERO, z(1, 3), z(2, 1)],
                vec![ZERO, z(1, 3), z(3, 4)],
                Trunc { after: z(1, 3) },
            ),
            (
                "snapshot base inside the leader's log",
                vec![z(1, 5), z(3, 2)],
                vec![ZERO, z(1, 9), z(2, 4)],
                Trunc { after: z(1, 5) },
            ),
            (
                "common point below the leader's window",
                vec![ZERO, z(1, 3), z(2, 7)],
                vec![z(3, 1), z(3, 9)],
                Snap,
            ),
            (
                "an old epoch shared further than the floor",
                vec![z(2, 3)],
                vec![z(2, 5), z(3, 1)],
                Snap,
            ),
        ] {
            assert_eq!(plan(&learner, &leader), expected, "{story}");
        }
    }

    /// Full logs from zxid 0, grown as epochs do: each leader keeps its log, copies a
    /// prefix to some others and drops their tails.
    fn logs() -> impl Strategy<Value = Vec<Vec<Zxid>>> {
        let step = (0_usize..3, 1_u32..5, prop::collection::vec(0_usize..8, 3));
        prop::collection::vec(step, 1..8).prop_map(|steps| {
            let mut logs = vec![Vec::new(); 3];
            for (epoch, (leader, writes, copied)) in (1..).zip(steps) {
                let start: Vec<Zxid> = logs[leader].clone();
                logs[leader].extend((1..=writes).map(|c| z(epoch, c)));
                for (other, n) in copied.into_iter().enumerate() {
                    if other != leader && n > 0 {
                        let mut log = start.clone();
                        log.extend((1..=writes.min(n as u32 - 1)).map(|c| z(epoch, c)));
                        logs[other] = log;
                    }
                }
            }
            logs
        })
    }

    fn history(log: &[Zxid], floor: usize) -> Vec<Zxid> {
        let floor = floor.min(log.len());
        let mut history = vec![if floor == 0 { ZERO } else { log[floor - 1] }];
        for zxid in &log[floor..] {
            if history.len() > 1 && history.last().unwrap().epoch() == zxid.epoch() {
                history.pop();
            }
            history.push(*zxid);
        }
        history
    }

    proptest! {
        /// The slow twin compares the logs entry by entry.
        #[test]
        fn agrees_with_comparing_whole_logs(logs in logs(), floor in 0_usize..6) {
            let (learner, leader) = (&logs[0], &logs[1]);
            let shared = learner.iter().zip(leader).take_while(|(a, b)| a == b).count();
            let point = if shared == 0 { ZERO } else { learner[shared - 1] };
            let last = learner.last().copied().unwrap_or(ZERO);
            // Only what is committed may fall under a floor, so floors lie within the
            // shared prefix for the learner.
            let leader_floor = floor.min(leader.len());
            let learner_history = history(learner, 0);
            let leader_history = history(leader, leader_floor);
            let expected = if shared < leader_floor {
                SyncPlan::Snap
            } else if point == last {
                SyncPlan::Diff { from: point }
            } else {
                SyncPlan::Trunc { after: point }
            };
            prop_assert_eq!(plan(&learner_history, &leader_history), expected);
        }
    }
}
