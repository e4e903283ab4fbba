//! Clients whose watches the recorder left out: what they were told is not in the history, and
//! nothing is asked of it; everything else is judged as ever.

mod dice;
mod toy;

use dice::Dice;
use gamekeeper_checker::history::{Body, History, SessionEvent, World};
use gamekeeper_checker::{Options, Stream, Verdict, judge_verified};
use std::collections::BTreeSet;
use toy::{Shape, valid_history, valid_history_with_log};

const LEFT_OUT: Body = Body::Session(SessionEvent::WatchesLeftOut);

/// The history as a recorder tells it that loses sight of most clients' watches at some place,
/// and says so or not.
fn unwatched(history: &History, seed: u64, says_so: bool) -> History {
    let mut dice = Dice(seed);
    let mut told = History::new(history.header.clone());
    let mut lost = BTreeSet::new();
    for record in &history.records {
        let process = record.process;
        let leave_out = |told: &mut History| {
            if says_so {
                told.push(process, record.time, LEFT_OUT);
            }
        };
        if !lost.contains(&process) && process % 4 != 0 && dice.one_in(8) {
            lost.insert(process);
            leave_out(&mut told);
        }
        let of_watches = matches!(
            record.body,
            Body::Notify { .. }
                | Body::Session(
                    SessionEvent::SetWatches { .. } | SessionEvent::SetWatchesDone { .. }
                )
        );
        if of_watches && lost.contains(&process) {
            continue;
        }
        told.records.push(record.clone());
        let connected = matches!(record.body, Body::Session(SessionEvent::Connected { .. }));
        if connected && lost.contains(&process) {
            leave_out(&mut told);
        }
    }
    told.txns = history.txns.clone();
    told
}

fn valid(history: &History) -> bool {
    matches!(
        judge_verified(history, &Options::default()),
        Verdict::Valid(_)
    )
}

#[test]
fn nothing_is_asked_of_watches_that_were_left_out() {
    let mut convicted = 0;
    for seed in 0..60 {
        let shape = Shape {
            notify_zxid: seed % 2 == 0,
            losses: if seed % 3 == 0 { 0 } else { 40 },
            ..Shape::default()
        };
        let history = valid_history(seed, shape);
        let mut told = unwatched(&history, seed, true);
        assert!(valid(&told), "seed {seed}");
        told.header.world = World::Open;
        assert!(valid(&told), "seed {seed}, among strangers");
        convicted += usize::from(!valid(&unwatched(&history, seed, false)));
    }
    assert!(convicted > 20, "silence alone convicts: {convicted}");
}

/// Judges in one pass.
fn passes(history: &History) -> Result<(), String> {
    let mut stream = Stream::new(&history.header, &Options::default(), 65_536);
    stream.log(&history.txns);
    for record in &history.records {
        let taken = stream.take(record.clone());
        taken.map_err(|doubt| doubt.to_string())?;
    }
    stream
        .finish()
        .map(|_| ())
        .map_err(|doubt| doubt.to_string())
}

#[test]
fn one_pass_asks_nothing_of_them_either() {
    let mut judged = 0;
    for seed in 0..40 {
        let history = valid_history_with_log(seed, Shape::default());
        if passes(&history).is_ok() {
            judged += 1;
            assert_eq!(
                passes(&unwatched(&history, seed, true)),
                Ok(()),
                "seed {seed}"
            );
        }
    }
    assert!(judged > 20, "{judged}");
}
