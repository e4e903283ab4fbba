//! Writes down what clients saw, in the checker's format.
//!
//! One recorder per run, one [`Scribe`] per client object, one global order: the order in
//! which their drivers spoke, which is that of the times. Times come from the recorder's clock, not from any node's: in
//! the simulator it is the true virtual time, elsewhere one process's monotonic clock. The
//! recorder judges nothing and hides nothing; passwords become identities.
//!
//! | what a scribe hears | what it writes |
//! |---|---|
//! | request, closeSession sent | `invoke` |
//! | reply | `ok`/`fail` with the header's zxid |
//! | request lost with its connection | `info` |
//! | handshake, credentials, setWatches, pings, ends | session records |
//! | requests that were never sent, failed dials | nothing: no server can have seen them |

use crate::convert;
use gamekeeper_checker::history::{Body, Header, History, Identity, SessionEvent, digest_identity};
use gamekeeper_client::{Output, Sent, State, Tap};
use gamekeeper_core::base::SessionId;
use gamekeeper_core::proto::Request;
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The process number of records that belong to no client.
const NOBODY: u32 = 0;

/// See the module's head. Clones share the history.
#[derive(Clone)]
pub struct Recorder {
    pages: Arc<Mutex<Pages>>,
    clock: Arc<dyn Fn() -> u64 + Send + Sync>,
}

struct Pages {
    history: History,
    processes: u32,
}

impl Recorder {
    /// An empty history. `clock` gives nanoseconds since an origin of its choosing and never
    /// goes back.
    pub fn new(header: Header, clock: impl Fn() -> u64 + Send + Sync + 'static) -> Recorder {
        Recorder {
            pages: Arc::new(Mutex::new(Pages {
                history: History::new(header),
                processes: NOBODY,
            })),
            clock: Arc::new(clock),
        }
    }

    /// A tap for a new client object, which becomes the next process. `servers` are the
    /// numbers of the servers in the order in which the client tries them.
    pub fn scribe(&self, servers: Vec<u32>) -> Scribe {
        let mut pages = self.lock();
        pages.processes += 1;
        Scribe {
            recorder: self.clone(),
            process: pages.processes,
            servers,
            server: 0,
            greeted: false,
            closed: false,
            session: SessionId::NONE,
            pings: VecDeque::new(),
        }
    }

    /// Marks the place from which on the cluster is healed and everything is read.
    pub fn mark_final(&self) {
        let mut pages = self.lock();
        let time = (self.clock)();
        pages.history.push(NOBODY, time, Body::Final);
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.lock().history.records.len()
    }

    /// True when there is no record.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the history out, leaving an empty one under the same header. Clients that still
    /// speak afterwards are not heard in it.
    pub fn take(&self) -> History {
        let mut pages = self.lock();
        let empty = History::new(pages.history.header.clone());
        std::mem::replace(&mut pages.history, empty)
    }

    fn lock(&self) -> MutexGuard<'_, Pages> {
        // Records are pushed whole: a panic elsewhere leaves a sound history.
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder")
            .field("records", &self.len())
            .finish_non_exhaustive()
    }
}

/// Writes down one client object's life.
#[derive(Debug)]
pub struct Scribe {
    recorder: Recorder,
    process: u32,
    servers: Vec<u32>,
    /// Place of the current connection's server in `servers`.
    server: usize,
    /// The handshake went out on the current connection.
    greeted: bool,
    /// closeSession was answered.
    closed: bool,
    session: SessionId,
    /// When the unanswered pings of this connection were sent, oldest first. The session
    /// gives a silent connection up after two of them.
    pings: VecDeque<u64>,
}

impl Scribe {
    /// The number under which this client appears in the history.
    pub fn process(&self) -> u32 {
        self.process
    }

    fn write(&self, body: Body) {
        let server = self.servers[self.server];
        let mut pages = self.recorder.lock();
        // Not before: another thread's later time could get in front of this one.
        let time = (self.recorder.clock)();
        pages.history.push_at(self.process, time, server, body);
    }

    fn sent(&mut self, what: &Sent) {
        let body = match what {
            Sent::Connect {
                session,
                last_zxid_seen,
            } => {
                self.greeted = true;
                Body::Session(SessionEvent::Connecting {
                    session: session.0,
                    last_zxid_seen: last_zxid_seen.to_wire(),
                })
            }
            Sent::Request { xid, request } => Body::Invoke {
                session: self.session.0,
                xid: xid.0,
                op: convert::op(request),
            },
            Sent::SetWatches { relative, lists } => Body::Session(SessionEvent::SetWatches {
                relative_zxid: relative.to_wire(),
                data: lists.data.clone(),
                exist: lists.exist.clone(),
                child: lists.child.clone(),
                stays: Vec::new(),
            }),
            Sent::Auth { scheme, secret } => Body::Session(SessionEvent::Auth {
                identity: identity(scheme, secret),
            }),
            Sent::Ping => {
                self.pings.push_back((self.recorder.clock)());
                return;
            }
        };
        self.write(body);
    }

    fn state(&mut self, state: State) {
        let event = match state {
            State::Connecting | State::Disconnected => return,
            State::Connected {
                session,
                timeout_ms,
                reattached,
                ..
            } => {
                self.session = session;
                SessionEvent::Connected {
                    session: session.0,
                    timeout_ms,
                    reattached,
                    address: None,
                }
            }
            State::Expired => SessionEvent::Expired {
                session: self.session.0,
            },
            State::AuthFailed | State::Closed => {
                if self.closed || self.session == SessionId::NONE {
                    return;
                }
                SessionEvent::Abandoned {
                    session: self.session.0,
                }
            }
        };
        self.write(Body::Session(event));
    }
}

/// The identity a credential adds, never the secret.
fn identity(scheme: &str, secret: &[u8]) -> Identity {
    match scheme {
        "digest" => digest_identity(&String::from_utf8_lossy(secret)),
        other => Identity::new(other, ""),
    }
}

impl Tap for Scribe {
    fn hear(&mut self, output: &Output) {
        match output {
            Output::Connect { server } => {
                self.server = *server;
                self.greeted = false;
                self.pings.clear();
            }
            Output::Send { what, .. } => self.sent(what),
            Output::Drop { .. } => {
                if std::mem::take(&mut self.greeted) {
                    self.write(Body::Session(SessionEvent::Disconnected));
                }
            }
            Output::Reply {
                xid,
                zxid,
                request,
                result,
                ..
            } => {
                self.closed |= **request == Request::CloseSession && result.is_ok();
                let result = match result {
                    Ok(response) => Ok(convert::answer(response)),
                    Err(code) => Err(convert::code(*code)),
                };
                let body = Body::Return {
                    xid: xid.0,
                    zxid: zxid.to_wire(),
                    result,
                };
                self.write(body);
            }
            Output::Lost { xid, .. } => self.write(Body::Lost { xid: xid.0 }),
            Output::Refused { .. } => {}
            Output::AuthAnswered { error, .. } => {
                let ok = error.is_none();
                self.write(Body::Session(SessionEvent::AuthDone { ok }));
            }
            Output::SetWatchesAnswered { zxid } => {
                let zxid = zxid.to_wire();
                self.write(Body::Session(SessionEvent::SetWatchesDone { zxid }));
            }
            Output::PingAnswered { .. } => {
                if let Some(sent) = self.pings.pop_front() {
                    self.write(Body::Ping { sent });
                }
            }
            Output::Event(watched) => self.write(Body::Notify {
                zxid: watched.zxid,
                event: convert::event(watched.event.kind),
                path: watched.event.path.clone(),
            }),
            Output::State(state) => self.state(*state),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gamekeeper_core::base::Zxid;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn records_of_clients_on_many_threads_stand_in_the_order_of_their_times() {
        let ticks = AtomicU64::new(0);
        let recorder = Recorder::new(Header::default(), move || {
            let time = ticks.fetch_add(1, Ordering::SeqCst);
            std::thread::yield_now();
            time
        });
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let mut scribe = recorder.scribe(vec![1]);
                scope.spawn(move || {
                    for _ in 0..2000 {
                        scribe.hear(&Output::SetWatchesAnswered { zxid: Zxid::ZERO });
                    }
                });
            }
        });
        let records = recorder.take().records;
        assert_eq!(records.len(), 8000);
        assert!(records.is_sorted_by_key(|record| record.time));
    }
}
