//! Mutators of what reads see: P6, P7, P9, P16, P18.
//!
//! No request of unknown fate explains them: none writes such bytes, and none takes the trace
//! of a later write away.

use super::{Asked, Dice, Life};
use gamekeeper_checker::history::*;

/// Bytes that no workload writes, of a given length.
fn alien(length: usize) -> Option<Value> {
    (length > 0).then(|| Value::from(vec![b'~'; length]))
}

/// P7: the bytes of a read are replaced.
pub fn invented(life: &Life<'_>, dice: &mut Dice) -> Option<History> {
    let places: Vec<&Asked<'_>> = life
        .asked
        .iter()
        .filter(|read| told_bytes(read) > 0 && is_written(life, read) && life.is_alone(read))
        .collect();
    with_other_bytes(life, dice.pick(&places)?)
}

/// P18: of two sessions that read a path at one zxid, one is told other bytes.
pub fn differs_from_twin(life: &Life<'_>, dice: &mut Dice) -> Option<History> {
    let places: Vec<&Asked<'_>> = life
        .asked
        .iter()
        .filter(|read| {
            let same_kind = |twin: &Asked<'_>| matches!(twin.op, Op::Get { .. });
            told_bytes(read) > 0 && is_written(life, read) && life.twins(read).any(same_kind)
        })
        .collect();
    with_other_bytes(life, dice.pick(&places)?)
}

/// True if it is known who wrote what was read; else its bytes might be told of the writer.
fn is_written(life: &Life<'_>, read: &Asked<'_>) -> bool {
    read.stat()
        .is_some_and(|stat| life.writes.contains_key(&stat.mzxid))
}

fn told_bytes(read: &Asked<'_>) -> usize {
    match read.result {
        Some(Ok(Answer::Data {
            data: Some(data), ..
        })) if read.is_read() => data.bytes().len(),
        Some(_) | None => 0,
    }
}

fn with_other_bytes(life: &Life<'_>, read: &Asked<'_>) -> Option<History> {
    let Some(Ok(Answer::Data { stat, .. })) = read.result else {
        return None;
    };
    let told = Ok(Answer::Data {
        data: alien(told_bytes(read)),
        stat: *stat,
    });
    Some(life.answering(read, read.zxid, &told))
}

/// Reads of bytes that can be told what an earlier read was told, with the write that they
/// would then miss.
fn outdated<'a, 'h>(
    life: &'a Life<'h>,
    fits: impl Fn(&Asked<'h>, &Asked<'h>) -> bool,
) -> Vec<(&'a Asked<'h>, &'a Asked<'h>)> {
    let mut places = Vec::new();
    let reads: Vec<&Asked<'_>> = life
        .asked
        .iter()
        .filter(|read| told_bytes(read) > 0)
        .collect();
    for read in &reads {
        let Some(stat) = read.stat().filter(|_| life.is_alone(read)) else {
            continue;
        };
        let Some(write) = life
            .writes
            .get(&stat.mzxid)
            .map(|&number| &life.asked[number])
        else {
            continue;
        };
        let older = |old: &&&Asked<'_>| {
            let same_node = old
                .stat()
                .is_some_and(|old| old.czxid == stat.czxid && old.mzxid < stat.mzxid);
            old.path() == read.path() && same_node
        };
        if fits(read, write) {
            places.extend(reads.iter().find(older).map(|old| (*read, *old)));
        }
    }
    places
}

fn missing(
    life: &Life<'_>,
    dice: &mut Dice,
    fits: impl Fn(&Asked<'_>, &Asked<'_>) -> bool,
) -> Option<History> {
    let (read, old) = dice.pick(&outdated(life, fits))?;
    Some(life.answering(read, read.zxid, old.result?))
}

fn is_multi(write: &Asked<'_>) -> bool {
    matches!(write.op, Op::Multi { .. })
}

/// P6: a read misses a write that was under way when it was asked.
pub fn misses_running_write(life: &Life<'_>, dice: &mut Dice) -> Option<History> {
    missing(life, dice, |read, write| {
        !is_multi(write) && write.ret >= read.call && write.session != read.session
    })
}

/// P9: a read misses a write that had been answered before it was asked.
pub fn misses_answered_write(life: &Life<'_>, dice: &mut Dice) -> Option<History> {
    missing(life, dice, |read, write| {
        !is_multi(write) && write.ret < read.call
    })
}

/// P16: a read misses what a multi did to its path.
pub fn misses_part_of_multi(life: &Life<'_>, dice: &mut Dice) -> Option<History> {
    missing(life, dice, |_, write| is_multi(write))
}
