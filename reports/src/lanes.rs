//! A run sorted into lanes: what each server was, what each client did, who led when.
//!
//! What always holds: a server's spans follow each other without gap or overlap from zero
//! to the end of the run. What it is not: drawing; that is [`crate::svg`].

use crate::conviction::Convicted;
use crate::elections::{Election, elections};
use crate::read::Run;
use crate::reported::{Event, Role, Turn, What};
use gamekeeper_checker::history::{Body, Record, SessionEvent};
use serde::Serialize;
use std::collections::BTreeMap;

/// A run in lanes.
#[derive(Debug)]
pub struct Lanes {
    /// The end of the run, nanoseconds.
    pub end: u64,
    /// By number, from 1.
    pub servers: Vec<ServerLane>,
    /// By process number.
    pub clients: Vec<ClientLane>,
    /// In the order established.
    pub elections: Vec<Election>,
    /// What the convicting records point at.
    pub convicted: Convicted,
}

/// What a server is to an onlooker.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Its program does not run.
    Down,
    /// It reads its disk.
    Recovering,
    /// It has no leader yet: looking, or joining one.
    Looking,
    /// It follows.
    Following,
    /// It observes.
    Observing,
    /// It leads.
    Leading,
    /// It gave up.
    Halted,
}

impl State {
    /// Every state, in the order of the legend.
    pub const ALL: [State; 7] = [
        State::Down,
        State::Recovering,
        State::Looking,
        State::Following,
        State::Observing,
        State::Leading,
        State::Halted,
    ];

    /// Its name, also as a class on the page.
    pub fn name(self) -> &'static str {
        match self {
            State::Down => "down",
            State::Recovering => "recovering",
            State::Looking => "looking",
            State::Following => "following",
            State::Observing => "observing",
            State::Leading => "leading",
            State::Halted => "halted",
        }
    }
}

/// A time in one state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Span {
    /// Which.
    pub state: State,
    /// Nanoseconds.
    pub from: u64,
    /// Nanoseconds.
    pub until: u64,
    /// The epoch, of a server at work.
    pub epoch: Option<u64>,
    /// Whom it follows.
    pub leader: Option<u64>,
}

/// Something a server did at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mark {
    /// Nanoseconds.
    pub time: u64,
    /// What kind.
    pub kind: MarkKind,
    /// In words.
    pub text: String,
}

/// What kind of moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MarkKind {
    /// It read its disk.
    Recovered,
    /// It gave up.
    Halted,
    /// It leads a quorum.
    Established,
    /// A snapshot was written, installed, or a log cut.
    Snapshot,
}

/// A server over time.
#[derive(Debug)]
pub struct ServerLane {
    /// Its number.
    pub id: u32,
    /// True if it does not vote.
    pub observer: bool,
    /// How many lives it began.
    pub incarnations: u32,
    /// What it was.
    pub spans: Vec<Span>,
    /// When its program stood still.
    pub pauses: Vec<(u64, u64)>,
    /// Its moments.
    pub marks: Vec<Mark>,
}

/// How an operation ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Fate {
    /// Answered without an error.
    Ok,
    /// Answered with an error.
    Failed,
    /// Never answered.
    Unknown,
}

/// One request of a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Operation {
    /// Its number within the session.
    pub xid: i32,
    /// Index of the record of the request.
    pub invoke: usize,
    /// Index of the record of the answer, or of its loss.
    pub end: Option<usize>,
    /// When asked, nanoseconds.
    pub from: u64,
    /// When answered or given up, nanoseconds; the end of the run if neither.
    pub until: u64,
    /// How it ended.
    pub fate: Fate,
}

/// A client process over time.
#[derive(Debug, Default)]
pub struct ClientLane {
    /// Its number.
    pub process: u32,
    /// What it asked, in the order asked.
    pub operations: Vec<Operation>,
    /// Indices of its sessions' and watches' records.
    pub others: Vec<usize>,
}

impl Lanes {
    /// Sorts a run.
    pub fn of(run: &Run) -> Lanes {
        let last_event = run.events.last().map_or(0, |event| event.time);
        let last_record = run.history.records.iter().map(|record| record.time).max();
        let end = run
            .outcome
            .virtual_ns
            .max(last_event)
            .max(last_record.unwrap_or(0))
            .max(1);
        let cluster = run.scenario.cluster;
        let servers: Vec<ServerLane> = (1..=cluster.servers())
            .map(|id| server_lane(run, id, id > u32::from(cluster.voters), end))
            .collect();
        Lanes {
            end,
            elections: elections(&run.events, &servers),
            clients: client_lanes(&run.history.records, end),
            convicted: Convicted::of(&run.outcome.records, &run.history.records),
            servers,
        }
    }
}

/// Builds a server's spans.
struct Spans {
    done: Vec<Span>,
    current: Span,
}

impl Spans {
    fn turn(&mut self, time: u64, state: State, leader: Option<u64>, epoch: Option<u64>) {
        let next = Span {
            state,
            from: time,
            until: time,
            epoch,
            leader,
        };
        let current = self.current;
        if (current.state, current.epoch, current.leader) == (state, epoch, leader) {
            return;
        }
        self.close(time);
        self.current = next;
    }

    fn close(&mut self, time: u64) {
        self.current.until = time;
        if self.current.until > self.current.from {
            self.done.push(self.current);
        }
    }
}

fn server_lane(run: &Run, id: u32, observer: bool, end: u64) -> ServerLane {
    let mut lane = ServerLane {
        id,
        observer,
        incarnations: 0,
        spans: Vec::new(),
        pauses: Vec::new(),
        marks: Vec::new(),
    };
    let current = Span {
        state: State::Down,
        from: 0,
        until: 0,
        epoch: None,
        leader: None,
    };
    let done = Vec::new();
    let mut spans = Spans { done, current };
    let mut paused = None;
    let mut beats = run.beats.iter().filter(|beat| beat.server == id).peekable();
    let mut events = run
        .events
        .iter()
        .filter(|event| event.server == id)
        .peekable();
    loop {
        let event_at = events.peek().map_or(u64::MAX, |event| event.time);
        // A program begins before it speaks and ends after it spoke.
        let beat = beats.next_if(|beat| match beat.turn {
            Turn::Start(_) => beat.time <= event_at,
            Turn::End | Turn::Pause | Turn::Resume => beat.time < event_at || event_at == u64::MAX,
        });
        if let Some(beat) = beat {
            let time = beat.time.min(end);
            match beat.turn {
                Turn::Start(life) => {
                    lane.incarnations = lane.incarnations.max(life);
                    spans.turn(time, State::Recovering, None, None);
                }
                Turn::End => spans.turn(time, State::Down, None, None),
                Turn::Pause => paused = Some(time),
                Turn::Resume => {}
            }
            if beat.turn != Turn::Pause {
                lane.pauses.extend(paused.take().map(|from| (from, time)));
            }
        } else if let Some(event) = events.next() {
            lane.incarnations = lane.incarnations.max(event.incarnation);
            take_event(&mut lane, &mut spans, event);
        } else {
            break;
        }
    }
    lane.pauses.extend(paused.map(|from| (from, end)));
    spans.close(end);
    lane.spans = spans.done;
    lane
}

fn take_event(lane: &mut ServerLane, spans: &mut Spans, event: &Event) {
    let life = event.incarnation;
    let (kind, text) = match &event.what {
        What::Role(role) => {
            let (state, leader, epoch) = match *role {
                Role::Recovering => (State::Recovering, None, None),
                Role::Looking | Role::Electing => (State::Looking, None, None),
                Role::Leading(epoch) => (State::Leading, None, Some(epoch)),
                Role::Following(leader, epoch) => (State::Following, Some(leader), Some(epoch)),
                Role::Observing(leader, epoch) => (State::Observing, Some(leader), Some(epoch)),
                Role::Halted => (State::Halted, None, None),
            };
            return spans.turn(event.time, state, leader, epoch);
        }
        What::Recovered { last, fitness } => (
            MarkKind::Recovered,
            format!("life {life} recovered: disk {fitness}, log up to {last}"),
        ),
        What::Established { epoch, last } => (
            MarkKind::Established,
            format!("established epoch {epoch} on a history up to {last}"),
        ),
        What::Halted(reason) => {
            spans.turn(event.time, State::Halted, None, None);
            (MarkKind::Halted, format!("life {life} halted: {reason}"))
        }
        What::SnapshotTaken(zxid) => (MarkKind::Snapshot, format!("snapshot taken at {zxid}")),
        What::SnapshotInstalled(zxid) => (
            MarkKind::Snapshot,
            format!("snapshot {zxid} from the leader"),
        ),
        What::Truncated(zxid) => (MarkKind::Snapshot, format!("log cut back to {zxid}")),
        What::Delivered(_) | What::Other => return,
    };
    let time = event.time;
    lane.marks.push(Mark { time, kind, text });
}

fn client_lanes(records: &[Record], end: u64) -> Vec<ClientLane> {
    let mut lanes: BTreeMap<u32, ClientLane> = BTreeMap::new();
    for (index, record) in records.iter().enumerate() {
        let lane = lanes.entry(record.process).or_default();
        lane.process = record.process;
        let (xid, fate) = match &record.body {
            Body::Invoke { xid, .. } => {
                lane.operations.push(Operation {
                    xid: *xid,
                    invoke: index,
                    end: None,
                    from: record.time,
                    until: end,
                    fate: Fate::Unknown,
                });
                continue;
            }
            Body::Return {
                xid, result: Ok(_), ..
            } => (*xid, Fate::Ok),
            Body::Return {
                xid,
                result: Err(_),
                ..
            } => (*xid, Fate::Failed),
            Body::Lost { xid } => (*xid, Fate::Unknown),
            Body::Notify { .. } | Body::Session(_) | Body::Final => {
                lane.others.push(index);
                continue;
            }
            Body::Ping { .. } => continue,
        };
        // Numbers begin anew with a session: the newest open one is meant.
        let open = lane.operations.iter_mut().rev();
        if let Some(operation) = { open }.find(|op| op.xid == xid && op.end.is_none()) {
            operation.end = Some(index);
            operation.until = record.time;
            operation.fate = fate;
        }
    }
    lanes.into_values().collect()
}

/// A session's event in a word or two, for a mark on a lane.
pub fn session_word(event: &SessionEvent) -> &'static str {
    match event {
        SessionEvent::Connecting { .. } => "connecting",
        SessionEvent::Connected { .. } => "connected",
        SessionEvent::Disconnected => "disconnected",
        SessionEvent::Expired { .. } => "expired",
        SessionEvent::Abandoned { .. } => "abandoned",
        SessionEvent::SetWatches { .. } => "set watches",
        SessionEvent::SetWatchesDone { .. } => "watches set",
        SessionEvent::WatchesLeftOut => "watches left out",
        SessionEvent::Auth { .. } => "auth",
        SessionEvent::AuthDone { .. } => "auth done",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::read;
    use crate::testing::Directory;

    fn lanes(name: &str) -> Lanes {
        Lanes::of(&read(Directory::new(name).path()).unwrap())
    }

    #[test]
    fn spans_cover_the_run_without_gap() {
        for lane in lanes("lanes-cover").servers {
            let mut at = 0;
            for span in &lane.spans {
                assert_eq!(span.from, at);
                at = span.until;
            }
            assert_eq!(at, 4_000_000_000);
        }
    }

    #[test]
    fn killed_leader_is_down_and_comes_back() {
        let lanes = lanes("lanes-killed");
        let states: Vec<State> = lanes.servers[0].spans.iter().map(|s| s.state).collect();
        let expected = [
            State::Recovering,
            State::Looking,
            State::Leading,
            State::Down,
            State::Recovering,
        ];
        assert_eq!(states, expected);
        assert_eq!(lanes.servers[0].incarnations, 2);
    }

    #[test]
    fn answer_finds_its_request() {
        let lanes = lanes("lanes-answers");
        let fates: Vec<Fate> = lanes.clients[1]
            .operations
            .iter()
            .map(|op| op.fate)
            .collect();
        assert_eq!(fates, [Fate::Failed, Fate::Unknown]);
        assert_eq!(lanes.clients[0].operations[0].until, 1_100_000_000);
    }
}
