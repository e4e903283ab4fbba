//! Who led when: a row for each epoch that was established.
//!
//! What it is not: the protocol's own record; it is what servers reported, gathered.

use crate::lanes::{ServerLane, State};
use crate::reported::{Event, Role, What};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// A leadership.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Election {
    /// Its epoch.
    pub epoch: u64,
    /// Who led.
    pub leader: u32,
    /// The leader's life.
    pub incarnation: u32,
    /// When a quorum followed, nanoseconds.
    pub from: u64,
    /// When it ceased to lead, nanoseconds.
    pub until: u64,
    /// Time since somebody else led, nanoseconds.
    pub gap: u64,
    /// The last transaction of the history it began with.
    pub last: String,
    /// Who followed or observed at some time.
    pub learners: BTreeSet<u32>,
    /// Distinct transactions of this epoch that were delivered anywhere.
    pub commits: usize,
}

/// Gathers the leaderships, in the order established.
pub(crate) fn elections(events: &[Event], servers: &[ServerLane]) -> Vec<Election> {
    let mut found: Vec<Election> = Vec::new();
    let mut learners: BTreeMap<u64, BTreeSet<u32>> = BTreeMap::new();
    let mut commits: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
    for event in events {
        match &event.what {
            What::Established { epoch, last } => {
                let until = led_until(servers, event);
                let before = found.iter().map(|election| election.until).max();
                found.push(Election {
                    epoch: *epoch,
                    leader: event.server,
                    incarnation: event.incarnation,
                    from: event.time,
                    until,
                    gap: event.time.saturating_sub(before.unwrap_or(0)),
                    last: last.clone(),
                    learners: BTreeSet::new(),
                    commits: 0,
                });
            }
            What::Role(Role::Following(_, epoch) | Role::Observing(_, epoch)) => {
                learners.entry(*epoch).or_default().insert(event.server);
            }
            What::Delivered(zxid) => {
                commits.entry(zxid >> 32).or_default().insert(*zxid);
            }
            What::Role(_)
            | What::Recovered { .. }
            | What::Truncated(_)
            | What::SnapshotInstalled(_)
            | What::SnapshotTaken(_)
            | What::Halted(_)
            | What::Other => {}
        }
    }
    for election in &mut found {
        election.learners = learners.remove(&election.epoch).unwrap_or_default();
        election.commits = commits.get(&election.epoch).map_or(0, BTreeSet::len);
    }
    found
}

/// When the leader of this event ceased to lead.
fn led_until(servers: &[ServerLane], event: &Event) -> u64 {
    let lane = servers.iter().find(|lane| lane.id == event.server);
    let span = lane.and_then(|lane| {
        lane.spans
            .iter()
            .find(|span| span.state == State::Leading && span.until > event.time)
    });
    match span {
        Some(span) if span.from <= event.time => span.until,
        Some(_) | None => event.time,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lanes::Lanes;
    use crate::read::read;
    use crate::testing::Directory;

    #[test]
    fn elections_know_learners_commits_and_gaps() {
        let elections = Lanes::of(&read(Directory::new("elections").path()).unwrap()).elections;
        assert_eq!(elections.len(), 2);
        assert_eq!(
            (elections[0].leader, elections[0].until),
            (1, 2_000_000_000)
        );
        assert_eq!((elections[1].epoch, elections[1].gap), (2, 300_000_000));
        assert_eq!(elections[1].learners, BTreeSet::from([3]));
        assert_eq!(elections[0].commits, 1);
    }
}
