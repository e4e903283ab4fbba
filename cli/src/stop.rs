//! When a recording ends: its time is over, or somebody says so.

use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Waits for the end: `seconds` from now (none: for ever), SIGINT or SIGTERM.
pub(crate) async fn ending(seconds: Option<u64>) {
    let time = async {
        match seconds {
            Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = time => {}
        () = told(signal(SignalKind::interrupt())) => {}
        () = told(signal(SignalKind::terminate())) => {}
    }
}

/// A signal that cannot be listened to never comes.
async fn told(signal: std::io::Result<Signal>) {
    match signal {
        Ok(mut signal) => {
            signal.recv().await;
        }
        Err(_) => std::future::pending().await,
    }
}
