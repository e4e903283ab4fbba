//! The nemesis: carries out a plan, at its times, through [`Hands`].
//!
//! A state machine without a clock: [`Nemesis::next_ns`] says when it wants to act,
//! [`Nemesis::step`] acts. It hears of roles, recoveries, halts and crash points from
//! whoever watches the servers.
//!
//! What always holds: it asks the atlas before it damages anything; a fault that finds
//! nothing to strike is counted as skipped with its reason, never silently dropped; what
//! every fault draws hangs on the seed, its time and its kind alone, so that dropping one
//! from the plan moves no draw of another; after [`Nemesis::heal`] nothing of it is left.

mod hands;
mod strike;
#[cfg(test)]
mod tests;

pub use hands::{Condition, Damage, Dial, Hands, Node};

use crate::atlas::Atlas;
use crate::plan::{CrashPoint, Death, PlannedFault, Target};
use crate::scenario::Scenario;
use gamekeeper_core::base::event::Role;
use gamekeeper_core::base::{Epoch, ServerId};
use std::collections::BTreeMap;

const NS_PER_MS: u64 = 1_000_000;

/// See the module's head.
pub struct Nemesis {
    seed: u64,
    servers: u8,
    voters: u8,
    clients: u32,
    restart_ns: u64,
    /// How long a leader hears nothing before it gives up.
    silence_ns: u64,
    heal_core_only: bool,
    agenda: BTreeMap<(u64, u64), Act>,
    acts: u64,
    atlas: Atlas,
    patients: BTreeMap<ServerId, Patient>,
    conditions: BTreeMap<Condition, u32>,
    dials: BTreeMap<Dial, Vec<i64>>,
    /// Faults that struck, by kind.
    struck: BTreeMap<String, u64>,
    /// Faults that did not, by kind and reason.
    skipped: BTreeMap<String, u64>,
}

/// What the nemesis knows of a server.
#[derive(Clone, Copy, Debug, Default)]
struct Patient {
    down: bool,
    leading: Option<Epoch>,
    armed: Option<Armed>,
}

/// A crash that waits for its point.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Armed {
    point: CrashPoint,
    death: Death,
    /// Tells it from one armed later at the same point.
    until_ns: u64,
}

/// What to do at some time.
#[derive(Clone, Debug)]
enum Act {
    Strike(PlannedFault),
    End(Vec<Condition>),
    TurnBack(Dial, i64),
    Start(ServerId),
    /// A crash loop: strike again.
    Again {
        server: ServerId,
        death: Death,
        left: u64,
        up_ns: u64,
        down_ns: u64,
    },
    Disarm(ServerId, Armed),
    /// The disk of a server is what it was when it was remembered.
    Rollback(ServerId),
}

impl Nemesis {
    /// A nemesis with the plan of a scenario, whose times count from `chaos_ns`.
    pub fn new(scenario: &Scenario, clients: u32, chaos_ns: u64) -> Nemesis {
        let servers = scenario.cluster.servers();
        let negative = scenario.plan.iter().any(|p| p.fault.breaks_the_promise());
        let mut nemesis = Nemesis {
            seed: scenario.seed,
            servers,
            voters: scenario.cluster.voters,
            clients,
            restart_ns: scenario.timing.restart_ms * NS_PER_MS,
            silence_ns: scenario.timing.tick_ms * scenario.timing.sync_limit * NS_PER_MS,
            heal_core_only: scenario.phases.heal_core_only,
            agenda: BTreeMap::new(),
            acts: 0,
            atlas: Atlas::new(scenario.cluster.voters, negative),
            patients: (1..=servers)
                .map(|id| (ServerId(id), Patient::default()))
                .collect(),
            conditions: BTreeMap::new(),
            dials: BTreeMap::new(),
            struck: BTreeMap::new(),
            skipped: BTreeMap::new(),
        };
        for planned in &scenario.plan {
            let at_ns = chaos_ns + planned.at_ms * NS_PER_MS;
            nemesis.plan_act(at_ns, Act::Strike(planned.clone()));
        }
        nemesis
    }

    /// When it wants to act next, virtual nanoseconds.
    pub fn next_ns(&self) -> Option<u64> {
        self.agenda.keys().next().map(|(at, _)| *at)
    }

    /// Does everything due.
    pub fn step(&mut self, now_ns: u64, hands: &mut dyn Hands) {
        while let Some(entry) = self.agenda.first_entry()
            && entry.key().0 <= now_ns
        {
            // What follows from an act counts from when it was due.
            let due_ns = entry.key().0;
            let act = entry.remove();
            self.act(due_ns, act, hands);
        }
    }

    /// Faults that struck, by kind.
    pub fn struck(&self) -> &BTreeMap<String, u64> {
        &self.struck
    }

    /// Faults that did not strike, by kind and reason.
    pub fn skipped(&self) -> &BTreeMap<String, u64> {
        &self.skipped
    }

    /// Which servers are up, as far as the nemesis knows.
    pub fn up(&self) -> Vec<ServerId> {
        let up = self.patients.iter().filter(|(_, p)| !p.down);
        up.map(|(server, _)| *server).collect()
    }

    /// A living server says what part it plays.
    pub fn hear_role(&mut self, server: ServerId, role: Role, hands: &dyn Hands) {
        let patient = self.patient(server);
        patient.leading = match role {
            Role::Leading { epoch } => Some(epoch),
            Role::Recovering
            | Role::Looking
            | Role::Electing { .. }
            | Role::Following { .. }
            | Role::Observing { .. }
            | Role::Halted => None,
        };
        if role.serves() && self.atlas.is_damaged(server) {
            self.atlas.serving(server, !hands.is_rotten(server));
        }
    }

    /// A server finished recovery.
    pub fn hear_recovered(&mut self, server: ServerId) {
        self.atlas.recovered(server);
    }

    /// A server halted itself: its supervisor starts it again after a while.
    pub fn hear_halted(&mut self, now_ns: u64, server: ServerId, hands: &mut dyn Hands) {
        if self.patient(server).down {
            return;
        }
        self.fell(server, hands);
        // The process is gone already; killing it takes its host's remains away.
        hands.kill(server, Death::Crash, 0);
        self.plan_act(now_ns + self.restart_ns, Act::Start(server));
    }

    /// A server came to the point at which it was to die.
    pub fn hear_point(&mut self, now_ns: u64, server: ServerId, hands: &mut dyn Hands) {
        let Some(Armed { point, death, .. }) = self.patient(server).armed.take() else {
            return;
        };
        self.end(&[Condition::Armed(server, point)], hands);
        if self.patient(server).down {
            return;
        }
        *self.struck.entry("kill-at".into()).or_default() += 1;
        let draw = self.draw(now_ns / NS_PER_MS, "kill-at");
        self.fell(server, hands);
        hands.kill(server, death, draw);
        self.plan_act(now_ns + self.restart_ns, Act::Start(server));
    }

    /// Ends everything: cuts, pauses, bad disks. Starts every server, or all but as many
    /// voters as may still be missing, and returns who has to live from now on.
    pub fn heal(&mut self, hands: &mut dyn Hands) -> Vec<ServerId> {
        self.agenda.clear();
        for (condition, _) in std::mem::take(&mut self.conditions) {
            hands.set(condition, false);
        }
        for (dial, _) in std::mem::take(&mut self.dials) {
            hands.turn(dial, 0);
        }
        let dead = self.choose_dead();
        for server in self.all() {
            let patient = self.patient(server);
            patient.armed = None;
            let down = patient.down;
            if dead.contains(&server) {
                if !down {
                    self.fell(server, hands);
                    hands.kill(server, Death::Crash, 0);
                }
            } else if down {
                self.start(server, hands);
            }
        }
        self.all()
            .into_iter()
            .filter(|s| !dead.contains(s))
            .collect()
    }

    /// Those that are down already first, then by a draw; never a damaged one, for dead and
    /// damaged voters together may be f.
    fn choose_dead(&self) -> Vec<ServerId> {
        if !self.heal_core_only {
            return Vec::new();
        }
        let mut voters: Vec<ServerId> = (1..=self.voters).map(ServerId).collect();
        crate::draw::fork(self.seed, "core").shuffle(&mut voters);
        voters.retain(|server| !self.atlas.is_damaged(*server));
        voters.sort_by_key(|server| !self.patients[server].down);
        voters.truncate(self.atlas.spare_voters());
        voters
    }

    fn act(&mut self, now_ns: u64, act: Act, hands: &mut dyn Hands) {
        match act {
            Act::Strike(planned) => self.strike(now_ns, &planned, hands),
            Act::End(conditions) => self.end(&conditions, hands),
            Act::TurnBack(dial, amount) => self.turn_back(dial, amount, hands),
            Act::Start(server) => self.start(server, hands),
            Act::Again {
                server,
                death,
                left,
                up_ns,
                down_ns,
            } => {
                if !self.patient(server).down {
                    let draw = self.draw(now_ns / NS_PER_MS, "crash-loop");
                    self.fell(server, hands);
                    hands.kill(server, death, draw);
                    self.plan_act(now_ns + down_ns, Act::Start(server));
                }
                if left > 0 {
                    let again = Act::Again {
                        server,
                        death,
                        left: left - 1,
                        up_ns,
                        down_ns,
                    };
                    self.plan_act(now_ns + down_ns + up_ns, again);
                }
            }
            Act::Rollback(server) => {
                if !self.patient(server).down {
                    let draw = self.draw(now_ns / NS_PER_MS, "rollback");
                    self.fell(server, hands);
                    hands.kill(server, Death::PowerCut, draw);
                }
                hands.damage(server, Damage::Rollback, 0);
                hands.forgive();
                self.plan_act(now_ns + self.restart_ns, Act::Start(server));
            }
            Act::Disarm(server, armed) => {
                if self.patient(server).armed == Some(armed) {
                    self.patient(server).armed = None;
                    self.end(&[Condition::Armed(server, armed.point)], hands);
                    self.skip("kill-at", "never came to the point");
                }
            }
        }
    }

    fn begin(&mut self, conditions: &[Condition], hands: &mut dyn Hands) {
        for condition in conditions {
            let count = self.conditions.entry(*condition).or_default();
            *count += 1;
            if *count == 1 {
                hands.set(*condition, true);
            }
        }
    }

    fn end(&mut self, conditions: &[Condition], hands: &mut dyn Hands) {
        for condition in conditions {
            // A server that died meanwhile took its conditions with it.
            let Some(count) = self.conditions.get_mut(condition) else {
                continue;
            };
            *count -= 1;
            if *count == 0 {
                self.conditions.remove(condition);
                hands.set(*condition, false);
            }
        }
    }

    fn turn(&mut self, dial: Dial, amount: i64, hands: &mut dyn Hands) {
        let amounts = self.dials.entry(dial).or_default();
        amounts.push(amount);
        hands.turn(dial, amounts.iter().sum());
    }

    fn turn_back(&mut self, dial: Dial, amount: i64, hands: &mut dyn Hands) {
        let amounts = self.dials.entry(dial).or_default();
        if let Some(at) = amounts.iter().position(|a| *a == amount) {
            amounts.remove(at);
        }
        hands.turn(dial, amounts.iter().sum());
    }

    /// A server is down from now on. A pause or an armed point ends with the process.
    fn fell(&mut self, server: ServerId, hands: &mut dyn Hands) {
        let patient = self.patient(server);
        patient.down = true;
        patient.leading = None;
        if let Some(Armed { point, .. }) = patient.armed.take() {
            self.end(&[Condition::Armed(server, point)], hands);
            self.skip("kill-at", "died before it came to the point");
        }
        if self.conditions.remove(&Condition::Paused(server)).is_some() {
            hands.set(Condition::Paused(server), false);
        }
    }

    fn start(&mut self, server: ServerId, hands: &mut dyn Hands) {
        if std::mem::take(&mut self.patient(server).down) {
            hands.start(server);
        }
    }

    fn skip(&mut self, kind: &str, reason: &str) {
        let name = format!("{kind} ({reason})");
        *self.skipped.entry(name).or_default() += 1;
    }

    fn plan_act(&mut self, at_ns: u64, act: Act) {
        self.acts += 1;
        self.agenda.insert((at_ns, self.acts), act);
    }

    /// What a fault draws: a function of seed, time and kind.
    fn draw(&self, at_ms: u64, kind: &str) -> u64 {
        crate::draw::fork(self.seed, &format!("strike {kind} {at_ms}")).word()
    }

    fn all(&self) -> Vec<ServerId> {
        (1..=self.servers).map(ServerId).collect()
    }

    fn patient(&mut self, server: ServerId) -> &mut Patient {
        self.patients
            .get_mut(&server)
            .expect("only servers of the scenario are heard of")
    }

    /// Whom a target means now.
    fn resolve(&self, target: Target) -> ServerId {
        match target {
            Target::Server(id) => ServerId(id),
            Target::Leader => self.leader(),
            Target::Follower(nth) => {
                let leader = self.leader();
                let others = (1..=self.voters).map(ServerId).filter(|s| *s != leader);
                let others: Vec<ServerId> = others.collect();
                match others.len() {
                    0 => leader,
                    len => others[(usize::from(nth) - 1) % len],
                }
            }
        }
    }

    /// The leader of the latest epoch; without one the first voter that is up.
    fn leader(&self) -> ServerId {
        let led = self.patients.iter().filter(|(_, p)| !p.down);
        let latest = led.max_by_key(|(_, p)| p.leading);
        match latest {
            Some((server, p)) if p.leading.is_some() => *server,
            Some(_) | None => (1..=self.voters)
                .map(ServerId)
                .find(|s| !self.patients[s].down)
                .unwrap_or(ServerId(1)),
        }
    }
}
