//! A notification came: who waited for it, what made it, and is it in time?
//!
//! Answers to: `consistency.md` P10 to P12, P20.

use super::Watcher;
use super::connection::{Key, Live, Spent, tables_of};
use super::known::Known;
use super::standing::Trigger;
use crate::history::EventType;
use crate::model::AclId;
use crate::verdict::{Property, Violation};

impl<'h> Watcher<'_, 'h> {
    /// Takes a notification.
    ///
    /// # Errors
    /// The first violation.
    pub(super) fn notified(
        &mut self,
        index: u32,
        process: u32,
        zxid: i64,
        event: EventType,
        path: &'h str,
    ) -> Result<(), Box<Violation>> {
        if self.connections.entry(process).or_default().left_out {
            return Ok(());
        }
        self.matched += 1;
        self.check_in_time(index, process, zxid, path)?;
        self.check_deed(index, process, zxid, event, path)?;
        let stays = self.tell_standing(process, zxid, event, path);
        let known = self.known;
        let connection = self.connections.entry(process).or_default();
        connection.heard.insert(path);
        let keys = || tables_of(event).iter().map(|&table| (table, path));
        let fits = |live: &Live<'h>| match known {
            Known::Nothing => true,
            Known::Walked(_) => live
                .fires
                .is_some_and(|fires| fires.event == event && (zxid <= 0 || fires.zxid == zxid)),
            Known::Overheard(_) => live.found.fits(event) && (zxid <= 0 || zxid > live.since),
        };
        let fired: Vec<(Key<'h>, Live<'h>)> = keys()
            .filter_map(|key| {
                connection
                    .live
                    .get(&key)
                    .filter(|live| fits(live))
                    .map(|live| (key, *live))
            })
            .collect();
        // Whatever else was registered there has fired with it: a second notification
        // needs a registration of its own.
        let mut perhaps = false;
        for key in keys() {
            if connection.perhaps.remove(&key) {
                connection.used_up.insert(key, Spent::default());
                perhaps = true;
            }
        }
        if let Some(&(_, live)) = fired.first() {
            for (key, _) in fired {
                connection.remove(key);
                if let Some(spent) = connection.used_up.get_mut(&key) {
                    spent.told = Some(index);
                }
            }
            return self.check_order(index, process, zxid, live);
        }
        let waiting: Vec<Key<'h>> = keys()
            .filter(|key| connection.live.contains_key(key))
            .collect();
        if !waiting.is_empty() && known.could_have_fired(event, path) {
            let connection = self.connections.entry(process).or_default();
            for key in waiting {
                connection.remove(key);
            }
            return Ok(());
        }
        let connection = self.connections.entry(process).or_default();
        if let Some((record, of)) = stays {
            if !connection.again.is_empty() {
                connection.caught_up_perhaps.push((event, path, index));
            }
            return self.check_standing(index, process, zxid, (record, of));
        }
        if perhaps {
            return Ok(());
        }
        if !connection.again.is_empty() {
            connection.caught_up.push((event, path, index));
            return Ok(());
        }
        self.unexplained(index, process, zxid, event, path)
    }

    /// P10 for a notification that names its transaction, whoever asked for it and when: a
    /// server tells it as it applies the transaction, before anything that shows as much.
    fn check_in_time(
        &mut self,
        index: u32,
        process: u32,
        zxid: i64,
        path: &str,
    ) -> Result<(), Box<Violation>> {
        let connection = self.connections.entry(process).or_default();
        let Some((newest, answer)) = connection.newest_answer else {
            return Ok(());
        };
        if matches!(self.known, Known::Nothing) || zxid <= 0 || zxid > newest {
            return Ok(());
        }
        let reason = format!(
            "a notification of {path} at {zxid:#x} came after an answer that showed {newest:#x}"
        );
        Err(self.violation(Property::WatchBeforeData, &[answer, index], reason))
    }

    /// P12 and P20: what a notification's own zxid says of it.
    fn check_deed(
        &mut self,
        index: u32,
        process: u32,
        zxid: i64,
        event: EventType,
        path: &str,
    ) -> Result<(), Box<Violation>> {
        if zxid <= 0 {
            return Ok(());
        }
        if let Some(doer) = self.known.did_not_fire(zxid, event, path) {
            let doer = &self.case.requests[doer as usize];
            let reason = format!(
                "{} on {path} is said to be of {zxid:#x}, but the request at that zxid was another",
                event.name()
            );
            let indices = [doer.invoke, doer.done, index];
            return Err(self.violation(Property::WatchNotSpurious, &indices, reason));
        }
        let Some(overheard) = self.known.overheard() else {
            return Ok(());
        };
        let connection = self.connections.entry(process).or_default();
        let secret = |who| overheard.forbids(zxid, event, path, who);
        if connection.begun && connection.who.is_some_and(secret) {
            let reason = "a client was notified of a node that it may not read".to_string();
            return Err(self.violation(Property::AccessControl, &[index], reason));
        }
        if zxid < connection.last_zxid {
            let reason = format!(
                "a notification of {zxid:#x} came after one of {:#x}",
                connection.last_zxid
            );
            return Err(self.violation(Property::WatchNotSpurious, &[index], reason));
        }
        connection.last_zxid = zxid;
        Ok(())
    }

    fn unexplained(
        &mut self,
        index: u32,
        process: u32,
        zxid: i64,
        event: EventType,
        path: &'h str,
    ) -> Result<(), Box<Violation>> {
        let connection = &self.connections[&process];
        // What was registered before the recording began is not known.
        if self.known.overheard().is_some() && !connection.begun {
            return Ok(());
        }
        if let Some((record, property, reason)) = self.why_not_standing(process, zxid, event, path)
        {
            return Err(self.violation(property, &[record, index], reason));
        }
        let mut keys = tables_of(event).iter().map(|&table| (table, path));
        let live = keys.clone().find_map(|key| connection.live.get(&key));
        if let Some(live) = live {
            let due = match (self.known, live.fires) {
                (Known::Nothing, _) => return Ok(()),
                (Known::Walked(_), Some(fires)) => {
                    format!("{} at {:#x}", fires.event.name(), fires.zxid)
                }
                (Known::Walked(_), None) => "nothing".to_string(),
                (Known::Overheard(_), _) if live.found.fits(event) => {
                    format!("something after {:#x}", live.since)
                }
                (Known::Overheard(_), _) if live.found.there => {
                    "a change of the node that was there".to_string()
                }
                (Known::Overheard(_), _) => "the creation of the node".to_string(),
            };
            let reason = format!("the watch on {path} can only have fired on {due}");
            return Err(self.violation(Property::WatchNotSpurious, &[live.record, index], reason));
        }
        match keys.find_map(|key| connection.used_up.get(&key)) {
            Some(spent) => {
                let reason = format!("a second notification came for one registration on {path}");
                let first = spent.asked.into_iter().chain(spent.told);
                let records: Vec<u32> = first.chain([index]).collect();
                Err(self.violation(Property::WatchOneShot, &records, reason))
            }
            None => {
                let reason = format!(
                    "nothing on this connection was waiting for {} on {path}",
                    event.name()
                );
                Err(self.violation(Property::WatchNotSpurious, &[index], reason))
            }
        }
    }

    /// P10 and P12 among notifications, and P20 for this one.
    fn check_order(
        &mut self,
        index: u32,
        process: u32,
        told: i64,
        live: Live<'h>,
    ) -> Result<(), Box<Violation>> {
        let zxid = match (self.known, live.fires) {
            (Known::Nothing, _) | (Known::Walked(_), None) => return Ok(()),
            // Where the transaction was only placed by the walk, its number proves nothing.
            (Known::Walked(_), Some(fires))
                if !(self.known).surely_fired((fires.zxid, fires.event), live.path) =>
            {
                return Ok(());
            }
            // What nobody was told of may have fired it before, if it does not say which.
            (Known::Walked(_), Some(fires))
                if told <= 0 && (self.known).could_have_fired(fires.event, live.path) =>
            {
                return Ok(());
            }
            (Known::Walked(_), Some(fires)) => fires.zxid,
            (Known::Overheard(_), _) if told <= 0 => return Ok(()),
            (Known::Overheard(_), _) => told,
        };
        if told <= 0 {
            self.check_sent(index, zxid)?;
        }
        let acl = live.fires.map(|fires| fires.acl);
        self.in_order(index, process, zxid, (live.record, acl))
    }

    /// As [`Watcher::check_order`], for a watch that stays.
    fn check_standing(
        &mut self,
        index: u32,
        process: u32,
        told: i64,
        (record, of): (u32, Option<Trigger>),
    ) -> Result<(), Box<Violation>> {
        let surely = |of: &Trigger| {
            let known = self.known;
            let path = known.name(of.path);
            known.surely_fired((of.zxid, of.event), path)
        };
        let zxid = match (self.known, of.filter(surely)) {
            (Known::Nothing, _) | (Known::Walked(_), None) => return Ok(()),
            (Known::Walked(_), Some(of)) => of.zxid,
            (Known::Overheard(_), _) if told <= 0 => return Ok(()),
            (Known::Overheard(_), _) => told,
        };
        if let Some(of) = of.filter(|_| told <= 0)
            && !(self.known).could_have_fired(of.event, self.known.name(of.path))
        {
            self.check_sent(index, zxid)?;
        }
        let acl = of.and_then(|of| of.acl);
        self.in_order(index, process, zxid, (record, acl))
    }

    /// P7 for a notification that does not say of what it is, but can only be of a zxid.
    fn check_sent(&self, index: u32, zxid: i64) -> Result<(), Box<Violation>> {
        let upto = self.sent.partition_point(|&(at, _)| at <= zxid);
        let Some(&(_, latest)) = upto.checked_sub(1).and_then(|last| self.sent.get(last)) else {
            return Ok(());
        };
        let latest = &self.case.requests[latest as usize];
        let header = &self.case.history.header;
        let told = self.case.history.records[index as usize].time;
        let blur = header.clock_error_ns.saturating_mul(2);
        if latest.call <= told.saturating_add(blur) {
            return Ok(());
        }
        let reason = format!(
            "a notification can only be of {zxid:#x}, but came before the transaction at {:#x} was sent",
            latest.zxid
        );
        let indices = [index, latest.invoke, latest.done];
        Err(self.violation(Property::NoFutureReads, &indices, reason))
    }

    fn in_order(
        &mut self,
        index: u32,
        process: u32,
        zxid: i64,
        (record, acl): (u32, Option<AclId>),
    ) -> Result<(), Box<Violation>> {
        let connection = self.connections.entry(process).or_default();
        if zxid < connection.last_zxid {
            let reason = format!(
                "a notification of {zxid:#x} came after one of {:#x}",
                connection.last_zxid
            );
            return Err(self.violation(Property::WatchNotSpurious, &[record, index], reason));
        }
        connection.last_zxid = zxid;
        let who = connection.who;
        if let Some(&(due, key)) = connection.due.first()
            && due < zxid
        {
            let other = connection.live[&key];
            let reason = format!(
                "the watch on {} fires before the one that was notified at {zxid:#x}",
                key.1
            );
            return Err(self.violation(Property::WatchBeforeData, &[other.record, index], reason));
        }
        self.check_standing_order(index, process, zxid)?;
        if let (Some(who), Some(acl)) = (who, acl)
            && self.known.forbids(acl, who)
        {
            let reason = "a client was notified of a node that it may not read".to_string();
            return Err(self.violation(Property::AccessControl, &[record, index], reason));
        }
        Ok(())
    }
}
