//! Sessions that come and go with their ephemerals: closed, closed with requests still in
//! the pipeline, or left without a word.
//!
//! Provokes everything of the group "Sessions and ephemerals": a create that races the close
//! of its own session (ZOOKEEPER-1208), ephemerals that outlive or predecease their session
//! (P13, P14), a session table behind the tree after recovery (ZOOKEEPER-1367).

use crate::actor::Actor;
use crate::ask::{self, Mode};
use gamekeeper_core::proto::Request;
use gamekeeper_runtime::Runtime;
use rand::RngExt;

const ROOT: &str = "/churn";
/// Most nodes of earlier sessions that are looked at again.
const REMEMBERED_MAX: usize = 8;

/// See the module's head.
pub(super) async fn work<R: Runtime>(actor: &mut Actor<R>) {
    actor.ensure(&[ROOT.into()]).await;
    let mut remembered: Vec<String> = Vec::new();
    while actor.on_duty() {
        actor.think().await;
        let (mut requests, paths) = ephemerals(actor);
        requests.push(ask::children2(ROOT, false));
        requests.extend(remembered.iter().map(|path| ask::exists(path, false)));
        let outcomes = actor.ask_all(requests).await;
        remembered.extend(paths);
        let surplus = remembered.len().saturating_sub(REMEMBERED_MAX);
        remembered.drain(..surplus);
        if !outcomes.is_empty() {
            part(actor, &mut remembered).await;
        }
    }
}

/// One to three ephemerals, some of them numbered.
fn ephemerals<R: Runtime>(actor: &mut Actor<R>) -> (Vec<Request>, Vec<String>) {
    let (mut requests, mut paths) = (Vec::new(), Vec::new());
    for _ in 0..actor.rng.random_range(1..=3) {
        let serial = actor.serial();
        let path = format!("{ROOT}/e{}-{serial}", actor.index);
        let value = actor.value();
        if actor.chance(30) {
            let path = format!("{path}-");
            requests.push(ask::create(&path, value, Mode::EphemeralSequential));
        } else {
            requests.push(ask::create2(&path, value, Mode::Ephemeral));
            paths.push(path);
        }
    }
    (requests, paths)
}

/// How this session ends, if it does.
async fn part<R: Runtime>(actor: &mut Actor<R>, remembered: &mut Vec<String>) {
    match actor.rng.random_range(0..100) {
        0..30 => actor.close().await,
        30..50 => {
            let (requests, paths) = ephemerals(actor);
            remembered.extend(paths);
            actor.close_behind(requests).await;
        }
        50..65 => actor.abandon(),
        _ => {}
    }
}
