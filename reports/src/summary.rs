//! A run in words and numbers: for people as text, for everything else as one JSON object.
//!
//! What it is not: a judgement; the verdict is the outcome's.

use crate::elections::Election;
use crate::lanes::{Fate, Lanes, ServerLane, Span, State};
use crate::read::{Outcome, Run, Verdict};
use gamekeeper_checker::history::{Body, SessionEvent};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Characters of a server's strip.
const STRIP_CHARS: u64 = 72;

/// A run in numbers.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// What became of it.
    pub outcome: Outcome,
    /// Who votes.
    pub voters: u8,
    /// Who only observes.
    pub observers: u8,
    /// Traffic, in words.
    pub traffic: String,
    /// Timing, in words.
    pub timing: String,
    /// Per server.
    pub servers: Vec<ServerSummary>,
    /// Per client.
    pub clients: Vec<ClientSummary>,
    /// Leaderships in the order established.
    pub elections: Vec<Election>,
}

/// A server in numbers.
#[derive(Debug, Serialize)]
pub struct ServerSummary {
    /// Its number.
    pub id: u32,
    /// True if it does not vote.
    pub observer: bool,
    /// Lives begun.
    pub incarnations: u32,
    /// Nanoseconds in each state it was in, by name.
    pub states_ns: BTreeMap<&'static str, u64>,
    /// What it was, in order.
    pub spans: Vec<Span>,
    /// The run in one line of characters, see [`strip`].
    pub strip: String,
}

/// A client in numbers.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct ClientSummary {
    /// Its number.
    pub process: u32,
    /// Answered without an error.
    pub ok: u64,
    /// Answered with an error.
    pub failed: u64,
    /// Never answered.
    pub unknown: u64,
    /// Connections that came to be.
    pub connections: u64,
    /// Sessions that expired.
    pub expired: u64,
    /// Notifications.
    pub notified: u64,
}

impl Summary {
    /// Sums up.
    pub fn of(run: &Run, lanes: &Lanes) -> Summary {
        let timing = run.scenario.timing;
        let workloads = run.scenario.workloads.iter();
        let traffic: Vec<String> = workloads
            .map(|workload| format!("{} {}", workload.clients, workload.kind))
            .collect();
        Summary {
            outcome: run.outcome.clone(),
            voters: run.scenario.cluster.voters,
            observers: run.scenario.cluster.observers,
            traffic: traffic.join(", "),
            timing: format!(
                "tick {} ms, init limit {}, sync limit {}, sessions {} ms",
                timing.tick_ms, timing.init_limit, timing.sync_limit, timing.session_timeout_ms
            ),
            servers: lanes
                .servers
                .iter()
                .map(|lane| server_summary(lane, lanes.end))
                .collect(),
            clients: client_summaries(run, lanes),
            elections: lanes.elections.clone(),
        }
    }

    /// The summary for people.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let mut line = |name: &str, text: String| {
            writeln!(out, "{name:<11} {text}").expect("a string takes everything");
        };
        let outcome = &self.outcome;
        line("verdict", self.verdict());
        for record in &outcome.records {
            line("", format!("- {}", plain(record)));
        }
        line("seed", outcome.seed.to_string());
        line("fingerprint", plain(&outcome.fingerprint));
        line("ensemble", self.ensemble());
        line("timing", self.timing.clone());
        line("traffic", plain(&self.traffic));
        line("happened", self.happened());
        line("faults", counts(&outcome.faults));
        if !outcome.skipped.is_empty() {
            line("skipped", counts(&outcome.skipped));
        }
        let ops = outcome.ops;
        line(
            "operations",
            format!(
                "{} ok, {} failed, {} unknown",
                ops.ok, ops.failed, ops.unknown
            ),
        );
        self.print_servers(&mut out);
        self.print_elections(&mut out);
        self.print_clients(&mut out);
        out
    }

    /// The verdict with its property, or its reason.
    pub fn verdict(&self) -> String {
        let outcome = &self.outcome;
        let name = outcome.verdict.name();
        match outcome.verdict {
            Verdict::Valid => name.to_string(),
            Verdict::Invalid => {
                let property = outcome.property.as_deref().unwrap_or("no property named");
                let place = outcome.place.as_deref().map(|place| format!(" at {place}"));
                plain(&format!("{name}: {property}{}", place.unwrap_or_default()))
            }
            Verdict::Unknown | Verdict::Vacuous => {
                let why = outcome.why.as_deref().unwrap_or("no reason given");
                plain(&format!("{name}: {why}"))
            }
        }
    }

    /// The ensemble in words.
    pub fn ensemble(&self) -> String {
        match self.observers {
            0 => format!("{} voters", self.voters),
            observers => format!("{} voters, {observers} observers", self.voters),
        }
    }

    /// The run's great numbers in words.
    pub fn happened(&self) -> String {
        let outcome = &self.outcome;
        format!(
            "{} in virtual time: {} elections, {} crashes, {} recoveries, {} commits",
            seconds(outcome.virtual_ns),
            outcome.elections,
            outcome.crashes,
            outcome.recoveries,
            outcome.commits
        )
    }

    fn print_servers(&self, out: &mut String) {
        out.push_str(
            "\nservers     (. down  r recovering  ? looking  f following  o observing  L leading  x halted)\n",
        );
        for server in &self.servers {
            let observer = if server.observer { " (observer)" } else { "" };
            let lives = match server.incarnations {
                1 => "1 life".to_string(),
                lives => format!("{lives} lives"),
            };
            let states = server.states_ns.iter();
            let states: Vec<String> = states
                .map(|(name, ns)| format!("{name} {}", seconds(*ns)))
                .collect();
            writeln!(out, "  s{:<3} |{}|", server.id, server.strip)
                .and_then(|()| writeln!(out, "       {lives}{observer}: {}", states.join(", ")))
                .expect("a string takes everything");
        }
    }

    fn print_elections(&self, out: &mut String) {
        out.push_str(
            "\nelections\n  epoch  leader  established       led for   leaderless  commits  history up to  learners\n",
        );
        for election in &self.elections {
            writeln!(
                out,
                "  {:>5}  s{:<2} #{:<3} {:>11}  {:>12} {:>12} {:>8}  {:<13}  {}",
                election.epoch,
                election.leader,
                election.incarnation,
                seconds(election.from),
                seconds(election.until - election.from),
                seconds(election.gap),
                election.commits,
                plain(&election.last),
                learners(election),
            )
            .expect("a string takes everything");
        }
    }

    fn print_clients(&self, out: &mut String) {
        out.push_str(
            "\nclients\n  process      ok  failed  unknown  connections  expired  notified\n",
        );
        for client in &self.clients {
            writeln!(
                out,
                "  {:>7} {:>7} {:>7} {:>8} {:>12} {:>8} {:>9}",
                client.process,
                client.ok,
                client.failed,
                client.unknown,
                client.connections,
                client.expired,
                client.notified
            )
            .expect("a string takes everything");
        }
    }
}

/// Nanoseconds as seconds.
pub fn seconds(ns: u64) -> String {
    format!("{}.{:03} s", ns / 1_000_000_000, ns / 1_000_000 % 1000)
}

/// Who followed, in words.
pub fn learners(election: &Election) -> String {
    let ids: Vec<String> = election
        .learners
        .iter()
        .map(|id| format!("s{id}"))
        .collect();
    match ids.is_empty() {
        true => "none".into(),
        false => ids.join(" "),
    }
}

/// Names with their numbers.
pub fn counts(of: &BTreeMap<String, u64>) -> String {
    if of.is_empty() {
        return "none".into();
    }
    let parts: Vec<String> = of.iter().map(|(name, n)| format!("{name} {n}")).collect();
    plain(&parts.join(", "))
}

/// Text without what would move a terminal's cursor.
fn plain(text: &str) -> String {
    text.replace(char::is_control, " ")
}

fn server_summary(lane: &ServerLane, end: u64) -> ServerSummary {
    let mut states_ns = BTreeMap::new();
    for span in &lane.spans {
        *states_ns.entry(span.state.name()).or_insert(0) += span.until - span.from;
    }
    ServerSummary {
        id: lane.id,
        observer: lane.observer,
        incarnations: lane.incarnations,
        states_ns,
        spans: lane.spans.clone(),
        strip: strip(&lane.spans, end),
    }
}

/// The run in one line: each character is the state the server was in the longest of its
/// share of the run.
pub fn strip(spans: &[Span], end: u64) -> String {
    let edge = |index: u64| {
        let at = u128::from(end) * u128::from(index) / u128::from(STRIP_CHARS);
        u64::try_from(at).expect("no later than the end")
    };
    (0..STRIP_CHARS)
        .map(|index| {
            let (from, until) = (edge(index), edge(index + 1));
            let mut shares: BTreeMap<State, u64> = BTreeMap::new();
            for span in spans {
                let share = span.until.min(until).saturating_sub(span.from.max(from));
                *shares.entry(span.state).or_insert(0) += share;
            }
            let longest = shares.into_iter().max_by_key(|(_, share)| *share);
            longest.map_or(' ', |(state, _)| letter(state))
        })
        .collect()
}

fn letter(state: State) -> char {
    match state {
        State::Down => '.',
        State::Recovering => 'r',
        State::Looking => '?',
        State::Following => 'f',
        State::Observing => 'o',
        State::Leading => 'L',
        State::Halted => 'x',
    }
}

fn client_summaries(run: &Run, lanes: &Lanes) -> Vec<ClientSummary> {
    let summarize = |lane: &crate::lanes::ClientLane| {
        let mut client = ClientSummary {
            process: lane.process,
            ..ClientSummary::default()
        };
        for operation in &lane.operations {
            match operation.fate {
                Fate::Ok => client.ok += 1,
                Fate::Failed => client.failed += 1,
                Fate::Unknown => client.unknown += 1,
            }
        }
        for index in &lane.others {
            match &run.history.records[*index].body {
                Body::Session(SessionEvent::Connected { .. }) => client.connections += 1,
                Body::Session(SessionEvent::Expired { .. }) => client.expired += 1,
                Body::Notify { .. } => client.notified += 1,
                Body::Session(_)
                | Body::Invoke { .. }
                | Body::Return { .. }
                | Body::Lost { .. }
                | Body::Ping { .. }
                | Body::Final => {}
            }
        }
        client
    };
    lanes.clients.iter().map(summarize).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::read;
    use crate::testing::Directory;

    fn summary(name: &str) -> Summary {
        let run = read(Directory::new(name).path()).unwrap();
        Summary::of(&run, &Lanes::of(&run))
    }

    #[test]
    fn numbers_are_those_of_the_files() {
        let summary = summary("summary-numbers");
        let server = &summary.servers[0];
        assert_eq!(server.incarnations, 2);
        assert_eq!(server.states_ns["leading"], 1_500_000_000);
        assert_eq!(server.states_ns["down"], 1_000_000_000);
        let expected = ClientSummary {
            process: 1,
            ok: 1,
            connections: 1,
            notified: 1,
            ..ClientSummary::default()
        };
        assert_eq!(summary.clients[0], expected);
        assert_eq!(
            (summary.clients[1].failed, summary.clients[1].unknown),
            (1, 1)
        );
    }

    #[test]
    fn text_says_verdict_records_and_leaders() {
        let text = summary("summary-text").text();
        for part in [
            "invalid: P5 monotonic-reads",
            "- went back",
            "3 voters",
            "2 lives",
            "LLLL",
            "2.300 s",
            "kill 1",
        ] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
    }

    #[test]
    fn strip_shows_who_was_longest() {
        let span = |state, from, until| Span {
            state,
            from,
            until,
            epoch: None,
            leader: None,
        };
        let spans = [
            span(State::Down, 0, 36_400),
            span(State::Leading, 36_400, 72_000),
        ];
        let strip = strip(&spans, 72_000);
        assert_eq!(strip, format!("{}{}", ".".repeat(36), "L".repeat(36)));
    }
}
