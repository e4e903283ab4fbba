//! The tokio arm of the conformance tests.

use gamekeeper_runtime::conformance::{disk, network, timers};
use gamekeeper_runtime::{Runtime, TokioRuntime};
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

/// A place for one test's directories, removed with it.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let unique = format!("gamekeeper-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(unique);
        fs::create_dir_all(&path).expect("makes a directory");
        Place(path)
    }

    fn dir(&self) -> String {
        self.0.join("disk").display().to_string()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn anywhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

#[tokio::test]
async fn tokio_keeps_the_promises_of_timers() {
    timers::all(&TokioRuntime::new()).await;
}

#[tokio::test]
async fn tokio_keeps_the_promises_of_connections() {
    let runtime = TokioRuntime::new();
    network::all(&runtime, &runtime, anywhere()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokio_keeps_the_promises_of_connections_on_several_threads() {
    let runtime = TokioRuntime::new();
    network::all(&runtime, &runtime, anywhere()).await;
}

#[tokio::test]
async fn tokio_keeps_the_promises_of_the_disk() {
    let place = Place::new("conformance");
    disk::all(&TokioRuntime::new(), &place.dir()).await;
}

#[tokio::test]
async fn a_directory_has_one_server_at_a_time() {
    let place = Place::new("lock");
    let runtime = TokioRuntime::new();
    let first = runtime.disk(&place.dir()).expect("opens");
    let second = runtime.disk(&place.dir()).expect_err("is in use");
    assert!(second.to_string().contains("in use"), "{second}");
    drop(first);
    runtime.disk(&place.dir()).expect("is free again");
}
