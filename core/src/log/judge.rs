//! What the bytes found on a disk prove: whole, torn, or damaged. A pure function.
//!
//! The log is the chain of segments that the head leads back to (see `segment`). It is
//! walked from the newest good snapshot on, record by record, each zxid following the one
//! before. Where the walk stops there is either the log's end or a hole:
//!
//! | the walk stops | it is |
//! |---|---|
//! | in a closed segment before its end | damage: a segment is closed only when durable |
//! | in the head, and a witness lies beyond | damage (row D3) |
//! | in the head, at bytes the device will not read | damage: unreadable is not torn |
//! | in the head, otherwise | the end: what follows was never promised, and is cut |
//! | anywhere, but the snapshot covers what is missing | no matter: the walk goes on |
//!
//! Witnesses in the head are its own `sealed`, the `synced_upto` of any good record head,
//! and the mark. A head with a bad header is damage, never a crash at creation: a segment
//! gets its name only after its header is durable, and a creation cut short leaves a
//! temporary name. Noticed damage is harmless, silent amnesia is not; so every doubt that a
//! single fault can raise counts as damage.

use super::Entry;
use super::epochs::{self, Copy};
use super::mark::Mark;
use super::record::Place;
use super::segment::{Found, HEADER_BYTES, Scan, SegmentHeader};
use super::writer::{Closed, Indexed};
use crate::base::event::Fitness;
use crate::base::ids::{Epoch, Zxid};
use bytes::Bytes;
use std::collections::BTreeMap;

/// A snapshot that was read and verified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Chosen {
    /// Its generation.
    pub generation: u64,
    /// What it stands for.
    pub zxid: Zxid,
    /// Its body.
    pub body: Bytes,
}

/// A segment of the chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Link {
    /// What it says of itself.
    pub header: SegmentHeader,
    /// Where the next link goes on; `None` for the head.
    pub limit: Option<u64>,
}

/// Everything that was found.
#[derive(Clone, Debug, Default)]
pub(super) struct Evidence {
    /// Segments by number; `None` for a bad header.
    pub segments: BTreeMap<u64, Option<SegmentHeader>>,
    /// Snapshots by generation and zxid; false for those found bad.
    pub snapshots: BTreeMap<(u64, Zxid), bool>,
    /// The newest good snapshot.
    pub chosen: Option<Chosen>,
    /// The mark; `None` when the file is missing or bad.
    pub mark: Option<Mark>,
    /// The epoch copies.
    pub copies: [Option<Copy>; 2],
    /// True when the second copy is there at all: promises were made.
    pub second_copy: bool,
    /// What was found in the segments that were looked through.
    pub scans: BTreeMap<u64, Scan>,
    /// No generation from this on was ever used.
    pub next_generation: u64,
}

/// What to go on with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Verdict {
    /// Closed segments that stay, oldest first.
    pub closed: Vec<Closed>,
    /// What the new head follows, after which zxid, in which generation.
    pub follows: Place,
    /// The zxid before the new head's first record.
    pub base: Zxid,
    /// The generation to go on in.
    pub generation: u64,
    /// Records that no witness proves durable, to be written again into the new head.
    pub carried: Vec<Entry>,
    /// The records after the snapshot that stay where they are.
    pub index: Vec<Indexed>,
    /// Where the snapshot's record ends, if it does not start the log.
    pub floor_end: Place,
    /// The snapshot to start from.
    pub snapshot: Option<(Zxid, Bytes)>,
    /// Everything after it.
    pub tail: Vec<Entry>,
    /// The newer good epoch copy.
    pub epochs: Option<Copy>,
    /// The zxid that would make a damaged log whole again; zero for a whole one.
    pub damage: Zxid,
    /// The right to vote.
    pub fitness: Fitness,
    /// Rare roads walked.
    pub probes: Vec<&'static str>,
}

impl Verdict {
    /// The snapshot's zxid, or zero.
    pub fn floor(&self) -> Zxid {
        self.snapshot.as_ref().map_or(Zxid::ZERO, |(zxid, _)| *zxid)
    }

    /// The last zxid.
    pub fn last(&self) -> Zxid {
        self.tail.last().map_or(self.floor(), |e| e.zxid)
    }
}

/// How far the chain could be followed.
struct Walk {
    last: Zxid,
    end: Place,
    floor_end: Place,
    tail: Vec<Entry>,
    index: Vec<Indexed>,
    in_segment: Vec<Found>,
    stopped_in: usize,
    damaged: bool,
    covered_hole: bool,
}

impl Evidence {
    /// The segment with the greatest number, and its header if that is good.
    pub fn head(&self) -> Option<(u64, Option<&SegmentHeader>)> {
        let (id, header) = self.segments.last_key_value()?;
        Some((*id, header.as_ref()))
    }

    /// Snapshots worth reading, best first: those of the log's generation, or, when the
    /// log has lost its head, any.
    pub fn candidates(&self) -> Vec<(u64, Zxid)> {
        let keys = self.snapshots.keys().rev().copied();
        match self.head() {
            Some((_, Some(head))) => keys.filter(|(g, _)| *g == head.generation).collect(),
            Some((_, None)) | None => keys.collect(),
        }
    }

    /// The segments that the head leads back to, oldest first.
    pub fn chain(&self) -> Vec<Link> {
        let mut links = Vec::new();
        let mut next = self.head().and_then(|(_, header)| header.copied());
        let mut limit = None;
        while let Some(header) = next {
            links.push(Link { header, limit });
            limit = Some(header.follows.offset);
            let earlier = header.follows.segment;
            let sound = earlier < header.id && header.follows.offset >= HEADER_BYTES;
            next = if sound {
                self.segments.get(&earlier).copied().flatten()
            } else {
                None
            };
        }
        links.reverse();
        links
    }

    /// The links to be walked from the chosen snapshot on; empty when the chain does not
    /// reach back to it.
    pub fn needed(&self) -> Vec<Link> {
        let floor = self.floor();
        let mut links = self.chain();
        let first = links.iter().rposition(|l| l.header.base <= floor);
        first.map_or(Vec::new(), |first| links.split_off(first))
    }

    /// Segments to be looked through before judging, with their limits. A head with a bad
    /// header is among them, for the zxids it bears witness of.
    pub fn to_scan(&self) -> Vec<(u64, u64)> {
        if let Some((id, None)) = self.head() {
            return vec![(id, u64::MAX)];
        }
        let limit = |l: &Link| (l.header.id, l.limit.unwrap_or(u64::MAX));
        self.needed().iter().map(limit).collect()
    }

    fn floor(&self) -> Zxid {
        self.chosen.as_ref().map_or(Zxid::ZERO, |c| c.zxid)
    }

    /// True when nothing on this disk was ever promised.
    fn pristine(&self) -> bool {
        let mark = self.mark.unwrap_or_default();
        self.segments.is_empty()
            && self.snapshots.is_empty()
            && self.copies == [None, None]
            && !self.second_copy
            && mark.place == Place::NOWHERE
            && mark.damage == Zxid::ZERO
    }

    /// How far the head is proven to be durable; `None` when not even its name is.
    fn proven(&self, head: &SegmentHeader) -> Option<u64> {
        let scan = &self.scans[&head.id];
        let place = self.mark.unwrap_or_default().place;
        let marked = (place.segment == head.id).then_some(place.offset);
        let named = scan.appended() || marked.is_some();
        named.then(|| head.sealed.max(scan.synced).max(marked.unwrap_or(0)))
    }

    fn walk(&self, links: &[Link]) -> Walk {
        let floor = self.floor();
        let first = links[0].header;
        let mut walk = Walk {
            last: first.base,
            end: first.follows,
            floor_end: if first.base == floor {
                first.follows
            } else {
                Place::NOWHERE
            },
            tail: Vec::new(),
            index: Vec::new(),
            in_segment: Vec::new(),
            stopped_in: 0,
            damaged: false,
            covered_hole: false,
        };
        for (n, link) in links.iter().enumerate() {
            walk.stopped_in = n;
            let scan = &self.scans[&link.header.id];
            let through = walk.segment(link, scan, floor);
            match link.limit {
                None => {
                    let at = walk.end.offset;
                    let proven = self.proven(&link.header).unwrap_or(link.header.sealed);
                    walk.damaged = proven > at || scan.unreadable_end > at;
                }
                Some(limit) => {
                    let next = links[n + 1].header.base;
                    if through && walk.end.offset == limit && walk.last == next {
                        continue;
                    }
                    if next > floor {
                        walk.damaged = true;
                        return walk;
                    }
                    walk.covered_hole = true;
                    walk.last = next;
                    walk.floor_end = Place::NOWHERE;
                }
            }
        }
        walk
    }

    /// The greatest zxid that anything on this disk bears witness of.
    fn known(&self) -> Zxid {
        let headers = self.segments.values().flatten().map(|h| h.base);
        let scans = self.scans.values().map(|s| s.zxid_max);
        let snapshots = self.snapshots.keys().map(|(_, zxid)| *zxid);
        let mark = self.mark.unwrap_or_default();
        let zxids = headers.chain(scans).chain(snapshots);
        zxids
            .max()
            .unwrap_or_default()
            .max(mark.zxid)
            .max(mark.damage)
    }

    /// Judges. Every segment of [`Evidence::to_scan`] has been looked through.
    pub fn judge(&self) -> Verdict {
        let links = self.needed();
        let lost_segment = match self.head() {
            Some((id, _)) => self.mark.is_none_or(|m| m.place.segment > id),
            None => !self.pristine(),
        };
        let (mut verdict, damaged) = if links.is_empty() {
            (self.start_over(), !self.pristine())
        } else {
            let walk = self.walk(&links);
            let damaged = walk.damaged;
            (self.go_on(&links, walk), damaged)
        };
        let last = verdict.last();
        let before = self.mark.unwrap_or_default().damage;
        if damaged || lost_segment {
            verdict.damage = self.known().max(successor(last));
            verdict.probes.push("log: damage found");
        } else if before > last {
            verdict.damage = before;
            verdict.probes.push("log: damage not healed yet");
        }
        verdict.fitness = self.fitness(&verdict);
        verdict
    }

    fn fitness(&self, verdict: &Verdict) -> Fitness {
        let promises_lost = verdict.epochs.is_none_or(|c| !c.record.voting);
        if verdict.damage > Zxid::ZERO {
            return Fitness::Damaged {
                mark: verdict.damage,
                promises_lost,
            };
        }
        let nothing = verdict.epochs.is_none()
            && !self.second_copy
            && verdict.snapshot.is_none()
            && verdict.last() == Zxid::ZERO;
        if nothing {
            Fitness::Empty
        } else if promises_lost {
            Fitness::Amnesiac
        } else {
            Fitness::Whole
        }
    }

    /// A log that begins after the chosen snapshot and follows nothing.
    fn start_over(&self) -> Verdict {
        let snapshot = self.chosen.as_ref();
        Verdict {
            closed: Vec::new(),
            follows: Place::NOWHERE,
            base: self.floor(),
            // Without a snapshot to stand on, none of the old ones may come back.
            generation: snapshot.map_or(self.next_generation, |c| c.generation),
            carried: Vec::new(),
            index: Vec::new(),
            floor_end: Place::NOWHERE,
            snapshot: snapshot.map(|c| (c.zxid, c.body.clone())),
            tail: Vec::new(),
            epochs: epochs::newest(self.copies[0], self.copies[1]),
            damage: Zxid::ZERO,
            fitness: Fitness::Empty,
            probes: Vec::new(),
        }
    }

    /// A log that goes on where the walk stopped.
    fn go_on(&self, links: &[Link], walk: Walk) -> Verdict {
        let stopped = &links[walk.stopped_in];
        let mut verdict = self.start_over();
        verdict.generation = stopped.header.generation;
        verdict.tail = walk.tail;
        if walk.covered_hole {
            verdict
                .probes
                .push("log: a hole is covered by the snapshot");
        }
        let proven = match stopped.limit {
            Some(_) => Some(u64::MAX),
            None => self.proven(&stopped.header),
        };
        let stay = walk
            .in_segment
            .partition_point(|f| proven.is_some_and(|p| f.start < p));
        let (stay, carried) = walk.in_segment.split_at(stay);
        let (follows, base) = match (proven, stay.last()) {
            (None, _) => (stopped.header.follows, stopped.header.base),
            (Some(_), None) => (
                Place {
                    segment: stopped.header.id,
                    offset: HEADER_BYTES,
                },
                stopped.header.base,
            ),
            (Some(_), Some(found)) => (
                Place {
                    segment: stopped.header.id,
                    offset: found.end,
                },
                found.entry.zxid,
            ),
        };
        let joined = match carried.first() {
            Some(first) => base.precedes(first.entry.zxid),
            None => base == walk.last,
        };
        if !joined || walk.last < self.floor() {
            // The log ends before the snapshot, or a hole lies between: begin after it.
            verdict.probes.push("log: begins anew after the snapshot");
            verdict.carried = verdict.tail.clone();
            return verdict;
        }
        verdict.follows = follows;
        verdict.base = base;
        verdict.floor_end = walk.floor_end;
        verdict.carried = carried.iter().map(|f| f.entry.clone()).collect();
        verdict.index = walk.index;
        verdict.index.retain(|i| i.zxid <= base);
        if verdict.floor() > base {
            // The snapshot's own record is carried: the place it ends at is void.
            verdict.floor_end = Place::NOWHERE;
        }
        verdict.closed = self.closed_upto(follows);
        verdict
    }

    fn closed_upto(&self, follows: Place) -> Vec<Closed> {
        let mut closed = Vec::new();
        for link in self.chain() {
            if link.header.id > follows.segment {
                break;
            }
            let end = link.limit.unwrap_or(follows.offset);
            closed.push(Closed {
                id: link.header.id,
                base: link.header.base,
                end: if link.header.id == follows.segment {
                    follows.offset
                } else {
                    end
                },
            });
        }
        closed
    }
}

impl Walk {
    /// Follows one segment; false when it stopped before the last good record.
    fn segment(&mut self, link: &Link, scan: &Scan, floor: Zxid) -> bool {
        self.in_segment.clear();
        self.end = Place {
            segment: link.header.id,
            offset: HEADER_BYTES,
        };
        for found in &scan.found {
            let zxid = found.entry.zxid;
            let follows = found.start == self.end.offset && self.last.precedes(zxid);
            if !follows {
                let reached = zxid <= floor || (self.last <= floor && floor.precedes(zxid));
                if !reached || zxid <= self.last {
                    return false;
                }
                self.covered_hole = true;
            }
            self.last = zxid;
            self.end.offset = found.end;
            self.in_segment.push(found.clone());
            if zxid == floor {
                self.floor_end = self.end;
            } else if zxid > floor {
                self.tail.push(found.entry.clone());
                self.index.push(Indexed {
                    zxid,
                    end: self.end,
                });
            }
        }
        true
    }
}

/// The least zxid that can follow.
fn successor(zxid: Zxid) -> Zxid {
    match zxid.counter() {
        u32::MAX => Zxid::new(Epoch(zxid.epoch().0.saturating_add(1)), 1),
        counter => Zxid::new(zxid.epoch(), counter + 1),
    }
}
