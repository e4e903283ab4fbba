//! A lock of ephemeral sequential nodes, each waiting for the one before it.
//!
//! ZooKeeper's own recipe: create `/lock/<who>-`, list, hold when first, else watch the
//! predecessor. Provokes sequential names (P15), ephemerals at expiry and reconnect (P13,
//! P14), and watches that must not be missed (P10): a client that waits for ever for an event
//! holds up everybody behind it, so every wait here is bounded and looks again.

use crate::actor::Actor;
use crate::ask::{self, Mode};
use gamekeeper_client::ClientError;
use gamekeeper_core::proto::Response;
use gamekeeper_runtime::Runtime;
use rand::RngExt;

const QUEUE: &str = "/lock";
const TREASURE: &str = "/lock-treasure";
/// Most looks at the queue before a place in it is given up.
const LOOKS_MAX: u32 = 20;
/// Longest wait for the predecessor to go before looking again, milliseconds.
const WAIT_MS: u64 = 1500;

/// See the module's head.
pub(super) async fn work<R: Runtime>(actor: &mut Actor<R>) {
    actor.ensure(&[QUEUE.into(), TREASURE.into()]).await;
    while actor.on_duty() {
        actor.think().await;
        actor.drain_events().await;
        let serial = actor.serial();
        let label = format!("{}-{serial}-", actor.index);
        let Some(place) = queue_up(actor, &label).await else {
            continue;
        };
        if wait_turn(actor, &place).await {
            hold(actor).await;
        }
        actor
            .ask(ask::delete(&format!("{QUEUE}/{place}"), ask::ANY))
            .await;
    }
}

/// Takes a place in the queue; its name without the folder. After a lost answer the place is
/// looked for by its label: asking again could take two.
async fn queue_up<R: Runtime>(actor: &mut Actor<R>, label: &str) -> Option<String> {
    let path = format!("{QUEUE}/{label}");
    let value = actor.value();
    let outcome = actor
        .ask(ask::create(&path, value, Mode::EphemeralSequential))
        .await?;
    match outcome {
        Ok((_, Response::Create { path })) => path.rsplit('/').next().map(str::to_owned),
        Err(ClientError::ConnectionLoss) => {
            let names = queue(actor).await?;
            names.into_iter().find(|name| name.starts_with(label))
        }
        Ok(_) | Err(_) => None,
    }
}

/// Names in the queue, first come first.
async fn queue<R: Runtime>(actor: &mut Actor<R>) -> Option<Vec<String>> {
    let Some(Ok((_, Response::GetChildren { mut children }))) =
        actor.ask(ask::children(QUEUE, false)).await
    else {
        return None;
    };
    let number = |name: &String| name.rsplit('-').next().map(str::to_owned);
    children.sort_by_key(number);
    Some(children)
}

/// True once this place is first; false when it is lost or not worth more waiting.
async fn wait_turn<R: Runtime>(actor: &mut Actor<R>, place: &str) -> bool {
    for _ in 0..LOOKS_MAX {
        if !actor.on_duty() {
            return false;
        }
        let Some(names) = queue(actor).await else {
            actor.think().await;
            continue;
        };
        match names.iter().position(|name| name == place) {
            None => return false,
            Some(0) => return true,
            Some(n) => {
                // getData, not exists: a watch on a name that never comes again would stay.
                let before = format!("{QUEUE}/{}", names[n - 1]);
                if let Some(Ok(_)) = actor.ask(ask::get(&before, true)).await {
                    actor.event(WAIT_MS).await;
                }
            }
        }
    }
    false
}

/// Reads and writes what the lock protects, a few times.
async fn hold<R: Runtime>(actor: &mut Actor<R>) {
    for _ in 0..actor.rng.random_range(1..=3) {
        let Some(Ok((_, Response::GetData { stat, .. }))) =
            actor.ask(ask::get(TREASURE, false)).await
        else {
            return;
        };
        let value = actor.value();
        actor.ask(ask::set(TREASURE, value, stat.version)).await;
        actor.think().await;
    }
}
