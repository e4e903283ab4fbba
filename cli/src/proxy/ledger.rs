//! Who is who, and the history: all connections of a proxy write into one ledger.
//!
//! A client object of the history is a session: one that comes back on another connection,
//! through whichever listener, keeps its process. A connection whose session turns up on a
//! newer one is history: what it still says is not recorded any more.
//!
//! One lock, so one order; times are taken under it and never fall.

use super::ear::{Heard, Password, Why};
use crate::book::Book;
use crate::trouble::Trouble;
use gamekeeper_checker::history::{Body, Record, SessionEvent, World};
use gamekeeper_runtime::{Runtime, TokioRuntime};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Most sessions that are remembered in case they come back.
const SESSIONS_MAX: usize = 1 << 20;
/// Most pings of one connection without an answer that are remembered.
const PINGS_MAX: usize = 64;

/// What a proxy has recorded, and what not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally {
    /// Records in the file.
    pub records: u64,
    /// Connections taken.
    pub connections: u64,
    /// Client objects.
    pub processes: u32,
    /// Requests left out.
    pub skipped: u64,
    /// Sessions whose watches are left out, from some place on.
    pub watches_left_out: u64,
    /// Connections left out from some place on, by reason.
    pub left_out: BTreeMap<Why, u64>,
    /// Others may have written, too.
    pub open: bool,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} records of {} sessions on {} connections; {} requests left out, watches left out of {} sessions, connections left out: {:?}; world {}",
            self.records,
            self.processes,
            self.connections,
            self.skipped,
            self.watches_left_out,
            self.left_out,
            if self.open { "open" } else { "closed" }
        )
    }
}

/// One connection.
#[derive(Debug)]
struct Seat {
    server: u32,
    /// None while nobody has greeted, and once nothing is recorded any more.
    process: Option<u32>,
    session: i64,
    /// What its watches do cannot be told any more.
    watchless: bool,
    /// With which its client greeted.
    password: Password,
    /// Requests without an answer.
    open: VecDeque<i32>,
    /// When the pings without an answer were sent.
    pings: VecDeque<u64>,
}

/// Where a session was seen last.
#[derive(Debug, Clone, Copy)]
struct Home {
    /// None: nothing of it can be recorded.
    process: Option<u32>,
    connection: u64,
    /// What its watches do cannot be told any more.
    watchless: bool,
    password: Password,
}

struct Inner {
    book: Option<Book>,
    seats: BTreeMap<u64, Seat>,
    homes: BTreeMap<i64, Home>,
    tally: Tally,
}

/// See the module's head. Clones share it.
#[derive(Clone)]
pub struct Ledger {
    inner: Arc<Mutex<Inner>>,
    clock: TokioRuntime,
}

impl Ledger {
    /// A ledger that goes into this book.
    pub fn new(book: Book, clock: TokioRuntime) -> Ledger {
        let open = book.header().world == World::Open;
        let inner = Inner {
            book: Some(book),
            seats: BTreeMap::new(),
            homes: BTreeMap::new(),
            tally: Tally {
                open,
                ..Tally::default()
            },
        };
        Ledger {
            inner: Arc::new(Mutex::new(inner)),
            clock,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Records are pushed whole: a panic elsewhere leaves a sound history.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new connection to this server; its number.
    pub fn begin(&self, server: u32) -> u64 {
        let mut inner = self.lock();
        inner.tally.connections += 1;
        let number = inner.tally.connections;
        let seat = Seat {
            server,
            process: None,
            session: 0,
            watchless: false,
            password: Password::default(),
            open: VecDeque::new(),
            pings: VecDeque::new(),
        };
        inner.seats.insert(number, seat);
        number
    }

    /// Writes down what was said on a connection.
    pub fn hear(&self, connection: u64, heard: Vec<Heard>) {
        if heard.is_empty() {
            return;
        }
        let mut inner = self.lock();
        let time = self.clock.now().mono.0;
        for heard in heard {
            inner.hear(connection, time, heard);
        }
    }

    /// A connection has ended (or counts as ended, now that its server has left).
    pub fn end(&self, connection: u64) {
        let mut inner = self.lock();
        let time = self.clock.now().mono.0;
        inner.hang_up(connection, time);
        inner.seats.remove(&connection);
    }

    /// Hands everything over to the file.
    ///
    /// # Errors
    ///
    /// It cannot be written any more.
    pub fn flush(&self) -> Result<(), Trouble> {
        self.lock().book.as_mut().map_or(Ok(()), Book::flush)
    }

    /// Ends the history; what is said afterwards is not in it.
    ///
    /// # Errors
    ///
    /// Some of it could not be written.
    pub fn finish(&self) -> Result<Tally, Trouble> {
        let mut inner = self.lock();
        if let Some(book) = inner.book.take() {
            inner.tally.records = book.finish()?;
        }
        Ok(inner.tally.clone())
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").finish_non_exhaustive()
    }
}

impl Inner {
    fn write(&mut self, connection: u64, time: u64, body: Body) {
        let Some(seat) = self.seats.get(&connection) else {
            return;
        };
        if let (Some(process), Some(book)) = (seat.process, &mut self.book) {
            book.push(&Record {
                process,
                time,
                server: Some(seat.server),
                body,
            });
        }
    }

    fn hear(&mut self, connection: u64, time: u64, heard: Heard) {
        match heard {
            Heard::Connecting {
                session,
                last_zxid_seen,
                password,
            } => {
                self.greet(connection, time, session, password);
                let event = SessionEvent::Connecting {
                    session,
                    last_zxid_seen,
                };
                self.write(connection, time, Body::Session(event));
            }
            Heard::LeftOut(why) => self.leave_out(connection, time, why),
            Heard::Skipped { writes, op: _ } => {
                self.tally.skipped += 1;
                self.may_have_changed(writes);
            }
            Heard::WatchesLeftOut { op: _ } => {
                self.tally.skipped += 1;
                self.leave_watches_out(connection, time);
            }
            Heard::ForeignAnswer => self.may_have_changed(true),
            heard => self.speak(connection, time, heard),
        }
    }

    /// Everything that needs a client who has greeted.
    fn speak(&mut self, connection: u64, time: u64, heard: Heard) {
        let Some(seat) = self.seats.get_mut(&connection) else {
            return;
        };
        let Some(process) = seat.process else {
            // Overtaken by a newer connection, or cannot be recorded.
            let writes = matches!(&heard, Heard::Invoke { op, .. } if op.is_transaction());
            self.tally.skipped += u64::from(writes);
            self.may_have_changed(writes);
            return;
        };
        let watchless = seat.watchless;
        let body = match heard {
            Heard::Connected {
                session,
                timeout_ms,
                reattached,
                password,
            } => {
                seat.session = session;
                let process = Some(process);
                self.homes.insert(
                    session,
                    Home {
                        process,
                        connection,
                        watchless,
                        password,
                    },
                );
                if self.homes.len() > SESSIONS_MAX {
                    self.homes.pop_first();
                }
                let event = SessionEvent::Connected {
                    session,
                    timeout_ms,
                    reattached,
                    address: None,
                };
                self.write(connection, time, Body::Session(event));
                match watchless {
                    // It will set them again, and the history knows no more of them than before.
                    true => Body::Session(SessionEvent::WatchesLeftOut),
                    false => return,
                }
            }
            Heard::Expired { session } => {
                if self.homes.remove(&session).is_none() {
                    // Whose password it has is not known either, and a wrong one is answered
                    // in the same way.
                    return;
                }
                Body::Session(SessionEvent::Expired { session })
            }
            Heard::Invoke { xid, op } => {
                if seat.open.contains(&xid) {
                    let why = Why::Garbled("a number that is still under way");
                    return self.leave_out(connection, time, why);
                }
                seat.open.push_back(xid);
                let session = seat.session;
                Body::Invoke { session, xid, op }
            }
            Heard::Return {
                xid,
                zxid,
                result,
                closes,
            } => {
                let Some(place) = seat.open.iter().position(|open| *open == xid) else {
                    return;
                };
                seat.open.remove(place);
                if closes {
                    let session = seat.session;
                    self.homes.remove(&session);
                }
                Body::Return { xid, zxid, result }
            }
            Heard::Notify { .. }
            | Heard::Session(
                SessionEvent::SetWatches { .. } | SessionEvent::SetWatchesDone { .. },
            ) if watchless => return,
            Heard::Session(event) => Body::Session(event),
            Heard::Ping => {
                seat.pings.truncate(PINGS_MAX - 1);
                seat.pings.push_back(time);
                return;
            }
            Heard::PingAnswered => match seat.pings.pop_front() {
                Some(sent) => Body::Ping { sent },
                None => return,
            },
            Heard::Notify { zxid, event, path } => Body::Notify { zxid, event, path },
            Heard::Connecting { .. }
            | Heard::LeftOut(_)
            | Heard::ForeignAnswer
            | Heard::Skipped { .. }
            | Heard::WatchesLeftOut { .. } => unreachable!("told apart before"),
        };
        self.write(connection, time, body);
    }

    /// A client greets: one that is known under its session, or a new one.
    fn greet(&mut self, connection: u64, time: u64, session: i64, password: Password) {
        let home = self.homes.get(&session).copied();
        if home.is_some_and(|home| home.password != password) {
            *self.tally.left_out.entry(Why::Stranger).or_default() += 1;
            return;
        }
        let process = match home {
            Some(home) => {
                if home.connection != connection {
                    self.hang_up(home.connection, time);
                }
                home.process
            }
            None => {
                self.tally.processes += 1;
                Some(self.tally.processes)
            }
        };
        if let Some(home) = self.homes.get_mut(&session) {
            home.connection = connection;
        }
        if let Some(seat) = self.seats.get_mut(&connection) {
            (seat.process, seat.session, seat.password) = (process, session, password);
            seat.watchless = home.is_some_and(|home| home.watchless);
        }
    }

    /// The connection is over as far as the history goes.
    fn hang_up(&mut self, connection: u64, time: u64) {
        let Some(seat) = self.seats.get_mut(&connection) else {
            return;
        };
        for xid in std::mem::take(&mut seat.open) {
            self.write(connection, time, Body::Lost { xid });
        }
        let event = SessionEvent::Disconnected;
        self.write(connection, time, Body::Session(event));
        if let Some(seat) = self.seats.get_mut(&connection) {
            seat.process = None;
        }
    }

    /// Nothing more of what this session's watches do can be told; of the rest it can.
    fn leave_watches_out(&mut self, connection: u64, time: u64) {
        let Some(seat) = self.seats.get_mut(&connection) else {
            return;
        };
        if seat.watchless || seat.process.is_none() {
            return;
        }
        seat.watchless = true;
        if let Some(home) = self.homes.get_mut(&seat.session) {
            home.watchless = true;
        }
        self.tally.watches_left_out += 1;
        let event = SessionEvent::WatchesLeftOut;
        self.write(connection, time, Body::Session(event));
    }

    /// Nothing more of this connection, nor of its session, can be recorded.
    fn leave_out(&mut self, connection: u64, time: u64, why: Why) {
        *self.tally.left_out.entry(why).or_default() += 1;
        self.may_have_changed(why.may_write());
        self.hang_up(connection, time);
        if let Some(seat) = self.seats.get(&connection)
            && seat.session != 0
        {
            let unknown = Home {
                process: None,
                connection,
                watchless: false,
                password: seat.password,
            };
            let home = self.homes.entry(seat.session).or_insert(unknown);
            home.process = None;
        }
    }

    fn may_have_changed(&mut self, writes: bool) {
        if writes {
            self.tally.open = true;
            if let Some(book) = &mut self.book {
                book.open_world();
            }
        }
    }
}
