//! From a scenario to what runs: addresses, configurations, machines, workloads.
//!
//! The one place where a scenario's numbers become other crates' types.

use super::ledger::Ledger;
use super::mail::Mail;
use super::null::NullMachine;
use crate::draw::{Draws, fork};
use crate::scenario::{Scenario, Traffic, TrafficKind};
use gamekeeper_checker::history::{Header, Start, SyncPromise, World as Openness};
use gamekeeper_core::base::{Mono, Now, ServerId};
use gamekeeper_core::log::StoreConfig;
use gamekeeper_core::peer::{Input, Machine, Outbox, Peer, PeerConfig};
use gamekeeper_core::pipeline::TimeoutBounds;
use gamekeeper_core::zab::{MemberKind, ZabConfig};
use gamekeeper_server::ShellConfig;
use gamekeeper_workload::{Kind, Server, WorkloadSpec};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Port of clients.
const CLIENT_PORT: u16 = 2181;
/// Port between servers; the only one whose bytes may be flipped.
pub const PEER_PORT: u16 = 2888;
/// Number of every simulated ensemble.
const CLUSTER_ID: u64 = 0x6761_6d65;
/// A server grants session timeouts from this many ticks …
const TIMEOUT_TICKS_MIN: u64 = 2;
/// … to this many.
const TIMEOUT_TICKS_MAX: u64 = 20;
/// First wait before a link is dialled again, ms.
const REDIAL_MS_MIN: u64 = 50;
/// Parts per million that clocks may run fast besides what they were born with: drift faults
/// may overlap.
const DRIFT_FAULTS_PPM: u64 = 2_000;

/// Which machines sit on the servers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cast {
    /// The service.
    Service,
    /// Servers that keep nothing, to measure the world with.
    Null,
}

/// A machine of either cast.
pub enum Player {
    /// See [`Peer`]; what it is sent is counted, what it commits is written down.
    Service(Box<Peer>, Mail, Ledger),
    /// See [`NullMachine`].
    Null(NullMachine),
}

impl Player {
    /// The machine of one process of one server.
    pub fn new(
        cast: Cast,
        scenario: &Scenario,
        me: ServerId,
        incarnation: u32,
        mail: &Mail,
        ledger: &Ledger,
    ) -> Player {
        match cast {
            Cast::Service => {
                let config = peer_of(scenario, me, incarnation);
                Player::Service(Box::new(Peer::new(config)), mail.clone(), ledger.clone())
            }
            Cast::Null => {
                let servers = scenario.cluster.servers();
                Player::Null(NullMachine::new(me, servers, scenario.timing.tick_ms))
            }
        }
    }
}

/// What a peer is told.
fn peer_of(scenario: &Scenario, me: ServerId, incarnation: u32) -> PeerConfig {
    let (cluster, timing, sizes) = (&scenario.cluster, &scenario.timing, &scenario.sizes);
    let kind = |id| match id <= cluster.voters {
        true => MemberKind::Voter,
        false => MemberKind::Observer,
    };
    // The scenario's check bounds every number.
    let size = |number: u64| usize::try_from(number).expect("checked with the scenario");
    let ms = |number: u64| u32::try_from(number).expect("checked with the scenario");
    let label = format!("sessions {me} {incarnation}");
    PeerConfig {
        zab: ZabConfig {
            me,
            members: (1..=cluster.servers())
                .map(|id| (ServerId(id), kind(id)))
                .collect(),
            tick_ms: timing.tick_ms,
            init_limit: timing.init_limit,
            sync_limit: timing.sync_limit,
            finalize_wait_ms: timing.finalize_wait_ms,
            notify_wait_ms: (timing.notify_wait_ms_min, timing.notify_wait_ms_max),
            redial_wait_ms: (REDIAL_MS_MIN, timing.notify_wait_ms_max.max(REDIAL_MS_MIN)),
            history_entries_max: size(sizes.history_entries_max),
            history_bytes_max: size(sizes.history_bytes_max),
        },
        store: StoreConfig {
            segment_bytes: sizes.segment_bytes,
            batch_bytes_max: size(sizes.batch_bytes_max),
            snapshots_kept: size(sizes.snapshots_kept),
            read_bytes: sizes.read_bytes,
        },
        timeouts: TimeoutBounds {
            min_ms: ms(timing.tick_ms * TIMEOUT_TICKS_MIN),
            max_ms: ms(timing.tick_ms * TIMEOUT_TICKS_MAX),
        },
        snapshot_txns: sizes.snapshot_every_txns,
        snapshot_chunk_bytes: size(sizes.snapshot_chunk_bytes),
        session_seed: fork(scenario.seed, &label).word(),
    }
}

impl Machine for Player {
    fn start(&mut self, now: Now, out: &mut Outbox) {
        match self {
            Player::Service(peer, ..) => peer.start(now, out),
            Player::Null(null) => null.start(now, out),
        }
    }

    fn step(&mut self, now: Now, input: Input, out: &mut Outbox) {
        match self {
            Player::Service(peer, mail, ledger) => {
                if let Input::LinkMessage { message, .. } = &input {
                    mail.deliver(message);
                }
                let begin = out.len();
                peer.step(now, input, out);
                ledger.read(&out[begin..]);
            }
            Player::Null(null) => null.step(now, input, out),
        }
    }

    fn deadline(&self) -> Option<Mono> {
        match self {
            Player::Service(peer, ..) => peer.deadline(),
            Player::Null(null) => null.deadline(),
        }
    }
}

/// The address of a server's machine.
pub fn server_ip(server: ServerId) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, server.0))
}

/// The address of a client's machine.
pub fn client_ip(number: u32) -> IpAddr {
    let [_, _, high, low] = (number + 1).to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(10, 1, high, low))
}

/// The servers as clients know them.
pub fn servers_of(scenario: &Scenario) -> Vec<Server> {
    let all = (1..=scenario.cluster.servers()).map(ServerId);
    all.map(|server| Server {
        id: server.0.into(),
        addr: SocketAddr::new(server_ip(server), CLIENT_PORT),
    })
    .collect()
}

/// The shell of one server.
pub fn shell_of(scenario: &Scenario, me: ServerId) -> ShellConfig {
    let peer_addr = |server| SocketAddr::new(server_ip(server), PEER_PORT);
    let all = (1..=scenario.cluster.servers()).map(ServerId);
    let mut shell = ShellConfig::new(
        me,
        SocketAddr::new(server_ip(me), CLIENT_PORT),
        peer_addr(me),
        all.map(|server| (server, peer_addr(server))).collect(),
        "data",
        CLUSTER_ID,
    );
    shell.drain_max = scenario.sizes.drain_limit as usize;
    let tick_ms = scenario.timing.tick_ms;
    shell.connect_ms_max = tick_ms * scenario.timing.sync_limit;
    shell.hello_ms_max = tick_ms * scenario.timing.sync_limit;
    shell
}

/// One client of a run.
#[derive(Clone, Debug)]
pub struct ClientSeat {
    /// Which group's.
    pub spec: WorkloadSpec,
    /// Which client of its kind.
    pub index: u32,
    /// The key of its stream.
    pub key: [u8; 32],
}

/// Every client, in order of its host's number.
pub fn clients_of(scenario: &Scenario) -> Vec<ClientSeat> {
    let mut seats = Vec::new();
    for (group, traffic) in scenario.workloads.iter().enumerate() {
        let spec = spec_of(scenario, traffic);
        let mut draws = fork(scenario.seed, &format!("clients {group}"));
        let key = key_of(&mut draws);
        // Two groups of a kind share names: clients are numbered through.
        let first = seats
            .iter()
            .filter(|seat: &&ClientSeat| seat.spec.kind == spec.kind)
            .count() as u32;
        for index in 0..spec.clients {
            seats.push(ClientSeat {
                spec: spec.clone(),
                index: first + index,
                key,
            });
        }
    }
    seats
}

fn key_of(draws: &mut Draws) -> [u8; 32] {
    let mut key = [0; 32];
    for word in key.chunks_exact_mut(8) {
        word.copy_from_slice(&draws.word().to_le_bytes());
    }
    key
}

fn spec_of(scenario: &Scenario, traffic: &Traffic) -> WorkloadSpec {
    // The scenario's check bounds every number far below 2^32.
    let small = |number: u64| u32::try_from(number).expect("checked with the scenario");
    WorkloadSpec {
        kind: match traffic.kind {
            TrafficKind::Mix => Kind::Mix,
            TrafficKind::Register => Kind::Register,
            TrafficKind::Lock => Kind::Lock,
            TrafficKind::Sessions => Kind::Churn,
            TrafficKind::Watches => Kind::Watches,
            TrafficKind::Multi => Kind::Multi,
            TrafficKind::Acls => Kind::Acl,
        },
        clients: small(traffic.clients),
        ops_max: 0,
        think_ms_min: small(traffic.think_ms_min),
        think_ms_max: small(traffic.think_ms_max),
        value_bytes_max: small(traffic.value_bytes_max),
        keys: small(traffic.keys),
        pipeline: small(traffic.pipeline),
        timeout_ms: small(scenario.timing.session_timeout_ms),
        roam_permille: small(traffic.roam_permille),
    }
}

/// What holds for the history of a run. Its clock is the world's, without error.
pub fn header_of(scenario: &Scenario) -> Header {
    let tick_ms = scenario.timing.tick_ms;
    Header {
        clock_error_ns: 0,
        world: Openness::Closed,
        sync: SyncPromise::Quorum,
        tick_ms,
        sync_limit: scenario.timing.sync_limit,
        timeout_ms_min: tick_ms * TIMEOUT_TICKS_MIN,
        timeout_ms_max: tick_ms * TIMEOUT_TICKS_MAX,
        clock_drift_ppm: scenario.clock.drift_ppm_max + DRIFT_FAULTS_PPM,
        start: Start::Fresh,
        txns: None,
        container_unused_ms: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario;

    #[test]
    fn every_drawn_workload_can_be_run() {
        for seed in 0..200 {
            for seat in clients_of(&scenario::draw(seed, 1000)) {
                assert_eq!(seat.spec.check(), Ok(()));
            }
        }
    }

    #[test]
    fn clients_of_a_kind_are_numbered_through() {
        let mut scenario = scenario::draw(1, 1000);
        scenario.workloads.truncate(1);
        scenario.workloads[0].clients = 2;
        scenario.workloads.push(scenario.workloads[0]);
        let indices: Vec<u32> = clients_of(&scenario).iter().map(|s| s.index).collect();
        assert_eq!(indices, [0, 1, 2, 3]);
    }
}
