//! What the convicting records of an outcome point at.
//!
//! An outcome names them in words; this finds the records and moments meant. What it is
//! not: a judgement. A sentence of an unknown form points at nothing, and the page shows
//! the words alone.

use crate::reported::millionths;
use gamekeeper_checker::history::Record;
use gamekeeper_checker::words;
use std::collections::BTreeSet;

/// What the convicting records point at.
#[derive(Debug, Default)]
pub struct Convicted {
    /// Indices of records of the history.
    pub records: BTreeSet<usize>,
    /// Moments of servers (server, nanoseconds).
    pub moments: BTreeSet<(u32, u64)>,
    /// First and last time, nanoseconds, if any record names one.
    pub times: Option<(u64, u64)>,
}

impl Convicted {
    /// Finds what the convicting sentences point at. They begin as [`words`] does
    /// (`process 1 at 2.500000 s: …`) or as a witness does (`at 2.500000 s server 1 …`); one
    /// that begins otherwise points at nothing.
    pub fn of(sentences: &[String], records: &[Record]) -> Convicted {
        let mut found = Convicted::default();
        let mut times = Vec::new();
        for sentence in sentences {
            if let Some((process, micros)) = client_moment(sentence) {
                let here =
                    |record: &Record| record.process == process && record.time / 1000 == micros;
                let near = records
                    .iter()
                    .enumerate()
                    .filter(|(_, record)| here(record));
                let near: Vec<usize> = near.map(|(index, _)| index).collect();
                let same = near
                    .iter()
                    .copied()
                    .filter(|i| words(&records[*i]) == *sentence);
                let same: Vec<usize> = same.collect();
                found
                    .records
                    .extend(if same.is_empty() { near } else { same });
                times.push(micros.saturating_mul(1000));
            } else if let Some((server, micros)) = server_moment(sentence) {
                found.moments.insert((server, micros.saturating_mul(1000)));
                times.push(micros.saturating_mul(1000));
            }
        }
        found.times = times.iter().min().copied().zip(times.iter().max().copied());
        found
    }
}

fn client_moment(sentence: &str) -> Option<(u32, u64)> {
    let (process, rest) = sentence.strip_prefix("process ")?.split_once(" at ")?;
    let (seconds, _) = rest.split_once(" s")?;
    Some((process.parse().ok()?, millionths(seconds)?))
}

fn server_moment(sentence: &str) -> Option<(u32, u64)> {
    let (seconds, rest) = sentence.strip_prefix("at ")?.split_once(" s server ")?;
    let id: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some((id.parse().ok()?, millionths(seconds)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::read;
    use crate::testing::Directory;

    #[test]
    fn convicting_sentence_finds_its_record() {
        let run = read(Directory::new("convicted").path()).unwrap();
        let convicted = Convicted::of(&run.outcome.records, &run.history.records);
        assert_eq!(convicted.records, BTreeSet::from([7]));
        assert_eq!(convicted.times, Some((2_500_000_000, 2_500_000_000)));
        let text = "at 1.000002 s server 3 (process 2) delivered 0x1".to_string();
        let convicted = Convicted::of(&[text], &[]);
        assert_eq!(convicted.moments, BTreeSet::from([(3, 1_000_002_000)]));
    }
}
