//! The command line, as data.

use clap::{Args, Parser, Subcommand, ValueEnum};
use gamekeeper_checker::history::{Header, Start, SyncPromise, World};
use gamekeeper_workload::Kind;
use std::path::PathBuf;

/// The operator's hands on a live ZooKeeper ensemble, ours or Apache's.
#[derive(Parser, Debug)]
#[command(name = "zkcli", version, about)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Verb {
    /// Run our workloads against an ensemble and write down what their clients see.
    Record(RecordArguments),
    /// Stand between clients and servers, pass every byte on, and write down what they say.
    Proxy(ProxyArguments),
}

/// What holds for the ensemble, for the history's header.
#[derive(Args, Debug, Clone)]
pub struct ServiceArguments {
    /// Whose servers they are, which decides what is promised of `sync`, of touches and of
    /// `exists`.
    #[arg(long, value_enum, default_value_t = Service::Zookeeper)]
    pub service: Service,
    /// The servers' tickTime, milliseconds.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    pub tick_ms: u64,
    /// The servers' syncLimit, ticks. With the tick it says how early an expiry may be; too
    /// large only makes the judge milder.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub sync_limit: u64,
}

/// Whose servers.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Ours: sync is confirmed by a quorum, a write touches its session at the leader.
    Gamekeeper,
    /// Apache's: sync is the leader's word alone, followers report touches.
    Zookeeper,
}

/// How much faster than the recorder's clock a server's may run, parts per million: ten
/// times what a bad quartz does.
const CLOCK_DRIFT_PPM: u64 = 1000;

impl ServiceArguments {
    /// The header of a history of this service.
    pub fn header(&self, world: World, start: Start) -> Header {
        Header {
            clock_error_ns: 0,
            world,
            sync: match self.service {
                Service::Gamekeeper => SyncPromise::Quorum,
                Service::Zookeeper => SyncPromise::Leader,
            },
            tick_ms: self.tick_ms,
            sync_limit: self.sync_limit,
            timeout_ms_min: 2 * self.tick_ms,
            timeout_ms_max: 20 * self.tick_ms,
            clock_drift_ppm: CLOCK_DRIFT_PPM,
            start,
            ..Header::default()
        }
    }
}

/// `zkcli record`.
#[derive(Args, Debug, Clone)]
pub struct RecordArguments {
    /// The servers, host:port,host:port; every one is read at the end.
    #[arg(long)]
    pub hosts: String,
    /// Where the history goes.
    #[arg(long)]
    pub out: PathBuf,
    /// What traffic: some of mix, register, lock, churn, watches, multi, acl.
    #[arg(long, value_delimiter = ',', default_value = "mix,register,lock,churn,watches,multi,acl", value_parser = kind)]
    pub workload: Vec<Kind>,
    /// Clients of each workload.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub clients: u32,
    /// How long they work, seconds; SIGINT and SIGTERM end it earlier.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub seconds: u64,
    /// What the clients do is drawn from it.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// A node that exists; the run makes a folder of its own in it.
    #[arg(long, default_value = "/")]
    pub chroot: String,
    /// Session timeout to ask for, milliseconds.
    #[arg(long, default_value_t = 6000, value_parser = clap::value_parser!(u32).range(100..=3_600_000))]
    pub session_timeout_ms: u32,
    /// Others may write in the run's folder too. Without it the judge takes every change in
    /// there for a recorded client's: nobody else knows the folder's name.
    #[arg(long)]
    pub open: bool,
    /// Whose ensemble.
    #[command(flatten)]
    pub service: ServiceArguments,
}

/// `zkcli proxy`.
#[derive(Args, Debug, Clone)]
pub struct ProxyArguments {
    /// Where to listen for clients of which server, as in 127.0.0.1:3181=h1:2181; once for
    /// each server.
    #[arg(long, required = true)]
    pub listen: Vec<String>,
    /// Where the history goes.
    #[arg(long)]
    pub out: PathBuf,
    /// How long to record, seconds; without it until SIGINT or SIGTERM.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    pub seconds: Option<u64>,
    /// Every client that writes goes through this proxy: the tree is read before the first of
    /// them is let in, and the judge takes every later change for a recorded client's.
    #[arg(long)]
    pub exclusive: bool,
    /// With whose rights the tree is read: a file of lines USER:PASSWORD, digest credentials.
    #[arg(long, requires = "exclusive")]
    pub auth_file: Option<PathBuf>,
    /// Whose ensemble.
    #[command(flatten)]
    pub service: ServiceArguments,
}

fn kind(name: &str) -> Result<Kind, String> {
    Ok(match name {
        "mix" => Kind::Mix,
        "register" => Kind::Register,
        "lock" => Kind::Lock,
        "churn" => Kind::Churn,
        "watches" => Kind::Watches,
        "multi" => Kind::Multi,
        "acl" => Kind::Acl,
        _ => return Err("not one of mix, register, lock, churn, watches, multi, acl".into()),
    })
}

/// The complaint of the argument parser without its manual, in one line.
pub fn first_lines(text: &str) -> String {
    let complaint: Vec<&str> = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"))
        .filter(|line| !line.is_empty())
        .collect();
    let joined = complaint.join(" ");
    let told = joined.strip_prefix("error: ").unwrap_or(&joined);
    format!("{told} (see --help)")
}
