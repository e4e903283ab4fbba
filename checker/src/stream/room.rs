//! Where there is room in what has gone by.
//!
//! A leader numbers the transactions of its epoch one by one, so what nobody was told of had one
//! of the numbers that no answer claims; and it can have had that only if nothing was said after
//! it of the paths it touched. Both are kept here: stretches of numbers that no transaction has,
//! and the last place at which anything was said of each path. Nothing is kept until something
//! can have happened unseen.
//!
//! Answers to: `consistency.md` 3.2, unanswered transactions; `protocol.md` 15.4.

use crate::model::{NO_PATH, PathId};
use std::collections::VecDeque;

/// Stretches of numbers that are kept.
const GAPS_MAX: usize = 1 << 16;

/// Numbers after the last one seen of an epoch that its leader may have given out.
const TAIL: i64 = 64;

/// Numbers that no transaction has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Gap {
    from: i64,
    to: i64,
    /// When anything as new was first shown to anybody.
    shown: u64,
}

/// Where there is room in what has gone by.
#[derive(Clone, Default)]
pub struct Room {
    /// False until anything can have happened unseen.
    kept: bool,
    /// Nothing is known of what lies before.
    since: i64,
    /// Up to here numbers are taken or in a gap.
    upto: i64,
    gaps: VecDeque<Gap>,
    /// The last place at which anything was said of each path.
    seen: Vec<i64>,
    /// The last place at which the number of children ever made under each path was told, if
    /// only that.
    counted: Vec<i64>,
    /// The last place at which a Stat of each path was told.
    dated: Vec<i64>,
}

fn raise(list: &mut Vec<i64>, path: PathId, zxid: i64) {
    let at = path as usize;
    if path == NO_PATH {
        return;
    }
    if list.len() <= at {
        list.resize(at + 1, i64::MIN);
    }
    list[at] = list[at].max(zxid);
}

impl Room {
    /// True if it is kept.
    pub fn is_kept(&self) -> bool {
        self.kept
    }

    /// From here on it is kept, of what lies after a zxid.
    pub fn keep(&mut self, since: i64) {
        if !self.kept {
            (self.kept, self.since, self.upto) = (true, since, since);
        }
    }

    /// Numbers of paths have changed, or are more than there is use for: whatever was said of
    /// them was said by now.
    pub fn forget_paths(&mut self, now: i64) {
        self.seen.clear();
        self.counted.clear();
        self.dated.clear();
        self.since = self.since.max(now);
    }

    /// The order goes on to a zxid; before it numbers were left out, of which `shown` says when
    /// the first was shown.
    pub fn pass(&mut self, zxid: i64, shown: impl FnOnce(i64) -> u64) {
        let first = self.upto + 1;
        if !self.kept || zxid < first {
            return;
        }
        let shown = match zxid == first {
            true => 0,
            false => shown(first),
        };
        if zxid >> 32 == self.upto >> 32 {
            self.leave(first, zxid - 1, shown);
        } else {
            self.leave(first, self.upto + TAIL, shown);
            self.leave((zxid >> 32 << 32) + 1, zxid - 1, shown);
        }
        self.upto = zxid;
    }

    /// As [`Room::pass`], but the zxid is no transaction's as far as is known.
    pub fn pass_all(&mut self, zxid: i64, shown: impl FnOnce(i64) -> u64) {
        if zxid > self.upto {
            self.pass(zxid + 1, shown);
            self.upto = zxid;
        }
    }

    fn leave(&mut self, from: i64, to: i64, shown: u64) {
        if from > to {
            return;
        }
        if self.gaps.len() == GAPS_MAX {
            self.gaps.pop_front();
        }
        self.gaps.push_back(Gap { from, to, shown });
    }

    /// Something was said of a path at a zxid.
    pub fn saw(&mut self, path: PathId, zxid: i64) {
        if self.kept {
            raise(&mut self.seen, path, zxid);
        }
    }

    /// The number of children ever made under a path was told at a zxid, and nothing else.
    pub fn counted(&mut self, path: PathId, zxid: i64) {
        if self.kept {
            raise(&mut self.counted, path, zxid);
        }
    }

    /// A Stat of a path was told at a zxid.
    pub fn dated(&mut self, path: PathId, zxid: i64) {
        if self.kept {
            raise(&mut self.dated, path, zxid);
        }
    }

    /// The last place at which a Stat of a path was told.
    pub fn last_stat_of(&self, path: PathId) -> i64 {
        let dated = self.dated.get(path as usize).copied();
        dated.unwrap_or(i64::MIN).max(self.since)
    }

    /// The last place at which the children ever made under a path were counted.
    pub fn last_count_of(&self, path: PathId) -> i64 {
        let counted = self.counted.get(path as usize).copied();
        counted.unwrap_or(i64::MIN).max(self.last_of(path))
    }

    /// The last place at which anything was said of a path.
    pub fn last_of(&self, path: PathId) -> i64 {
        let seen = self.seen.get(path as usize).copied();
        seen.unwrap_or(i64::MIN).max(self.since)
    }

    /// The greatest number after `low` and before `high` that was first shown no earlier than
    /// `time`, or else the least, with the time at which it was first shown.
    pub fn find(&self, low: i64, high: i64, time: u64, greatest: bool) -> Option<(i64, u64)> {
        let early = |gap: &Gap| gap.to <= low || gap.shown < time;
        let first = self.gaps.partition_point(early);
        let end = self.gaps.partition_point(|gap| gap.from < high);
        let gap = match greatest {
            true => self.gaps.range(first..end.max(first)).next_back(),
            false => self.gaps.range(first..end.max(first)).next(),
        }?;
        let number = match greatest {
            true => gap.to.min(high - 1),
            false => gap.from.max(low + 1),
        };
        (number > low).then_some((number, gap.shown))
    }

    /// A number has found its transaction.
    pub fn take(&mut self, number: i64) {
        let at = self.gaps.partition_point(|gap| gap.to < number);
        let Some(&gap) = self.gaps.get(at).filter(|gap| gap.from <= number) else {
            return;
        };
        let (before, after) = (
            Gap {
                to: number - 1,
                ..gap
            },
            Gap {
                from: number + 1,
                ..gap
            },
        );
        self.gaps.remove(at);
        for part in [after, before] {
            if part.from <= part.to {
                self.gaps.insert(at, part);
            }
        }
    }
}
