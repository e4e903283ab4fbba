//! Watches that stay when they fire: every judge follows them, and agrees with a naive server
//! that is asked what each connection must have been told.

mod dice;
mod toy;

use dice::Dice;
use gamekeeper_checker::history::*;
use gamekeeper_checker::verify::verify;
use gamekeeper_checker::{
    Options, Property, Verdict, acquit_verified, judge, judge_verified, judge_with_certificate,
};
use std::collections::{BTreeMap, BTreeSet};
use toy::{Shape, Toy, valid_history, valid_history_with_log};

const STAYING: Shape = Shape {
    clients: 4,
    steps: 600,
    paths: 4,
    losses: 0,
    watches: 4,
    acls: false,
    stay: 3,
    notify_zxid: true,
};

#[test]
fn every_judge_acquits_what_is_right() {
    for (losses, notify_zxid, acls) in [
        (0, true, false),
        (0, false, false),
        (30, true, false),
        (30, false, false),
        (0, true, true),
        (0, false, true),
    ] {
        let shape = Shape {
            losses,
            notify_zxid,
            acls,
            ..STAYING
        };
        let mut acquitted = 0;
        for seed in 0..60 {
            let history = valid_history_with_log(seed, shape);
            let verdict = judge_verified(&history, &Options::default());
            let which = format!("seed {seed}, {losses}, {notify_zxid}, {acls}");
            assert!(matches!(verdict, Verdict::Valid(_)), "{which}: {verdict}");
            if let Ok((_, opinion)) = acquit_verified(&history, &Options::default()) {
                assert_eq!(opinion, Ok(()), "{which}");
                acquitted += 1;
            }
        }
        println!("losses {losses}, zxids {notify_zxid}, acls {acls}: {acquitted} of 60");
        assert!(
            acquitted > 20,
            "{losses}, {notify_zxid}, {acls}: {acquitted} of 60"
        );
    }
}

/// Where others write too nothing is convicted that is right.
#[test]
fn no_client_that_was_left_out_makes_it_wrong() {
    for seed in 0..120 {
        let shape = Shape {
            losses: [0, 30][seed as usize % 2],
            notify_zxid: seed % 3 > 0,
            acls: seed % 5 == 0,
            ..STAYING
        };
        let mut history = valid_history(seed, shape);
        history.header.world = World::Open;
        let left_out = seed as u32 % 5;
        history.records.retain(|record| record.process != left_out);
        let verdict = judge(&history, &Options::default());
        assert!(
            matches!(verdict, Verdict::Valid(_)),
            "seed {seed}: {verdict}"
        );
    }
}

/// What a connection's server has registered, asked one event at a time.
#[derive(Default)]
struct Server {
    data: BTreeSet<String>,
    child: BTreeSet<String>,
    persistent: BTreeSet<String>,
    recursive: BTreeSet<String>,
}

impl Server {
    fn fires(&mut self, event: EventType, path: &str) -> bool {
        let below = |own: &String| {
            let rest = path.strip_prefix(own.trim_end_matches('/'));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let list = event == EventType::NodeChildrenChanged;
        let mut fires = self.persistent.contains(path);
        fires |= !list && self.recursive.iter().any(below);
        if !list {
            fires |= self.data.remove(path);
        }
        if list || event == EventType::NodeDeleted {
            fires |= self.child.remove(path);
        }
        fires
    }

    fn answered(&mut self, op: &Op, result: &Result<Answer, ErrorCode>) {
        let Some(path) = op.path().map(ToString::to_string) else {
            return;
        };
        let there = result.is_ok();
        match op {
            Op::Get { watch: true, .. } if there => drop(self.data.insert(path)),
            Op::Exists { watch: true, .. } => drop(self.data.insert(path)),
            Op::Children { watch: true, .. } if there => drop(self.child.insert(path)),
            Op::AddWatch { mode, .. } => match mode {
                WatchMode::Persistent => drop(self.persistent.insert(path)),
                WatchMode::Recursive => drop(self.recursive.insert(path)),
            },
            Op::RemoveWatches { watches, .. } => {
                let all = *watches == WatchKind::Any;
                for (kind, set) in [
                    (WatchKind::Data, &mut self.data),
                    (WatchKind::Children, &mut self.child),
                    (WatchKind::Persistent, &mut self.persistent),
                    (WatchKind::Recursive, &mut self.recursive),
                ] {
                    if all || *watches == kind {
                        set.remove(&path);
                    }
                }
            }
            _ => {}
        }
    }
}

/// One client's connection, followed by its records.
#[derive(Default)]
struct Followed {
    server: Server,
    position: i64,
    /// What must still be told of the transactions that were passed.
    owed: Vec<(i64, EventType, String)>,
    told: Vec<(i64, EventType, String)>,
}

impl Followed {
    /// The server goes on to a zxid: what fires until then is owed.
    fn go_on(&mut self, events: &[(i64, EventType, String)], zxid: i64) {
        let from = self.position;
        for (at, event, path) in events {
            if (from + 1..=zxid).contains(at) && self.server.fires(*event, path) {
                self.owed.push((*at, *event, path.clone()));
            }
        }
        self.position = zxid.max(from);
    }

    /// Everything owed was told, and nothing else but what is newer.
    fn is_settled(&mut self, zxid: i64) -> bool {
        let newer = self
            .told
            .split_off(self.told.partition_point(|told| told.0 <= zxid));
        let mut told = std::mem::replace(&mut self.told, newer);
        told.sort();
        self.owed.sort();
        std::mem::take(&mut self.owed) == told
    }
}

/// True if every client of a history without losses, on servers that name zxids, was told what
/// it asked for: in order, once, before anything newer. None if somebody was answered from
/// before what it had been told, which no server does and no rule of notifications forbids.
fn told_rightly(history: &History, events: &[(i64, EventType, String)]) -> Option<bool> {
    let mut clients: BTreeMap<u32, Followed> = BTreeMap::new();
    let mut asked: BTreeMap<(u32, i32), Op> = BTreeMap::new();
    for record in &history.records {
        let client = clients.entry(record.process).or_default();
        match &record.body {
            Body::Invoke { xid, op, .. } => drop(asked.insert((record.process, *xid), op.clone())),
            Body::Return { xid, zxid, result } => {
                client.go_on(events, *zxid);
                if !client.is_settled(*zxid) {
                    return Some(false);
                }
                if !client.told.is_empty() {
                    return None;
                }
                client
                    .server
                    .answered(&asked[&(record.process, *xid)], result);
            }
            Body::Notify { zxid, event, path } => {
                let last = client
                    .told
                    .last()
                    .map_or(client.position, |told| told.0 - 1);
                if *zxid <= last {
                    return Some(false);
                }
                client.told.push((*zxid, *event, path.to_string()));
            }
            Body::Session(
                SessionEvent::Connecting { .. }
                | SessionEvent::Connected { .. }
                | SessionEvent::Disconnected,
            ) => {
                let ended = std::mem::take(client);
                if !ends_rightly(ended, events) {
                    return Some(false);
                }
            }
            _ => {}
        }
    }
    let mut left = clients.into_values();
    Some(left.all(|client| ends_rightly(client, events)))
}

/// What was told after the last answer begins what would have been told.
fn ends_rightly(mut client: Followed, events: &[(i64, EventType, String)]) -> bool {
    let Some(last) = client.told.last().map(|told| told.0) else {
        return true;
    };
    client.go_on(events, last - 1);
    let newest = client
        .told
        .split_off(client.told.partition_point(|told| told.0 < last));
    let settled = client.is_settled(last - 1);
    client.go_on(events, last);
    settled
        && newest.iter().all(|told| {
            let at = client.owed.iter().position(|owed| owed == told);
            at.map(|at| client.owed.remove(at)).is_some()
        })
}

/// Changes one notification, and says how.
fn spoil(history: &mut History, dice: &mut Dice) -> Option<&'static str> {
    let told = |record: &Record| matches!(record.body, Body::Notify { .. });
    let all: Vec<usize> = (0..history.records.len())
        .filter(|&at| told(&history.records[at]))
        .collect();
    if all.is_empty() {
        return None;
    }
    let at = all[dice.below(all.len())];
    let process = history.records[at].process;
    let own: Vec<usize> = (0..history.records.len())
        .filter(|&other| history.records[other].process == process && other != at)
        .collect();
    Some(match dice.below(6) {
        0 => {
            history.records.remove(at);
            "skipped"
        }
        1 => {
            history.records.insert(at, history.records[at].clone());
            "doubled"
        }
        2 => {
            if let Body::Notify { event, .. } = &mut history.records[at].body {
                *event = EventType::of_number(1 + dice.below(4) as i32)?;
            }
            "of another type"
        }
        3 => {
            if let Body::Notify { path, .. } = &mut history.records[at].body {
                *path = ["/", "/n0", "/n1", "/n0/c0", "/n1/c1"][dice.below(5)].into();
            }
            "of another path"
        }
        // Before or behind another record of its client.
        _ => {
            let near = own
                .iter()
                .position(|&other| other > at)
                .unwrap_or(own.len());
            let to = (near + dice.below(9)).saturating_sub(4).min(own.len() - 1);
            let record = history.records.remove(at);
            let to = own[to] - usize::from(own[to] > at);
            let time = history.records[to].time;
            history
                .records
                .insert(to + usize::from(to >= at), Record { time, ..record });
            "moved"
        }
    })
}

#[test]
fn all_judges_agree_with_a_naive_server_when_half_is_spoilt() {
    let mut seen: BTreeMap<(&str, bool), usize> = BTreeMap::new();
    let mut properties: BTreeMap<Property, usize> = BTreeMap::new();
    for seed in 0..500 {
        let shape = Shape {
            steps: 250,
            ..STAYING
        };
        let mut toy = Toy::new(seed, shape);
        (0..shape.steps).for_each(|_| toy.step());
        toy.finish();
        let (events, mut history) = (toy.events(), toy.history);
        let mut dice = Dice(!seed);
        let how = match dice.one_in(2) {
            true => spoil(&mut history, &mut dice).unwrap_or("as it was"),
            false => "as it was",
        };
        let Some(right) = told_rightly(&history, &events) else {
            continue;
        };
        assert!(right || how != "as it was", "seed {seed}");
        *seen.entry((how, right)).or_default() += 1;
        let (verdict, certificate) = judge_with_certificate(&history, &Options::default());
        match &verdict {
            Verdict::Valid(_) => assert!(right, "seed {seed}, {how}: acquitted"),
            Verdict::Invalid(violation) => {
                assert!(!right, "seed {seed}, {how}: {verdict}");
                *properties.entry(violation.property).or_default() += 1;
            }
            other => panic!("seed {seed}, {how}: {other}"),
        }
        if let Some(certificate) = certificate {
            let opinion = verify(&history, &certificate, Options::default().terms());
            assert_eq!(opinion, Ok(()), "seed {seed}, {how}");
        }
        if acquit_verified(&history, &Options::default()).is_ok() {
            assert!(right, "seed {seed}, {how}: acquitted in one pass");
        }
    }
    println!("{seen:?}, {properties:?}");
    for how in [
        "skipped",
        "doubled",
        "of another type",
        "of another path",
        "moved",
    ] {
        assert!(
            seen.get(&(how, false)).is_some_and(|&wrong| wrong > 8),
            "{seen:?}"
        );
    }
    for property in [
        Property::WatchBeforeData,
        Property::WatchOneShot,
        Property::WatchNotSpurious,
    ] {
        assert!(properties.contains_key(&property), "{properties:?}");
    }
}
