//! Sequence numbers, where others make children too.
//!
//! A parent counts every child that is ever made under it; the number in a sequential name is
//! that count before the create. So along one life of the parent the numbers told in names, and
//! the counts told in Stats, grow by at least the children that recorded requests made in
//! between, and by exactly those where no stranger found room to write.
//!
//! Where a parent's life is known: from its czxid to where it was last seen; where a child was
//! alive, for a parent with children is not deleted; at a create under it; and `/` for ever.
//! What touches is one life.
//!
//! Answers to: `consistency.md` P15, P17; 3.0 (the counter).

use super::deeds::parts;
use super::{OWN, Overheard};
use crate::history::{Op, Stat};
use crate::model::{NO_PATH, PathId};
use crate::verdict::{Property, Violation};
use crate::walk::case::RequestIndex;
use crate::walk::evidence::made;
use rustc_hash::FxHashMap;

/// Digits of a sequence number in a name.
const DIGITS: usize = 10;

/// The root's number among the paths.
const ROOT: PathId = 0;

/// What is said of a parent's counter at one zxid; in the order in which it happens there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Say {
    /// The parent was made: the counter is 0.
    Born,
    /// A child was made; with this number, if it is sequential.
    Made(u32, Option<i64>),
    /// So many were ever made, says a Stat.
    Counted(i64),
}

/// One of them, and who said so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Point {
    zxid: i64,
    say: Say,
    request: RequestIndex,
}

/// The counter along one life.
struct Counter {
    /// At least this much.
    floor: i64,
    /// Where it was last known exactly, and who showed it.
    known: (i64, RequestIndex),
    /// A sequential name showed it.
    named: bool,
}

/// How many children a node was ever given.
fn counted(stat: &Stat) -> i64 {
    (i64::from(stat.cversion) + i64::from(stat.num_children)) / 2
}

/// The number at the end of a sequential name.
fn number_of(asked: &str, made: &str) -> Option<i64> {
    let digits = made.strip_prefix(asked)?;
    let plain = digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

impl Overheard<'_, '_> {
    /// P15, and P17 where a Stat and not a name is wrong.
    ///
    /// # Errors
    /// The first number that does not fit.
    pub(super) fn check_numbers(&self) -> Result<(), Box<Violation>> {
        let mut points = self.created();
        let mut parents: Vec<PathId> = points.keys().copied().collect();
        parents.sort_unstable();
        let children = self.children_of(&points);
        for parent in parents {
            let mut said = points.remove(&parent).unwrap_or_default();
            let spans = self.spans(parent, &said, children.get(&parent));
            for sight in self.sights.get(&parent).into_iter().flatten() {
                let request = sight.request;
                if let Some(stat) = sight.stat() {
                    let say = Say::Counted(counted(stat));
                    let mut put = |zxid, say| said.push(Point { zxid, say, request });
                    put(stat.czxid, Say::Born);
                    put(sight.zxid, say);
                    // It has not changed since.
                    put(stat.pzxid.max(stat.czxid), say);
                }
            }
            said.sort_unstable();
            for (from, to) in spans {
                let start = said.partition_point(|point| point.zxid < from);
                let end = said.partition_point(|point| point.zxid <= to);
                self.count(parent, &said[start..end])?;
            }
        }
        Ok(())
    }

    /// What recorded requests made, by parent; only parents of sequential nodes.
    fn created(&self) -> FxHashMap<PathId, Vec<Point>> {
        let mut points: FxHashMap<PathId, Vec<Point>> = FxHashMap::default();
        for (request, asked) in self.deeds.requests(self.case) {
            let zxid = asked.zxid;
            for (part, (op, answer)) in parts(asked).enumerate() {
                let (
                    Op::Create {
                        path, sequential, ..
                    },
                    Some(made),
                ) = (op, made(answer))
                else {
                    continue;
                };
                let parent = self.paths.parent(self.about(op, answer));
                if parent == NO_PATH || made.starts_with(OWN) {
                    continue;
                }
                let number = sequential.then(|| number_of(path, made)).flatten();
                let say = Say::Made(part as u32, number);
                points
                    .entry(parent)
                    .or_default()
                    .push(Point { zxid, say, request });
            }
        }
        points.retain(|_, said| {
            let numbered = |point: &Point| matches!(point.say, Say::Made(_, Some(_)));
            said.iter().any(numbered)
        });
        points
    }

    fn children_of(
        &self,
        parents: &FxHashMap<PathId, Vec<Point>>,
    ) -> FxHashMap<PathId, Vec<(i64, i64)>> {
        let mut children: FxHashMap<PathId, Vec<(i64, i64)>> = FxHashMap::default();
        for (&path, lives) in &self.lives {
            let parent = self.paths.parent(path);
            if parents.contains_key(&parent) {
                let spans = lives.iter().map(|life| (life.from, life.to));
                children.entry(parent).or_default().extend(spans);
            }
        }
        children
    }

    /// The stretches in which a parent surely was one node.
    fn spans(
        &self,
        parent: PathId,
        made: &[Point],
        children: Option<&Vec<(i64, i64)>>,
    ) -> Vec<(i64, i64)> {
        if parent == ROOT {
            return vec![(i64::MIN, i64::MAX)];
        }
        let mut spans: Vec<(i64, i64)> =
            made.iter().map(|point| (point.zxid, point.zxid)).collect();
        spans.extend(children.into_iter().flatten());
        let lives = self.lives.get(&parent).into_iter().flatten();
        spans.extend(lives.map(|life| (life.from, life.to)));
        spans.sort_unstable();
        let mut merged: Vec<(i64, i64)> = Vec::new();
        for (from, to) in spans {
            match merged.last_mut() {
                Some((_, end)) if from <= *end => *end = (*end).max(to),
                Some(_) | None => merged.push((from, to)),
            }
        }
        merged
    }

    /// Follows the counter along one life.
    fn count(&self, parent: PathId, said: &[Point]) -> Result<(), Box<Violation>> {
        let mut counter: Option<Counter> = None;
        for point in said {
            let value = match point.say {
                Say::Born => Some(0),
                Say::Made(_, number) => number,
                Say::Counted(count) => Some(count),
            };
            let made = i64::from(matches!(point.say, Say::Made(..)));
            let numbered = made == 1 && value.is_some();
            let Some(value) = value else {
                if let Some(counter) = &mut counter {
                    counter.floor += 1;
                }
                continue;
            };
            if let Some(known) = &counter {
                self.fits(parent, known, point, value, numbered)?;
            }
            counter = Some(Counter {
                floor: value + made,
                known: (point.zxid, point.request),
                named: numbered,
            });
        }
        Ok(())
    }

    fn fits(
        &self,
        parent: PathId,
        counter: &Counter,
        point: &Point,
        value: i64,
        numbered: bool,
    ) -> Result<(), Box<Violation>> {
        let (since, witness) = counter.known;
        let exact = !self.deeds.room(since, point.zxid);
        if value == counter.floor || value > counter.floor && !exact {
            return Ok(());
        }
        let property = match numbered || counter.named {
            true => Property::SequentialNames,
            false => Property::StatArithmetic,
        };
        let reason = format!(
            "{} had been given {} {} children before {:#x}, so {value} cannot be their number then",
            self.paths.name(parent),
            if exact { "exactly" } else { "at least" },
            counter.floor,
            point.zxid
        );
        self.convict(property, &[witness, point.request], reason)
    }
}

#[cfg(test)]
mod tests {
    use super::number_of;

    #[test]
    fn a_sequential_name_ends_with_ten_digits() {
        assert_eq!(number_of("/q/n-", "/q/n-0000000012"), Some(12));
        for made in ["/q/n-12", "/q/n--000000001", "/q/m-0000000012", "/q/n-"] {
            assert_eq!(number_of("/q/n-", made), None, "{made}");
        }
    }
}
