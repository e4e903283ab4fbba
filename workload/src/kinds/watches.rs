//! One-shot watches of all kinds on a few keys that everybody changes.
//!
//! A client arms data, exist and child watches, changes nodes itself, and arms again what
//! fired. Provokes the group "Watches": missed, doubled, late and spurious events (P10 to
//! P12), registration that races a change, and above all re-registration after a reconnect.

use crate::actor::Actor;
use crate::ask::{self, Mode};
use gamekeeper_core::proto::{EventType, Request};
use gamekeeper_runtime::Runtime;
use rand::RngExt;

const ROOT: &str = "/watch";
/// Longest wait for an event, milliseconds.
const WAIT_MS: u64 = 400;
/// Most events answered by arming again before the client does something else.
const REARMED_MAX: usize = 8;

/// See the module's head.
pub(super) async fn work<R: Runtime>(actor: &mut Actor<R>) {
    actor.ensure(&[ROOT.into()]).await;
    while actor.on_duty() {
        actor.think().await;
        let depth = actor.rng.random_range(1..=actor.spec.pipeline);
        let requests = (0..depth).map(|_| draw(actor)).collect();
        actor.ask_all(requests).await;
        if actor.chance(40) {
            rearm(actor).await;
        } else {
            actor.drain_events().await;
        }
    }
}

fn draw<R: Runtime>(actor: &mut Actor<R>) -> Request {
    let key = format!("{ROOT}/k{}", actor.key());
    let child = format!("{key}/c{}", actor.rng.random_range(0..2));
    match actor.rng.random_range(0..100) {
        0..12 => ask::get(&key, true),
        12..24 => ask::exists(&key, true),
        24..34 => ask::children(&key, true),
        34..40 => ask::children2(ROOT, true),
        40..45 => ask::exists(&child, true),
        45..50 => ask::get(&key, false),
        50..65 => ask::set(&key, actor.value(), ask::ANY),
        65..75 => ask::create(&key, actor.value(), Mode::Persistent),
        75..80 => ask::create(&child, actor.value(), Mode::Persistent),
        80..84 => ask::create(&child, actor.value(), Mode::Ephemeral),
        84..92 => ask::delete(&child, ask::ANY),
        92..98 => ask::delete(&key, ask::ANY),
        // Created and gone in one transaction: two events at one zxid.
        _ => ask::multi(vec![
            ask::op_create(&key, actor.value(), Mode::Persistent),
            ask::op_delete(&key, ask::ANY),
        ]),
    }
}

/// Waits a little for events and arms again what fired.
async fn rearm<R: Runtime>(actor: &mut Actor<R>) {
    for _ in 0..REARMED_MAX {
        let Some(watched) = actor.event(WAIT_MS).await else {
            return;
        };
        let path = watched.event.path;
        let request = match watched.event.kind {
            EventType::NodeDeleted => ask::exists(&path, true),
            EventType::NodeCreated | EventType::NodeDataChanged => ask::get(&path, true),
            EventType::NodeChildrenChanged => ask::children2(&path, true),
        };
        actor.ask(request).await;
    }
}
