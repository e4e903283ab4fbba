//! `zkcheck generate`: a register history as tab-separated lines, for measuring.

use crate::output_error;
use clap::Args;
use clap::builder::PossibleValuesParser;
use gamekeeper_checker::formats::tsv::{self, Registers};
use gamekeeper_checker::linear::generate::{Settings, Values, generate};
use std::io::{self, BufWriter};

/// What to draw.
#[derive(Args, Debug)]
pub struct GenerateArguments {
    /// Clients, each with an operation in flight at every moment.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    clients: u32,
    /// Operations.
    #[arg(long, default_value_t = 1000)]
    ops: u32,
    /// The same seed draws the same history.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Values that are written: one of five, or each write its own.
    #[arg(long, default_value = "few", value_parser = PossibleValuesParser::new(["few", "distinct"]))]
    values: String,
    /// Writes whose outcome is never learned.
    #[arg(long, default_value_t = 0)]
    unanswered: u32,
    /// Percent of the operations that are compare-and-set (half of all are reads).
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=50))]
    cas: u32,
    /// Plant a read near the end that nothing explains.
    #[arg(long = "break")]
    broken: bool,
    /// Answer reads from a replica that lags, as ZooKeeper may.
    #[arg(long)]
    stale: bool,
}

/// Prints the history. Returns the exit code.
///
/// # Errors
/// Standard output cannot be written.
pub fn run(arguments: &GenerateArguments) -> Result<u8, String> {
    let rows = generate(&Settings {
        clients: arguments.clients,
        operations: arguments.ops,
        seed: arguments.seed,
        values: match arguments.values.as_str() {
            "distinct" => Values::Distinct,
            _ => Values::Few,
        },
        unanswered: arguments.unanswered,
        cas_percent: arguments.cas,
        broken: arguments.broken,
        stale: arguments.stale,
    });
    let registers = Registers::drawn(rows);
    let output = BufWriter::new(io::stdout().lock());
    tsv::write(&registers, output)
        .or_else(output_error)
        .map(|()| 0)
}
