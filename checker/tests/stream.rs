//! The judge of one pass acquits nothing that the thorough judge does not, and doubts no
//! more than its window forces it to.

mod dice;
mod toy;

use gamekeeper_checker::history::*;
use gamekeeper_checker::{Options, Stream, Summary, Verdict, acquit, judge_with_certificate};
use toy::{Dice, Shape, valid_history};

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
