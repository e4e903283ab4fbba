//! Long histories in one pass: judged while they are read, without being held in memory.
//!
//! A short history is read whole and left to the thorough judge. A longer one goes by the
//! judge of one pass; only if that one doubts is it read again, whole. What comes from
//! standard input cannot be read again and is kept in the binary form meanwhile. What always
//! holds: no verdict but valid comes from one pass.

use crate::ahead::{self, Held, Share};
use crate::second::Second;
use crate::source::{self, Input};
use clap::Args;
use gamekeeper_checker::history::{self, Batch, BinaryWriter, Header, History, Reader};
use gamekeeper_checker::{Doubt, NARROW_WINDOW, Options, Stream, Verdict, WINDOW, confirmed};
use std::path::Path;
use std::time::Duration;

/// Histories of fewer records are held in memory.
const SHORT_RECORDS: usize = 1 << 17;

/// How histories are read.
#[derive(Args, Debug)]
pub struct PassArguments {
    /// Hold even a long history in memory.
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
    /// It went by and is judged: acquitted, unless the second opinion contradicts.
    Judged(Verdict),
    /// It went by, cannot be had again, and was not acquitted.
    Doubted(Doubt),
}

/// Reads a history, and judges it on the way if it is long.
///
/// # Errors
/// One line that names the file, and the place in it if one is to blame.
pub fn begin(
    file: &Path,
    options: &Options,
    arguments: &PassArguments,
    verify: bool,
) -> Result<Begun, String> {
    let mut reader = match arguments.follow {
        true => source::open_growing(file, Duration::from_secs(arguments.idle))?,
        false => source::open(file)?,
    };
    let header = reader.header().clone();
    let mut begun = Batch::default();
    let records_max = match arguments.whole {
        true => usize::MAX,
        false => SHORT_RECORDS,
    };
    if source::read_rest(file, &mut reader, &mut begun, records_max)? {
        return Ok(Begun::Whole(source::whole(header, begun)));
    }
    if arguments.follow {
        let mut pass = Pass::new(&header, options, WINDOW, false, verify)?;
        pass.follow(file, begun, &mut reader)?;
        return Ok(match pass.outcome().0 {
            Ok(verdict) => Begun::Judged(verdict),
            Err(doubt) => Begun::Doubted(doubt),
        });
    }
    let standard_input = file.as_os_str() == "-";
    let mut pass = Pass::new(&header, options, NARROW_WINDOW, standard_input, verify)?;
    pass.read(file, begun, reader)?;
    let (found, kept) = pass.outcome();
    let doubt = match found {
        Ok(verdict) => return Ok(Begun::Judged(verdict)),
        Err(doubt) => doubt,
    };
    if let Some(kept) = kept {
        let history = history::read(&kept[..]);
        let history = history.map_err(|error| source::named(file, &error));
        return history.map(Begun::Whole);
    }
    match doubt.late {
        true => again(file, options, verify),
        false => source::read(file).map(Begun::Whole),
    }
}

/// A second pass over a file, with a wider window.
fn again(file: &Path, options: &Options, verify: bool) -> Result<Begun, String> {
    let reader = source::open(file)?;
    let mut pass = Pass::new(reader.header(), options, WINDOW, false, verify)?;
    pass.read(file, Batch::default(), reader)?;
    match pass.outcome().0 {
        Ok(verdict) => Ok(Begun::Judged(verdict)),
        Err(_) => source::read(file).map(Begun::Whole),
    }
}

struct Pass {
    stream: Stream<Held>,
    second: Option<Second>,
    doubt: Option<Doubt>,
    /// Everything so far, if it cannot be read again.
    kept: Option<BinaryWriter<Vec<u8>>>,
}

impl Pass {
    fn new(
        header: &Header,
        options: &Options,
        window: usize,
        keep: bool,
        verify: bool,
    ) -> Result<Self, String> {
        let kept = match keep {
            true => Some(BinaryWriter::new(Vec::new(), header).map_err(too_large)?),
            false => None,
        };
        let mut stream = Stream::new(header, options, window);
        let second = verify.then(|| {
            stream.exhibit();
            Second::begin(header, options.for_service(header).terms())
        });
        Ok(Pass {
            stream,
            second,
            doubt: None,
            kept,
        })
    }

    /// True if what comes next is of no use any more.
    fn is_done(&self) -> bool {
        self.doubt.is_some() && self.kept.is_none()
    }

    /// Keeps what must be kept.
    fn keep(&mut self, batch: &Batch) -> Result<(), String> {
        let Some(kept) = &mut self.kept else {
            return Ok(());
        };
        let mut records = batch.records.iter();
        let done = records.try_for_each(|record| kept.record(record));
        let mut txns = batch.txns.iter();
        done.and_then(|()| txns.try_for_each(|txn| kept.txn(txn)))
            .map_err(too_large)
    }

    /// Judges on, until there is a doubt.
    fn judge(&mut self, share: Share) {
        if self.doubt.is_some() {
            return;
        }
        if let Some(second) = &mut self.second {
            second.read(share.clone());
        }
        let mut records = share.held();
        self.doubt = records
            .try_for_each(|record| self.stream.take(record))
            .err();
        if let Some(second) = &mut self.second {
            second.show(self.stream.placed());
        }
    }

    /// Reads on to the end, or to the first doubt if nothing need be kept; what was read
    /// already comes first.
    fn read(&mut self, file: &Path, begun: Batch, reader: Reader<Input>) -> Result<(), String> {
        self.stream.log(&begun.txns);
        ahead::reading(begun, reader, |mut ahead| {
            while !self.is_done() {
                let next = ahead.lot();
                let Some(batch) = next.map_err(|error| source::named(file, &error))? else {
                    return Ok(());
                };
                self.keep(&batch)?;
                self.stream.log(&batch.txns);
                self.judge(ahead.share(batch));
            }
            Ok(())
        })
    }

    /// As [`Pass::read`], for a file that still grows: each record is judged when it comes.
    fn follow(
        &mut self,
        file: &Path,
        begun: Batch,
        reader: &mut Reader<Input>,
    ) -> Result<(), String> {
        let mut batch = begun;
        let mut more = true;
        while more && !self.is_done() {
            self.stream.log(&batch.txns);
            batch.txns.clear();
            self.judge(Share::alone(batch.records.drain(..)));
            let read = reader.batch(&mut batch, 1);
            more = read.map_err(|error| source::named(file, &error))?;
        }
        Ok(())
    }

    fn outcome(mut self) -> (Result<Verdict, Doubt>, Option<Vec<u8>>) {
        let found = match self.doubt {
            Some(doubt) => Err(doubt),
            None => self.stream.finish(),
        };
        let found = found.map(|summary| match self.second {
            Some(second) => confirmed(summary, second.finish(self.stream.placed())),
            None => Verdict::Valid(summary),
        });
        // Into memory nothing fails to be written but what is too large, which was told above.
        let kept = self.kept.and_then(|kept| kept.finish().ok());
        (found, kept)
    }
}

fn too_large(error: std::io::Error) -> String {
    format!("standard input: {error}; write it to a file and name that")
}
