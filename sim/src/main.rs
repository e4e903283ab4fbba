//! The command `sim`; see `gamekeeper_sim::cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    gamekeeper_sim::cli::main()
}
