//! Long histories in one pass: judged while they are read, without being held in memory.
//!
//! A short history is read whole and left to the thorough judge. A longer one goes by the
//! judge of one pass; if that one doubts it is read again, for a judge that goes back where it
//! doubts, and only if that does not help is it read whole. What comes from
//! standard input or a pipe cannot be read again and is kept in the binary form meanwhile. What always
//! holds: no verdict but valid comes from one pass.

use crate::ahead::{Ahead, Share};
use crate::follow::{Growing, News};
use crate::inlet::Inlet;
use crate::onepass::{OnePass, Reach};
use crate::second::Second;
use crate::source::{self, Input};
use clap::Args;
use gamekeeper_checker::history::{Batch, BinaryWriter, Header, History, Reader};
use gamekeeper_checker::verify::Terms;
use gamekeeper_checker::{Doubt, InOrder, Options, Verdict, confirmed, judge};
use std::borrow::Borrow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Histories of fewer records are held in memory.
const SHORT_RECORDS: usize = 1 << 17;

/// Files of more bytes hardly ever hold so few: they are judged from the first record on.
const SHORT_BYTES: u64 = 1 << 25;

/// When nothing came for so long, nothing earlier is still to come either.
const SETTLED: Duration = Duration::from_secs(1);

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
    inlet: &mut Inlet,
    options: &Options,
    arguments: &PassArguments,
    verify: bool,
) -> Result<Begun, String> {
    if arguments.follow {
        return follow(inlet, options, arguments, verify);
    }
    let mut reader = source::open(inlet)?;
    let file = &inlet.name().to_owned();
    let header = reader.header().clone();
    let mut begun = Batch::default();
    let records_max = match arguments.whole {
        true => usize::MAX,
        false if inlet.length().is_some_and(|length| length > SHORT_BYTES) => 0,
        false => SHORT_RECORDS,
    };
    if source::read_rest(file, &mut reader, &mut begun, records_max)? {
        return Ok(Begun::Whole(source::whole(header, begun)));
    }
    let once = inlet.length().is_none();
    let mut pass = Pass::new(&header, options, Reach::FIRST, once, verify)?;
    pass.read(file, begun, reader, None)?;
    let (found, kept) = pass.outcome();
    if let Ok(verdict) = found {
        return Ok(Begun::Judged(verdict));
    }
    let kept = kept.map(Arc::new);
    let mut open = || match &kept {
        Some(kept) => source::of_bytes(file, kept.clone()),
        None => source::open(inlet),
    };
    for reach in [Reach::BACK, Reach::FAR_BACK] {
        match again(file, open()?, options, reach, verify)? {
            // What is contradicted may be so where it was seen in stretches only.
            Ok(verdict @ Verdict::Valid(_)) => return Ok(Begun::Judged(verdict)),
            Err(doubt) if doubt.is_of_order() => {}
            Ok(_) | Err(_) => break,
        }
    }
    source::read_all(file, open()?).map(Begun::Whole)
}

/// Judges a file while it grows. A doubt is told at once; a history that is short so far is
/// then held against the thorough judge, which finds what is wrong already, or in the end.
fn follow(
    inlet: &mut Inlet,
    options: &Options,
    arguments: &PassArguments,
    verify: bool,
) -> Result<Begun, String> {
    let reader = source::open_growing(inlet, Duration::from_secs(arguments.idle))?;
    let file = inlet.name();
    let mut held = Some(History::new(reader.header().clone()));
    let mut pass = Pass::new(reader.header(), options, Reach::WIDE, false, verify)?;
    let bar = source::following(file);
    let (mut growing, mut order) = (Growing::of(reader), InOrder::default());
    loop {
        let news = growing.news();
        match news.map_err(|error| source::named(file, &error))? {
            News::Entries(batch) => {
                held = held.and_then(|held| held_with(held, &batch));
                let records = order.pass(batch.records);
                pass.judge(Share::alone(Batch { records, ..batch }));
            }
            News::Nothing(idle) => {
                if idle >= SETTLED {
                    pass.judge(Share::alone(rest(&mut order)));
                }
                pass.catch_up(u64::try_from(idle.as_nanos()).unwrap_or(u64::MAX));
            }
            News::End => {
                pass.judge(Share::alone(rest(&mut order)));
                break;
            }
        }
        let (settled, taken) = pass.judge.progress();
        bar.set_message(format!("{settled} answers of {taken} records judged"));
        let Some(doubt) = pass.doubt else {
            continue;
        };
        if !pass.told {
            pass.told = true;
            let doubt = format!(
                "zkcheck: {}: one pass does not decide, {doubt}",
                file.display()
            );
            bar.suspend(|| eprintln!("{doubt}"));
            let wrong = |held: &History| matches!(judge(held, options), Verdict::Invalid(_));
            if held.as_ref().is_some_and(wrong) {
                break;
            }
        }
        if held.is_none() {
            break;
        }
    }
    match (pass.doubt, held) {
        (Some(_), Some(held)) => Ok(Begun::Whole(held)),
        (Some(doubt), None) => Ok(Begun::Doubted(doubt)),
        (None, held) => Ok(match (pass.outcome().0, held) {
            (Ok(verdict), _) => Begun::Judged(verdict),
            (Err(_), Some(held)) => Begun::Whole(held),
            (Err(doubt), None) => Begun::Doubted(doubt),
        }),
    }
}

fn rest(order: &mut InOrder) -> Batch {
    Batch {
        records: order.rest(),
        txns: Vec::new(),
    }
}

/// A history that goes on, as long as it is short.
fn held_with(mut held: History, batch: &Batch) -> Option<History> {
    held.records.extend_from_slice(&batch.records);
    held.txns.extend_from_slice(&batch.txns);
    (held.records.len() < SHORT_RECORDS).then_some(held)
}

/// Another pass over a history, that goes back where it doubts, of records put in the order of
/// time.
fn again(
    file: &Path,
    reader: Reader<Input>,
    options: &Options,
    reach: Reach,
    verify: bool,
) -> Result<Result<Verdict, Doubt>, String> {
    let mut pass = Pass::new(reader.header(), options, reach, false, verify)?;
    pass.read(file, Batch::default(), reader, Some(InOrder::default()))?;
    Ok(pass.outcome().0)
}

struct Pass {
    judge: OnePass,
    /// Who else is asked: somebody on this thread, or whoever reads.
    second: Option<Second>,
    ahead: Option<Ahead>,
    terms: Option<Terms>,
    doubt: Option<Doubt>,
    /// Whoever follows knows of it.
    told: bool,
    /// Everything so far, if it cannot be read again.
    kept: Option<BinaryWriter<Vec<u8>>>,
}

impl Pass {
    fn new(
        header: &Header,
        options: &Options,
        reach: Reach,
        keep: bool,
        verify: bool,
    ) -> Result<Self, String> {
        let kept = match keep {
            true => Some(BinaryWriter::new(Vec::new(), header).map_err(too_large)?),
            false => None,
        };
        let terms = verify.then(|| options.for_service(header).terms());
        Ok(Pass {
            judge: OnePass::new(header, options, reach, verify),
            second: terms.map(|terms| Second::begin(header, terms)),
            ahead: None,
            terms,
            doubt: None,
            told: false,
            kept,
        })
    }

    /// True if what comes next is of no use any more.
    fn is_done(&self) -> bool {
        self.doubt.is_some() && self.kept.is_none()
    }

    /// Keeps what must be kept.
    fn keep(&mut self, share: &Share) -> Result<(), String> {
        let Some(kept) = &mut self.kept else {
            return Ok(());
        };
        let done = share.clone().each(|record| kept.record(record.borrow()));
        let mut txns = share.txns().iter();
        done.and_then(|()| txns.try_for_each(|txn| kept.txn(txn)))
            .map_err(too_large)
    }

    /// Judges on, until there is a doubt.
    fn judge(&mut self, share: Share) {
        if self.doubt.is_some() {
            return;
        }
        self.judge.log(share.txns());
        if let Some(second) = &mut self.second {
            second.read(share.clone());
        }
        self.doubt = self.judge.take(share).err();
        self.show();
    }

    /// Shows what found its place to whoever gives the second opinion.
    fn show(&mut self) {
        let placed = self.judge.placed();
        match (&mut self.second, &mut self.ahead) {
            (Some(second), _) => second.show(placed),
            (None, Some(ahead)) => ahead.show(placed),
            (None, None) => {}
        }
    }

    /// Reads on to the end, or to the first doubt if nothing need be kept; what was read
    /// already comes first. Puts records in the order of time, if they may not be in it.
    fn read(
        &mut self,
        file: &Path,
        begun: Batch,
        reader: Reader<Input>,
        order: Option<InOrder>,
    ) -> Result<(), String> {
        let beside = self.terms.filter(|_| reader.is_binary());
        if beside.is_some() {
            self.second = None;
        }
        self.ahead = Some(Ahead::of(begun, reader, order, beside));
        while !self.is_done()
            && let Some(ahead) = &mut self.ahead
        {
            let Some(share) = ahead.lot().map_err(|error| source::named(file, &error))? else {
                return Ok(());
            };
            self.keep(&share)?;
            self.judge(share);
        }
        Ok(())
    }

    /// Judges what has come, where nothing more does just now.
    fn catch_up(&mut self, idle_ns: u64) {
        if self.doubt.is_none() {
            self.doubt = self.judge.catch_up(idle_ns).err();
            self.show();
        }
    }

    fn outcome(mut self) -> (Result<Verdict, Doubt>, Option<Vec<u8>>) {
        let found = match self.doubt {
            Some(doubt) => Err(doubt),
            None => self.judge.finish(),
        };
        self.show();
        let opinion = match (self.second, self.ahead) {
            (Some(second), Some(ahead)) => ahead.finish().and_then(|()| second.finish()),
            (Some(second), None) => second.finish(),
            (None, Some(ahead)) => ahead.finish(),
            (None, None) => Ok(()),
        };
        let found = found.map(|summary| confirmed(summary, opinion));
        // Into memory nothing fails to be written but what is too large, which was told above.
        let kept = self.kept.and_then(|kept| kept.finish().ok());
        (found, kept)
    }
}

fn too_large(error: std::io::Error) -> String {
    format!("standard input: {error}; write it to a file and name that")
}
