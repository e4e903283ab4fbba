//! Lives of the simulator of which only some clients were recorded: valid where others may
//! have written too, and each property that is judged there is named when it is broken.

mod dice;
mod mutate;

use gamekeeper_checker::history::{Body, EventType, History, Op, World};
use gamekeeper_checker::verify::verify_open;
use gamekeeper_checker::{Options, Property, Verdict, judge, judge_verified};
use mutate::{Dice, Life, MUTATORS, lives};
use std::collections::{BTreeMap, BTreeSet};

/// How often some of each life's clients are left out.
const DRAWS: u64 = 12;

/// What is left of a life if between one and all but one of its clients were not recorded.
fn overheard(whole: &History, dice: &mut Dice) -> History {
    let everybody: BTreeSet<u32> = whole.records.iter().map(|record| record.process).collect();
    let mut kept: Vec<u32> = everybody.into_iter().collect();
    let strangers = 1 + dice.below(kept.len().saturating_sub(1));
    for _ in 0..strangers {
        kept.remove(dice.below(kept.len()));
    }
    let mut history = whole.clone();
    history.header.world = World::Open;
    (history.header.txns, history.txns) = (None, Vec::new());
    history
        .records
        .retain(|record| kept.contains(&record.process));
    history
}

/// `LIVES=DIR` tries other lives than the ones kept here: history files, or run directories.
#[test]
fn no_client_that_was_left_out_makes_a_life_wrong() {
    let mut requests = 0;
    for (file, whole) in lives() {
        if !matches!(judge(&whole, &Options::default()), Verdict::Valid(_)) {
            println!("{}: left out", file.display());
            continue;
        }
        for seed in 0..DRAWS {
            let history = overheard(&whole, &mut Dice(seed));
            match judge_verified(&history, &Options::default()) {
                Verdict::Valid(summary) => requests += summary.requests,
                other => panic!("{} draw {seed}: {other}", file.display()),
            }
        }
    }
    assert!(requests > 1000, "{requests} requests are no test");
}

/// P10: a notification never comes.
fn never_told(life: &Life<'_>, dice: &mut Dice) -> Option<History> {
    let notifications = life.history.records.iter().enumerate();
    let places: Vec<usize> = notifications
        .filter(|(_, record)| matches!(record.body, Body::Notify { .. }))
        .map(|(index, _)| index)
        .collect();
    let mut history = life.history.clone();
    history.records.remove(dice.pick(&places)?);
    Some(history)
}

/// What nobody can be told of any more: an event of a write that did something else.
fn by_another(life: &Life<'_>, dice: &mut Dice) -> Option<History> {
    let mut history = life.history.clone();
    let sets: Vec<i64> = life
        .writes
        .iter()
        .filter(|&(_, &asked)| matches!(life.asked[asked].op, Op::Set { .. }))
        .map(|(&zxid, _)| zxid)
        .collect();
    let mut places: Vec<&mut i64> = Vec::new();
    for record in &mut history.records {
        if let Body::Notify { zxid, event, .. } = &mut record.body
            && *zxid > 0
            && *event == EventType::NodeChildrenChanged
        {
            places.push(zxid);
        }
    }
    let count = places.len();
    let zxid = places.into_iter().nth(dice.below(count))?;
    *zxid = sets.into_iter().find(|set| set > zxid)?;
    Some(history)
}

/// What was said of a mutator: its property, nothing, another property.
#[derive(Default, Debug)]
struct Tally {
    named: usize,
    excused: usize,
    otherwise: usize,
}

/// Mutators whose place is sometimes excused by what strangers may have done, or that break a
/// chain of Stats first; those of properties that are not judged where others write are left
/// out (see the table in `walk/open`).
#[test]
fn what_no_stranger_excuses_is_named() {
    let (mut tallies, mut lives_seen) = (BTreeMap::<(Property, &str), Tally>::new(), 0);
    let more: [(Property, &str, mutate::Mutator); 2] = [
        (
            Property::WatchBeforeData,
            "a notification never comes",
            never_told,
        ),
        (
            Property::WatchNotSpurious,
            "an event of another write",
            by_another,
        ),
    ];
    for (_, whole) in lives() {
        if !matches!(judge(&whole, &Options::default()), Verdict::Valid(_)) {
            continue;
        }
        lives_seen += 1;
        for seed in 0..DRAWS {
            let history = overheard(&whole, &mut Dice(seed));
            let life = Life::of(&history);
            for (property, name, mutator) in MUTATORS.into_iter().chain(more) {
                let Some(broken) = mutator(&life, &mut Dice(seed)) else {
                    continue;
                };
                let tally = tallies.entry((property, name)).or_default();
                match judge(&broken, &Options::default()).property() {
                    Some(found) if found == property => tally.named += 1,
                    Some(_) => tally.otherwise += 1,
                    None => tally.excused += 1,
                }
            }
        }
    }
    assert!(lives_seen > 0, "no valid life to break");
    for (
        (property, name),
        Tally {
            named,
            excused,
            otherwise,
        },
    ) in &tallies
    {
        println!(
            "{} {name}: named {named} times, excused {excused}, otherwise {otherwise}",
            property.code()
        );
    }
    let named = |property: Property| {
        let of = tallies.iter().filter(|((other, _), _)| *other == property);
        of.map(|(_, tally)| tally.named).sum::<usize>()
    };
    let all = Property::ALL.into_iter();
    let never: Vec<&str> = all
        .filter(|&property| named(property) == 0)
        .map(Property::code)
        .collect();
    // A stranger may delete an ephemeral; what reads miss of recorded writes breaks the chain
    // of Stats, and the listed ephemeral its parent's count, before anything else.
    assert_eq!(never, ["P6", "P9", "P13", "P14"]);
    let unexcused = ["P1", "P3", "P4", "P5", "P8", "P11", "P19"];
    for ((property, name), tally) in &tallies {
        let excused = tally.excused > 0 && unexcused.contains(&property.code());
        assert!(!excused, "{} {name}: {tally:?}", property.code());
    }
}

/// Orders, times and Stats of an open world have a second opinion.
#[test]
fn what_is_broken_among_strangers_is_refused_by_the_second_opinion() {
    let terms = Options::default().terms();
    let confirmed = [
        Property::LinearizableWrites,
        Property::SessionFifo,
        Property::ReadYourWrites,
        Property::MonotonicReads,
        Property::NoFutureReads,
        Property::SyncThenRead,
        Property::ReplicasAgree,
        Property::ZxidSanity,
    ];
    let mut refused: BTreeMap<Property, BTreeSet<&str>> = BTreeMap::new();
    for (file, whole) in lives() {
        for seed in 0..DRAWS {
            let history = overheard(&whole, &mut Dice(seed));
            assert_eq!(verify_open(&history, terms), Ok(()), "{}", file.display());
            let life = Life::of(&history);
            for (property, name, mutator) in MUTATORS {
                let broken = mutator(&life, &mut Dice(seed));
                let Some(broken) = broken.filter(|_| confirmed.contains(&property)) else {
                    continue;
                };
                let invalid = judge(&broken, &Options::default()).property().is_some();
                let refusal = verify_open(&broken, terms).err();
                assert_eq!(refusal.is_some(), invalid, "{name}, draw {seed}");
                let rules = refused.entry(property).or_default();
                rules.extend(refusal.map(|refusal| refusal.rule));
            }
        }
    }
    for property in confirmed {
        assert!(!refused[&property].is_empty(), "{}", property.code());
    }
    assert!(
        refused.values().flatten().any(|rule| *rule == "F"),
        "{refused:?}"
    );
}
