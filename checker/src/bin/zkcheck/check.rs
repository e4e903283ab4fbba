//! `zkcheck FILE…`: reads, judges, prints; the exit code is the worst verdict.

use crate::arguments::CheckArguments;
use crate::inlet::Inlet;
use crate::pass::{self, Begun, PassArguments};
use crate::{EXIT_UNREADABLE, foreign, output_error, print, source};
use gamekeeper_checker::explain::Explanation;
use gamekeeper_checker::formats;
use gamekeeper_checker::{
    CLASS_CONFIGURATIONS, CONFIGURATIONS, History, Options, Verdict, classify, judge,
    judge_verified, judge_without_zxids,
};

/// What became of one file.
pub enum Outcome {
    /// It was read and judged; never [`Verdict::Malformed`].
    Judged(Verdict),
    /// It was written by others, read and judged.
    Foreign(Box<formats::Judged>),
    /// It was judged invalid, and that explained.
    Explained(Box<Explanation>),
    /// It is no history; why, in one line that names the file.
    Unreadable(String),
}

impl Outcome {
    /// The exit code of a run over this file alone.
    fn code(&self) -> u8 {
        match self {
            Outcome::Judged(Verdict::Valid(_)) => 0,
            Outcome::Judged(Verdict::Invalid(_)) | Outcome::Explained(_) => 1,
            Outcome::Judged(Verdict::Malformed { .. }) | Outcome::Unreadable(_) => EXIT_UNREADABLE,
            Outcome::Judged(Verdict::Unknown(_)) => 3,
            Outcome::Foreign(judged) => judged.report.code(),
        }
    }
}

/// Judges every file in turn. Returns the exit code.
///
/// # Errors
/// No file was named, or standard output cannot be written.
pub fn run(arguments: &CheckArguments) -> Result<u8, String> {
    if arguments.files.is_empty() {
        return Err("no history named; `zkcheck FILE…` judges files, `zkcheck -` standard input (`zkcheck --help` lists all)".into());
    }
    if let (Some(flag), 2..) = (arguments.explain.writes(), arguments.files.len()) {
        return Err(format!(
            "{flag} writes one file and so takes one history; run zkcheck once for each"
        ));
    }
    if arguments.foreign.ignore_zxid && arguments.pass.follow {
        return Err(
            "--follow goes by zxids, and --ignore-zxid hides them; name one of them".into(),
        );
    }
    if arguments
        .files
        .iter()
        .filter(|file| file.as_os_str() == "-")
        .count()
        > 1
    {
        return Err("standard input can be read only once; name `-` once".into());
    }
    let options = arguments.options();
    let mut worst = 0;
    for file in &arguments.files {
        let outcome = match Inlet::open(file) {
            Ok(inlet) => outcome_of(inlet, &options, arguments)?,
            Err(reason) => Outcome::Unreadable(reason),
        };
        print::outcome(file, &outcome, arguments.json).or_else(output_error)?;
        worst = worse(worst, outcome.code());
    }
    Ok(worst)
}

fn outcome_of(
    mut inlet: Inlet,
    options: &Options,
    arguments: &CheckArguments,
) -> Result<Outcome, String> {
    if arguments.pass.follow && foreign::is_foreign(&inlet, &arguments.foreign) {
        let file = inlet.name().display();
        let reason = format!(
            "{file}: only histories of our own can be judged while they grow; judge it without --follow when it has ended"
        );
        return Ok(Outcome::Unreadable(reason));
    }
    match foreign::check(&mut inlet, &arguments.foreign, &arguments.explain)? {
        Some(outcome) => Ok(outcome),
        None => check(inlet, options, arguments),
    }
}

fn check(
    mut inlet: Inlet,
    options: &Options,
    arguments: &CheckArguments,
) -> Result<Outcome, String> {
    if arguments.foreign.ignore_zxid && arguments.explain.reduce.is_some() {
        return Err(
            "--reduce goes by zxids here, and --ignore-zxid hides them; name one of them".into(),
        );
    }
    let pass = PassArguments {
        // One pass goes by zxids.
        whole: arguments.pass.whole || arguments.foreign.ignore_zxid,
        ..arguments.pass
    };
    let begun = pass::begin(&mut inlet, options, &pass, !arguments.no_verify);
    let file = inlet.name();
    let history = match begun {
        Ok(Begun::Whole(history)) => history,
        Ok(Begun::Judged(verdict)) => return Ok(Outcome::Judged(verdict)),
        Ok(Begun::Doubted(doubt)) => {
            let reason = format!("one pass does not decide, {doubt}; judge it without --follow");
            return Ok(Outcome::Judged(Verdict::Unknown(reason)));
        }
        Err(reason) => return Ok(Outcome::Unreadable(reason)),
    };
    let verdict = match source::waiting(file, &history, || judged(&history, options, arguments)) {
        Verdict::Malformed { record, reason } => {
            let place = source::place(&mut inlet, record);
            let reason = format!("{}: {place}: {reason}", inlet.name().display());
            return Ok(Outcome::Unreadable(reason));
        }
        verdict => verdict,
    };
    let explained = match arguments.explain.wanted() {
        true => source::waiting(file, &history, || {
            arguments.explain.apply(file, &history, options, &verdict)
        })?,
        false => None,
    };
    Ok(match explained {
        Some(explanation) => Outcome::Explained(Box::new(explanation)),
        None => Outcome::Judged(verdict),
    })
}

fn judged(history: &History, options: &Options, arguments: &CheckArguments) -> Verdict {
    let configurations = arguments.foreign.configurations;
    if arguments.foreign.ignore_zxid {
        let configurations = configurations.unwrap_or(CONFIGURATIONS);
        return judge_without_zxids(history, options, configurations);
    }
    let mut verdict = match arguments.no_verify {
        true => judge(history, options),
        false => judge_verified(history, options),
    };
    if let Verdict::Invalid(violation) = &mut verdict {
        let configurations = configurations.unwrap_or(CLASS_CONFIGURATIONS);
        classify(history, options, violation, configurations);
    }
    verdict
}

/// The worse of two exit codes: unreadable, then invalid, then unknown, then valid.
fn worse(left: u8, right: u8) -> u8 {
    let rank = |code: u8| match code {
        EXIT_UNREADABLE => 3,
        1 => 2,
        3 => 1,
        _ => 0,
    };
    match rank(right) > rank(left) {
        true => right,
        false => left,
    }
}

#[cfg(test)]
mod tests {
    use super::worse;

    #[test]
    fn unreadable_outranks_invalid_outranks_unknown_outranks_valid() {
        for (left, right, worst) in [(0, 3, 3), (3, 1, 1), (1, 2, 2), (2, 0, 2), (1, 3, 1)] {
            assert_eq!(worse(left, right), worst);
            assert_eq!(worse(right, left), worst);
        }
    }
}
