//! The second opinion on notifications: it confirms what the toy did, and refuses each kind of
//! wrong notification even if a judge were to acquit it.

mod dice;
mod mutate;
mod toy;

use gamekeeper_checker::certificate::Effect;
use gamekeeper_checker::history::{Body, EventType, History, SessionEvent};
use gamekeeper_checker::verify::{Verifier, verify};
use gamekeeper_checker::{
    Certificate, Options, Placed, Stream, Verdict, judge_verified, judge_with_certificate,
};
use mutate::Life;
use std::collections::BTreeMap;
use toy::{Shape, valid_history};

fn certified(history: &History, seed: u64) -> Certificate {
    let (verdict, certificate) = judge_with_certificate(history, &Options::default());
    certificate.unwrap_or_else(|| panic!("seed {seed}: {verdict}"))
}

/// The rule by which a certificate is refused.
fn rule_against(history: &History, certificate: &Certificate) -> Option<&'static str> {
    let opinion = verify(history, certificate, Options::default().terms());
    opinion.err().map(|refusal| refusal.rule)
}

/// What a judge of one pass places along a history, each with how many records it had read.
fn places(history: &History) -> Vec<(usize, Placed)> {
    let mut stream = Stream::new(&history.header, &Options::default(), 64);
    stream.exhibit();
    let mut places = Vec::new();
    for (index, record) in history.records.iter().enumerate() {
        stream.take(record).expect("nothing is in doubt");
        places.extend(
            stream
                .placed()
                .into_iter()
                .map(|placed| (index + 1, placed)),
        );
    }
    stream.finish().expect("nothing is in doubt");
    places.extend(
        stream
            .placed()
            .into_iter()
            .map(|placed| (usize::MAX, placed)),
    );
    places
}

/// The rule by which a history is refused as it goes by, if a judge tells these places of it.
fn rule_against_places(history: &History, places: &[(usize, Placed)]) -> Option<&'static str> {
    let mut verifier = Verifier::new(&history.header, Options::default().terms());
    let mut places = places.iter().peekable();
    let mut opinion = Ok(());
    for (index, record) in history.records.iter().enumerate() {
        opinion = opinion.and_then(|()| verifier.read(index, record));
        while let Some((_, placed)) = places.next_if(|&&(read, _)| read <= index) {
            opinion = opinion.and_then(|()| placed.clone().show(&mut verifier));
        }
    }
    for (_, placed) in places {
        opinion = opinion.and_then(|()| placed.clone().show(&mut verifier));
    }
    let opinion = opinion.and_then(|()| verifier.finish());
    opinion.err().map(|refusal| refusal.rule)
}

#[test]
fn every_notification_of_a_valid_life_is_confirmed() {
    let shape = Shape::default();
    let (mut notifications, mut again) = (0, 0);
    for (losses, notify_zxid) in [(40, true), (40, false), (0, true), (0, false)] {
        for seed in 0..40 {
            let history = valid_history(
                seed,
                Shape {
                    losses,
                    notify_zxid,
                    ..shape
                },
            );
            match judge_verified(&history, &Options::default()) {
                Verdict::Valid(summary) => notifications += summary.notifications,
                other => panic!("seed {seed}, losses {losses}: {other}"),
            }
            let registers =
                |body: &Body| matches!(body, Body::Session(SessionEvent::SetWatchesDone { .. }));
            let bodies = history.records.iter().map(|record| &record.body);
            again += bodies.filter(|body| registers(body)).count();
        }
    }
    assert!(
        notifications > 300 && again > 100,
        "{notifications}, {again}"
    );
}

/// A certificate for a history in which record `at` was taken out, or another was put before it.
fn moved(honest: &Certificate, at: usize, by: isize) -> Certificate {
    let place = |record: usize| match record >= at {
        true => record.saturating_add_signed(by),
        false => record,
    };
    let mut forged = honest.clone();
    for step in &mut forged.order {
        if let Effect::Request(record) = &mut step.effect {
            *record = place(*record);
        }
    }
    for sight in &mut forged.sights {
        sight.invoke = place(sight.invoke);
    }
    forged
}

/// Every way to spoil one notification: the history, how far records moved, and the rule that
/// must refuse it if any does.
fn spoiled(
    whole: &History,
    at: usize,
) -> Vec<(&'static str, History, isize, &'static [&'static str])> {
    let mut all = Vec::new();
    let mut lost = whole.clone();
    lost.records.remove(at);
    all.push(("lost", lost, -1, &["N1", "N3"][..]));
    let mut twice = whole.clone();
    twice.records.insert(at, whole.records[at].clone());
    all.push(("twice", twice, 1, &["N2", "N3"]));
    let mut invented = whole.clone();
    let mut record = whole.records[at].clone();
    if let Body::Notify { path, .. } = &mut record.body {
        *path = "/nobody-asked".into();
    }
    invented.records.insert(at, record);
    all.push(("invented", invented, 1, &["N3"]));
    for (name, change) in [
        ("of nobody's node", 0),
        ("of another type", 1),
        ("of a later transaction", 2),
    ] {
        let mut changed = whole.clone();
        if let Body::Notify { zxid, event, path } = &mut changed.records[at].body {
            match change {
                0 => *path = "/nobody-asked".into(),
                1 if *event == EventType::NodeCreated => *event = EventType::NodeDataChanged,
                1 => *event = EventType::NodeCreated,
                _ if *zxid > 0 => *zxid += 1,
                _ => continue,
            }
        }
        all.push((name, changed, 0, &["N1", "N2", "N3"]));
    }
    all
}

/// How often forged notifications of valid lives are refused and confirmed, by how they were
/// forged, of a history in memory and of one that goes by; and by which rule.
#[derive(Default)]
struct Forgeries {
    found: BTreeMap<(&'static str, &'static str), (usize, usize)>,
    rules: BTreeMap<(&'static str, &'static str), usize>,
}

impl Forgeries {
    fn of(seeds: std::ops::Range<u64>, shape: Shape) -> Self {
        let mut forgeries = Forgeries::default();
        for seed in seeds {
            forgeries.add(&valid_history(seed, shape), seed);
        }
        forgeries
    }

    fn add(&mut self, history: &History, seed: u64) {
        let (honest, places) = (certified(history, seed), places(history));
        assert_eq!(rule_against(history, &honest), None, "seed {seed}");
        assert_eq!(rule_against_places(history, &places), None, "seed {seed}");
        let told = history.records.iter().enumerate();
        let told = told.filter(|(_, record)| matches!(record.body, Body::Notify { .. }));
        for (at, _) in told {
            for (name, broken, by, allowed) in spoiled(history, at) {
                let whole = rule_against(&broken, &moved(&honest, at, by));
                let passing = rule_against_places(&broken, &places);
                for (way, rule) in [("whole", whole), ("passing", passing)] {
                    let found = self.found.entry((way, name)).or_default();
                    let Some(rule) = rule else {
                        found.1 += 1;
                        continue;
                    };
                    found.0 += 1;
                    assert!(
                        allowed.contains(&rule),
                        "seed {seed}, {at}: {name} by {rule}"
                    );
                    *self.rules.entry((way, rule)).or_default() += 1;
                }
            }
        }
    }
}

/// Where a notification does not fit the order, whoever acquitted it.
#[test]
fn no_forged_notification_is_confirmed() {
    let shape = Shape {
        losses: 0,
        watches: 2,
        acls: false,
        ..Shape::default()
    };
    let Forgeries { found, rules } = Forgeries::of(0..6, shape);
    println!("{found:?}, {rules:?}");
    assert_eq!(found.len(), 12);
    for ((way, name), (refused, confirmed)) in found {
        assert!(refused > 10, "{way}, {name}: {refused}");
        // One that was lost is missed only by whoever is answered afterwards.
        let never_missed = name == "lost" && refused > 10 * confirmed;
        assert!(
            confirmed == 0 || never_missed,
            "{way}, {name}: {confirmed} confirmed"
        );
    }
    for way in ["whole", "passing"] {
        for rule in ["N1", "N2", "N3"] {
            assert!(rules.contains_key(&(way, rule)), "{way}: {rules:?}");
        }
    }
}

/// The same of watches that stay, but for those that may be gone, of which nothing is asked.
#[test]
fn hardly_a_forged_notification_of_watches_that_stay_is_confirmed() {
    let shape = Shape {
        losses: 0,
        watches: 0,
        acls: false,
        stay: 4,
        ..Shape::default()
    };
    let Forgeries { found, rules } = Forgeries::of(0..16, shape);
    println!("{found:?}, {rules:?}");
    assert_eq!(found.len(), 12);
    for ((way, name), (refused, confirmed)) in found {
        assert!(
            refused > 30 && refused > 4 * confirmed,
            "{way}, {name}: {refused}, {confirmed}"
        );
    }
}

/// What the judge names in a broken life, the second opinion refuses in a forged certificate.
#[test]
fn a_notification_that_comes_too_late_is_refused() {
    let mut found = 0;
    for seed in 0..12 {
        let shape = Shape {
            losses: 0,
            acls: false,
            ..Shape::default()
        };
        let history = valid_history(seed, shape);
        let life = Life::of(&history);
        let Some(broken) = mutate::late_notification(&life, seed) else {
            continue;
        };
        let rule = rule_against_places(&broken, &places(&history));
        assert_eq!(rule, Some("N1"), "seed {seed}");
        found += 1;
    }
    assert!(found > 3, "{found} lives are no test");
}

/// R3: neither the judge of one pass nor the second opinion lets watches be registered in a
/// state to come.
#[test]
fn watches_registered_again_in_a_state_to_come_are_refused() {
    let mut rules: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in 0..24 {
        let history = valid_history(seed, Shape::default());
        let honest = certified(&history, seed);
        let life = Life::of(&history);
        let Some(broken) = mutate::registered_too_early(&life, seed) else {
            continue;
        };
        let mut stream = Stream::new(&broken.header, &Options::default(), 64);
        let taken = (broken.records.iter()).try_for_each(|record| stream.take(record));
        assert!(taken.and_then(|()| stream.finish()).is_err(), "seed {seed}");
        let rule = rule_against(&broken, &honest);
        *rules.entry(rule.unwrap_or("none")).or_default() += 1;
    }
    println!("{rules:?}");
    assert!(rules.get("R3").is_some_and(|found| *found > 3), "{rules:?}");
    assert!(!rules.contains_key("none"), "{rules:?}");
}

/// R2: a client that comes back and forgets what it has seen.
#[test]
fn a_client_that_forgets_is_refused() {
    let mut found = 0;
    for seed in 0..20 {
        let history = valid_history(seed, Shape::default());
        let honest = certified(&history, seed);
        for at in 0..history.records.len() {
            let mut forged = history.clone();
            let Body::Session(SessionEvent::Connecting {
                session,
                last_zxid_seen,
            }) = &mut forged.records[at].body
            else {
                continue;
            };
            if *session != 0 && *last_zxid_seen > 0 {
                *last_zxid_seen -= 1;
                assert_eq!(
                    rule_against(&forged, &honest),
                    Some("R2"),
                    "seed {seed}, {at}"
                );
                found += 1;
            }
        }
    }
    assert!(found > 20, "{found}");
}
