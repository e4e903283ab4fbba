//! Writes a long valid history to standard output, for measuring the whole command:
//! `cargo run --release --example synthesize -- many 1000000 > history.jsonl`.

#[path = "../benches/synthetic/mod.rs"]
mod synthetic;

use gamekeeper_checker::history;
use std::io::{self, BufWriter};
use std::process::ExitCode;
use synthetic::{Plan, Shape};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let shape = match words.first() {
        Some(&"one") => Some(Shape::Registers(1)),
        Some(&"many") => Some(Shape::Registers(1000)),
        Some(&"tree") => Some(Shape::Tree),
        Some(&"sessions") => Some(Shape::Sessions),
        Some(_) | None => None,
    };
    let operations = words.get(1).and_then(|number| number.parse().ok());
    let (Some(shape), Some(operations)) = (shape, operations) else {
        eprintln!("synthesize one|many|tree|sessions OPERATIONS > history.jsonl");
        return ExitCode::from(2);
    };
    let plan = Plan {
        shape,
        operations,
        clients: 10,
        seed: 1,
    };
    let output = BufWriter::new(io::stdout().lock());
    match history::write(output, &synthetic::history(plan)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("synthesize: {error}");
            ExitCode::from(2)
        }
    }
}
