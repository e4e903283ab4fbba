//! What is registered now: every watch of every connection, by path.
//!
//! A watch fires once, or stays. It is *loose* where it may be gone: where another mode was
//! registered on its path (servers before 3.9 keep one), or where its removal, or its own
//! registration, is not certain. A loose one explains what is told and demands nothing.
//!
//! Those of connections that are gone are forgotten together, once they may be as many as all
//! others: whoever leaves is not looked for among all that wait.
//!
//! Answers to: `consistency.md` P10 to P12; `protocol.md` 12.2 to 12.7.

use crate::history::{EventType, Op, Path, WatchKind, WatchMode};
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::BTreeSet;
use std::rc::Rc;

/// Registrations that may be left of connections that are gone, whatever else there is.
const LEFT_SLACK: usize = 1 << 10;

/// A connection, by its number; 0 is none.
pub type LineId = u32;

/// What a watch hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hears {
    /// Its node.
    Node,
    /// The list of its node's children.
    List,
    /// Its node and every node below.
    Below,
}

impl Hears {
    /// True if it hears of that, where it is.
    pub fn event(self, event: EventType) -> bool {
        match (self, event) {
            (_, EventType::NodeDeleted) => true,
            (Hears::List, event) => event == EventType::NodeChildrenChanged,
            (Hears::Node | Hears::Below, event) => event != EventType::NodeChildrenChanged,
        }
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub enum Asks {
    /// A watch that fires once.
    Once(Hears),
    /// Watches that stay.
    Stays(WatchMode),
}

/// What a request registers, if it does.
pub fn asks(op: &Op) -> Option<(&Path, Asks)> {
    match op {
        Op::Get { path, watch: true } | Op::Exists { path, watch: true } => {
            Some((path, Asks::Once(Hears::Node)))
        }
        Op::Children {
            path, watch: true, ..
        } => Some((path, Asks::Once(Hears::List))),
        Op::AddWatch { path, mode } => Some((path, Asks::Stays(*mode))),
        _ => None,
    }
}

/// True if a request registers watches, or takes them away.
pub fn watches(op: &Op) -> bool {
    asks(op).is_some() || op.arranges_watches()
}

/// True if removeWatches takes away what hears that, and stays or does not.
pub fn takes(kind: WatchKind, hears: Hears, stays: bool) -> bool {
    match kind {
        WatchKind::Any => true,
        WatchKind::Data => hears != Hears::List,
        WatchKind::Children => hears == Hears::List,
        WatchKind::Persistent => stays && hears != Hears::Below,
        WatchKind::Recursive => hears == Hears::Below,
    }
}

/// A registration.
#[derive(Debug, Clone, Copy)]
pub struct Wait {
    /// Whose.
    pub line: LineId,
    /// What it hears.
    pub hears: Hears,
    /// It stays when it fires.
    pub stays: bool,
    /// It may be gone.
    pub loose: bool,
    /// Made by setWatches, so that only requests sent after its answer show what was missed.
    pub again: bool,
    /// The record that made it; what it causes comes later.
    pub since: usize,
}

/// The watches of one connection that fire together: their client is told once.
pub struct Fires {
    /// Whose.
    pub line: LineId,
    /// The record that made the first of them.
    pub since: usize,
    /// One is surely there.
    pub must: bool,
    /// Those that surely are were all made by setWatches.
    pub again: bool,
}

/// All registrations.
#[derive(Default)]
pub struct Waits {
    at: FxHashMap<Rc<str>, Vec<Wait>>,
    /// How many hear what is below.
    below: usize,
    /// Paths of which something was asked whose fate is unknown: what is there may be gone.
    unsure: BTreeSet<(LineId, Rc<str>)>,
    /// Connections that are gone, of which something may be left.
    gone: FxHashSet<LineId>,
    /// With more of all of these, it is forgotten.
    kept_max: usize,
}

/// The node above a path.
pub fn above(path: &str) -> Option<&str> {
    match path.rfind('/')? {
        0 if path.len() == 1 => None,
        0 => Some("/"),
        slash => Some(&path[..slash]),
    }
}

impl Waits {
    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.at.is_empty()
    }

    /// A watch is registered, of which `wait` tells all but what it hears and whether it stays. One
    /// that is there already remains, but for a loose one that is here again.
    pub fn add(&mut self, path: &str, asks: Asks, wait: Wait) {
        let (made, met, stays): (&[Hears], &[Hears], bool) = match asks {
            Asks::Once(Hears::List) => (&[Hears::List], &[Hears::List], false),
            Asks::Once(_) => (&[Hears::Node], &[Hears::Node, Hears::Below], false),
            Asks::Stays(WatchMode::Persistent) => {
                (&[Hears::Node, Hears::List], &[Hears::Below], true)
            }
            Asks::Stays(WatchMode::Recursive) => (&[Hears::Below], &[Hears::List], true),
        };
        self.change(wait.line, path, |known| {
            known.loose |= met.contains(&known.hears) && (stays || known.stays);
            let same = stays && known.stays && made.contains(&known.hears);
            !(same && known.loose && !wait.loose)
        });
        let here = self.at.entry(path.into()).or_default();
        for &hears in made {
            let wait = Wait {
                hears,
                stays,
                ..wait
            };
            let of = |wait: &Wait| (wait.line, wait.hears, wait.stays);
            if !here.iter().any(|known| of(known) == of(&wait)) {
                self.below += usize::from(hears == Hears::Below);
                here.push(wait);
            }
        }
    }

    /// removeWatches was answered. Before 3.9 some kinds took away what stays, too.
    pub fn remove(&mut self, line: LineId, path: &str, kind: WatchKind) {
        self.change(line, path, |known| {
            let hit = takes(kind, known.hears, known.stays);
            let perhaps = known.stays && matches!(kind, WatchKind::Data | WatchKind::Children);
            known.loose |= hit;
            !hit || perhaps
        });
    }

    /// From here on nothing is demanded of what a connection has registered on a path.
    pub fn doubt(&mut self, line: LineId, path: &str) {
        self.unsure.insert((line, path.into()));
    }

    /// Nothing more comes on a connection.
    pub fn forget(&mut self, line: LineId) {
        self.gone.insert(line);
        if self.at.len() + self.unsure.len() + self.gone.len() <= self.kept_max {
            return;
        }
        let (gone, below) = (std::mem::take(&mut self.gone), &mut self.below);
        self.unsure.retain(|(line, _)| !gone.contains(line));
        self.at.retain(|_, here| {
            keep(here, below, |wait| !gone.contains(&wait.line));
            !here.is_empty()
        });
        self.kept_max = 2 * (self.at.len() + self.unsure.len()) + LEFT_SLACK;
    }

    /// Changes the registrations of a connection on a path, or takes them out.
    fn change(&mut self, line: LineId, path: &str, mut stays: impl FnMut(&mut Wait) -> bool) {
        let Some(here) = self.at.get_mut(path) else {
            return;
        };
        keep(here, &mut self.below, |wait| {
            wait.line != line || stays(wait)
        });
        if here.is_empty() {
            self.at.remove(path);
        }
    }

    /// The path itself, and all above it if anybody hears what is below.
    fn heard_from<'p>(&self, path: &'p str) -> impl Iterator<Item = &'p str> + use<'p> {
        let below = self.below > 0;
        std::iter::successors(Some(path), move |path| above(path).filter(|_| below))
    }

    /// True if a connection has a watch that stays and hears of an event.
    pub fn hears(&self, line: LineId, event: EventType, path: &str) -> bool {
        self.heard_from(path).any(|at| {
            let here = self.at.get(at).into_iter().flatten();
            let mut own = here.filter(|wait| wait.line == line && wait.stays);
            own.any(|wait| wait.hears.event(event) && (at == path || wait.hears == Hears::Below))
        })
    }

    /// What fires on an event, each connection once; what does not stay is used up.
    pub fn fired(&mut self, event: EventType, path: &str) -> Vec<Fires> {
        let mut fired: Vec<Fires> = Vec::new();
        if self.at.is_empty() {
            return fired;
        }
        for at in self.heard_from(path) {
            let Some(here) = self.at.get_mut(at) else {
                continue;
            };
            keep(here, &mut self.below, |wait| {
                let fires = wait.hears.event(event) && (at == path || wait.hears == Hears::Below);
                if fires {
                    let doubt =
                        !self.unsure.is_empty() && self.unsure.contains(&(wait.line, at.into()));
                    also(&mut fired, wait, !wait.loose && !doubt);
                }
                !fires || wait.stays
            });
            if here.is_empty() {
                self.at.remove(at);
            }
        }
        fired
    }
}

/// Keeps some registrations of a path.
fn keep(here: &mut Vec<Wait>, below: &mut usize, mut stays: impl FnMut(&mut Wait) -> bool) {
    here.retain_mut(|wait| {
        let stays = stays(wait);
        *below -= usize::from(!stays && wait.hears == Hears::Below);
        stays
    });
}

fn also(fired: &mut Vec<Fires>, wait: &Wait, sure: bool) {
    let Some(fires) = fired.iter_mut().find(|fires| fires.line == wait.line) else {
        fired.push(Fires {
            line: wait.line,
            since: wait.since,
            must: sure,
            again: wait.again,
        });
        return;
    };
    fires.since = fires.since.min(wait.since);
    if sure {
        fires.again = wait.again && (fires.again || !fires.must);
        fires.must = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(line: LineId) -> Wait {
        Wait {
            line,
            hears: Hears::Node,
            stays: false,
            loose: false,
            again: false,
            since: 0,
        }
    }

    #[test]
    fn what_is_left_of_connections_that_are_gone_is_never_more_than_the_rest_and_some() {
        let (mut waits, stay) = (Waits::default(), 3 * LEFT_SLACK);
        for at in 0..stay {
            waits.add(&format!("/{at}"), Asks::Once(Hears::Node), wait(1));
        }
        let recursive = Asks::Stays(WatchMode::Recursive);
        for line in 2..10 * stay as LineId {
            waits.add(&format!("/gone{line}"), recursive, wait(line));
            waits.doubt(line, "/0");
            waits.forget(line);
            let kept = waits.at.len() + waits.unsure.len() + waits.gone.len();
            assert!(kept <= 2 * stay + LEFT_SLACK, "{kept}");
            assert!(waits.below <= kept);
        }
        for at in 0..stay {
            let fired = waits.fired(EventType::NodeCreated, &format!("/{at}"));
            assert!(fired.iter().any(|fires| fires.line == 1 && fires.must));
        }
    }
}
