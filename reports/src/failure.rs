//! What the judge says of an invalid run, explained: the checker's own page of the failure
//! with the lanes that only the run directory knows, servers and planned faults.
//!
//! What it is not: a verdict. Where the history alone convicts of nothing (an invariant of the
//! servers was broken, or nothing at all) there is nothing to explain here.

use crate::lanes::{Lanes, ServerLane, State};
use crate::read::{Run, Verdict};
use gamekeeper_checker::explain::timeline::{Lane, Span, Tone};
use gamekeeper_checker::explain::{Budget, explain, timeline};
use gamekeeper_checker::{Options, Verdict as Judged, judge};

/// Most judgements that the reduction in a report may take.
const JUDGEMENTS_MAX: u32 = 1_000;

/// Where the run directory tells the same.
const FILES: &str = "<p>The run directory has the words in <code>explanation.txt</code> and the \
    reduced history in <code>reduced.jsonl</code>, which <code>zkcheck</code> convicts.</p>\n";

/// The failure as a part of a page; nothing if the history does not convict.
pub fn section(run: &Run, lanes: &Lanes) -> Option<String> {
    match run.outcome.verdict {
        Verdict::Invalid => {}
        Verdict::Valid | Verdict::Unknown | Verdict::Vacuous => return None,
    }
    let options = Options::default();
    let violation = match judge(&run.history, &options) {
        Judged::Invalid(violation) => violation,
        Judged::Valid(_) | Judged::Unknown(_) | Judged::Malformed { .. } => return None,
    };
    let budget = Budget {
        judgements: JUDGEMENTS_MAX,
        ..Budget::default()
    };
    let explanation = explain(&run.history, &options, &violation, budget);
    let mut outside: Vec<Lane> = lanes.servers.iter().map(server).collect();
    outside.extend(faults(run));
    let mut section = timeline::section(&run.history, &explanation, &outside).ok()?;
    if run.explained {
        section.push_str(FILES);
    }
    Some(section)
}

fn server(lane: &ServerLane) -> Lane {
    let spans = lane.spans.iter().map(|span| {
        let name = span.state.name();
        let epoch = span
            .epoch
            .map_or(String::new(), |epoch| format!(", epoch {epoch}"));
        let leader = span
            .leader
            .map_or(String::new(), |leader| format!(", leader {leader}"));
        Span {
            from: span.from,
            until: span.until,
            label: name.into(),
            words: format!("server {} is {name}{epoch}{leader}", lane.id),
            tone: tone(span.state),
        }
    });
    Lane {
        group: "servers".into(),
        name: format!("server {}", lane.id),
        spans: spans.collect(),
    }
}

fn tone(state: State) -> Tone {
    match state {
        State::Down | State::Halted => Tone::Absent,
        State::Recovering | State::Looking => Tone::Restless,
        State::Following | State::Observing => Tone::Calm,
        State::Leading => Tone::Strong,
    }
}

/// What was planned; whether it struck, the outcome says only by kind.
fn faults(run: &Run) -> Option<Lane> {
    let span = |planned: &crate::scenario::Planned| {
        let (from, until) = planned.span(run.scenario.phases);
        Span {
            from,
            until,
            label: planned.kind().into(),
            words: format!("planned: {}", planned.words()),
            tone: Tone::Bad,
        }
    };
    let spans: Vec<Span> = run.scenario.plan.iter().map(span).collect();
    (!spans.is_empty()).then(|| Lane {
        group: "faults".into(),
        name: "faults as planned".into(),
        spans,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::read;
    use crate::testing::{Directory, HOSTILE};

    #[test]
    fn an_invalid_run_is_explained_with_servers_and_faults() {
        let run = read(Directory::new("failure").path()).unwrap();
        let section = section(&run, &Lanes::of(&run)).expect("the history convicts");
        assert!(
            section.contains("server 2 is leading, epoch 2"),
            "{section}"
        );
        assert!(section.contains("P12") && !section.contains(HOSTILE));
    }

    #[test]
    fn a_run_that_another_judge_convicts_is_not_explained_from_its_history() {
        let mut run = read(Directory::new("no-failure").path()).unwrap();
        run.history.records.truncate(1);
        assert_eq!(section(&run, &Lanes::of(&run)), None);
    }
}
