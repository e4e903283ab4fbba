//! One fault strikes: what each kind means, once its targets have faces.

use super::{Act, Armed, Condition, Damage, Dial, Hands, NS_PER_MS, Nemesis, Node};
use crate::plan::{Death, Fault, PlannedFault, Target, Way};
use gamekeeper_core::base::ServerId;

/// Why a fault did not strike.
type Skipped = &'static str;

const DOWN: Skipped = "was down";
const ALONE: Skipped = "nobody else to strike";

impl Nemesis {
    pub(super) fn strike(&mut self, now_ns: u64, planned: &PlannedFault, hands: &mut dyn Hands) {
        let fault = &planned.fault;
        match self.try_strike(now_ns, planned, hands) {
            // What is armed counts when it goes off.
            Ok(()) if matches!(fault, Fault::KillAt { .. }) => {}
            Ok(()) => *self.struck.entry(fault.kind().into()).or_default() += 1,
            Err(reason) => self.skip(fault.kind(), reason),
        }
    }

    fn try_strike(
        &mut self,
        now_ns: u64,
        planned: &PlannedFault,
        hands: &mut dyn Hands,
    ) -> Result<(), Skipped> {
        let end_ns = now_ns + planned.for_ms * NS_PER_MS;
        let draw = self.draw(planned.at_ms, planned.fault.kind());
        let fault = &planned.fault;
        match fault {
            Fault::PartitionHalves { .. }
            | Fault::PartitionRing {}
            | Fault::PartitionBridge { .. }
            | Fault::Isolate { .. }
            | Fault::CutLink { .. }
            | Fault::CutClients { .. } => {
                let cuts = self.cuts(fault);
                if cuts.is_empty() {
                    return Err(ALONE);
                }
                self.last(end_ns, &cuts, hands);
            }
            Fault::Depose { target, keeps } => {
                let server = self.standing(*target)?;
                let (kept, rest) = self.parted(server, *keeps);
                let pairs = || rest.iter().flat_map(|a| kept.iter().map(move |b| (*a, *b)));
                let mut cuts = Vec::new();
                for (a, b) in pairs() {
                    cut(&mut cuts, Node::Server(a), Node::Server(b), Way::Both);
                }
                if cuts.is_empty() {
                    return Err(ALONE);
                }
                // The cut first: nothing of the forgetting may reach the other side.
                self.last(end_ns, &cuts, hands);
                for (a, b) in pairs() {
                    hands.half_open(Node::Server(a), Node::Server(b));
                }
                self.turn_clients_away(now_ns, &kept, hands);
            }
            Fault::LatencySpike { target, extra_us } => {
                let dial = Dial::Latency(self.resolve(*target));
                self.dial(end_ns, dial, *extra_us as i64, hands);
            }
            Fault::Clog { a, b } => {
                let (a, b) = self.pair(*a, *b)?;
                self.last(end_ns, &[Condition::Clogged(a, b)], hands);
            }
            Fault::BreakConnections { target } => {
                hands.break_connections(self.standing(*target)?, draw);
            }
            Fault::HalfOpen { target, other } => {
                let (server, other) = self.pair(*target, *other)?;
                hands.half_open(Node::Server(server), Node::Server(other));
            }
            Fault::RefuseConnects { target } => {
                let server = self.resolve(*target);
                self.last(end_ns, &[Condition::Refusing(server)], hands);
            }
            Fault::CorruptBytes { from, to } => {
                let (from, to) = self.pair(*from, *to)?;
                self.last(end_ns, &[Condition::Corrupting(from, to)], hands);
            }
            Fault::Kill { target, death } => {
                let server = self.standing(*target)?;
                self.kill(server, *death, draw, end_ns, hands);
            }
            Fault::KillAll { death } => {
                for server in self.up() {
                    let draw = draw ^ u64::from(server.0);
                    self.kill(server, *death, draw, end_ns, hands);
                }
            }
            Fault::CrashLoop {
                target,
                death,
                times,
                up_ms,
            } => {
                let rounds = (*times).max(1);
                let again = Act::Again {
                    server: self.standing(*target)?,
                    death: *death,
                    left: rounds - 1,
                    up_ns: up_ms * NS_PER_MS,
                    down_ns: planned.for_ms * NS_PER_MS / rounds,
                };
                self.act(now_ns, again, hands);
            }
            Fault::KillAt {
                target,
                point,
                death,
            } => {
                let server = self.standing(*target)?;
                if self.patient(server).armed.is_some() {
                    return Err("armed already");
                }
                let armed = Armed {
                    point: *point,
                    death: *death,
                    until_ns: end_ns,
                };
                self.patient(server).armed = Some(armed);
                self.begin(&[Condition::Armed(server, *point)], hands);
                self.plan_act(end_ns, Act::Disarm(server, armed));
            }
            Fault::Pause { target } => {
                let server = self.standing(*target)?;
                self.last(end_ns, &[Condition::Paused(server)], hands);
            }
            Fault::FsyncError { target } => hands.fail_next_sync(self.standing(*target)?),
            Fault::WriteError { target } => {
                hands.fail_next_write(self.standing(*target)?, draw);
            }
            Fault::DiskFull { target } => {
                let server = self.resolve(*target);
                self.last(end_ns, &[Condition::DiskFull(server)], hands);
            }
            Fault::SlowDisk { target, extra_us } => {
                let dial = Dial::DiskLatency(self.resolve(*target));
                self.dial(end_ns, dial, *extra_us as i64, hands);
            }
            Fault::StuckDisk { target } => {
                let server = self.resolve(*target);
                self.last(end_ns, &[Condition::DiskStuck(server)], hands);
            }
            Fault::RotLog { target } => {
                self.damage(planned, *target, Damage::RotLog, end_ns, hands)?;
            }
            Fault::RotSnapshot { target } => {
                self.damage(planned, *target, Damage::RotSnapshot, end_ns, hands)?;
            }
            Fault::RotEpoch { target } => {
                self.damage(planned, *target, Damage::RotEpoch, end_ns, hands)?;
            }
            Fault::Misdirect { target } => {
                self.damage(planned, *target, Damage::Misdirect, end_ns, hands)?;
            }
            Fault::LoseTail { target } => {
                self.damage(planned, *target, Damage::LoseTail, end_ns, hands)?;
            }
            Fault::Rollback { target } => {
                let server = self.resolve(*target);
                let agreed = self.atlas.may_damage(server, fault);
                agreed.map_err(|refusal| refusal.reason())?;
                if !hands.damage(server, Damage::Remember, draw) {
                    return Err("nothing there to damage");
                }
                self.atlas.damaged(server, fault);
                self.plan_act(end_ns, Act::Rollback(server));
            }
            Fault::Wipe { target } => {
                self.damage(planned, *target, Damage::Wipe, end_ns, hands)?;
            }
            Fault::WallJump { target, by_ms } => hands.jump_wall(self.resolve(*target), *by_ms),
            Fault::Drift { target, ppm } => {
                let dial = Dial::Drift(self.resolve(*target));
                self.dial(end_ns, dial, *ppm, hands);
            }
        }
        Ok(())
    }

    fn last(&mut self, end_ns: u64, conditions: &[Condition], hands: &mut dyn Hands) {
        self.begin(conditions, hands);
        self.plan_act(end_ns, Act::End(conditions.to_vec()));
    }

    fn dial(&mut self, end_ns: u64, dial: Dial, amount: i64, hands: &mut dyn Hands) {
        self.turn(dial, amount, hands);
        self.plan_act(end_ns, Act::TurnBack(dial, amount));
    }

    fn kill(
        &mut self,
        server: ServerId,
        death: Death,
        draw: u64,
        end_ns: u64,
        hands: &mut dyn Hands,
    ) {
        self.fell(server, hands);
        hands.kill(server, death, draw);
        self.plan_act(end_ns, Act::Start(server));
    }

    /// Damages durable bytes, if the atlas agrees. With a duration the server dies with it
    /// and is started again at the end, so that the damage is met and does not only lie in
    /// wait; a tail that goes, or a disk, always takes the server along.
    fn damage(
        &mut self,
        planned: &PlannedFault,
        target: Target,
        damage: Damage,
        end_ns: u64,
        hands: &mut dyn Hands,
    ) -> Result<(), Skipped> {
        let fault = &planned.fault;
        let server = self.resolve(target);
        self.atlas
            .may_damage(server, fault)
            .map_err(|refusal| refusal.reason())?;
        let draw = self.draw(planned.at_ms, fault.kind());
        let dies = planned.for_ms > 0 || fault.breaks_the_promise();
        if dies && !self.patient(server).down {
            self.kill(server, Death::Crash, draw, end_ns, hands);
        }
        if !hands.damage(server, damage, draw) {
            return Err("nothing there to damage");
        }
        self.atlas.damaged(server, fault);
        if fault.breaks_the_promise() {
            hands.forgive();
        }
        Ok(())
    }

    fn standing(&mut self, target: Target) -> Result<ServerId, Skipped> {
        let server = self.resolve(target);
        match self.patient(server).down {
            true => Err(DOWN),
            false => Ok(server),
        }
    }

    /// Two servers; when both names mean one, the next by number is the other.
    fn pair(&self, a: Target, b: Target) -> Result<(ServerId, ServerId), Skipped> {
        if self.servers < 2 {
            return Err(ALONE);
        }
        let (a, b) = (self.resolve(a), self.resolve(b));
        let other = if a == b {
            ServerId(a.0 % self.servers + 1)
        } else {
            b
        };
        Ok((a, other))
    }

    /// Clients leave these servers at once, and come back only when half of the silence that
    /// deposes a leader is over: with what they saw at its successor, while it still believes,
    /// and no write of theirs is outstanding there that would hold them back.
    fn turn_clients_away(&mut self, now_ns: u64, from: &[ServerId], hands: &mut dyn Hands) {
        let mut cuts = Vec::new();
        for server in from.iter().map(|server| Node::Server(*server)) {
            for client in (0..self.clients).map(Node::Client) {
                cut(&mut cuts, server, client, Way::Both);
                hands.half_open(client, server);
            }
        }
        if !cuts.is_empty() {
            self.last(now_ns + self.silence_ns / 2, &cuts, hands);
        }
    }

    /// A server with up to `keeps` companions, observers first, and all the others, among
    /// whom a quorum of voters is left.
    fn parted(&self, server: ServerId, keeps: u8) -> (Vec<ServerId>, Vec<ServerId>) {
        let is_voter = |s: &ServerId| s.0 <= self.voters;
        let spare = usize::from((self.voters - 1) / 2);
        let mut kept = vec![server];
        for other in self.all().into_iter().rev().filter(|s| *s != server) {
            let voters = kept.iter().filter(|s| is_voter(s)).count();
            let fits = !is_voter(&other) || voters < spare;
            if kept.len() <= usize::from(keeps) && fits {
                kept.push(other);
            }
        }
        let rest = self.all().into_iter().filter(|s| !kept.contains(s));
        let rest = rest.collect();
        (kept, rest)
    }

    /// The links a partition cuts.
    fn cuts(&self, fault: &Fault) -> Vec<Condition> {
        let all = self.all();
        let place = |server: &ServerId| usize::from(server.0 - 1);
        match fault {
            Fault::PartitionHalves { side, way } => {
                // Clients side with their number's parity, so that both halves have some.
                let inside = |node: Node| match node {
                    Node::Server(id) => side.contains(&id.0),
                    Node::Client(number) => number % 2 == 0,
                };
                let clients = (0..self.clients).map(Node::Client);
                let nodes: Vec<Node> = self.nodes().chain(clients).collect();
                let mut cuts = Vec::new();
                for a in nodes.iter().filter(|n| inside(**n)) {
                    for b in nodes.iter().filter(|n| !inside(**n)) {
                        if matches!((a, b), (Node::Client(_), Node::Client(_))) {
                            continue;
                        }
                        cut(&mut cuts, *a, *b, *way);
                    }
                }
                cuts
            }
            Fault::PartitionRing {} => self.cut_servers_unless(|a, b| {
                let apart = place(&a).abs_diff(place(&b));
                apart == 1 || apart == all.len() - 1
            }),
            Fault::PartitionBridge { centre } => {
                let centre = self.resolve(*centre);
                let others: Vec<ServerId> = all.into_iter().filter(|s| *s != centre).collect();
                let half = others.len() / 2;
                self.cut_servers_unless(|a, b| {
                    let side = |s| others.iter().position(|o| *o == s).map(|at| at < half);
                    a == centre || b == centre || side(a) == side(b)
                })
            }
            Fault::Isolate { target, way } => {
                let lonely = Node::Server(self.resolve(*target));
                let mut cuts = Vec::new();
                for other in self.nodes().filter(|n| *n != lonely) {
                    cut(&mut cuts, lonely, other, *way);
                }
                cuts
            }
            Fault::CutLink { a, b, way } => match self.pair(*a, *b) {
                Ok((a, b)) => {
                    let mut cuts = Vec::new();
                    cut(&mut cuts, Node::Server(a), Node::Server(b), *way);
                    cuts
                }
                Err(_) => Vec::new(),
            },
            Fault::CutClients { target, way } => {
                let server = Node::Server(self.resolve(*target));
                let mut cuts = Vec::new();
                for client in 0..self.clients {
                    cut(&mut cuts, server, Node::Client(client), *way);
                }
                cuts
            }
            other => unreachable!("{} cuts nothing", other.kind()),
        }
    }

    fn cut_servers_unless(&self, joined: impl Fn(ServerId, ServerId) -> bool) -> Vec<Condition> {
        let all = self.all();
        let mut cuts = Vec::new();
        for (index, a) in all.iter().enumerate() {
            for b in &all[index + 1..] {
                if !joined(*a, *b) {
                    cut(&mut cuts, Node::Server(*a), Node::Server(*b), Way::Both);
                }
            }
        }
        cuts
    }

    fn nodes(&self) -> impl Iterator<Item = Node> {
        (1..=self.servers).map(|id| Node::Server(ServerId(id)))
    }
}

fn cut(cuts: &mut Vec<Condition>, a: Node, b: Node, way: Way) {
    if matches!(way, Way::Both | Way::Out) {
        cuts.push(Condition::Cut(a, b));
    }
    if matches!(way, Way::Both | Way::In) {
        cuts.push(Condition::Cut(b, a));
    }
}
