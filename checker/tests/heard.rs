//! The second opinion on notifications: it confirms what the toy did, and refuses each kind of
//! wrong notification even if a judge were to acquit it.

mod dice;
mod mutate;
mod toy;

use gamekeeper_checker::certificate::Effect;
use gamekeeper_checker::history::{Body, EventType, History, SessionEvent};
use gamekeeper_checker::verify::verify;
use gamekeeper_checker::{Certificate, Options, Verdict, judge_verified, judge_with_certificate};
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

/// Where a notification does not fit the order, whoever acquitted it.
#[test]
fn no_forged_notification_is_confirmed() {
    let mut refused: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let mut rules: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in 0..6 {
        let shape = Shape {
            losses: 0,
            watches: 2,
            acls: false,
            ..Shape::default()
        };
        let history = valid_history(seed, shape);
        let honest = certified(&history, seed);
        assert_eq!(rule_against(&history, &honest), None, "seed {seed}");
        let told = history.records.iter().enumerate();
        let told: Vec<usize> = told
            .filter(|(_, record)| matches!(record.body, Body::Notify { .. }))
            .map(|(index, _)| index)
            .collect();
        for at in told {
            for (name, broken, by, allowed) in spoiled(&history, at) {
                let forged = moved(&honest, at, by);
                let count = refused.entry(name).or_default();
                match rule_against(&broken, &forged) {
                    Some(rule) => {
                        assert!(allowed.contains(&rule), "{name} by {rule}");
                        *rules.entry(rule).or_default() += 1;
                        count.0 += 1;
                    }
                    None => count.1 += 1,
                }
            }
        }
    }
    // One that was lost is missed only by whoever is answered afterwards.
    let (lost, never_missed) = refused["lost"];
    assert!(lost > 10 * never_missed, "{refused:?}");
    for (name, (found, confirmed)) in refused {
        assert!(found > 10, "{name}: {found}");
        assert!(
            confirmed == 0 || name == "lost",
            "{name}: {confirmed} confirmed"
        );
    }
    for rule in ["N1", "N2", "N3"] {
        assert!(rules.contains_key(rule), "{rules:?}");
    }
}

/// The same of watches that stay, but for those that may be gone, of which nothing is asked.
#[test]
fn hardly_a_forged_notification_of_watches_that_stay_is_confirmed() {
    let mut refused: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for seed in 0..16 {
        let shape = Shape {
            losses: 0,
            watches: 0,
            acls: false,
            stay: 4,
            ..Shape::default()
        };
        let history = valid_history(seed, shape);
        let honest = certified(&history, seed);
        assert_eq!(rule_against(&history, &honest), None, "seed {seed}");
        let told = history.records.iter().enumerate();
        let told = told.filter(|(_, record)| matches!(record.body, Body::Notify { .. }));
        for (at, _) in told {
            for (name, broken, by, allowed) in spoiled(&history, at) {
                let count = refused.entry(name).or_default();
                match rule_against(&broken, &moved(&honest, at, by)) {
                    Some(rule) => {
                        assert!(allowed.contains(&rule), "{name} by {rule}");
                        count.0 += 1;
                    }
                    None => count.1 += 1,
                }
            }
        }
    }
    println!("{refused:?}");
    assert_eq!(refused.len(), 5);
    for (name, (found, confirmed)) in refused {
        assert!(
            found > 30 && found > 4 * confirmed,
            "{name}: {found}, {confirmed}"
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
        // Nothing of unknown fate: the zxids are the certificate.
        let (_, certificate) = judge_with_certificate(&history, &Options::default());
        assert!(certificate.is_some(), "seed {seed}");
        let opinion = gamekeeper_checker::verify::verify_heard(&broken);
        assert_eq!(
            opinion.err().map(|refusal| refusal.rule),
            Some("N1"),
            "seed {seed}"
        );
        found += 1;
    }
    assert!(found > 3, "{found} lives are no test");
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
