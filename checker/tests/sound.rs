//! What is consistent by construction is judged valid, whatever was lost on the way.

mod dice;
mod toy;

use gamekeeper_checker::{Options, Verdict, judge};
use toy::{Shape, valid_history};

fn acquits(seeds: std::ops::Range<u64>, shape: Shape) {
    for seed in seeds {
        let history = valid_history(seed, shape);
        let verdict = judge(&history, &Options::default());
        assert!(
            matches!(verdict, Verdict::Valid(_)),
            "seed {seed}: {verdict}"
        );
    }
}

#[test]
fn histories_without_losses_are_valid() {
    acquits(
        0..300,
        Shape {
            losses: 0,
            watches: 0,
            acls: false,
            ..Shape::default()
        },
    );
}

#[test]
fn histories_with_lost_answers_and_expired_sessions_are_valid() {
    acquits(
        0..600,
        Shape {
            watches: 0,
            acls: false,
            ..Shape::default()
        },
    );
}

#[test]
fn histories_with_watches_are_valid() {
    acquits(
        0..600,
        Shape {
            acls: false,
            ..Shape::default()
        },
    );
    acquits(
        0..300,
        Shape {
            acls: false,
            notify_zxid: false,
            ..Shape::default()
        },
    );
}

#[test]
fn histories_with_acls_are_valid() {
    acquits(0..40, Shape::default());
}

#[test]
fn histories_with_watches_that_stay_are_valid() {
    for (stay, notify_zxid, losses) in [(3, true, 0), (3, false, 0), (2, true, 40), (2, false, 40)]
    {
        acquits(
            0..200,
            Shape {
                acls: false,
                stay,
                notify_zxid,
                losses,
                ..Shape::default()
            },
        );
    }
    let stay = 3;
    acquits(
        0..20,
        Shape {
            stay,
            ..Shape::default()
        },
    );
}
