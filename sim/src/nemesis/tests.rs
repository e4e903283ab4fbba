//! The nemesis against a notebook that writes down what it is told to do.

use super::*;
use crate::plan::{Fault, Way};
use crate::scenario;
use std::collections::BTreeSet;

/// Writes down, and keeps what is on.
#[derive(Default)]
struct Notebook {
    lines: Vec<String>,
    on: BTreeSet<Condition>,
    rotten: BTreeSet<ServerId>,
    down: BTreeSet<ServerId>,
}

impl Hands for Notebook {
    fn set(&mut self, condition: Condition, on: bool) {
        let changed = match on {
            true => self.on.insert(condition),
            false => self.on.remove(&condition),
        };
        assert!(changed, "{condition:?} was {on} already");
    }
    fn turn(&mut self, dial: Dial, to: i64) {
        self.lines.push(format!("{dial:?} to {to}"));
    }
    fn break_connections(&mut self, server: ServerId, _draw: u64) {
        self.lines.push(format!("break {server}"));
    }
    fn half_open(&mut self, end: Node, other: Node) {
        self.lines.push(format!("half-open {end:?} {other:?}"));
    }
    fn kill(&mut self, server: ServerId, _death: Death, _draw: u64) {
        assert!(self.down.insert(server), "{server} was down already");
        self.lines.push(format!("kill {server}"));
    }
    fn start(&mut self, server: ServerId) {
        assert!(self.down.remove(&server), "{server} was up already");
        self.lines.push(format!("start {server}"));
    }
    fn fail_next_sync(&mut self, server: ServerId) {
        self.lines.push(format!("fail sync {server}"));
    }
    fn fail_next_write(&mut self, server: ServerId, _draw: u64) {
        self.lines.push(format!("fail write {server}"));
    }
    fn damage(&mut self, server: ServerId, damage: Damage, _draw: u64) -> bool {
        self.rotten.insert(server);
        self.lines.push(format!("{damage:?} {server}"));
        true
    }
    fn is_rotten(&self, server: ServerId) -> bool {
        self.rotten.contains(&server)
    }
    fn jump_wall(&mut self, server: ServerId, by_ms: i64) {
        self.lines.push(format!("wall {server} {by_ms}"));
    }
    fn forgive(&mut self) {
        self.lines.push("forgive".into());
    }
}

fn planned(at_ms: u64, for_ms: u64, fault: Fault) -> PlannedFault {
    PlannedFault {
        at_ms,
        for_ms,
        fault,
    }
}

/// Three voters, no observer, two clients, this plan.
fn nemesis(plan: Vec<PlannedFault>) -> Nemesis {
    let mut scenario = scenario::draw(1, 0);
    scenario.cluster.voters = 3;
    scenario.cluster.observers = 0;
    scenario.phases.heal_core_only = false;
    scenario.timing.restart_ms = 20;
    scenario.plan = plan;
    Nemesis::new(&scenario, 2, 0)
}

const MS: u64 = NS_PER_MS;

#[test]
fn overlapping_cuts_end_with_the_last_of_them() {
    let isolate = |target| Fault::Isolate {
        target,
        way: Way::Both,
    };
    let mut n = nemesis(vec![
        planned(0, 100, isolate(Target::Server(1))),
        planned(50, 100, isolate(Target::Server(2))),
    ]);
    let mut book = Notebook::default();
    n.step(60 * MS, &mut book);
    assert_eq!(book.on.len(), 6);
    n.step(120 * MS, &mut book);
    assert_eq!(book.on.len(), 4, "the link between 1 and 2 is still cut");
    n.step(150 * MS, &mut book);
    assert!(book.on.is_empty());
}

#[test]
fn deposed_leader_keeps_its_companions_and_the_others_forget_it() {
    let depose = |keeps| Fault::Depose {
        target: Target::Leader,
        keeps,
    };
    let mut scenario = scenario::draw(1, 0);
    scenario.cluster.voters = 5;
    scenario.cluster.observers = 1;
    scenario.plan = vec![planned(10, 20, depose(3))];
    let mut n = Nemesis::new(&scenario, 2, 0);
    let mut book = Notebook::default();
    let role = Role::Leading { epoch: Epoch(1) };
    n.hear_role(ServerId(2), role, &book);
    n.step(15 * MS, &mut book);
    // The observer and one voter stay with server 2: a third voter would take the quorum.
    let half_open = |end: Node, other: Node| format!("half-open {end:?} {other:?}");
    let server = |id| Node::Server(ServerId(id));
    let mut forgets = Vec::new();
    for end in [1, 3, 4] {
        forgets.extend([2, 6, 5].map(|other| half_open(server(end), server(other))));
    }
    for other in [2, 6, 5] {
        forgets.extend([0, 1].map(|client| half_open(Node::Client(client), server(other))));
    }
    assert_eq!(book.lines, forgets);
    assert_eq!(book.on.len(), 2 * (9 + 6));
    let silence_ms = scenario.timing.tick_ms * scenario.timing.sync_limit;
    n.step((10 + silence_ms) * MS, &mut book);
    assert!(book.on.is_empty());
}

#[test]
fn leader_is_whoever_leads_when_it_strikes() {
    let kill = Fault::Kill {
        target: Target::Leader,
        death: Death::PowerCut,
    };
    let mut n = nemesis(vec![planned(10, 5, kill.clone()), planned(30, 5, kill)]);
    let mut book = Notebook::default();
    let leading = |epoch| Role::Leading {
        epoch: Epoch(epoch),
    };
    n.hear_role(ServerId(2), leading(1), &book);
    n.step(20 * MS, &mut book);
    n.hear_role(ServerId(3), leading(2), &book);
    n.step(40 * MS, &mut book);
    assert_eq!(book.lines, ["kill 2", "start 2", "kill 3", "start 3"]);
}

#[test]
fn what_finds_nothing_to_strike_is_counted_with_its_reason() {
    let kill = |at_ms| {
        planned(
            at_ms,
            50,
            Fault::Kill {
                target: Target::Server(1),
                death: Death::Crash,
            },
        )
    };
    let mut n = nemesis(vec![kill(0), kill(10)]);
    n.step(20 * MS, &mut Notebook::default());
    assert_eq!(n.struck()["kill"], 1);
    assert_eq!(n.skipped()["kill (was down)"], 1);
}

#[test]
fn second_voter_of_three_is_spared_from_rot_until_the_first_is_whole() {
    let rot = |at_ms, id| {
        planned(
            at_ms,
            5,
            Fault::RotLog {
                target: Target::Server(id),
            },
        )
    };
    let mut n = nemesis(vec![rot(0, 1), rot(10, 2), rot(30, 2)]);
    let mut book = Notebook::default();
    n.step(20 * MS, &mut book);
    assert_eq!(n.skipped().len(), 1);
    n.hear_recovered(ServerId(1));
    book.rotten.clear();
    let following = Role::Following {
        leader: ServerId(3),
        epoch: Epoch(1),
    };
    n.hear_role(ServerId(1), following, &book);
    n.step(40 * MS, &mut book);
    assert_eq!(n.struck()["rot-log"], 2);
}

#[test]
fn halted_server_is_started_by_its_supervisor() {
    let mut n = nemesis(Vec::new());
    let mut book = Notebook::default();
    n.hear_halted(0, ServerId(2), &mut book);
    let at = n.next_ns().unwrap();
    n.step(at, &mut book);
    assert_eq!(book.lines, ["kill 2", "start 2"]);
}

#[test]
fn armed_point_kills_once_and_counts_when_it_does() {
    let at = Fault::KillAt {
        target: Target::Server(1),
        point: CrashPoint::AfterLogWrite,
        death: Death::PowerCut,
    };
    let mut n = nemesis(vec![planned(0, 100, at.clone()), planned(200, 100, at)]);
    let mut book = Notebook::default();
    n.step(0, &mut book);
    assert_eq!(book.on.len(), 1);
    n.hear_point(5 * MS, ServerId(1), &mut book);
    n.hear_point(5 * MS, ServerId(1), &mut book);
    n.step(10_000 * MS, &mut book);
    assert!(book.on.is_empty());
    assert_eq!(n.struck()["kill-at"], 1);
    assert_eq!(n.skipped()["kill-at (never came to the point)"], 1);
}

#[test]
fn nothing_is_left_after_healing() {
    for seed in 0..100 {
        let mut scenario = scenario::draw(seed, 3000);
        scenario.phases.heal_core_only = seed % 2 == 0;
        let mut n = Nemesis::new(&scenario, 4, 0);
        let mut book = Notebook::default();
        // Stop in the middle, when much is at work.
        n.step(scenario.phases.chaos_ms * MS / 2, &mut book);
        let core = n.heal(&mut book);
        assert!(book.on.is_empty(), "{:?}", book.on);
        assert_eq!(n.next_ns(), None);
        let voters = core.iter().filter(|s| s.0 <= scenario.cluster.voters);
        let dead = usize::from(scenario.cluster.voters) - voters.count();
        assert!(dead + n.atlas.damaged_voters() <= scenario.cluster.tolerated().into());
        assert!(core.iter().all(|s| !book.down.contains(s)));
    }
}
