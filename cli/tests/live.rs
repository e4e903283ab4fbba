//! Both recorders at once on a living ensemble that loses a server: what they write is judged
//! valid, and what the proxy saw is what the clients behind it saw.

mod cluster;

use cluster::{Cluster, SYNC_LIMIT, TICK_MS};
use gamekeeper_checker::history::{self, Body, History, World};
use gamekeeper_checker::{Options, Verdict, judge_verified};
use gamekeeper_cli::arguments::{ProxyArguments, RecordArguments, Service, ServiceArguments};
use gamekeeper_cli::proxy::Proxy;
use gamekeeper_cli::record;
use gamekeeper_client::{Client, ClientConfig};
use gamekeeper_core::base::ServerId;
use gamekeeper_core::proto::{Acl, CreateMode, Id};
use gamekeeper_runtime::TokioRuntime;
use gamekeeper_workload::Kind;
use std::fs::File;
use std::io::BufReader;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// How long the clients work; everything else waits for them.
const SECONDS: u64 = 5;

fn service() -> ServiceArguments {
    ServiceArguments {
        service: Service::Gamekeeper,
        tick_ms: TICK_MS,
        sync_limit: SYNC_LIMIT,
    }
}

fn recording(hosts: &[SocketAddr], out: &Path, workload: Vec<Kind>) -> RecordArguments {
    let hosts: Vec<String> = hosts.iter().map(SocketAddr::to_string).collect();
    RecordArguments {
        hosts: hosts.join(","),
        out: out.to_owned(),
        workload,
        clients: 2,
        seconds: SECONDS,
        seed: 7,
        chroot: "/".into(),
        session_timeout_ms: 3000,
        open: false,
        service: service(),
    }
}

fn read(path: &Path) -> History {
    let file = File::open(path).expect("the history was written");
    history::read(BufReader::new(file)).expect("it is of the format")
}

fn valid(history: &History) {
    match judge_verified(history, &Options::default()) {
        Verdict::Valid(_) => {}
        other => panic!("{other}"),
    }
}

/// How many answers with a zxid there are.
fn answers(history: &History) -> usize {
    let answered = |body: &Body| matches!(body, Body::Return { zxid, .. } if *zxid > 0);
    history.records.iter().filter(|r| answered(&r.body)).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_recorders_write_histories_that_are_valid_while_a_server_dies() {
    let mut cluster = Cluster::new();
    let servers = cluster.clients();
    let folder = tempfile::tempdir().expect("a directory");
    let file = |name: &str| folder.path().join(name);
    let road = |server| format!("127.0.0.1:0={server}");
    let arguments = ProxyArguments {
        listen: servers.iter().map(road).collect(),
        out: file("proxy"),
        seconds: None,
        exclusive: true,
        auth_file: None,
        service: service(),
    };
    let proxy = Proxy::open(&arguments).await.expect("it listens");
    let some = vec![Kind::Mix, Kind::Churn, Kind::Watches];
    let others = vec![Kind::Register, Kind::Lock, Kind::Multi, Kind::Acl];
    let straight = tokio::spawn(record::run(recording(&servers, &file("straight"), some)));
    let behind = tokio::spawn(record::run(recording(
        &proxy.addrs,
        &file("behind"),
        others,
    )));

    tokio::time::sleep(Duration::from_secs(SECONDS / 3)).await;
    cluster.kill(ServerId(3)).await;
    tokio::time::sleep(Duration::from_secs(SECONDS / 3)).await;
    cluster.boot(ServerId(3));

    for recording in [straight, behind] {
        let recorded = recording.await.expect("no panic").expect("a recording");
        assert!(recorded.stats.ok > 50, "{recorded}");
        assert_eq!(recorded.read.missed, Vec::<u32>::new());
    }
    let tally = proxy.close().await.expect("a recording");
    assert!(tally.left_out.is_empty() && tally.skipped == 0, "{tally}");

    let (straight, behind, proxied) = (
        read(&file("straight")),
        read(&file("behind")),
        read(&file("proxy")),
    );
    assert_eq!(proxied.header.world, World::Closed);
    valid(&straight);
    valid(&behind);
    valid(&proxied);
    // The proxy heard every answer that the clients behind it did, and those of the session
    // that made their folder.
    assert!(answers(&proxied) >= answers(&behind));
    assert!(answers(&behind) > 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chroot_that_is_not_there_is_named() {
    let cluster = Cluster::new();
    let folder = tempfile::tempdir().expect("a directory");
    let mut arguments = recording(
        &cluster.clients(),
        &folder.path().join("h"),
        vec![Kind::Mix],
    );
    arguments.chroot = "/not/there".into();
    let trouble = record::run(arguments)
        .await
        .expect_err("nothing to work in");
    assert_eq!(trouble.to_string(), "--chroot: there is no \"/not/there\"");
}

/// A node that only its owner may read is no obstacle to whoever may be its owner.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tree_with_secrets_is_read_with_the_right_credentials() {
    let cluster = Cluster::new();
    let folder = tempfile::tempdir().expect("a directory");
    let config = ClientConfig {
        servers: cluster.clients(),
        timeout_ms: 3000,
        rest_ms: 100,
    };
    let (client, _) = Client::open(&TokioRuntime::new(), config, ());
    client.ready().await;
    client.add_auth("digest", "ann:owl").await.expect("digest");
    let owner = vec![Acl::new(31, Id::new("auth", ""))];
    let made = client.create("/secret", &b""[..], CreateMode::default(), owner);
    made.await.expect("a node");
    let file = folder.path().join("credentials");
    let mut arguments = ProxyArguments {
        listen: vec![format!("127.0.0.1:0={}", cluster.clients()[0])],
        out: folder.path().join("proxy"),
        seconds: None,
        exclusive: true,
        auth_file: None,
        service: service(),
    };
    let told = Proxy::open(&arguments).await.unwrap_err().to_string();
    assert!(told.contains("NoAuth at /secret (--auth-file"), "{told}");
    std::fs::write(&file, "ann\n").unwrap();
    arguments.auth_file = Some(file.clone());
    let told = Proxy::open(&arguments).await.unwrap_err().to_string();
    assert!(told.ends_with("line 1 is no USER:PASSWORD"), "{told}");
    std::fs::write(&file, "ann:owl\n").unwrap();
    let proxy = Proxy::open(&arguments).await.expect("it may read");
    proxy.close().await.expect("a recording");
    assert_eq!(read(&arguments.out).header.world, World::Closed);
}
