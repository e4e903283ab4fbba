//! The command line: `zkcheck FILE…` judges; a verb as first word does something else.
//!
//! To add a verb: a variant of [`Verb`], a file with `run`, a line in `main`. To add a
//! switch of judging: a field of [`CheckArguments`] or a group flattened into it.

use crate::convert::ConvertArguments;
use crate::explain::ExplainArguments;
use crate::export::ExportArguments;
use crate::foreign::ForeignArguments;
use crate::generate::GenerateArguments;
use crate::pass::PassArguments;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, Parser, Subcommand};
use gamekeeper_checker::Options;
use gamekeeper_checker::history::World;
use std::path::PathBuf;

/// What the help ends with.
const EXAMPLES: &str = "\
Examples:
  zkcheck history.jsonl                     judge one history
  zkcheck runs/*/history.jsonl              judge many; the exit code is the worst verdict
  zstdcat soak.jsonl.zst | zkcheck -        judge standard input
  zkcheck --json a.jsonl b.jsonl            one JSON object a file, for scripts
  zkcheck --open history.jsonl              other clients wrote too and were not recorded
  zkcheck --ignore-zxid history.jsonl       judge by the answers alone, as if without zxids
  zkcheck --explain history.jsonl           a violation at length, reduced to what matters
  zkcheck --reduce small.jsonl --html why.html history.jsonl
                                            the reduced history and a page with a picture
  zkcheck --reduce small.tsv registers.tsv  the same of a history that others wrote
  zkcheck --follow soak.jsonl               judge a history while it grows, in bounded memory
  zkcheck convert history.jsonl history.gkh     the same in the binary form; back with OUT.jsonl
  zkcheck properties                        what is judged, P1 to P20

Exit code:
  0 valid    1 invalid    2 unreadable input or wrong usage    3 unknown: the budget ran out
  Of several files the worst counts: 2, then 1, then 3.";

/// Judges recorded histories of a ZooKeeper service.
///
/// A history is what clients saw: every request, answer, notification and session event with
/// its time and zxid, one JSON object a line. The judge looks for one order of transactions
/// that explains all of it and says valid, invalid (with the records that convict, in words)
/// or unknown (with the budget that ran out); it never guesses.
#[derive(Parser, Debug)]
#[command(
    name = "zkcheck",
    version,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true,
    after_help = EXAMPLES
)]
pub struct Arguments {
    /// Something else than judging.
    #[command(subcommand)]
    pub verb: Option<Verb>,
    /// What to judge, and how.
    #[command(flatten)]
    pub check: CheckArguments,
}

/// What can be done besides judging.
#[derive(Subcommand, Debug)]
pub enum Verb {
    /// Lists the properties that are judged, P1 to P20, one line each.
    Properties,
    /// Turns a history from JSON lines into the binary form, or back.
    Convert(ConvertArguments),
    /// Draws a register history and prints it as tab-separated lines.
    Generate(GenerateArguments),
    /// Prints a history of ours as EDN registers or as Elle's list-append.
    Export(ExportArguments),
}

/// What to judge, and how.
#[derive(Args, Debug)]
pub struct CheckArguments {
    /// Histories: JSON lines, the binary form, or what others wrote; `-` reads standard input.
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// One JSON object a file instead of words.
    #[arg(long)]
    pub json: bool,
    /// Judge as if others could have written too, whatever the header says.
    #[arg(long)]
    pub open: bool,
    /// Judge as if every client had been recorded, whatever the header says.
    #[arg(long, conflicts_with = "open")]
    pub closed: bool,
    /// Take the judge's word for a valid verdict: do not check its certificate a second time.
    #[arg(long)]
    pub no_verify: bool,
    /// How histories are read.
    #[command(flatten)]
    pub pass: PassArguments,
    /// Histories that others wrote.
    #[command(flatten)]
    pub foreign: ForeignArguments,
    /// What to make of a violation.
    #[command(flatten)]
    pub explain: ExplainArguments,
}

impl CheckArguments {
    /// How to judge.
    pub fn options(&self) -> Options {
        let world = match (self.open, self.closed) {
            (true, _) => Some(World::Open),
            (_, true) => Some(World::Closed),
            (false, false) => None,
        };
        Options {
            world,
            ..Options::default()
        }
    }
}

/// Wrong usage in one line: what is wrong, what was perhaps meant, where the help is.
pub fn in_one_line(error: &clap::Error) -> String {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => texts.first().cloned(),
        _ => None,
    };
    let rendered = error.to_string();
    let first = rendered.lines().next().unwrap_or_default();
    let first = first.strip_prefix("error: ").unwrap_or(first);
    let meant = text(ContextKind::SuggestedArg)
        .or_else(|| text(ContextKind::SuggestedValue))
        .or_else(|| text(ContextKind::SuggestedSubcommand));
    let values = match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(values)) if !values.is_empty() => Some(values.join(", ")),
        _ => None,
    };
    let cure = match (meant, error.kind()) {
        (Some(meant), _) => format!("did you mean `{meant}`?"),
        (None, _) if let Some(values) = values => format!("it is one of {values}"),
        (None, ErrorKind::UnknownArgument) => "a file of that name is written `./NAME`".into(),
        (None, _) => String::new(),
    };
    let cure = match cure.is_empty() {
        true => cure,
        false => format!("; {cure}"),
    };
    format!("{first}{cure} (`zkcheck --help` lists all)")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn complaint(words: &[&str]) -> String {
        let words = ["zkcheck"].iter().chain(words);
        in_one_line(&Arguments::try_parse_from(words).unwrap_err())
    }

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn an_unknown_flag_is_told_in_one_line_with_what_was_meant() {
        let line = complaint(&["--jsn", "x"]);
        assert!(
            line.contains("--jsn") && line.contains("`--json`"),
            "{line}"
        );
        assert_eq!(line.lines().count(), 1);
    }

    #[test]
    fn a_wrong_value_is_told_with_those_there_are() {
        let line = complaint(&["--model", "foo", "x"]);
        assert!(line.contains("register, kv, set, queue, mutex"), "{line}");
    }

    #[test]
    fn files_need_no_verb_and_a_verb_no_files() {
        let files = Arguments::try_parse_from(["zkcheck", "--json", "a", "-"]).unwrap();
        assert!(files.verb.is_none());
        assert_eq!(files.check.files.len(), 2);
        let verb = Arguments::try_parse_from(["zkcheck", "properties"]).unwrap();
        assert!(matches!(verb.verb, Some(Verb::Properties)));
    }
}
