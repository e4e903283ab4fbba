//! The judge that goes back where it doubts: decides more than the judge of one pass, acquits
//! nothing that the thorough judge convicts, and its order convinces the second opinion.

mod dice;
mod mutate;
mod toy;

use dice::Dice;
use gamekeeper_checker::history::{Answer, Body, History};
use gamekeeper_checker::verify::Verifier;
use gamekeeper_checker::{
    Doubt, Options, Stream, Stretches, Summary, Verdict, judge_with_certificate,
};
use mutate::{Life, MUTATORS, lives};
use toy::{Shape, valid_history};

/// Judged as from a file, within a narrow window and with stretches of so many records; what
/// is acquitted is confirmed.
fn in_stretches(history: &History, window: usize, stretch: usize) -> Result<Summary, Doubt> {
    let options = Options::default();
    let terms = options.for_service(&history.header).terms();
    let mut verifier = Verifier::new(&history.header, terms);
    let mut stretches = Stretches::new(&history.header, &options, window, stretch);
    stretches.exhibit();
    stretches.log(&history.txns);
    let mut opinion = Ok(());
    for (index, record) in history.records.iter().enumerate() {
        stretches.take(record)?;
        opinion = opinion.and_then(|()| verifier.read(index, record));
        for placed in stretches.placed() {
            opinion = opinion.and_then(|()| placed.show(&mut verifier));
        }
    }
    let summary = stretches.finish()?;
    for placed in stretches.placed() {
        opinion = opinion.and_then(|()| placed.show(&mut verifier));
    }
    assert_eq!(opinion.and_then(|()| verifier.finish()), Ok(()));
    Ok(summary)
}

fn in_one_pass(history: &History, window: usize) -> Result<Summary, Doubt> {
    let mut stream = Stream::new(&history.header, &Options::default(), window);
    stream.log(&history.txns);
    history
        .records
        .iter()
        .try_for_each(|record| stream.take(record))?;
    stream.finish()
}

/// The same life as a real cluster's is recorded: nobody has the servers' log.
fn logless(life: &History) -> History {
    let mut history = life.clone();
    (history.txns, history.header.txns) = (Vec::new(), None);
    history
}

fn convicted(history: &History) -> bool {
    let verdict = judge_with_certificate(history, &Options::default()).0;
    matches!(verdict, Verdict::Invalid(_) | Verdict::Malformed { .. })
}

#[test]
fn going_back_decides_most_of_what_one_pass_doubts() {
    let shape = Shape {
        losses: 100,
        steps: 1200,
        watches: 0,
        ..Shape::default()
    };
    let (mut passed, mut decided) = (0, 0);
    for seed in 0..30 {
        let history = valid_history(seed, shape);
        passed += usize::from(in_one_pass(&history, 128).is_ok());
        let found = in_stretches(&history, 128, 800);
        let found = found.inspect_err(|doubt| println!("seed {seed}: {doubt}"));
        decided += usize::from(found.is_ok());
    }
    println!("{passed} of 30 acquitted in one pass, {decided} by going back");
    assert!(decided >= passed + 5 && decided >= 20, "{passed} {decided}");
}

#[test]
fn lives_without_a_log_are_decided_in_stretches() {
    let lives = lives();
    let decided = lives.iter().filter(|(file, life)| {
        let found = in_stretches(&logless(life), 256, 1 << 12);
        found
            .inspect_err(|doubt| println!("{}: {doubt}", file.display()))
            .is_ok()
    });
    let decided = decided.count();
    println!("{decided} of {} decided", lives.len());
    assert!(decided * 100 >= lives.len() * 70);
}

#[test]
fn with_a_log_going_back_changes_nothing() {
    for (file, life) in lives() {
        let (whole, stretches) = (in_one_pass(&life, 256), in_stretches(&life, 256, 1 << 10));
        assert_eq!(whole, stretches, "{}", file.display());
    }
}

/// One answer is another than it was.
fn bend(history: &mut History, dice: &mut Dice) {
    let answers = history.records.iter_mut().filter_map(|record| {
        let Body::Return { zxid, result, .. } = &mut record.body else {
            return None;
        };
        Some((zxid, result.as_mut().ok()?))
    });
    let mut answers: Vec<_> = answers.collect();
    let at = dice.below(answers.len());
    let delta = [-1, 1, 2][dice.below(3)];
    match &mut answers[at] {
        (_, Answer::Data { stat, .. } | Answer::Stat(stat)) => match dice.below(3) {
            0 => stat.version += delta as i32,
            1 => stat.mzxid += delta,
            _ => stat.pzxid += delta,
        },
        (zxid, _) => **zxid += delta,
    }
}

#[test]
fn what_is_bent_is_never_acquitted_against_the_thorough_judge() {
    let (mut bent, mut acquitted) = (0, 0);
    for losses in [25, 60] {
        let shape = Shape {
            losses,
            steps: 400,
            ..Shape::default()
        };
        for seed in 0..150 {
            let mut history = valid_history(seed, shape);
            bend(&mut history, &mut Dice(seed));
            for (window, stretch) in [(4, 64), (8, 300)] {
                bent += 1;
                if in_stretches(&history, window, stretch).is_ok() {
                    acquitted += 1;
                    assert!(!convicted(&history), "one loss in {losses}, seed {seed}");
                }
            }
        }
    }
    println!("{acquitted} of {bent} acquitted");
    assert!(acquitted * 2 < bent);
}

#[test]
fn what_is_broken_in_a_life_is_never_acquitted_in_stretches() {
    let (mut broken, mut acquitted) = (0, 0);
    for (file, life) in lives() {
        let whole = Life::of(&life);
        for (seed, (_, name, mutator)) in (0..).zip(MUTATORS) {
            let Some(mutated) = mutator(&whole, &mut Dice(seed)) else {
                continue;
            };
            let mutated = logless(&mutated);
            broken += 1;
            if in_stretches(&mutated, 128, 1 << 10).is_ok() {
                acquitted += 1;
                assert!(!convicted(&mutated), "{}: {name}", file.display());
            }
        }
    }
    println!("{acquitted} of {broken} acquitted");
    assert!(acquitted * 4 < broken);
}
