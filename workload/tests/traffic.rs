//! Every kind of workload against a rude toy server: it goes on whatever happens, counts it,
//! and leaves a history that holds together.

mod toy;

use gamekeeper_checker::history::{self, Body, Header, History, Op, Record, SessionEvent};
use gamekeeper_checker::{Options, Verdict, judge};
use gamekeeper_runtime::{Runtime, TokioRuntime};
use gamekeeper_workload::{
    Kind, Recorder, Server, Stats, Stop, WorkloadSpec, final_reads, run, run_client,
};
use std::collections::{BTreeMap, BTreeSet};
use toy::Manners;

const POLITE: Manners = Manners {
    frames_max: 0,
    forget_every: 0,
};
const RUDE: Manners = Manners {
    frames_max: 17,
    forget_every: 2,
};

struct Trial {
    rt: TokioRuntime,
    servers: Vec<Server>,
    /// A server that no workload knows and that never breaks a connection.
    quiet: Vec<Server>,
    recorder: Recorder,
}

impl Trial {
    async fn new(manners: Manners) -> Trial {
        let rt = TokioRuntime::new();
        let addrs = toy::start(4, manners).await;
        let servers = (1..).zip(addrs).map(|(id, addr)| Server { id, addr });
        let mut servers: Vec<Server> = servers.collect();
        let clock = rt.clone();
        Trial {
            quiet: servers.split_off(3),
            servers,
            recorder: Recorder::new(Header::default(), move || clock.now().mono.0),
            rt,
        }
    }

    async fn run(&self, spec: &WorkloadSpec) -> Stats {
        let (rt, servers) = (self.rt.clone(), self.servers.clone());
        let (recorder, stop) = (self.recorder.clone(), Stop::new());
        run(rt, spec.clone(), servers, [7; 32], recorder, stop).await
    }
}

fn spec(kind: Kind) -> WorkloadSpec {
    WorkloadSpec {
        ops_max: 120,
        think_ms_min: 0,
        think_ms_max: 2,
        ..WorkloadSpec::moderate(kind)
    }
}

/// Checks what any sound recording has, whatever the servers did.
fn check_shape(history: &History) {
    let mut last_time = BTreeMap::new();
    let mut open: BTreeSet<(u32, i32)> = BTreeSet::new();
    let mut values = BTreeSet::new();
    for Record {
        process,
        time,
        body,
        ..
    } in &history.records
    {
        let last = last_time.insert(*process, *time).unwrap_or(0);
        assert!(last <= *time, "time fell in process {process}");
        match body {
            Body::Invoke { xid, op, .. } => {
                assert!(open.insert((*process, *xid)), "an xid is used twice");
                if let Op::Set {
                    data: Some(data), ..
                } = op
                {
                    assert!(values.insert(data.clone()), "{data:?} is written twice");
                }
            }
            Body::Return { xid, .. } | Body::Lost { xid } => {
                assert!(open.remove(&(*process, *xid)), "an end without a beginning");
            }
            Body::Notify { .. } | Body::Session(_) | Body::Ping { .. } | Body::Final => {}
        }
    }
    assert!(open.is_empty(), "every request has an end: {open:?}");
}

fn sessions(history: &History, wanted: impl Fn(&SessionEvent) -> bool) -> usize {
    let events = history.records.iter().filter_map(|r| match &r.body {
        Body::Session(event) => Some(event),
        _ => None,
    });
    events.filter(|event| wanted(event)).count()
}

#[tokio::test]
async fn every_kind_works_on_through_broken_connections_and_lost_sessions() {
    let trials = Kind::ALL.map(|kind| tokio::spawn(work_on(kind)));
    for trial in trials {
        trial.await.expect("a trial");
    }
}

async fn work_on(kind: Kind) {
    let trial = Trial::new(RUDE).await;
    let stats = trial.run(&spec(kind)).await;
    let history = trial.recorder.take();
    check_shape(&history);
    assert!(stats.ok > 50, "{kind:?}: {stats:?}");
    assert!(stats.unknown > 0, "{kind:?}: {stats:?}");
    assert_eq!(stats.given_up, 0, "{kind:?}: {stats:?}");
    assert!(stats.sessions > 3, "{kind:?}: {stats:?}");
    let expired = |e: &SessionEvent| matches!(e, SessionEvent::Expired { .. });
    assert!(sessions(&history, expired) > 0, "{kind:?}");
    let mut text = Vec::new();
    history::write(&mut text, &history).expect("written");
    let read = history::read(&text[..]).expect("read");
    assert_eq!(read, history, "{kind:?}: the format carries it all");
}

#[tokio::test]
async fn the_judge_finds_nothing_wrong_with_a_sound_server_that_breaks_connections() {
    let breaking = Manners {
        forget_every: 0,
        ..RUDE
    };
    // Not the ACLs: the toy has none.
    let kinds = Kind::ALL.into_iter().filter(|kind| *kind != Kind::Acl);
    for trial in kinds.map(|kind| tokio::spawn(judged(kind, breaking))) {
        trial.await.expect("a trial");
    }
}

async fn judged(kind: Kind, manners: Manners) {
    let trial = Trial::new(manners).await;
    let stats = trial.run(&spec(kind)).await;
    let done = final_reads(&trial.rt, &trial.quiet, &trial.recorder, 6000, 9000).await;
    assert!(done.missed.is_empty());
    let history = trial.recorder.take();
    let verdict = judge(&history, &Options::default());
    let Verdict::Valid(_) = verdict else {
        panic!("{kind:?} {stats:?} {done:?}: {verdict:?}");
    };
}

#[tokio::test]
async fn the_lock_is_taken_and_events_come() {
    let trial = Trial::new(POLITE).await;
    let stats = trial.run(&spec(Kind::Lock)).await;
    assert_eq!((stats.unknown, stats.given_up), (0, 0));
    let history = trial.recorder.take();
    let held = history.records.iter().filter(|r| {
        matches!(&r.body, Body::Invoke { op: Op::Set { path, .. }, .. } if &**path == "/lock-treasure")
    });
    assert!(held.count() > 10);
    assert!(
        history
            .records
            .iter()
            .any(|r| matches!(r.body, Body::Notify { .. }))
    );
}

#[tokio::test]
async fn churn_closes_and_abandons() {
    let trial = Trial::new(POLITE).await;
    trial.run(&spec(Kind::Churn)).await;
    let history = trial.recorder.take();
    let left = |e: &SessionEvent| matches!(e, SessionEvent::Abandoned { .. });
    assert!(sessions(&history, left) > 3);
    let closes = history
        .records
        .iter()
        .filter(|r| matches!(&r.body, Body::Invoke { op: Op::Close, .. }));
    assert!(closes.count() > 3);
}

#[tokio::test]
async fn the_final_reads_reach_every_node_of_every_server_and_name_who_is_dead() {
    let mut trial = Trial::new(POLITE).await;
    trial.run(&spec(Kind::Mix)).await;
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("bind");
    let addr = nobody.local_addr().expect("address");
    drop(nobody);
    trial.servers.push(Server { id: 9, addr });
    trial.recorder.take();
    let done = final_reads(&trial.rt, &trial.servers, &trial.recorder, 6000, 1500).await;
    assert_eq!(done.missed, [9]);
    let nodes = done.read[0].1;
    assert!(nodes > 3);
    assert_eq!(done.read, [(1, nodes), (2, nodes), (3, nodes)]);
    let history = trial.recorder.take();
    check_shape(&history);
    assert_eq!(history.records[0].body, Body::Final);
}

#[tokio::test]
async fn a_client_comes_home_when_told_even_without_servers() {
    let mut trial = Trial::new(POLITE).await;
    trial.servers.truncate(1);
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("bind");
    trial.servers[0].addr = nobody.local_addr().expect("address");
    drop(nobody);
    let stop = Stop::new();
    let (rt, recorder) = (trial.rt.clone(), trial.recorder.clone());
    let rng = gamekeeper_workload::client_stream([7; 32], 0);
    let spec = spec(Kind::Register);
    let client = run_client(rt, spec, 0, trial.servers, rng, recorder, stop.clone());
    stop.set();
    let stats = client.await;
    assert_eq!(stats.ok, 0);
}
