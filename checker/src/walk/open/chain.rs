//! A path along the order: its lives, and every Stat against the others of the same life.
//!
//! Answers to: `consistency.md` 3.2, "Stats chain"; P7, P9, P13, P17, P18.

use super::Overheard;
use super::sights::{Sight, State};
use crate::history::Stat;
use crate::model::PathId;
use crate::verdict::{Property, Violation};
use crate::walk::case::RequestIndex;

/// From creation to the last place at which it was seen.
#[derive(Debug, Clone, Copy)]
pub struct Life {
    /// czxid.
    pub from: i64,
    /// The last place at which it was seen.
    pub to: i64,
    /// Who saw it first.
    pub first: RequestIndex,
    /// Who saw it last.
    pub last: RequestIndex,
}

impl<'h> Overheard<'_, 'h> {
    /// Follows a path along the order and sorts what was seen of it; its lives.
    ///
    /// # Errors
    /// Two sights, or one by itself, that no stranger's write can explain.
    pub(super) fn chain(&mut self, path: PathId) -> Result<Vec<Life>, Box<Violation>> {
        let mut sights = self.sights.remove(&path).unwrap_or_default();
        sights.sort_by_key(|sight| sight.zxid);
        let lives = self.lives_of(path, &sights);
        self.sights.insert(path, sights);
        lives
    }

    fn lives_of(&self, path: PathId, sights: &[Sight<'h>]) -> Result<Vec<Life>, Box<Violation>> {
        let mut lives: Vec<Life> = Vec::new();
        // What was told in full last of the present life, and what was seen last at all.
        let (mut told, mut last): (Option<Sight<'h>>, Option<Sight<'h>>) = (None, None);
        let mut bytes = None;
        for sight in sights {
            if let Some(last) = last.filter(|last| last.zxid == sight.zxid) {
                self.same_place(path, &last, sight)?;
            }
            match sight.state {
                State::Absent => {}
                State::Alive { life, stat, .. } => {
                    self.alone(path, sight)?;
                    bytes = self.same_bytes(path, bytes, sight)?;
                    if lives.last().is_none_or(|known| known.from != life) {
                        self.begins(path, &lives, life, last, sight)?;
                        let (first, last) = (sight.request, sight.request);
                        let (from, to) = (life, sight.zxid);
                        lives.push(Life {
                            from,
                            to,
                            first,
                            last,
                        });
                        told = None;
                    } else if let Some(gone) = last.filter(Sight::is_absent)
                        && gone.zxid < sight.zxid
                    {
                        self.revived(path, &gone, sight)?;
                    }
                    if let Some(known) = lives.last_mut() {
                        (known.to, known.last) = (sight.zxid, sight.request);
                    }
                    if let (Some(earlier), Some(_)) = (told, stat) {
                        self.grows(path, &earlier, sight)?;
                    }
                    if stat.is_some() {
                        told = Some(*sight);
                    }
                }
            }
            last = Some(*sight);
        }
        Ok(lives)
    }

    /// P18: one prefix, one state.
    fn same_place(
        &self,
        path: PathId,
        one: &Sight<'h>,
        other: &Sight<'h>,
    ) -> Result<(), Box<Violation>> {
        let same = match (one.state, other.state) {
            (State::Absent, State::Absent) => true,
            (State::Absent, State::Alive { .. }) | (State::Alive { .. }, State::Absent) => false,
            (
                State::Alive {
                    life: a,
                    stat: s,
                    data: d,
                },
                State::Alive {
                    life: b,
                    stat: t,
                    data: e,
                },
            ) => {
                a == b
                    && s.zip(t).is_none_or(|(s, t)| s == t)
                    && d.zip(e).is_none_or(|(d, e)| d == e)
            }
        };
        if same {
            return Ok(());
        }
        let reason = format!(
            "{} was seen in two states at {:#x}",
            self.paths.name(path),
            one.zxid
        );
        self.convict(
            Property::ReplicasAgree,
            &[one.request, other.request],
            reason,
        )
    }

    /// P7: one mzxid, one value, the one that was written if that was recorded. Returns the
    /// sight to compare the next one with.
    fn same_bytes(
        &self,
        path: PathId,
        known: Option<Sight<'h>>,
        sight: &Sight<'h>,
    ) -> Result<Option<Sight<'h>>, Box<Violation>> {
        let bytes_of = |sight: &Sight<'h>| match sight.state {
            State::Alive { life, stat, data } => {
                data.map(|data| (stat.map_or(life, |stat| stat.mzxid), data))
            }
            State::Absent => None,
        };
        let Some((mzxid, data)) = bytes_of(sight) else {
            return Ok(known);
        };
        if let Some(known) = known
            && let Some((before, other)) = bytes_of(&known)
            && before == mzxid
            && other != data
        {
            let name = self.paths.name(path);
            let reason = format!("{name} has different bytes, all written at {mzxid:#x}");
            let told = [known.request, sight.request];
            return self.convict(Property::NoFutureReads, &told, reason);
        }
        Ok(Some(*sight))
    }

    /// What one sight must be by itself.
    fn alone(&self, path: PathId, sight: &Sight<'h>) -> Result<(), Box<Violation>> {
        let State::Alive {
            stat: Some(stat),
            data,
            ..
        } = sight.state
        else {
            return Ok(());
        };
        let name = self.paths.name(path);
        let Stat {
            czxid,
            mzxid,
            pzxid,
            ..
        } = stat;
        let length = data.map(|data| data.map_or(0, |value| value.bytes().len()));
        if mzxid < czxid || mzxid > sight.zxid || pzxid > sight.zxid {
            let reason = format!(
                "a Stat of {name} at {:#x} has czxid {czxid:#x}, mzxid {mzxid:#x}, pzxid {pzxid:#x}",
                sight.zxid
            );
            return self.convict(Property::StatArithmetic, &[sight.request], reason);
        }
        if length.is_some_and(|length| length != stat.data_length as usize) {
            let reason = format!("{name} came with other data than its Stat counts");
            return self.convict(Property::StatArithmetic, &[sight.request], reason);
        }
        if let Some((zxid, close)) = self.deeds.closed(stat.ephemeral_owner)
            && zxid <= sight.zxid
        {
            let reason = format!(
                "{name} was there at {:#x}, but the session it belonged to ended at {zxid:#x}",
                sight.zxid
            );
            let indices = [close, sight.request];
            return self.convict(Property::EphemeralsEnd, &indices, reason);
        }
        for (zxid, deed) in [
            (czxid, "made"),
            (mzxid, "written"),
            (pzxid, "given children"),
        ] {
            let fits = |doer: &RequestIndex| match deed {
                "given children" => self.may_have_changed_children(*doer, path),
                _ => self.may_have_written(*doer, path, zxid == czxid),
            };
            if let Some(doer) = self.deeds.at(zxid).filter(|doer| !fits(doer)) {
                let reason = format!(
                    "{name} is said to be {deed} at {zxid:#x}, but the request at that zxid was another"
                );
                let indices = [doer, sight.request];
                return self.convict(Property::StatArithmetic, &indices, reason);
            }
        }
        Ok(())
    }

    /// A life may begin only where no other was, and where the node was not missing later.
    fn begins(
        &self,
        path: PathId,
        lives: &[Life],
        life: i64,
        last: Option<Sight<'h>>,
        sight: &Sight<'h>,
    ) -> Result<(), Box<Violation>> {
        if let Some(before) = lives.last()
            && life <= before.to
        {
            let reason = format!(
                "{} of {:#x} was still there at {:#x}, but the one of {life:#x} took its place",
                self.paths.name(path),
                before.from,
                before.to
            );
            let indices = [before.last, sight.request];
            return self.convict(Property::StatArithmetic, &indices, reason);
        }
        match last.filter(Sight::is_absent) {
            Some(gone) if life <= gone.zxid && gone.zxid < sight.zxid => {
                self.revived(path, &gone, sight)
            }
            Some(_) | None => Ok(()),
        }
    }

    fn revived(
        &self,
        path: PathId,
        gone: &Sight<'h>,
        sight: &Sight<'h>,
    ) -> Result<(), Box<Violation>> {
        let State::Alive { life, .. } = sight.state else {
            return Ok(());
        };
        let reason = format!(
            "{} was not there at {:#x}, though at {:#x} it was, and had been since {life:#x}",
            self.paths.name(path),
            gone.zxid,
            sight.zxid
        );
        self.convict(Property::Durability, &[gone.request, sight.request], reason)
    }

    /// Two Stats of one life, the later one never behind, and equal numbers for equal contents.
    fn grows(
        &self,
        path: PathId,
        one: &Sight<'h>,
        other: &Sight<'h>,
    ) -> Result<(), Box<Violation>> {
        let (State::Alive { stat: Some(a), .. }, State::Alive { stat: Some(b), .. }) =
            (one.state, other.state)
        else {
            return Ok(());
        };
        let name = self.paths.name(path);
        let falls = [
            ("mzxid", a.mzxid, b.mzxid),
            ("pzxid", a.pzxid, b.pzxid),
            ("version", a.version.into(), b.version.into()),
            ("cversion", a.cversion.into(), b.cversion.into()),
            ("aversion", a.aversion.into(), b.aversion.into()),
        ];
        let told = [one.request, other.request];
        if let Some((field, before, after)) = falls.iter().find(|(_, a, b)| b < a) {
            let reason = format!("{field} of {name} fell from {before:#x} to {after:#x}");
            return self.convict(Property::StatArithmetic, &told, reason);
        }
        // The zxid at which something last changed is no older than the last sight of how it
        // was before.
        let late = |zxid: i64| zxid > one.zxid;
        let moved = (a.mzxid != b.mzxid, a.pzxid != b.pzxid);
        let wrong = if (a.ctime, a.ephemeral_owner) != (b.ctime, b.ephemeral_owner) {
            "another ctime or owner in one life"
        } else if moved.0 != (a.version != b.version) {
            "version and mzxid do not change together"
        } else if moved.1 != (a.cversion != b.cversion) {
            "cversion and pzxid do not change together"
        } else if moved.0 && !late(b.mzxid) || moved.1 && !late(b.pzxid) {
            "a change that happened before the node was seen without it"
        } else if !moved.0 && (a.mtime, a.data_length) != (b.mtime, b.data_length) {
            "other data under one mzxid"
        } else if !moved.1 && a.num_children != b.num_children {
            "another number of children under one pzxid"
        } else {
            return Ok(());
        };
        let reason = format!("the Stats of {name} contradict each other: {wrong}");
        self.convict(Property::StatArithmetic, &told, reason)
    }
}
