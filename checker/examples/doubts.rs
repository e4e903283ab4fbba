//! Why the judge of one pass doubts histories, counted:
//! `cargo run --release --example doubts -- [--window ANSWERS] [--stretch RECORDS] FILE…`.
//!
//! Each file is judged as zkcheck judges one that is longer than memory: within a window of so
//! many answers (without it, as wide as zkcheck's), whatever its length. With `--stretch` the
//! judge goes back so many records where it doubts, and asks the thorough one. A line for each file
//! that is doubted, then how often each reason came. It says nothing of the service.

use gamekeeper_checker::history::{self, History};
use gamekeeper_checker::{Doubt, Options, Stream, Stretches, WINDOW, in_order_of_time};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let (mut window, mut stretch) = (WINDOW, None);
    while words.len() > 1 && words[0].starts_with("--") {
        let Ok(count) = words[1].parse() else {
            eprintln!("doubts: `{}` is no number; say --window 1024", words[1]);
            return ExitCode::from(2);
        };
        match words[0].as_str() {
            "--window" => window = count,
            "--stretch" => stretch = Some(count),
            other => {
                eprintln!("doubts: `{other}` is neither --window nor --stretch");
                return ExitCode::from(2);
            }
        }
        words.drain(..2);
    }
    if words.is_empty() {
        eprintln!("doubts [--window ANSWERS] [--stretch RECORDS] FILE…");
        return ExitCode::from(2);
    }
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for file in &words {
        let history = match read(file) {
            Ok(history) => history,
            Err(reason) => {
                eprintln!("{file}: {reason}");
                return ExitCode::from(2);
            }
        };
        if let Err(doubt) = judge(&history, window, stretch) {
            println!("{file}: {doubt}");
            *reasons.entry(doubt.reason).or_default() += 1;
        }
    }
    let doubted: usize = reasons.values().sum();
    println!("{doubted} of {} doubted", words.len());
    for (reason, count) in reasons {
        println!("{count:8} {reason}");
    }
    ExitCode::SUCCESS
}

fn read(file: &str) -> Result<History, String> {
    let input = File::open(file).map_err(|error| error.to_string())?;
    history::read(BufReader::new(input)).map_err(|error| error.to_string())
}

fn judge(history: &History, window: usize, stretch: Option<usize>) -> Result<(), Doubt> {
    let options = Options::default();
    let mut records = in_order_of_time(&history.records).into_iter();
    let Some(stretch) = stretch else {
        let mut stream = Stream::new(&history.header, &options, window);
        stream.log(&history.txns);
        records.try_for_each(|record| stream.take(record))?;
        return stream.finish().map(drop);
    };
    let mut stretches = Stretches::new(&history.header, &options, window, stretch);
    stretches.log(&history.txns);
    records.try_for_each(|record| stretches.take(record))?;
    stretches.finish().map(drop)
}
