//! A history that still grows: what has come, and whether more comes just now.
//!
//! One thread waits for the file while another judges, so that what has come is judged at once
//! however little it is. What always holds: every entry arrives in the order of the file, at
//! most [`AHEAD`] of them before the judge has taken them.

use crate::source::Input;
use gamekeeper_checker::history::{Batch, ReadError, Reader};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// Entries that are read before the judge has taken them.
const AHEAD: usize = 1 << 10;

/// Entries that are handed over at a time.
const TOGETHER: usize = 1 << 8;

/// How long nothing comes before there is nothing new.
const PATIENCE: Duration = Duration::from_millis(100);

/// What has become of the file.
pub enum News {
    /// More has come.
    Entries(Batch),
    /// Nothing has for so long.
    Nothing(Duration),
    /// Nothing more is waited for.
    End,
}

/// A file as it grows.
pub struct Growing {
    entries: Receiver<Result<Batch, ReadError>>,
    last: Instant,
}

impl Growing {
    /// What has come since this was asked last; waits for it a moment.
    ///
    /// # Errors
    /// The place that is not of the format, or that reading failed.
    pub fn news(&mut self) -> Result<News, ReadError> {
        let mut batch = match self.entries.recv_timeout(PATIENCE) {
            Ok(first) => first?,
            Err(RecvTimeoutError::Timeout) => return Ok(News::Nothing(self.last.elapsed())),
            Err(RecvTimeoutError::Disconnected) => return Ok(News::End),
        };
        self.last = Instant::now();
        while batch.records.len() + batch.txns.len() < TOGETHER
            && let Ok(next) = self.entries.try_recv()
        {
            let next = next?;
            batch.records.extend(next.records);
            batch.txns.extend(next.txns);
        }
        Ok(News::Entries(batch))
    }
}

impl Growing {
    /// Reads a growing file on a thread of its own. That may still wait for the file when
    /// nobody is interested any more; then it ends as soon as more comes.
    pub fn of(mut reader: Reader<Input>) -> Self {
        let (sender, entries) = sync_channel(AHEAD);
        thread::spawn(move || {
            loop {
                let mut batch = Batch::default();
                let read = reader.batch(&mut batch, 1);
                // Nobody takes it if the judge has seen enough.
                if sender.send(Ok(batch)).is_err() {
                    return;
                }
                match read {
                    Ok(true) => {}
                    Ok(false) => return,
                    Err(error) => {
                        let _ = sender.send(Err(error));
                        return;
                    }
                }
            }
        });
        Growing {
            entries,
            last: Instant::now(),
        }
    }
}
