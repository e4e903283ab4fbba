//! Mutators of single nodes: ephemerals, sequence numbers, multis, Stats, rights: P13 to P17, P20.

use super::watch::watches;
use super::{Asked, Dice, Life};
use gamekeeper_checker::history::*;
use std::collections::{BTreeMap, BTreeSet};

/// Ephemerals by path, with the request that made them, where their path was made only once.
fn ephemerals<'a, 'h>(life: &'a Life<'h>) -> BTreeMap<&'h str, &'a Asked<'h>> {
    let mut made: BTreeMap<&str, Vec<&Asked<'_>>> = BTreeMap::new();
    for asked in life.asked.iter().filter(|asked| asked.is_write()) {
        let path = match asked.result {
            Some(Ok(Answer::Path(path) | Answer::Created { path, .. })) => path,
            Some(_) | None => continue,
        };
        made.entry(path).or_default().push(asked);
    }
    let once = made
        .into_iter()
        .filter_map(|(path, makers)| match makers[..] {
            [maker]
                if matches!(
                    maker.op,
                    Op::Create {
                        ephemeral: true,
                        ..
                    }
                ) =>
            {
                Some((path, maker))
            }
            _ => None,
        });
    once.collect()
}

/// P13: a list of children after the close still has the ephemeral.
pub fn left_behind(life: &Life<'_>, dice: &mut Dice) -> Option<History> {
    let closes: BTreeMap<i64, i64> = life
        .asked
        .iter()
        .filter(|asked| matches!(asked.op, Op::Close) && asked.is_write())
        .map(|close| (close.session, close.zxid))
        .collect();
    let mut places = Vec::new();
    for (path, maker) in ephemerals(life) {
        let Some(&closed) = closes.get(&maker.session) else {
            continue;
        };
        let (parent, name) = path.rsplit_once('/').unwrap_or_default();
        let after = life
            .asked
            .iter()
            .filter(|read| read.is_read() && read.zxid >= closed);
        places.extend(
            after
                .filter(|read| read.path() == parent && life.is_alone(read))
                .map(|read| (read, name)),
        );
    }
    let (read, name) = dice.pick(&places)?;
    let mut told = read.result?.clone();
    match &mut told {
        Ok(Answer::Names(names) | Answer::NamesStat { names, .. }) => names.push(name.into()),
        Ok(_) | Err(_) => return None,
    }
    Some(life.answering(read, read.zxid, &told))
}

/// P14: a read does not find an ephemeral whose session goes on writing.
pub fn gone_early(life: &Life<'_>, dice: &mut Dice) -> Option<History> {
    let mut last_write: BTreeMap<i64, i64> = BTreeMap::new();
    for asked in life
        .asked
        .iter()
        .filter(|asked| asked.is_write() && !matches!(asked.op, Op::Close))
    {
        let last = last_write.entry(asked.session).or_default();
        *last = asked.zxid.max(*last);
    }
    let places: Vec<&Asked<'_>> = life
        .asked
        .iter()
        .filter(|read| {
            let owner = read.stat().map_or(0, |stat| stat.ephemeral_owner);
            read.is_read()
                && !watches(read.op)
                && last_write.get(&owner).is_some_and(|&last| last > read.zxid)
                && life.is_clear(read.path())
                && life.is_alone(read)
        })
        .collect();
    let read = dice.pick(&places)?;
    Some(life.answering(read, read.zxid, &Err(ErrorCode::NO_NODE)))
}

/// P15: a sequential node gets the number before its own, which another was told that it has.
pub fn number_again(life: &Life<'_>, dice: &mut Dice) -> Option<History> {
    let (mut places, mut told) = (Vec::new(), BTreeSet::new());
    for asked in life
        .asked
        .iter()
        .filter(|asked| asked.is_write() && life.is_clear(asked.path()))
    {
        let (
            Op::Create {
                sequential: true,
                path,
                ..
            },
            Some(Ok(Answer::Path(made) | Answer::Created { path: made, .. })),
        ) = (asked.op, asked.result)
        else {
            continue;
        };
        let number = made
            .strip_prefix(&**path)
            .and_then(|digits| digits.parse::<i32>().ok());
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        if let Some(number) = number {
            told.insert((parent, number));
            places.push((asked, parent, number));
        }
    }
    places.retain(|(_, parent, number)| told.contains(&(*parent, number - 1)));
    let (asked, _, number) = dice.pick(&places)?;
    let mut told = asked.result?.clone();
    if let Ok(Answer::Path(made) | Answer::Created { path: made, .. }) = &mut told {
        *made = format!("{}{:010}", asked.path(), number - 1)
            .as_str()
            .into();
    }
    Some(life.answering(asked, asked.zxid, &told))
}

/// P16: the first part of a multi that succeeded is told to have failed.
pub fn part_fails(life: &Life<'_>, dice: &mut Dice) -> Option<History> {
    let places: Vec<&Asked<'_>> = life.asked.iter().filter(|asked| {
        matches!(asked.result, Some(Ok(Answer::Multi(results))) if results.len() > 1 && results.iter().all(Result::is_ok))
    }).collect();
    let multi = dice.pick(&places)?;
    let mut told = multi.result?.clone();
    if let Ok(Answer::Multi(results)) = &mut told {
        results[0] = Err(ErrorCode::NO_NODE);
    }
    Some(life.answering(multi, multi.zxid, &told))
}

/// P17: a Stat shows one byte more than there is.
pub fn miscounts(life: &Life<'_>, dice: &mut Dice) -> Option<History> {
    let places: Vec<&Asked<'_>> = life
        .asked
        .iter()
        .filter(|read| {
            read.is_read() && read.stat().is_some() && !read.path().starts_with("/zookeeper")
        })
        .collect();
    let read = dice.pick(&places)?;
    let mut told = read.result?.clone();
    if let Ok(
        Answer::Stat(stat)
        | Answer::Data { stat, .. }
        | Answer::NamesStat { stat, .. }
        | Answer::Acl { stat, .. },
    ) = &mut told
    {
        match dice.below(3) {
            0 => stat.data_length += 1,
            1 => stat.aversion -= 1,
            _ => stat.ephemeral_owner += 1,
        }
    }
    Some(life.answering(read, read.zxid, &told))
}

/// P20: a read of a node that all may read is refused.
pub fn denied(life: &Life<'_>, dice: &mut Dice) -> Option<History> {
    let closed: Vec<&str> = life
        .asked
        .iter()
        .filter(|asked| changes_rights(asked.op))
        .map(Asked::path)
        .collect();
    let places: Vec<&Asked<'_>> = life
        .asked
        .iter()
        .filter(|read| {
            let open = !closed.iter().any(|closed| read.path().starts_with(closed));
            let stays = read.stat().is_some_and(|stat| stat.ephemeral_owner == 0);
            read.is_read() && stays && open && !watches(read.op) && life.is_clear(read.path())
        })
        .collect();
    let read = dice.pick(&places)?;
    Some(life.answering(read, read.zxid, &Err(ErrorCode::NO_AUTH)))
}

fn changes_rights(op: &Op) -> bool {
    match op {
        Op::SetAcl { .. } => true,
        Op::Create { acl, .. } => **acl != *Acl::open(),
        Op::Multi { ops } => ops.iter().any(changes_rights),
        _ => false,
    }
}

/// P20: a read that was refused is told what another client read there.
pub fn allowed(life: &Life<'_>, dice: &mut Dice) -> Option<History> {
    let mut places = Vec::new();
    for read in life
        .asked
        .iter()
        .filter(|read| read.is_read() && life.is_clear(read.path()))
    {
        if !matches!(
            (read.op, read.result),
            (Op::Get { .. }, Some(Err(ErrorCode::NO_AUTH)))
        ) {
            continue;
        }
        let may = life.asked.iter().find(|other| {
            matches!(other.op, Op::Get { .. })
                && other.path() == read.path()
                && other.is_read()
                && other.newest().is_some_and(|newest| newest <= read.zxid)
        });
        places.extend(may.map(|may| (read, may)));
    }
    let (read, may) = dice.pick(&places)?;
    Some(life.answering(read, read.zxid, may.result?))
}
