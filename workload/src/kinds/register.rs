//! Compare-and-set on one znode: read, then write with the version read.
//!
//! The classic register of Jepsen's first ZooKeeper test, with everybody on one path: lost
//! updates (P2), stale reads after sync (P8), and unanswered writes that later versions
//! have to explain.

use crate::actor::Actor;
use crate::ask::{self, Mode};
use gamekeeper_core::proto::Response;
use gamekeeper_runtime::Runtime;
use rand::RngExt;

const PATH: &str = "/register";

/// See the module's head.
pub(super) async fn work<R: Runtime>(actor: &mut Actor<R>) {
    let first = actor.value();
    actor
        .settle(ask::create(PATH, first, Mode::Persistent))
        .await;
    let mut version = 0;
    while actor.on_duty() {
        actor.think().await;
        let requests = match actor.rng.random_range(0..100) {
            0..25 => vec![ask::get(PATH, false)],
            25..70 => vec![ask::set(PATH, actor.value(), version)],
            70..80 => vec![ask::set(PATH, actor.value(), ask::ANY)],
            80..90 => vec![ask::sync(PATH), ask::get(PATH, false)],
            // Both with the same version: exactly one may win.
            _ => vec![
                ask::set(PATH, actor.value(), version),
                ask::set(PATH, actor.value(), version),
                ask::get(PATH, false),
            ],
        };
        for outcome in actor.ask_all(requests).await {
            match outcome {
                Ok((_, Response::GetData { stat, .. } | Response::SetData { stat })) => {
                    version = stat.version;
                }
                Ok(_) => {}
                // Somebody else was faster, or the answer is lost: read before the next try.
                Err(_) => {
                    if let Some(Ok((_, Response::GetData { stat, .. }))) =
                        actor.ask(ask::get(PATH, false)).await
                    {
                        version = stat.version;
                    }
                }
            }
        }
    }
}
