//! An open world: others write too, and nobody recorded them.
//!
//! There is no tree to replay: a change without a cause is somebody else's. What is left is
//! what no stranger can excuse. Each node's Stats are a chain: a life begins at czxid, its
//! versions and zxids only grow, equal numbers mean equal contents, and where a life was seen
//! at two places of the order the node was there all the way between. Recorded transactions
//! take part with what they were answered; a zxid that a Stat names and a recorded request
//! has must have been that request's doing.
//!
//! What it is not: a proof that the strangers' writes exist. It convicts only what none could
//! explain, and accepts the rest.
//!
//! Answers to: `consistency.md` 3.2, open world ("Stats chain"); P2 P7 P9 P13 P17 P18 P19.

use super::case::{Case, Request, RequestIndex, Role};
use super::times::records;
use crate::history::{Answer, ErrorCode, Op, Path, Stat, SubAnswer, Value};
use crate::model::{NO_PATH, PathId, Paths};
use crate::verdict::{Class, Property, Violation};
use rustc_hash::{FxHashMap, FxHashSet};

/// Where servers write without a transaction, each for itself (`config`, quota statistics).
const OWN: &str = "/zookeeper";

/// How a path was at one place of the order.
#[derive(Debug, Clone, Copy)]
enum State<'h> {
    /// No such node.
    Absent,
    /// A node that came to be at `life`.
    Alive {
        life: i64,
        /// All of it, if it was told.
        stat: Option<&'h Stat>,
        /// Its bytes, if they were.
        data: Option<Option<&'h Value>>,
    },
}

/// Somebody saw a path.
#[derive(Debug, Clone, Copy)]
struct Sight<'h> {
    zxid: i64,
    state: State<'h>,
    request: RequestIndex,
}

/// A list of names somebody was given, at its parent's place of the order.
struct Listing<'h> {
    zxid: i64,
    names: &'h [Path],
    request: RequestIndex,
}

/// From creation to the last place at which it was seen.
#[derive(Debug, Clone, Copy)]
struct Life {
    from: i64,
    to: i64,
    first: RequestIndex,
    last: RequestIndex,
}

struct Open<'c, 'h> {
    case: &'c Case<'h>,
    paths: Paths<'h>,
    sights: FxHashMap<PathId, Vec<Sight<'h>>>,
    listings: FxHashMap<PathId, Vec<Listing<'h>>>,
    /// Which recorded request stands at a zxid.
    at: FxHashMap<i64, RequestIndex>,
    /// When a session was answered that it is closed.
    closed: FxHashMap<i64, (i64, RequestIndex)>,
}

/// Judges what no stranger's write can excuse.
///
/// # Errors
/// The first violation.
pub fn check(case: &mut Case<'_>) -> Result<(), Box<Violation>> {
    let paths = std::mem::replace(&mut case.paths, Paths::new());
    let mut open = Open {
        case,
        paths,
        sights: FxHashMap::default(),
        listings: FxHashMap::default(),
        at: FxHashMap::default(),
        closed: FxHashMap::default(),
    };
    open.claim()?;
    for (index, request) in open.case.requests.iter().enumerate() {
        open.look(index as RequestIndex, request)?;
    }
    let mut seen: Vec<PathId> = open.sights.keys().copied().collect();
    seen.sort_unstable();
    let mut lives = FxHashMap::default();
    for path in seen {
        lives.insert(path, open.chain(path)?);
    }
    open.check_listings(&lives)
}

impl<'h> Open<'_, 'h> {
    /// P19: whose zxid is whose.
    fn claim(&mut self) -> Result<(), Box<Violation>> {
        for (index, request) in self.case.requests.iter().enumerate() {
            if request.role != Role::Transaction {
                continue;
            }
            let index = index as RequestIndex;
            if let Some(other) = self.at.insert(request.zxid, index) {
                let reason = format!(
                    "two requests were answered as transaction {:#x}",
                    request.zxid
                );
                return self.convict(Property::ZxidSanity, &[other, index], reason);
            }
            if matches!((request.op, request.answer), (Op::Close, Some(Ok(_))))
                && let Some(session) = self.case.sessions.get(request.session as usize)
            {
                self.closed.insert(session.id, (request.zxid, index));
            }
        }
        Ok(())
    }

    /// Takes down what a request's answer says of the tree.
    fn look(&mut self, index: RequestIndex, request: &Request<'h>) -> Result<(), Box<Violation>> {
        let Some(answer) = request.answer else {
            return Ok(());
        };
        match (request.role, request.op, answer) {
            (Role::Transaction, Op::Multi { ops }, Ok(Answer::Multi(results))) => {
                self.multi(index, request.zxid, ops, results)
            }
            (Role::Transaction | Role::Read, op, answer) => {
                self.single(index, request.zxid, op, answer)
            }
            (Role::ReadSomewhere | Role::Sync | Role::Unanswered | Role::Nothing, _, _) => Ok(()),
        }
    }

    fn multi(
        &mut self,
        index: RequestIndex,
        zxid: i64,
        ops: &'h [Op],
        results: &'h [SubAnswer],
    ) -> Result<(), Box<Violation>> {
        if results.iter().any(Result::is_err) {
            return Ok(());
        }
        // Only the last part about a path says how the transaction left it.
        let mut last = FxHashSet::default();
        for (op, result) in ops.iter().zip(results).rev() {
            let Some(path) = made(result).or(op.path()) else {
                continue;
            };
            let path = self.paths.id(path);
            if last.insert(path) && !matches!(op, Op::Check { .. }) {
                self.single(index, zxid, op, result)?;
            }
        }
        Ok(())
    }

    fn single(
        &mut self,
        index: RequestIndex,
        zxid: i64,
        op: &'h Op,
        answer: &'h Result<Answer, ErrorCode>,
    ) -> Result<(), Box<Violation>> {
        let Some(asked) = made(answer).or(op.path()) else {
            return Ok(());
        };
        if asked.starts_with(OWN) {
            return Ok(());
        }
        let path = self.paths.id(asked);
        let mut sight = |state| {
            let sights = self.sights.entry(path).or_default();
            sights.push(Sight {
                zxid,
                state,
                request: index,
            });
        };
        let alive = |stat: &'h Stat, data| State::Alive {
            life: stat.czxid,
            stat: Some(stat),
            data,
        };
        match (op, answer) {
            // A create is told that its parent is missing.
            (Op::Create { .. }, Err(_)) => {}
            (_, Err(code)) if *code == ErrorCode::NO_NODE => sight(State::Absent),
            (Op::Delete { .. }, Ok(_)) => sight(State::Absent),
            (Op::Create { data, .. }, Ok(Answer::Created { stat, .. })) => {
                sight(alive(stat, Some(data.as_ref())));
                self.written(index, zxid, stat, true)?;
            }
            (Op::Create { data, .. }, Ok(_)) => sight(State::Alive {
                life: zxid,
                stat: None,
                data: Some(data.as_ref()),
            }),
            (Op::Set { data, version, .. }, Ok(Answer::Stat(stat))) => {
                sight(alive(stat, Some(data.as_ref())));
                self.written(index, zxid, stat, false)?;
                if *version != -1 && stat.version != version.wrapping_add(1) {
                    let reason = format!(
                        "a set that wanted version {version} left version {}",
                        stat.version
                    );
                    return self.convict(Property::ConditionalWrites, &[index], reason);
                }
            }
            (_, Ok(Answer::Stat(stat) | Answer::Acl { stat, .. })) => sight(alive(stat, None)),
            (_, Ok(Answer::Data { data, stat })) => sight(alive(stat, Some(data.as_ref()))),
            (_, Ok(Answer::NamesStat { names, stat })) => {
                sight(alive(stat, None));
                self.list(index, zxid, path, names);
                if names.len() != stat.num_children as usize {
                    let reason = format!(
                        "{} names were listed, but the Stat counts {} children",
                        names.len(),
                        stat.num_children
                    );
                    return self.convict(Property::StatArithmetic, &[index], reason);
                }
            }
            (_, Ok(Answer::Names(names))) => self.list(index, zxid, path, names),
            (_, Ok(_) | Err(_)) => {}
        }
        Ok(())
    }

    /// P17: a write's own Stat names the write.
    fn written(
        &self,
        index: RequestIndex,
        zxid: i64,
        stat: &Stat,
        created: bool,
    ) -> Result<(), Box<Violation>> {
        if stat.mzxid == zxid && (!created || stat.czxid == zxid) {
            return Ok(());
        }
        let reason = format!(
            "a write at {zxid:#x} left a Stat with czxid {:#x} and mzxid {:#x}",
            stat.czxid, stat.mzxid
        );
        self.convict(Property::StatArithmetic, &[index], reason)
    }

    fn list(&mut self, request: RequestIndex, zxid: i64, parent: PathId, names: &'h [Path]) {
        self.listings.entry(parent).or_default().push(Listing {
            zxid,
            names,
            request,
        });
    }

    /// Follows a path along the order; its lives.
    fn chain(&self, path: PathId) -> Result<Vec<Life>, Box<Violation>> {
        let mut sights = self.sights[&path].clone();
        sights.sort_by_key(|sight| sight.zxid);
        let mut lives: Vec<Life> = Vec::new();
        // What was told in full last of the present life, and what was seen last at all.
        let (mut told, mut last): (Option<Sight<'h>>, Option<Sight<'h>>) = (None, None);
        let mut bytes = None;
        for sight in &sights {
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
                    } else if let Some(gone) = last.filter(is_absent)
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
        } = *stat;
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
        if let Some(&(zxid, close)) = self.closed.get(&stat.ephemeral_owner)
            && zxid <= sight.zxid
        {
            let reason = format!(
                "{name} was there at {:#x}, but the session it belonged to ended at {zxid:#x}",
                sight.zxid
            );
            let indices = [close, sight.request];
            return self.convict(Property::EphemeralsEnd, &indices, reason);
        }
        for (zxid, deed) in [(czxid, "made"), (mzxid, "written")] {
            if let Some(&doer) = self.at.get(&zxid)
                && !self.may_have_written(doer, path, zxid == czxid)
            {
                let reason = format!(
                    "{name} is said to be {deed} at {zxid:#x}, but the request at that zxid was another"
                );
                let indices = [doer, sight.request];
                return self.convict(Property::StatArithmetic, &indices, reason);
            }
        }
        Ok(())
    }

    /// True if a recorded transaction can have made a path, or written to it.
    fn may_have_written(&self, doer: RequestIndex, path: PathId, made_it: bool) -> bool {
        let request = &self.case.requests[doer as usize];
        let wrote = |op: &Op, answer: Option<&Answer>| {
            let there = answer.and_then(made_by).or(op.path());
            let there = there.and_then(|there| self.paths.find(there));
            match op {
                Op::Create { .. } => there == Some(path),
                Op::Set { .. } => there == Some(path) && !made_it,
                _ => false,
            }
        };
        match (request.op, request.answer) {
            (Op::Multi { ops }, Some(Ok(Answer::Multi(results)))) => {
                // A part that sets may follow the part that makes.
                let parts = ops.iter().zip(results);
                parts
                    .filter_map(|(op, result)| result.as_ref().ok().map(|answer| (op, answer)))
                    .any(|(op, answer)| wrote(op, Some(answer)))
            }
            (op, Some(Ok(answer))) => wrote(op, Some(answer)),
            (_, Some(Err(_)) | None) => false,
        }
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
        match last.filter(is_absent) {
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

    /// P9: whoever lives all around a list of names is in it.
    fn check_listings(
        &mut self,
        lives: &FxHashMap<PathId, Vec<Life>>,
    ) -> Result<(), Box<Violation>> {
        let mut children: FxHashMap<PathId, Vec<PathId>> = FxHashMap::default();
        for &path in lives.keys() {
            let parent = self.paths.parent(path);
            if parent != NO_PATH && self.listings.contains_key(&parent) {
                children.entry(parent).or_default().push(path);
            }
        }
        let mut listed = FxHashSet::default();
        for (parent, mut known) in children {
            known.sort_unstable();
            for listing in std::mem::take(self.listings.entry(parent).or_default()) {
                listed.clear();
                listed.extend(
                    listing
                        .names
                        .iter()
                        .map(|name| self.paths.child(parent, name)),
                );
                for path in known.iter().filter(|path| !listed.contains(path)) {
                    let lives = &lives[path];
                    let next = lives.partition_point(|life| life.from <= listing.zxid);
                    let around = next.checked_sub(1).map(|place| lives[place]);
                    if let Some(life) = around.filter(|life| listing.zxid <= life.to) {
                        let reason = format!(
                            "{} was there from {:#x} to {:#x}, but is not in the list of {:#x}",
                            self.paths.name(*path),
                            life.from,
                            life.to,
                            listing.zxid
                        );
                        let indices = [life.first, listing.request, life.last];
                        return self.convict(Property::Durability, &indices, reason);
                    }
                }
            }
        }
        Ok(())
    }

    fn convict<T>(
        &self,
        property: Property,
        requests: &[RequestIndex],
        reason: String,
    ) -> Result<T, Box<Violation>> {
        let indices: Vec<u32> = requests
            .iter()
            .map(|&index| &self.case.requests[index as usize])
            .flat_map(|request| [request.invoke, request.done])
            .collect();
        Err(Box::new(Violation {
            property,
            class: Class::Undetermined,
            class_reason: String::new(),
            records: records(self.case, &indices),
            state_before: String::new(),
            reason,
        }))
    }
}

fn is_absent(sight: &Sight<'_>) -> bool {
    matches!(sight.state, State::Absent)
}

fn made(answer: &Result<Answer, ErrorCode>) -> Option<&Path> {
    answer.as_ref().ok().and_then(made_by)
}

fn made_by(answer: &Answer) -> Option<&Path> {
    match answer {
        Answer::Path(path) | Answer::Created { path, .. } => Some(path),
        Answer::Done
        | Answer::Stat(_)
        | Answer::Data { .. }
        | Answer::Names(_)
        | Answer::NamesStat { .. }
        | Answer::Acl { .. }
        | Answer::Multi(_) => None,
    }
}
