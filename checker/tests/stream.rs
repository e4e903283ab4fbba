//! The judge of one pass acquits nothing that the thorough judge does not, and doubts no
//! more than its window forces it to.

mod dice;
mod mutate;
mod toy;

use dice::Dice;
use gamekeeper_checker::history::{Answer, Body, ErrorCode, History, SessionEvent};
use gamekeeper_checker::{
    Options, Stream, Summary, Verdict, acquit, acquit_verified, judge_with_certificate,
};
use mutate::{Life, MUTATORS, lives};
use std::collections::BTreeMap;
use toy::{Shape, valid_history};

fn thorough(history: &History) -> Verdict {
    judge_with_certificate(history, &Options::default()).0
}

/// Judges in one pass within a window, record by record, as from a file.
fn within(history: &History, window: usize) -> Option<Summary> {
    let mut stream = Stream::new(&history.header, &Options::default(), window);
    for record in &history.records {
        stream.take(record.clone()).ok()?;
    }
    stream.finish().ok()
}

/// How many lives one pass doubts; what it acquits is confirmed.
fn doubted<'h>(lives: impl Iterator<Item = (&'h std::path::PathBuf, History)>) -> usize {
    let mut doubts: BTreeMap<&str, usize> = BTreeMap::new();
    for (file, history) in lives {
        match acquit_verified(&history, &Options::default()) {
            Ok((_, opinion)) => assert_eq!(opinion, Ok(()), "{}", file.display()),
            Err(doubt) => {
                println!("{}: {doubt}", file.display());
                *doubts.entry(doubt.reason).or_default() += 1;
            }
        }
    }
    println!("doubted: {doubts:#?}");
    doubts.values().sum()
}

#[test]
fn lives_with_a_servers_log_are_acquitted_in_one_pass_and_confirmed() {
    let lives = lives();
    let doubted = doubted(lives.iter().map(|(file, life)| (file, life.clone())));
    assert!(!lives.is_empty() && doubted * 100 <= lives.len());
}

/// The same life as a real cluster's is recorded: nobody has the servers' log.
fn logless(life: &History) -> History {
    let mut history = life.clone();
    (history.txns, history.header.txns) = (Vec::new(), None);
    history
}

/// Of a hundred lives without the servers' log that are named in LIVES, how many one pass may
/// doubt; of those kept beside the tests none.
const LOGLESS_DOUBTS_MAX: usize = 65;

#[test]
fn lives_without_a_log_that_one_pass_acquits_are_confirmed() {
    let lives = lives();
    let doubted = doubted(lives.iter().map(|(file, life)| (file, logless(life))));
    let doubts_max = match std::env::var_os("LIVES") {
        Some(_) => LOGLESS_DOUBTS_MAX,
        None => 0,
    };
    assert!(doubted * 100 <= lives.len() * doubts_max);
}

/// Nobody has the servers' log, answers are lost and sessions end unseen: what shows of them
/// later places them, and the second opinion agrees.
#[test]
fn what_nobody_was_told_of_is_placed_where_it_shows() {
    for (losses, acquitted_min) in [(60, 50), (200, 80)] {
        let shape = Shape {
            losses,
            ..Shape::default()
        };
        let mut acquitted = 0;
        for seed in 0..100 {
            let history = valid_history(seed, shape);
            if let Ok((_, opinion)) = acquit_verified(&history, &Options::default()) {
                assert_eq!(opinion, Ok(()), "seed {seed}");
                acquitted += 1;
            }
        }
        println!("one loss in {losses} steps: {acquitted} of 100 acquitted");
        assert!(acquitted >= acquitted_min, "{losses}: {acquitted}");
    }
}

/// What is acquitted is what the thorough judge acquits, whatever it thinks was needed for it.
fn agrees_with_the_thorough(history: &History, summary: Summary, which: &str) {
    match thorough(history) {
        Verdict::Valid(found) => {
            let resolved = summary.resolved;
            assert_eq!(Summary { resolved, ..found }, summary, "{which}");
        }
        verdict => panic!("{which} is acquitted in one pass, but {verdict}"),
    }
}

/// The same life under servers that name no transaction in a notification.
fn nameless(life: &History) -> History {
    let mut history = life.clone();
    for record in &mut history.records {
        if let Body::Notify { zxid, .. } = &mut record.body {
            *zxid = -1;
        }
    }
    history
}

/// The same life, each two records in a hundred written down the wrong way round.
fn shuffled(life: &History, dice: &mut Dice) -> History {
    let mut history = life.clone();
    for at in 1..history.records.len() {
        let pair = &history.records[at - 1..=at];
        if pair[0].process != pair[1].process && dice.below(50) == 0 {
            history.records.swap(at - 1, at);
        }
    }
    history
}

#[test]
fn lives_are_acquitted_though_notifications_name_nothing_and_records_are_out_of_order() {
    let (mut heard, mut disordered) = (0, 0);
    for (file, life) in &lives() {
        for (which, history) in [
            ("nameless", nameless(life)),
            ("shuffled", shuffled(life, &mut Dice(1))),
        ] {
            let (summary, opinion) = acquit_verified(&history, &Options::default())
                .unwrap_or_else(|doubt| panic!("{} {which}: {doubt}", file.display()));
            assert_eq!(opinion, Ok(()), "{} {which}", file.display());
            heard += summary.notifications;
            disordered += usize::from(!history.records.is_sorted_by_key(|record| record.time));
        }
    }
    assert!(heard > 20 && disordered > 0, "{heard} {disordered}");
}

#[test]
fn what_is_broken_in_a_life_is_never_acquitted_against_the_thorough_judge() {
    let (mut broken, mut acquitted) = (0, 0);
    for (file, history) in lives() {
        let life = Life::of(&history);
        let mut cases: Vec<(String, History)> = Vec::new();
        for seed in 0..3 {
            for (_, name, mutator) in MUTATORS {
                let mutated = mutator(&life, &mut Dice(seed));
                cases.extend(mutated.map(|mutated| (format!("{name}, try {seed}"), mutated)));
            }
        }
        for seed in 0..40 {
            let mut bent = history.clone();
            bend(&mut bent, &mut Dice(seed));
            cases.push((format!("bent by {seed}"), bent));
        }
        // Without the log, what was lost is placed by what was seen of it.
        let blind =
            |(name, case): (String, History)| (format!("{name}, without the log"), logless(&case));
        cases.extend(cases.clone().into_iter().map(blind));
        // Servers before 3.9 name no transaction in a notification.
        let forgetful =
            |(name, case): (String, History)| (format!("{name}, nameless"), nameless(&case));
        cases.extend(cases.clone().into_iter().map(forgetful));
        for (name, case) in cases {
            broken += 1;
            if let Ok(summary) = acquit(&case, &Options::default()) {
                acquitted += 1;
                let which = format!("{}: {name}", file.display());
                agrees_with_the_thorough(&case, summary, &which);
            }
        }
    }
    println!("{acquitted} of {broken} acquitted");
    assert!(
        broken >= 100 && acquitted * 4 < broken,
        "{acquitted} {broken}"
    );
}

fn shapes() -> Vec<Shape> {
    let quiet = Shape {
        losses: 0,
        watches: 0,
        acls: false,
        ..Shape::default()
    };
    vec![
        quiet,
        Shape {
            acls: true,
            ..quiet
        },
        Shape {
            watches: 3,
            ..quiet
        },
        Shape {
            losses: 60,
            ..quiet
        },
        Shape {
            losses: 200,
            watches: 5,
            ..quiet
        },
    ]
}

#[test]
fn what_one_pass_acquits_is_valid_with_the_same_figures() {
    let mut acquitted = 0;
    for shape in shapes() {
        for seed in 0..60 {
            let history = valid_history(seed, shape);
            let Ok(summary) = acquit(&history, &Options::default()) else {
                continue;
            };
            acquitted += 1;
            let verdict = thorough(&history);
            assert_eq!(verdict, Verdict::Valid(summary), "seed {seed}");
        }
    }
    assert!(acquitted >= 120, "only {acquitted} acquitted");
}

/// Changes one thing that a client was told, or forgets one record.
fn bend(history: &mut History, dice: &mut Dice) {
    let at = dice.below(history.records.len());
    let delta = [-2, -1, 1, 2, 5][dice.below(5)];
    let body = &mut history.records[at].body;
    match body {
        Body::Return { zxid, result, .. } => match (dice.below(4), result) {
            (0, _) => *zxid += delta,
            (1, Ok(Answer::Data { data, .. })) => *data = Some("bent".into()),
            (2, Ok(Answer::Data { stat, .. } | Answer::Stat(stat))) => {
                stat.version += delta as i32;
            }
            (3, Ok(Answer::Data { stat, .. } | Answer::Stat(stat))) => stat.pzxid += delta,
            (_, result) => {
                *result = match result {
                    Ok(_) => Err(ErrorCode::NO_NODE),
                    Err(_) => Ok(Answer::Done),
                }
            }
        },
        Body::Notify { zxid, .. } => *zxid += delta,
        Body::Session(SessionEvent::Connecting { last_zxid_seen, .. }) => *last_zxid_seen += delta,
        Body::Invoke { .. } | Body::Lost { .. } | Body::Session(_) => {
            let moved = dice.below(5) as u64 * 1_000_000;
            history.records[at].time = history.records[at].time.saturating_sub(moved);
        }
        Body::Ping { .. } | Body::Final => {
            history.records.remove(at);
        }
    }
}

#[test]
fn what_was_bent_is_never_acquitted_against_the_thorough_judge() {
    let (mut bent, mut acquitted) = (0, 0);
    for shape in shapes() {
        let shape = Shape {
            steps: 200,
            ..shape
        };
        for seed in 0..150 {
            let mut dice = Dice(seed);
            let mut history = valid_history(seed, shape);
            bend(&mut history, &mut dice);
            if let Ok(summary) = acquit(&history, &Options::default()) {
                acquitted += 1;
                assert_eq!(thorough(&history), Verdict::Valid(summary), "seed {seed}");
            } else {
                bent += 1;
            }
        }
    }
    assert!(acquitted >= 20 && bent >= 200, "{acquitted} {bent}");
}

#[test]
fn a_narrow_window_doubts_or_agrees() {
    let shape = shapes()[0];
    let mut agreed = 0;
    for seed in 0..60 {
        let history = valid_history(seed, shape);
        let whole = acquit(&history, &Options::default()).ok();
        assert!(whole.is_some(), "seed {seed}");
        for window in [1, 4, 32, 256] {
            let narrow = within(&history, window);
            assert!(
                narrow.is_none() || narrow == whole,
                "seed {seed}, window {window}"
            );
            agreed += usize::from(narrow.is_some());
        }
    }
    assert!(agreed >= 60, "only {agreed} agreed");
}
