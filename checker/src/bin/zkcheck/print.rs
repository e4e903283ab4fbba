//! A verdict in words, and as JSON.

use crate::check::Outcome;
use gamekeeper_checker::explain::{Deed, Explanation, meaning, words};
use gamekeeper_checker::formats::Judged;
use gamekeeper_checker::history::World;
use gamekeeper_checker::{Verdict, Violation};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::path::Path;

/// Prints what became of one file: words, or one JSON object on a line of its own.
///
/// # Errors
/// Standard output cannot be written.
pub fn outcome(file: &Path, outcome: &Outcome, json: bool) -> io::Result<()> {
    let mut output = io::stdout().lock();
    match (outcome, json) {
        (Outcome::Judged(verdict @ Verdict::Unknown(_)), false) => {
            let cure = meaning::UNKNOWN_CURE;
            writeln!(output, "{}: {verdict}\n  {cure}", file.display())
        }
        (Outcome::Judged(verdict), false) => writeln!(output, "{}: {verdict}", file.display()),
        (Outcome::Foreign(judged), false) => match &judged.failure {
            None => writeln!(output, "{}: {}", file.display(), judged.report),
            Some(failure) => {
                let account = &failure.explanation.account;
                writeln!(output, "{}: {account}", file.display())
            }
        },
        (Outcome::Explained(explanation), false) => {
            writeln!(output, "{}: {explanation}", file.display())
        }
        (Outcome::Unreadable(reason), false) => {
            writeln!(io::stderr().lock(), "zkcheck: {}", words::plain(reason))
        }
        (outcome, true) => writeln!(output, "{}", json_of(file, outcome)),
    }
}

fn json_of(file: &Path, outcome: &Outcome) -> Value {
    let file = file.display().to_string();
    match outcome {
        Outcome::Unreadable(reason) => {
            json!({ "file": file, "verdict": "unreadable", "reason": words::plain(reason) })
        }
        Outcome::Foreign(judged) => json_of_foreign(file, judged),
        // There is no order, so nothing of unknown fate has a place in it.
        Outcome::Judged(Verdict::Valid(summary)) if summary.world == World::Open => json!({
            "file": file, "verdict": "valid", "world": "open",
            "requests": summary.requests, "transactions": summary.transactions, "reads": summary.reads,
            "sessions": summary.sessions, "notifications": summary.notifications,
            "unanswered": summary.unanswered,
        }),
        Outcome::Judged(Verdict::Valid(summary)) => json!({
            "file": file, "verdict": "valid", "world": "closed",
            "requests": summary.requests, "transactions": summary.transactions, "reads": summary.reads,
            "sessions": summary.sessions, "notifications": summary.notifications,
            "unanswered": summary.unanswered, "resolved": summary.resolved,
        }),
        Outcome::Judged(Verdict::Invalid(violation)) => json_of_violation(file, violation),
        Outcome::Explained(explanation) => json_of_explanation(file, explanation),
        Outcome::Judged(Verdict::Unknown(budget)) => {
            json!({ "file": file, "verdict": "unknown", "reason": budget, "cure": meaning::UNKNOWN_CURE })
        }
        Outcome::Judged(Verdict::Malformed { record, reason }) => {
            json!({ "file": file, "verdict": "unreadable", "record": record + 1, "reason": reason })
        }
    }
}

fn json_of_foreign(file: String, judged: &Judged) -> Value {
    let mut object = judged.report.json();
    object["file"] = file.into();
    let Some(failure) = &judged.failure else {
        return object;
    };
    let (account, reduction) = (&failure.explanation.account, &failure.explanation.reduction);
    let deeds = account.convicting.iter().map(|one| &one.deed);
    let reduced = account.reduced.as_ref().zip(reduction.as_ref());
    let reduced = reduced.map(|(reduced, reduction)| {
        json!({
            "operations": reduction.kept.len(), "of": judged.report.operations,
            "judgements": reduction.judgements, "minimal": reduction.spent.is_none(),
            "story": reduced.story.iter().map(|(deed, _)| deed).collect::<Vec<_>>(),
        })
    });
    object["promise"] = account.promise.into();
    object["class_means"] = account.class.into();
    object["convicting"] = json!(deeds.collect::<Vec<_>>());
    object["reduced"] = json!(reduced);
    object
}

fn json_of_violation(file: String, violation: &Violation) -> Value {
    let record = |(index, words): &(usize, String)| json!({ "record": index + 1, "words": words });
    json!({
        "file": file, "verdict": "invalid",
        "property": violation.property.code(), "name": violation.property.name(),
        "class": violation.class.name(), "class_reason": violation.class_reason,
        "reason": violation.reason,
        "records": violation.records.iter().map(record).collect::<Vec<_>>(),
        "state_before": violation.state_before,
    })
}

fn json_of_explanation(file: String, explanation: &Explanation) -> Value {
    let violation = &explanation.violation;
    let mut object = json_of_violation(file, violation);
    let right = |(which, right): &(usize, String)| json!({ "convicting": which, "right": right });
    let reduced = explanation.reduction.as_ref().map(|reduction| {
        json!({
            "records": reduction.history.records.len(), "of": explanation.records,
            "judgements": reduction.judgements, "minimal": reduction.minimal(),
            "story": Deed::all(&reduction.history),
        })
    });
    object["promise"] = meaning::promise(violation.property).into();
    object["class_means"] = meaning::class(violation.class).into();
    object["convicting"] = json!(explanation.convicting);
    object["right"] = explanation.right.iter().map(right).collect();
    object["reduced"] = json!(reduced);
    object
}
