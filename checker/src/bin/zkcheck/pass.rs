//! Long histories in one pass: judged while they are read, without being held in memory.
//!
//! A short history is read whole and left to the thorough judge. A longer one goes by the
//! judge of one pass; only if that one doubts is it read again, whole. What comes from
//! standard input cannot be read again and is kept in the binary form meanwhile. What always
//! holds: no verdict but valid comes from one pass.

use crate::source;
use clap::Args;
use gamekeeper_checker::history::{self, BinaryWriter, Entry, History, Reader, Record};
use gamekeeper_checker::{Doubt, NARROW_WINDOW, Options, Stream, Summary, WINDOW};
use std::path::Path;
use std::time::Duration;

/// Histories of fewer records are held in memory.
const SHORT_RECORDS: usize = 1 << 17;

/// How histories are read.
#[derive(Args, Debug)]
pub struct PassArguments {
    /// Hold even a long history in memory, and check the certificate of its verdict.
    #[arg(long)]
    pub whole: bool,
    /// Judge a history while it grows, in bounded memory, until nothing comes any more.
    #[arg(long, conflicts_with = "whole")]
    pub follow: bool,
    /// With --follow: a file has ended when nothing came for so many seconds.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 10,
        requires = "follow"
    )]
    pub idle: u64,
}

/// What came of the first pass.
pub enum Begun {
    /// The history is in memory, and still to be judged.
    Whole(History),
    /// It went by and was acquitted.
    Acquitted(Summary),
    /// It went by, cannot be had again, and was not acquitted.
    Doubted(Doubt),
}

/// Reads a history, and judges it on the way if it is long.
///
/// # Errors
/// One line that names the file, and the place in it if one is to blame.
pub fn begin(file: &Path, options: &Options, arguments: &PassArguments) -> Result<Begun, String> {
    let mut reader = match arguments.follow {
        true => source::open_growing(file, Duration::from_secs(arguments.idle))?,
        false => source::open(file)?,
    };
    let mut history = History::new(reader.header().clone());
    let records_max = match arguments.whole {
        true => usize::MAX,
        false => SHORT_RECORDS,
    };
    if source::read_rest(file, &mut reader, &mut history, records_max)? {
        return Ok(Begun::Whole(history));
    }
    let standard_input = file.as_os_str() == "-";
    let window = match arguments.follow {
        true => WINDOW,
        false => NARROW_WINDOW,
    };
    let mut pass = Pass::new(
        history,
        options,
        window,
        standard_input && !arguments.follow,
    )?;
    pass.read(file, &mut reader)?;
    let (found, kept) = pass.outcome();
    let doubt = match found {
        Ok(summary) => return Ok(Begun::Acquitted(summary)),
        Err(doubt) if arguments.follow => return Ok(Begun::Doubted(doubt)),
        Err(doubt) => doubt,
    };
    if let Some(kept) = kept {
        let history = history::read(&kept[..]);
        let named = |error| format!("{}: {error}", file.display());
        return history.map(Begun::Whole).map_err(named);
    }
    match doubt.late {
        true => again(file, options),
        false => source::read(file).map(Begun::Whole),
    }
}

/// A second pass over a file, with a wider window.
fn again(file: &Path, options: &Options) -> Result<Begun, String> {
    let mut reader = source::open(file)?;
    let history = History::new(reader.header().clone());
    let mut pass = Pass::new(history, options, WINDOW, false)?;
    pass.read(file, &mut reader)?;
    match pass.outcome().0 {
        Ok(summary) => Ok(Begun::Acquitted(summary)),
        Err(_) => source::read(file).map(Begun::Whole),
    }
}

struct Pass {
    stream: Stream<Box<Record>>,
    doubt: Option<Doubt>,
    /// Everything so far, if it cannot be read again.
    kept: Option<BinaryWriter<Vec<u8>>>,
}

impl Pass {
    /// Begins with what was read already.
    fn new(history: History, options: &Options, window: usize, keep: bool) -> Result<Self, String> {
        let kept = match keep {
            true => Some(BinaryWriter::new(Vec::new(), &history.header).map_err(too_large)?),
            false => None,
        };
        let mut pass = Pass {
            stream: Stream::new(&history.header, options, window),
            doubt: None,
            kept,
        };
        for record in history.records {
            pass.take(Entry::Record(record))?;
        }
        for txn in history.txns {
            pass.take(Entry::Txn(txn))?;
        }
        Ok(pass)
    }

    fn take(&mut self, entry: Entry) -> Result<(), String> {
        if let Some(kept) = &mut self.kept {
            match &entry {
                Entry::Record(record) => kept.record(record).map_err(too_large)?,
                Entry::Txn(txn) => kept.txn(txn).map_err(too_large)?,
            }
        }
        match entry {
            Entry::Record(record) if self.doubt.is_none() => {
                self.doubt = self.stream.take(Box::new(record)).err();
            }
            // The servers' log is a witness for those who doubt.
            Entry::Record(_) | Entry::Txn(_) => {}
        }
        Ok(())
    }

    /// Reads on to the end, or to the first doubt if nothing need be kept.
    fn read(&mut self, file: &Path, reader: &mut Reader<source::Input>) -> Result<(), String> {
        while self.doubt.is_none() || self.kept.is_some() {
            let entry = reader
                .entry()
                .map_err(|error| format!("{}: {error}", file.display()))?;
            match entry {
                Some(entry) => self.take(entry)?,
                None => return Ok(()),
            }
        }
        Ok(())
    }

    fn outcome(self) -> (Result<Summary, Doubt>, Option<Vec<u8>>) {
        let found = match self.doubt {
            Some(doubt) => Err(doubt),
            None => self.stream.finish(),
        };
        // Into memory nothing fails to be written but what is too large, which was told above.
        let kept = self.kept.and_then(|kept| kept.finish().ok());
        (found, kept)
    }
}

fn too_large(error: std::io::Error) -> String {
    format!("standard input: {error}; write it to a file and name that")
}
