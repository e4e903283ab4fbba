//! One life: a scenario lived from the first boot to the judgement.
//!
//! | room | what it does |
//! |---|---|
//! | [`seat`] | scenario numbers as other crates' types |
//! | `course` | warm-up, chaos, heal, converge, final reads |
//! | `hands` | what the nemesis does to the world |
//! | [`wounds`] | where durable bytes may rot |
//! | [`watch`] | the observer inside a server's driver; crash points |
//! | [`stage`] | what all watchers share: invariants, counts, signals |
//! | [`ledger`] | which transactions were committed, for the judge |
//! | [`mail`] | which messages were delivered |
//! | `judge` | from records to a verdict |
//! | [`null`], `calibrate` | what the world costs without the service |
//! | `thread` | a fresh thread for each life |

mod calibrate;
mod course;
mod hands;
mod judge;
pub mod ledger;
pub mod mail;
pub mod null;
pub mod seat;
pub mod stage;
mod thread;
pub mod watch;
pub mod wounds;

pub use calibrate::calibrate;
pub use judge::{Why, why};
pub use seat::Cast;
pub use thread::{Progress, live_on_fresh_thread};

use crate::outcome::{Ops, Outcome, Verdict};
use crate::scenario::Scenario;
use crate::trace::LogDetail;
use crate::world::{self, DiskConfig, NetConfig, World, WorldConfig};
use course::{Course, law_of};
use gamekeeper_checker::history::{History, write};

/// The names of all rare roads marked in the sources.
pub const PROBES: &[&str] = include!(concat!(env!("OUT_DIR"), "/probes.rs"));

/// Rare roads that no drawn life can walk, and why. A sweep does not tell that nobody did;
/// those of row D12 and D15 are walked by the stories in `core/src/zab/testdata`.
pub const PROBES_BEYOND: &[(&str, &str)] = &[
    ("a gap in the leader's proposals", HONEST),
    ("a message out of its turn", HONEST),
    ("learner spoke out of its turn", HONEST),
    ("relay of another version dropped", HONEST),
    (
        "the leader's snapshot was damaged on the way",
        "a flipped bit breaks the link: every frame has a checksum",
    ),
    ("the epoch's counter is used up", LONG),
    ("snapshot too slow for what is proposed", LONG),
    ("the disk is too slow for what is proposed", LONG),
    ("amnesiac gets its vote back", WHOLE),
    ("introduces itself again to get its vote back", WHOLE),
    ("voting again", WHOLE),
    ("wiped voter waits for rejoin", WHOLE),
];

const HONEST: &str = "all servers are of one version and keep to the protocol";
const LONG: &str = "a minute of drawn traffic does not come near the bound";
const WHOLE: &str = "of two epoch copies one stays good, and no voter is wiped (rows D12, D15)";

/// Lines of the short log that are kept.
const LOG_LINES_MAX: usize = 200_000;
/// How many in a thousand writes on a connection take only a part.
const SHORT_WRITE_PERMILLE: u64 = 20;
/// After a heal, held bytes are sent again within this, ns.
const RETRANSMIT_NS_MAX: u64 = 500_000_000;

/// How much of a life is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keep {
    /// The outcome.
    Outcome,
    /// History, events and log too.
    Everything,
}

/// A life that was lived.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Life {
    /// What became of it.
    pub outcome: Outcome,
    /// What clients saw, in the checker's format.
    pub history: Vec<u8>,
    /// What servers reported, one JSON object a line.
    pub events: Vec<u8>,
    /// The short log.
    pub trace: String,
}

impl Life {
    /// A life in which nothing has happened yet.
    pub fn new(seed: u64) -> Life {
        Life {
            outcome: Outcome::new(seed),
            history: Vec::new(),
            events: Vec::new(),
            trace: String::new(),
        }
    }
}

/// Lives a scenario on the calling thread, which must be fresh.
fn live_here(scenario: &Scenario, cast: Cast, keep: Keep, progress: &Progress) -> Life {
    let config = WorldConfig {
        seed: scenario.seed,
        network: NetConfig {
            law: law_of(scenario.network.peers),
            window_bytes: scenario.network.window_bytes,
            short_write_permille: SHORT_WRITE_PERMILLE,
            notice_ns_max: scenario.network.notice_ms_max * 1_000_000,
            retransmit_ns_max: RETRANSMIT_NS_MAX,
            corruptible_ports: (seat::PEER_PORT, seat::PEER_PORT),
            ..NetConfig::default()
        },
        disk: DiskConfig {
            write: law_of(scenario.disk.write),
            sync: law_of(scenario.disk.sync),
        },
        log: match keep {
            Keep::Outcome => LogDetail::Off,
            Keep::Everything => LogDetail::All,
        },
        log_lines_max: LOG_LINES_MAX,
    };
    // What was seen before a panic is worth keeping, so it is left outside of the life.
    let remains = std::cell::RefCell::new(None);
    let lived = world::run_here(config, async |world: World| {
        let mut course = Course::new(world.clone(), scenario, cast, keep, progress);
        let recorder = course.recorder.clone();
        *remains.borrow_mut() = Some((world.clone(), course.stage.clone(), recorder));
        course.run().await;
        told(&world, scenario, &course, keep)
    });
    let panic = match lived {
        Ok(life) => return life,
        Err(panic) => panic,
    };
    let mut life = Life::new(scenario.seed);
    if let Some((world, stage, recorder)) = remains.into_inner() {
        let outcome = &mut life.outcome;
        outcome.fingerprint = format!("{:016x}", world.fingerprint());
        let stage = stage.lock();
        outcome.commits = stage.invariants.commits();
        outcome.elections = stage.invariants.elections();
        outcome.events = stage.steps;
        if keep == Keep::Everything {
            life.history = jsonl(&recorder.take());
            life.events = stage.lines.clone().unwrap_or_default().into_bytes();
            life.trace = world.log();
        }
    }
    let place = match panic.task.is_empty() {
        true => panic.location,
        false => format!("{} ({})", panic.location, panic.task),
    };
    life.outcome.verdict = Verdict::Invalid {
        property: "panic".into(),
        records: vec![panic.message],
        place: Some(place),
    };
    life
}

/// What is left of a life that ended by itself.
fn told(world: &World, scenario: &Scenario, course: &Course, keep: Keep) -> Life {
    let mut history = course.recorder.take();
    course.ledger.testify(&mut history);
    let stats = course.stats();
    let mut life = Life::new(scenario.seed);
    {
        let stage = course.stage.lock();
        let outcome = &mut life.outcome;
        // What clients saw is part of what has to repeat.
        let seen = [history.records.len() as u64, stats.ok, stats.unknown];
        world.note_numbers(world::HostId::CONDUCTOR, seen);
        outcome.fingerprint = format!("{:016x}", world.fingerprint());
        outcome.commits = stage.invariants.commits();
        outcome.elections = stage.invariants.elections();
        outcome.events = stage.steps;
        outcome.virtual_ns = world.now_ns();
        outcome.chaos_ns = chaos_ns(scenario, outcome.virtual_ns);
        outcome.crashes = course.hands.kills;
        outcome.recoveries = stage.recoveries;
        outcome.faults = course.nemesis.struck().clone();
        outcome.skipped = course.nemesis.skipped().clone();
        outcome.ops = Ops {
            ok: stats.ok,
            failed: stats.failed,
            unknown: stats.unknown,
        };
        outcome.messages = course.mail.counts();
        outcome.probes = stage
            .probes
            .iter()
            .map(|(name, n)| (name.to_string(), *n))
            .collect();
        if keep == Keep::Everything {
            life.events = stage.lines.clone().unwrap_or_default().into_bytes();
        }
        let (no_life, planned) = (course.no_life.as_ref(), scenario.plan.len());
        let before_ns = thread::cpu_ns();
        outcome.verdict = judge::verdict_of(&stage, no_life, &history, planned, outcome);
        outcome.judge_ns = thread::cpu_ns().saturating_sub(before_ns);
    }
    if keep == Keep::Everything {
        life.history = jsonl(&history);
        life.trace = world.log();
    }
    life
}

/// How long the plan was at work: all of chaos, unless the run ended before.
fn chaos_ns(scenario: &Scenario, virtual_ns: u64) -> u64 {
    let begin_ns = scenario.phases.warmup_ms * 1_000_000;
    let whole_ns = scenario.phases.chaos_ms * 1_000_000;
    virtual_ns.saturating_sub(begin_ns).min(whole_ns)
}

fn jsonl(history: &History) -> Vec<u8> {
    let mut lines = Vec::new();
    write(&mut lines, history).expect("a vector takes everything");
    lines
}
