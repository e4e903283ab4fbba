//! Mutators of when and in which order: P1 to P5, P7, P8, P19.

use super::{Asked, Dice, Life};
use gamekeeper_checker::history::*;

/// True if all that the process does from a request on can happen later. A later sync would
/// then miss what it saw when it happened.
fn can_be_held_up(life: &Life<'_>, from: &Asked<'_>) -> bool {
    let after = |asked: &&Asked<'_>| asked.process == from.process && asked.invoke > from.invoke;
    from.session != 0 && !life.asked.iter().filter(after).any(Asked::is_sync)
}

/// P1: the writer of an earlier transaction is held up until a later one has been answered.
pub fn sent_too_late(life: &Life<'_>, dice: &mut Dice) -> Option<History> {
    let writes: Vec<&Asked<'_>> = life
        .writes
        .values()
        .map(|&number| &life.asked[number])
        .collect();
    let mut places = Vec::new();
    for pair in writes.windows(2) {
        let (early, late) = (pair[0], pair[1]);
        if early.process != late.process && early.call <= late.ret && can_be_held_up(life, early) {
            places.push((early, late.ret - early.call + 1));
        }
    }
    let (early, by) = dice.pick(&places)?;
    Some(life.delaying(early.process, early.invoke, by))
}

/// P2: the request had named another version than the one it met.
pub fn wrong_version(life: &Life<'_>, dice: &mut Dice) -> Option<History> {
    let conditional = |asked: &&Asked<'_>| {
        let named = matches!(asked.op, Op::Set { version, .. } | Op::Delete { version, .. } if *version >= 0);
        named
            && asked.is_write()
            && asked.result.is_some_and(Result::is_ok)
            && life.is_clear(asked.path())
    };
    let places: Vec<&Asked<'_>> = life.asked.iter().filter(conditional).collect();
    let mut history = life.history.clone();
    if let Body::Invoke {
        op: Op::Set { version, .. } | Op::Delete { version, .. },
        ..
    } = &mut history.records[dice.pick(&places)?.invoke].body
    {
        *version += 7;
    }
    Some(history)
}

/// P3: of two transactions sent one after the other, each gets the other's question and
/// answer.
pub fn out_of_turn(life: &Life<'_>, dice: &mut Dice) -> Option<History> {
    let mut places = Vec::new();
    for list in life.sessions.values() {
        for pair in list.windows(2) {
            let (first, second) = (&life.asked[pair[0]], &life.asked[pair[1]]);
            let closing = matches!(second.op, Op::Close);
            if first.is_write() && second.is_write() && second.call < first.ret && !closing {
                places.push((first, second));
            }
        }
    }
    let (first, second) = dice.pick(&places)?;
    let mut history = life.history.clone();
    for (to, from) in [(first, second), (second, first)] {
        if let Body::Invoke { op, .. } = &mut history.records[to.invoke].body {
            *op = from.op.clone();
        }
        if let (Body::Return { zxid, result, .. }, Some(told)) =
            (&mut history.records[to.done].body, from.result)
        {
            (*zxid, *result) = (from.zxid, told.clone());
        }
    }
    Some(history)
}

/// Reads that come right after a request of their session and would have been answered the
/// same just before it took effect.
fn right_after<'a, 'h>(life: &'a Life<'h>, write: bool) -> Vec<(&'a Asked<'h>, i64)> {
    let mut places = Vec::new();
    for list in life.sessions.values() {
        for pair in list.windows(2) {
            let (before, read) = (&life.asked[pair[0]], &life.asked[pair[1]]);
            let fits = if write {
                before.is_write()
            } else {
                before.is_read()
            };
            if fits && read.is_read() && read.newest().is_some_and(|newest| newest < before.zxid) {
                places.push((read, before.zxid - 1));
            }
        }
    }
    places
}

/// P4: a read is moved to just before the write that its session sent before it.
pub fn before_own_write(life: &Life<'_>, dice: &mut Dice) -> Option<History> {
    let (read, zxid) = dice.pick(&right_after(life, true))?;
    Some(life.answering(read, zxid, read.result?))
}

/// P5: a read is moved to just before what its session read before it.
pub fn back_in_time(life: &Life<'_>, dice: &mut Dice) -> Option<History> {
    let mut places = right_after(life, false);
    // Not before its last write too: that would be P4.
    places.retain(|(read, zxid)| {
        let list = &life.sessions[&read.session];
        let mut before = list.iter().map(|&number| &life.asked[number]);
        !before.any(|asked| asked.is_write() && asked.invoke < read.invoke && asked.zxid > *zxid)
    });
    let (read, zxid) = dice.pick(&places)?;
    Some(life.answering(read, zxid, read.result?))
}

/// P7: the writer is held up until somebody has seen what it is going to write.
pub fn seen_too_early(life: &Life<'_>, dice: &mut Dice) -> Option<History> {
    let mut places = Vec::new();
    for &number in life.writes.values() {
        let write = &life.asked[number];
        let seers = life.asked.iter().filter(|read| {
            read.is_read()
                && read.process != write.process
                && read.zxid >= write.zxid
                && read.call <= write.ret
        });
        let Some(seer) = seers.min_by_key(|read| read.ret) else {
            continue;
        };
        let mut later = life
            .writes
            .range(write.zxid + 1..)
            .map(|(_, &number)| &life.asked[number]);
        // A later write that was answered by then would make it P1.
        if can_be_held_up(life, write)
            && write.call <= seer.ret
            && later.all(|later| later.ret > seer.ret)
        {
            places.push((write, seer.ret - write.call + 1));
        }
    }
    let (write, by) = dice.pick(&places)?;
    Some(life.delaying(write.process, write.invoke, by))
}

/// P8: a sync and the read after it are moved to before something answered by then.
pub fn stale_after_sync(life: &Life<'_>, dice: &mut Dice) -> Option<History> {
    let mut places = Vec::new();
    for (&session, list) in &life.sessions {
        for (index, pair) in list.windows(2).enumerate() {
            let (sync, read) = (&life.asked[pair[0]], &life.asked[pair[1]]);
            let synced = sync.is_sync() && sync.result.is_some_and(Result::is_ok);
            let Some(newest) = read.newest().filter(|_| synced && read.is_read()) else {
                continue;
            };
            let writes = life.writes.values().map(|&number| &life.asked[number]);
            let floor = writes
                .filter(|write| write.ret < sync.call)
                .map(|write| write.zxid)
                .max();
            let zxid = newest.max(life.position(session, index));
            if floor.is_some_and(|floor| zxid < floor) {
                places.push((sync, read, zxid));
            }
        }
    }
    let (sync, read, zxid) = dice.pick(&places)?;
    let mut history = life.answering(read, zxid, read.result?);
    if let Body::Return { zxid: place, .. } = &mut history.records[sync.done].body {
        *place = zxid;
    }
    Some(history)
}

/// P19: a transaction claims the number that belongs to a new epoch's start.
pub fn start_of_epoch(life: &Life<'_>, dice: &mut Dice) -> Option<History> {
    let places: Vec<&Asked<'_>> = life
        .writes
        .values()
        .map(|&number| &life.asked[number])
        .collect();
    let write = dice.pick(&places)?;
    Some(life.answering(write, write.zxid & !0xffff_ffff, write.result?))
}

/// P19: of two refused writes under way at a time, one claims the other's number.
pub fn one_number_twice(life: &Life<'_>, dice: &mut Dice) -> Option<History> {
    let writes: Vec<&Asked<'_>> = life
        .writes
        .values()
        .map(|&number| &life.asked[number])
        .collect();
    let mut places = Vec::new();
    for pair in writes.windows(2) {
        let (first, second) = (pair[0], pair[1]);
        let together = first.call <= second.ret && second.call <= first.ret;
        // Where its session had come further already, that would be P3.
        let had_come = life
            .asked
            .iter()
            .filter(|asked| asked.session == second.session && asked.invoke < second.invoke);
        let had_come = had_come.map(|asked| asked.zxid).max().unwrap_or(0);
        let refused = second.result.is_some_and(Result::is_err);
        if first.session != second.session && together && refused && had_come < first.zxid {
            places.push((first, second));
        }
    }
    let (first, second) = dice.pick(&places)?;
    Some(life.answering(second, first.zxid, second.result?))
}
