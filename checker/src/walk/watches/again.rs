//! Connections come and go, and watches are registered again on the next one.
//!
//! Answers to: `consistency.md` P10, P12 (after a reconnect); `protocol.md` section 12.

use super::connection::{Connection, Found, Table, tables_of};
use super::known::Known;
use super::stays::Wanted;
use super::{Registration, Watcher};
use crate::history::{Body, EventType, Path, SessionEvent};
use crate::model::Who;
use crate::verdict::{Property, Violation};

/// One path of a setWatches.
#[derive(Clone, Copy)]
struct Wish<'h> {
    path: &'h str,
    table: Table,
    /// From the list of exists watches on absent nodes.
    for_creation: bool,
}

impl Wish<'_> {
    /// True if setWatches can make up for the wish with `event`.
    fn fits(self, event: EventType) -> bool {
        match event {
            EventType::NodeCreated => self.for_creation,
            EventType::NodeDeleted => !self.for_creation,
            EventType::NodeDataChanged => self.table == Table::Data && !self.for_creation,
            EventType::NodeChildrenChanged => self.table == Table::Child,
        }
    }
}

fn wishes<'h>(
    data: &'h [Path],
    exist: &'h [Path],
    child: &'h [Path],
) -> impl Iterator<Item = Wish<'h>> {
    let lists = [
        (data, Table::Data, false),
        (exist, Table::Data, true),
        (child, Table::Child, false),
    ];
    lists.into_iter().flat_map(|(list, table, for_creation)| {
        list.iter().map(move |path| Wish {
            path,
            table,
            for_creation,
        })
    })
}

impl<'h> Watcher<'_, 'h> {
    /// Takes what happened to a session or connection.
    ///
    /// # Errors
    /// The first violation.
    pub(super) fn session_event(
        &mut self,
        index: u32,
        process: u32,
        event: &'h SessionEvent,
    ) -> Result<(), Box<Violation>> {
        let connection = self.connections.entry(process).or_default();
        match event {
            SessionEvent::Connecting { .. }
            | SessionEvent::Connected { .. }
            | SessionEvent::Disconnected
            | SessionEvent::Expired { .. }
            | SessionEvent::Abandoned { .. } => {
                *connection = Connection {
                    begun: true,
                    names_zxids: self.naming.contains(&(process, index)),
                    ..Connection::default()
                }
            }
            SessionEvent::SetWatches { .. } if connection.left_out => {}
            SessionEvent::SetWatches { .. } => connection.again.push_back(index),
            SessionEvent::WatchesLeftOut => connection.leave_out(),
            SessionEvent::SetWatchesDone { zxid } => {
                connection.again_done = index;
                if let Some(sent) = connection.again.pop_front() {
                    return self.registered_again(index, process, sent, *zxid);
                }
            }
            SessionEvent::Auth { .. } | SessionEvent::AuthDone { .. } => connection.who = None,
        }
        Ok(())
    }

    /// A setWatches was answered at `zxid`: what had changed must have been told by now, the
    /// rest is registered.
    fn registered_again(
        &mut self,
        index: u32,
        process: u32,
        sent: u32,
        zxid: i64,
    ) -> Result<(), Box<Violation>> {
        let Body::Session(SessionEvent::SetWatches {
            relative_zxid,
            data,
            exist,
            child,
            stays,
        }) = &self.case.history.records[sent as usize].body
        else {
            return Ok(());
        };
        let wanted = |path: &'h Path, mode| Wanted {
            path,
            mode,
            zxid,
            record: index,
            who: Who::default(),
            sure: zxid > 0,
            again: true,
        };
        let mut due = Vec::new();
        for wish in wishes(data, exist, child) {
            let (path, relative) = (wish.path, *relative_zxid);
            let key = (wish.table, path);
            match self.known {
                Known::Walked(_) if !self.known.is_murky(path) => {
                    let Wish {
                        table,
                        for_creation,
                        ..
                    } = wish;
                    let missed = self
                        .known
                        .caught_up_by(path, table, for_creation, relative, zxid);
                    match missed {
                        Some(event) => due.push((event, path)),
                        None => self.register_again(index, process, wish, zxid),
                    }
                }
                Known::Walked(_) | Known::Nothing => {
                    let connection = self.connections.entry(process).or_default();
                    connection.perhaps.insert(key);
                }
                Known::Overheard(_) => {
                    self.again_among_strangers(index, process, sent, wish, relative, zxid)?;
                }
            }
        }
        // What stays makes up for nothing.
        for (path, mode) in stays {
            self.stay(process, &wanted(path, *mode));
        }
        let connection = self.connections.entry(process).or_default();
        for &(event, path) in &due {
            let told = (connection.caught_up.iter())
                .chain(&connection.caught_up_perhaps)
                .any(|&(seen, at, _)| (seen, at) == (event, path));
            if !told {
                let reason = format!(
                    "{} of {path} was missed while disconnected and never made up for",
                    event.name()
                );
                return Err(self.violation(Property::WatchBeforeData, &[sent, index], reason));
            }
        }
        let strangers = self.known.overheard().is_some();
        let perhaps = &connection.perhaps;
        connection.caught_up.retain(|&(seen, at, _)| {
            let mut tables = tables_of(seen).iter();
            let murky = match strangers {
                true => wishes(data, exist, child).any(|wish| wish.path == at && wish.fits(seen)),
                false => tables.any(|&table| perhaps.contains(&(table, at))),
            };
            !murky && !due.contains(&(seen, at))
        });
        self.check_left(index, process, sent)
    }

    /// P12: what came while watches were being registered again, and none of them explains.
    fn check_left(&mut self, index: u32, process: u32, sent: u32) -> Result<(), Box<Violation>> {
        let connection = self.connections.entry(process).or_default();
        if !connection.again.is_empty() {
            return Ok(());
        }
        let left = std::mem::take(&mut connection.caught_up);
        let judged = match self.known {
            Known::Nothing => false,
            Known::Walked(_) => true,
            Known::Overheard(_) => connection.begun,
        };
        let Some(&(event, path, record)) = left.first().filter(|_| judged) else {
            return Ok(());
        };
        let reason = format!("setWatches had no cause to tell {} of {path}", event.name());
        let indices = [sent, record, index];
        Err(self.violation(Property::WatchNotSpurious, &indices, reason))
    }

    /// Where others wrote, too: a change that surely lies between what the client had seen and
    /// the state in which it registered must have been made up for; where nothing was, the
    /// watch is registered.
    fn again_among_strangers(
        &mut self,
        index: u32,
        process: u32,
        sent: u32,
        wish: Wish<'h>,
        relative: i64,
        zxid: i64,
    ) -> Result<(), Box<Violation>> {
        let key = (wish.table, wish.path);
        let connection = self.connections.entry(process).or_default();
        if connection.heard.contains(wish.path) {
            connection.perhaps.insert(key);
            return Ok(());
        }
        let missed = self.known.overheard().and_then(|overheard| {
            overheard.missed(wish.table, wish.path, wish.for_creation, relative, zxid)
        });
        if let Some(change) = missed {
            let reason = format!(
                "the change of {} at {change:#x} was missed while disconnected and never made up for",
                wish.path
            );
            return Err(self.violation(Property::WatchBeforeData, &[sent, index], reason));
        }
        self.register_again(index, process, wish, zxid);
        Ok(())
    }

    fn register_again(&mut self, index: u32, process: u32, wish: Wish<'h>, zxid: i64) {
        let found = Found {
            there: !wish.for_creation,
            missing: wish.for_creation,
        };
        let registration = Registration {
            key: (wish.table, wish.path),
            zxid,
            record: index,
            found,
            who: Who::default(),
            held: false,
            again: true,
        };
        self.register(process, registration);
    }
}
