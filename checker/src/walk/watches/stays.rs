//! addWatch, removeWatches, and what watches that stay were told.
//!
//! What it is not: a judge of whether removeWatches found any. Servers before 3.9 and since mean
//! different watches by the same word, so only what comes of a removal is judged.
//!
//! Answers to: `consistency.md` P10 to P12; `protocol.md` 12.2 to 12.7.

use super::Watcher;
use super::known::Known;
use super::standing::{Course, Post, Scope, Standing, Stranger, Told, Trigger, posts_seeing};
use crate::history::{Body, EventType, History, Op, SessionEvent, WatchMode};
use crate::model::Who;
use crate::verdict::{Property, Violation};
use crate::walk::case::{Request, Role};
use rustc_hash::{FxHashMap, FxHashSet};
use std::rc::Rc;

/// A request, or a setWatches, for a watch that stays.
pub(super) struct Wanted<'h> {
    pub path: &'h str,
    pub mode: WatchMode,
    /// The prefix at which it is registered.
    pub zxid: i64,
    /// The answer.
    pub record: u32,
    pub who: Who,
    /// Whether that is known.
    pub sure: bool,
    /// By setWatches.
    pub again: bool,
}

/// The connections on which notifications name their transactions: by process, the record with
/// which they begin, 0 if that was not recorded.
pub(super) fn naming(history: &History) -> FxHashSet<(u32, u32)> {
    let mut begins: FxHashMap<u32, u32> = FxHashMap::default();
    let mut naming = FxHashSet::default();
    for (index, record) in (0u32..).zip(&history.records) {
        match &record.body {
            Body::Session(event) if ends_connection(event) => {
                begins.insert(record.process, index);
            }
            Body::Notify { zxid, .. } if *zxid > 0 => {
                let begin = begins.get(&record.process).copied().unwrap_or(0);
                naming.insert((record.process, begin));
            }
            Body::Notify { .. }
            | Body::Session(_)
            | Body::Invoke { .. }
            | Body::Return { .. }
            | Body::Lost { .. }
            | Body::Ping { .. }
            | Body::Final => {}
        }
    }
    naming
}

/// True if whatever was registered before is gone.
pub(super) fn ends_connection(event: &SessionEvent) -> bool {
    match event {
        SessionEvent::Connecting { .. }
        | SessionEvent::Connected { .. }
        | SessionEvent::Disconnected
        | SessionEvent::Expired { .. }
        | SessionEvent::Abandoned { .. } => true,
        SessionEvent::SetWatches { .. }
        | SessionEvent::SetWatchesDone { .. }
        | SessionEvent::WatchesLeftOut
        | SessionEvent::Auth { .. }
        | SessionEvent::AuthDone { .. } => false,
    }
}

impl<'h> Watcher<'_, 'h> {
    /// addWatch or removeWatches was answered, or given up.
    pub(super) fn arranged(&mut self, index: u32, process: u32, request: &Request<'h>) {
        let sure = request.role == Role::Read;
        match (request.op, request.answer) {
            (_, Some(Err(_))) => {}
            (Op::AddWatch { path, mode }, _) => self.stay(
                process,
                &Wanted {
                    path,
                    mode: *mode,
                    zxid: if sure { request.zxid } else { 0 },
                    record: index,
                    who: request.who,
                    sure,
                    again: false,
                },
            ),
            (Op::RemoveWatches { path, watches }, answer) => {
                let connection = self.connections.entry(process).or_default();
                match answer {
                    Some(_) => connection.take_away(path, *watches),
                    None => {
                        for scope in [Scope::Node, Scope::List, Scope::Below] {
                            connection.doubt((scope, path));
                        }
                        for table in [Scope::Node.table(), Scope::List.table()] {
                            if connection.remove((table, path)).is_some() {
                                connection.perhaps.insert((table, path));
                            }
                        }
                    }
                }
            }
            (_, _) => {}
        }
    }

    /// A watch that stays is registered.
    pub(super) fn stay(&mut self, process: u32, wanted: &Wanted<'h>) {
        let connection = self.connections.entry(process).or_default();
        if connection.left_out {
            return;
        }
        connection.meets_standing(wanted.path, wanted.mode);
        for &scope in Scope::of(wanted.mode) {
            let post = (scope, wanted.path);
            let connection = self.connections.entry(process).or_default();
            if connection
                .standing
                .get(&post)
                .is_some_and(|known| known.sure || !wanted.sure)
            {
                continue;
            }
            let course = self.course(post, wanted.who);
            let made = Standing::new(
                course,
                wanted.zxid,
                wanted.record,
                wanted.sure,
                wanted.again,
            );
            let connection = self.connections.entry(process).or_default();
            connection.lift(post);
            connection.stand(post, made);
        }
    }

    fn course(&mut self, post: Post<'h>, who: Who) -> Rc<Course> {
        // Only where others wrote, too, it matters who asks.
        let who = match self.known {
            Known::Nothing | Known::Walked(_) => Who::default(),
            Known::Overheard(_) => who,
        };
        if let Some((of, course)) = self.courses.get(&post)
            && *of == who
        {
            return course.clone();
        }
        let course = Rc::new(self.known.course(post, who));
        self.courses.insert(post, (who, course.clone()));
        course
    }

    /// P10, P11: nothing as new as what a watch that stays had to be told of may be answered
    /// before.
    ///
    /// # Errors
    /// It was.
    pub(super) fn check_standing_due(
        &mut self,
        index: u32,
        process: u32,
        request: &Request<'h>,
        after_again: bool,
    ) -> Result<(), Box<Violation>> {
        let connection = self.connections.entry(process).or_default();
        if connection.standing.is_empty() {
            return Ok(());
        }
        let convicts = |standing: &Standing| after_again || !standing.again;
        let due = connection.standing_due.iter();
        let mut overdue = due.take_while(|(zxid, _)| *zxid <= request.zxid);
        let post = overdue.find(|(_, post)| convicts(&connection.standing[post]));
        if let Some(&(_, post)) = post {
            let how = format!("an answer at {:#x}", request.zxid);
            return Err(self.untold(process, post, &[request.invoke, index], &how));
        }
        for post in connection.unclear.clone() {
            if let Some(mut standing) = connection.lift(post) {
                if convicts(&standing) {
                    standing.answered(request.zxid);
                }
                connection.stand(post, standing);
            }
        }
        Ok(())
    }

    /// P11 among notifications: a watch that stays had to be told something older.
    ///
    /// # Errors
    /// It was not.
    pub(super) fn check_standing_order(
        &self,
        index: u32,
        process: u32,
        zxid: i64,
    ) -> Result<(), Box<Violation>> {
        let due = self.connections[&process].standing_due.first();
        match due {
            Some(&(due, post)) if due < zxid => {
                let how = format!("a notification of {zxid:#x}");
                Err(self.untold(process, post, &[index], &how))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// What a watch that stays had to be told was not, or comes too late.
    fn untold(&self, process: u32, post: Post<'h>, records: &[u32], how: &str) -> Box<Violation> {
        let standing = &self.connections[&process].standing[&post];
        let trigger = standing.due().copied();
        let trigger = trigger.expect("what is overdue is due");
        let path = self.known.name(trigger.path);
        let late = self.comes_after(process, records, &trigger, path);
        let (event, zxid) = (trigger.event.name(), trigger.zxid);
        let (property, came) = match late {
            Some(_) => (Property::WatchBeforeData, "came before its notification"),
            None => (Property::WatchOneShot, "came, and it was skipped"),
        };
        let reason = format!(
            "the watch on {} fires for {event} of {path} at {zxid:#x}, but {how} {came}",
            post.1
        );
        let mut indices = vec![standing.record];
        indices.extend(records);
        indices.extend(late);
        self.violation(property, &indices, reason)
    }

    /// The record that tells of a trigger after others, on the same connection.
    fn comes_after(
        &self,
        process: u32,
        records: &[u32],
        trigger: &Trigger,
        path: &str,
    ) -> Option<u32> {
        let after = records.iter().max().map_or(0, |&index| index + 1);
        let later = self
            .case
            .history
            .records
            .iter()
            .enumerate()
            .skip(after as usize);
        let own = later.filter(|(_, record)| record.process == process);
        let mut own = own.take_while(
            |(_, record)| !matches!(&record.body, Body::Session(event) if ends_connection(event)),
        );
        let found = own.find(|(_, record)| {
            matches!(&record.body, Body::Notify { zxid, event, path: at }
                if (*event, &**at) == (trigger.event, path) && (*zxid <= 0 || *zxid == trigger.zxid))
        });
        found.map(|(index, _)| index as u32)
    }

    /// Tells every watch that stays and sees the path. None if none waits for that; else by
    /// which record one was registered, and what it was told of, if that is one thing.
    pub(super) fn tell_standing(
        &mut self,
        process: u32,
        zxid: i64,
        event: EventType,
        path: &'h str,
    ) -> Option<(u32, Option<Trigger>)> {
        let known = self.known;
        let connection = self.connections.entry(process).or_default();
        if connection.standing.is_empty() {
            return None;
        }
        let told = Told {
            zxid,
            event,
            path: known.path(path),
        };
        // It may be what a setWatches on its way makes up for.
        let made_up = zxid <= 0 && !connection.again.is_empty();
        let unseen = made_up || known.may_be_unseen(told, path);
        let mut explained = None;
        for post in posts_seeing(event, path) {
            let Some(mut standing) = connection.lift(post) else {
                continue;
            };
            if let Some(of) = standing.tell(told, unseen) {
                let sole = of.first().copied().filter(|_| of.len() == 1);
                let (_, before) = *explained.get_or_insert((standing.record, None));
                explained = Some((standing.record, before.or(sole)));
            }
            connection.stand(post, standing);
        }
        explained
    }

    /// Why a watch that stays does not wait for a notification that it sees, by property.
    pub(super) fn why_not_standing(
        &self,
        process: u32,
        zxid: i64,
        event: EventType,
        path: &'h str,
    ) -> Option<(u32, Property, String)> {
        let connection = &self.connections[&process];
        let told = Told {
            zxid,
            event,
            path: self.known.path(path),
        };
        let mut seeing = posts_seeing(event, path);
        seeing.find_map(|post| {
            let standing = connection.standing.get(&post)?;
            let (event, at) = (event.name(), post.1);
            let (property, reason) = match standing.why_not(told) {
                Stranger::Again => (
                    Property::WatchOneShot,
                    format!("the watch on {at} was told of {event} of {path} before"),
                ),
                Stranger::Skips(due) => (
                    Property::WatchOneShot,
                    format!("the watch on {at} is told of {event} of {path}, but not of what it fired for before, at {due:#x}"),
                ),
                Stranger::Unknown => return None,
            };
            Some((standing.record, property, reason))
        })
    }
}
