//! What all watchers of a run share: the invariants, the counts, and the bell that wakes the
//! nemesis.
//!
//! What always holds: an event of a dead process is not heard; the first breach is kept and
//! no event after it is judged.

use crate::invariants::{Breach, Invariant, Invariants, Witness};
use gamekeeper_core::base::event::{Fitness, Role};
use gamekeeper_core::base::{Event, ServerId, Zxid};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// What the conductor of a run has to know at once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Signal {
    /// A server plays a new part.
    Role(ServerId, Role),
    /// A server finished recovery.
    Recovered(ServerId),
    /// A server halted itself.
    Halted(ServerId),
    /// A server stopped at the point where it was to die.
    Point(ServerId),
    /// An invariant is broken: the run is over.
    Breach,
}

/// What is known of one server's living process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Standing {
    /// Which process, from 1; 0 before the first.
    pub incarnation: u32,
    /// The part it plays.
    pub role: Option<Role>,
    /// The last transaction its state holds, and the digest after it where it told.
    pub applied: Option<(Zxid, Option<u64>)>,
}

/// Everything the watchers of a run write to.
pub struct Stage {
    pub(super) invariants: Invariants,
    pub(super) breach: Option<Breach>,
    pub(super) standings: BTreeMap<ServerId, Standing>,
    pub(super) probes: BTreeMap<&'static str, u64>,
    pub(super) steps: u64,
    pub(super) recoveries: u64,
    signals: VecDeque<Signal>,
    /// Lines of `events.jsonl`, when they are kept.
    pub(super) lines: Option<String>,
}

/// A handle on a stage. Clones share it.
#[derive(Clone)]
pub struct StageHandle {
    stage: Arc<Mutex<Stage>>,
    bell: Arc<Notify>,
}

impl StageHandle {
    /// An empty stage.
    pub fn new(servers: u8, voters: u8, keep_events: bool) -> StageHandle {
        let stage = Stage {
            invariants: Invariants::new(voters),
            breach: None,
            standings: (1..=servers)
                .map(|id| (ServerId(id), Standing::default()))
                .collect(),
            probes: BTreeMap::new(),
            steps: 0,
            recoveries: 0,
            signals: VecDeque::new(),
            lines: keep_events.then(String::new),
        };
        StageHandle {
            stage: Arc::new(Mutex::new(stage)),
            bell: Arc::new(Notify::new()),
        }
    }

    /// The stage itself. A panic elsewhere leaves it readable.
    pub fn lock(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there may be signals.
    pub async fn bell(&self) {
        self.bell.notified().await;
    }

    /// Takes what was signalled since the last time.
    pub fn signals(&self) -> VecDeque<Signal> {
        std::mem::take(&mut self.lock().signals)
    }

    /// Says something to the conductor.
    pub fn signal(&self, signal: Signal) {
        self.lock().signals.push_back(signal);
        self.bell.notify_one();
    }

    /// A process of a server begins; those before it are not heard any more.
    pub fn begin(&self, server: ServerId) -> u32 {
        let mut stage = self.lock();
        let standing = stage.standing(server);
        *standing = Standing {
            incarnation: standing.incarnation + 1,
            ..Standing::default()
        };
        standing.incarnation
    }

    /// The process of a server is gone: nothing is known of it.
    pub fn fell(&self, server: ServerId) {
        let mut stage = self.lock();
        let standing = stage.standing(server);
        standing.role = None;
        standing.applied = None;
    }

    /// One event of a living process.
    pub fn event(&self, by: Witness, event: &Event) {
        let mut stage = self.lock();
        if stage.standing(by.server).incarnation != by.incarnation {
            return;
        }
        if let Some(lines) = &mut stage.lines {
            write_line(lines, by, event);
        }
        if let Some(signal) = stage.note(by, event) {
            stage.signals.push_back(signal);
            self.bell.notify_one();
        }
        if stage.breach.is_some() {
            return;
        }
        if let Err(breach) = stage.invariants.observe(by, event) {
            stage.breach = Some(breach);
            stage.signals.push_back(Signal::Breach);
            self.bell.notify_one();
        }
    }
}

impl Stage {
    fn standing(&mut self, server: ServerId) -> &mut Standing {
        self.standings
            .get_mut(&server)
            .expect("only servers of the scenario speak")
    }

    /// Keeps what the run counts; what the conductor has to know is returned.
    fn note(&mut self, by: Witness, event: &Event) -> Option<Signal> {
        match event {
            Event::Role(role) => {
                self.standing(by.server).role = Some(*role);
                Some(Signal::Role(by.server, *role))
            }
            Event::Recovered { snapshot, .. } => {
                self.recoveries += u64::from(by.incarnation > 1);
                self.standing(by.server).applied = Some((*snapshot, None));
                Some(Signal::Recovered(by.server))
            }
            Event::Applied { zxid, digest } | Event::SnapshotInstalled { zxid, digest } => {
                self.standing(by.server).applied = Some((*zxid, Some(*digest)));
                None
            }
            Event::Probe(name) => {
                *self.probes.entry(name).or_default() += 1;
                None
            }
            // The shell ends after this; whoever runs it tells.
            Event::Halted { .. } => None,
            Event::EpochAccepted(_)
            | Event::EpochCurrent(_)
            | Event::Established { .. }
            | Event::Proposed { .. }
            | Event::Acked { .. }
            | Event::Delivered { .. }
            | Event::Truncated { .. }
            | Event::SnapshotTaken { .. }
            | Event::SessionExpiring(_) => None,
        }
    }
}

/// One line of `events.jsonl`.
fn write_line(lines: &mut String, by: Witness, event: &Event) {
    let Witness {
        at_ns,
        server,
        incarnation,
    } = by;
    let done = write!(
        lines,
        r#"{{"time":{at_ns},"server":{server},"process":{incarnation},"event":"#
    )
    .and_then(|()| match event {
        Event::Recovered {
            snapshot,
            last,
            accepted,
            current,
            fitness,
        } => {
            let fitness = match fitness {
                Fitness::Whole => "whole",
                Fitness::Empty => "empty",
                Fitness::Damaged { .. } => "damaged",
                Fitness::Amnesiac => "amnesiac",
            };
            write!(
                lines,
                r#""recovered","snapshot":"{snapshot}","last":"{last}","accepted":{accepted},"current":{current},"fitness":"{fitness}""#
            )
        }
        Event::Role(role) => write_role(lines, *role),
        Event::EpochAccepted(epoch) => write!(lines, r#""epoch-accepted","epoch":{epoch}"#),
        Event::EpochCurrent(epoch) => write!(lines, r#""epoch-current","epoch":{epoch}"#),
        Event::Established {
            epoch,
            history_last,
        } => write!(
            lines,
            r#""established","epoch":{epoch},"last":"{history_last}""#
        ),
        Event::Proposed { zxid, hash } => {
            write!(lines, r#""proposed","zxid":"{zxid}","hash":"{hash:08x}""#)
        }
        Event::Acked { zxid } => write!(lines, r#""acked","zxid":"{zxid}""#),
        Event::Delivered { zxid, hash } => {
            write!(lines, r#""delivered","zxid":"{zxid}","hash":"{hash:08x}""#)
        }
        Event::Applied { zxid, digest } => {
            write!(lines, r#""applied","zxid":"{zxid}","digest":"{digest:016x}""#)
        }
        Event::Truncated { zxid } => write!(lines, r#""truncated","zxid":"{zxid}""#),
        Event::SnapshotInstalled { zxid, digest } => write!(
            lines,
            r#""snapshot-installed","zxid":"{zxid}","digest":"{digest:016x}""#
        ),
        Event::SnapshotTaken { zxid } => write!(lines, r#""snapshot-taken","zxid":"{zxid}""#),
        Event::SessionExpiring(session) => {
            write!(lines, r#""session-expiring","session":"{session}""#)
        }
        Event::Probe(name) => write!(lines, r#""probe","name":{}"#, quoted(name)),
        Event::Halted { reason } => write!(lines, r#""halted","reason":{}"#, quoted(reason)),
    })
    .and_then(|()| writeln!(lines, "}}"));
    done.expect("a string takes everything");
}

fn write_role(lines: &mut String, role: Role) -> std::fmt::Result {
    match role {
        Role::Recovering => write!(lines, r#""role","role":"recovering""#),
        Role::Looking => write!(lines, r#""role","role":"looking""#),
        Role::Electing { leader } => {
            write!(lines, r#""role","role":"electing","leader":{leader}"#)
        }
        Role::Leading { epoch } => write!(lines, r#""role","role":"leading","epoch":{epoch}"#),
        Role::Following { leader, epoch } => write!(
            lines,
            r#""role","role":"following","leader":{leader},"epoch":{epoch}"#
        ),
        Role::Observing { leader, epoch } => write!(
            lines,
            r#""role","role":"observing","leader":{leader},"epoch":{epoch}"#
        ),
        Role::Halted => write!(lines, r#""role","role":"halted""#),
    }
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("every text can be quoted")
}

#[cfg(test)]
mod tests {
    use super::*;
    use gamekeeper_core::base::Epoch;

    fn by(incarnation: u32) -> Witness {
        Witness {
            at_ns: 5,
            server: ServerId(1),
            incarnation,
        }
    }

    #[test]
    fn dead_process_is_not_heard() {
        let stage = StageHandle::new(3, 3, false);
        let first = stage.begin(ServerId(1));
        let second = stage.begin(ServerId(1));
        let looking = Event::Role(Role::Looking);
        stage.event(by(first), &looking);
        assert!(stage.signals().is_empty());
        stage.event(by(second), &looking);
        let heard: Vec<Signal> = stage.signals().into();
        assert_eq!(heard, [Signal::Role(ServerId(1), Role::Looking)]);
    }

    #[test]
    fn breach_is_kept_and_rings() {
        let stage = StageHandle::new(3, 3, false);
        let process = stage.begin(ServerId(1));
        let zxid = Zxid::new(Epoch(1), 1);
        stage.event(by(process), &Event::Delivered { zxid, hash: 1 });
        assert_eq!(stage.signals(), [Signal::Breach]);
        let breach = stage.lock().breach.clone().unwrap();
        assert_eq!(breach.invariant, "Integrity");
    }

    #[test]
    fn every_event_is_one_json_object_a_line() {
        let zxid = Zxid::new(Epoch(1), 2);
        let (epoch, digest, hash) = (Epoch(1), 3, 4);
        let leader = ServerId(2);
        let events = [
            Event::Recovered {
                snapshot: zxid,
                last: zxid,
                accepted: epoch,
                current: epoch,
                fitness: Fitness::Amnesiac,
            },
            Event::Role(Role::Following { leader, epoch }),
            Event::Role(Role::Observing { leader, epoch }),
            Event::Role(Role::Leading { epoch }),
            Event::Role(Role::Electing { leader }),
            Event::EpochAccepted(epoch),
            Event::EpochCurrent(epoch),
            Event::Established {
                epoch,
                history_last: zxid,
            },
            Event::Proposed { zxid, hash },
            Event::Acked { zxid },
            Event::Delivered { zxid, hash },
            Event::Applied { zxid, digest },
            Event::Truncated { zxid },
            Event::SnapshotInstalled { zxid, digest },
            Event::SnapshotTaken { zxid },
            Event::Probe("a \"rare\" road"),
            Event::Halted {
                reason: "the disk\nis gone".into(),
            },
        ];
        let mut lines = String::new();
        for event in &events {
            write_line(&mut lines, by(1), event);
        }
        assert_eq!(lines.lines().count(), events.len());
        for line in lines.lines() {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(value["event"].is_string(), "{line}");
        }
    }
}
