//! From what was recorded to a verdict.
//!
//! The order matters: a panic or a broken invariant names a place or an event and says more
//! than what clients made of it; a history that no order explains says more than an ensemble
//! that did not come back; and only what passed all of these is asked whether it was put to
//! the test at all.

use super::stage::Stage;
use crate::outcome::{Outcome, Verdict};
use gamekeeper_checker::explain::{Budget, explain};
use gamekeeper_checker::history::{self, History};
use gamekeeper_checker::{Options, Verdict as Judged, judge, words};

/// The healed ensemble did not do what it must, in words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NoLife(pub Vec<String>);

/// The verdict on a run that ended without a panic.
pub fn verdict_of(
    stage: &Stage,
    no_life: Option<&NoLife>,
    history: &History,
    planned: usize,
    outcome: &Outcome,
) -> Verdict {
    if let Some(breach) = &stage.breach {
        return Verdict::Invalid {
            property: breach.invariant.into(),
            records: breach.records.clone(),
            place: None,
        };
    }
    match judge(history, &Options::default()) {
        Judged::Valid(_) => {}
        Judged::Invalid(violation) => return violated(history, &violation),
        Judged::Unknown(why) => return Verdict::Unknown { why },
        Judged::Malformed { record, reason } => {
            let told = history.records.get(record).map(words).unwrap_or_default();
            return Verdict::Invalid {
                property: "recorder".into(),
                records: vec![reason, told],
                place: None,
            };
        }
    }
    if let Some(NoLife(records)) = no_life {
        return Verdict::Invalid {
            property: "liveness".into(),
            records: records.clone(),
            place: None,
        };
    }
    match vacuous(planned, outcome) {
        Some(why) => Verdict::Vacuous { why: why.into() },
        None => Verdict::Valid,
    }
}

/// Why a history is invalid, at length, and a smaller one that fails the same way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Why {
    /// In words.
    pub words: String,
    /// The smaller history, in the checker's format; None if none was found.
    pub reduced: Option<Vec<u8>>,
}

/// Explains what is wrong with a history, if the judge says that something is. A function of
/// the history; what cannot be read is not explained.
pub fn why(history: &[u8]) -> Option<Why> {
    let history = history::read(history).ok()?;
    let options = Options::default();
    let Judged::Invalid(violation) = judge(&history, &options) else {
        return None;
    };
    let explanation = explain(&history, &options, &violation, Budget::default());
    let reduction = explanation.reduction.as_ref();
    Some(Why {
        words: format!("{explanation}\n"),
        reduced: reduction.map(|reduction| super::jsonl(&reduction.history)),
    })
}

/// Why nothing was put to the test, if so.
fn vacuous(planned: usize, outcome: &Outcome) -> Option<&'static str> {
    if outcome.elections == 0 {
        Some("nobody was elected")
    } else if outcome.commits == 0 {
        Some("nothing was committed")
    } else if outcome.ops.ok == 0 {
        Some("no operation was answered")
    } else if planned > 0 && outcome.faults.is_empty() {
        Some("no planned fault struck")
    } else {
        None
    }
}

fn violated(history: &History, violation: &gamekeeper_checker::Violation) -> Verdict {
    let mut records = vec![violation.reason.clone()];
    for (index, told) in &violation.records {
        records.push(match told.is_empty() {
            true => history.records.get(*index).map(words).unwrap_or_default(),
            false => told.clone(),
        });
    }
    if !violation.state_before.is_empty() {
        records.push(format!("before: {}", violation.state_before));
    }
    let property = violation.property;
    Verdict::Invalid {
        property: format!("{} {}", property.code(), property.name()),
        records,
        place: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_that_tested_nothing_is_vacuous() {
        let mut outcome = Outcome::new(1);
        assert_eq!(vacuous(1, &outcome), Some("nobody was elected"));
        outcome.elections = 1;
        outcome.commits = 5;
        outcome.ops.ok = 5;
        assert_eq!(vacuous(1, &outcome), Some("no planned fault struck"));
        assert_eq!(vacuous(0, &outcome), None, "a calm run planned none");
        outcome.faults.insert("kill".into(), 1);
        assert_eq!(vacuous(1, &outcome), None);
    }
}
