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
    let mut tidy = true;
    while actor.on_duty() {
        actor.think().await;
        actor.drain_events().await;
        if !tidy {
            tidy = clear_leftovers(actor).await;
        }
        let serial = actor.serial();
        let label = format!("{}-{serial}-", actor.index);
        let Some(place) = queue_up(actor, &label).await else {
            tidy = false;
            continue;
        };
        if wait_turn(actor, &place).await {
            hold(actor).await;
        }
        tidy &= leave(actor, &place).await;
    }
}

/// Gives a place back; true when it is surely gone.
async fn leave<R: Runtime>(actor: &mut Actor<R>, place: &str) -> bool {
    let path = format!("{QUEUE}/{place}");
    let outcome = actor.ask(ask::delete(&path, ask::ANY)).await;
    matches!(outcome, Some(Ok(_) | Err(ClientError::Server(_))))
}

/// Removes places of this client that lost answers may have left behind: its session keeps
/// them, and everybody would wait behind them. True when none can be left.
async fn clear_leftovers<R: Runtime>(actor: &mut Actor<R>) -> bool {
    // The lost request is settled by now, but this server may not have heard of it yet.
    let Some(Ok(_)) = actor.ask(ask::sync(QUEUE)).await else {
        return false;
    };
    let Some(names) = queue(actor).await else {
        return false;
    };
    let own = format!("{}-", actor.index);
    let mut tidy = true;
    for name in names.iter().filter(|name| name.starts_with(&own)) {
        tidy &= leave(actor, name).await;
    }
    tidy
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
