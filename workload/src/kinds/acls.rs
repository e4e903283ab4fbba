//! Digest identities and protected nodes: some clients may, some may not.
//!
//! Each client is one of three users (or nobody) and tries everything on nodes whose ACLs
//! change under its hands. Denied access is an outcome as good as any. Provokes P20: data,
//! Stat, events and rights only where the ACL of that very prefix allows them.

use crate::actor::Actor;
use crate::ask::{self, Mode};
use gamekeeper_checker::history::digest_identity;
use gamekeeper_core::proto::{Acl, Request};
use gamekeeper_runtime::Runtime;
use rand::RngExt;

const ROOT: &str = "/acl";

/// Users and passwords.
pub(crate) const USERS: [(&str, &str); 3] = [("ann", "owl"), ("bob", "elk"), ("cat", "fox")];

const READ: i32 = 1;
const WRITE: i32 = 2;
const CREATE: i32 = 4;
const DELETE: i32 = 8;
const ADMIN: i32 = 16;
const ALL: i32 = 31;

/// See the module's head.
pub(super) async fn work<R: Runtime>(actor: &mut Actor<R>) {
    actor.ensure(&[ROOT.into()]).await;
    let mut known_to = 0;
    while actor.on_duty() {
        actor.think().await;
        // A new session knows nobody; one client in four stays nobody.
        if known_to != actor.stats.sessions && actor.index % 4 != 3 {
            let (user, password) = USERS[actor.index as usize % USERS.len()];
            actor.identify(user, password).await;
            known_to = actor.stats.sessions;
        } else if actor.chance(2) {
            let (user, password) = USERS[actor.rng.random_range(0..USERS.len())];
            actor.identify(user, password).await;
        }
        let depth = actor.rng.random_range(1..=actor.spec.pipeline);
        let requests = (0..depth).map(|_| draw(actor)).collect();
        actor.ask_all(requests).await;
    }
}

fn draw<R: Runtime>(actor: &mut Actor<R>) -> Request {
    let key = format!("{ROOT}/k{}", actor.key());
    let child = format!("{key}/c");
    match actor.rng.random_range(0..100) {
        0..15 => ask::create_with(&key, actor.value(), Mode::Persistent, acl(actor)),
        15..22 => ask::create_with(&child, actor.value(), Mode::Ephemeral, acl(actor)),
        22..30 => ask::delete(&child, ask::ANY),
        30..36 => ask::delete(&key, ask::ANY),
        36..50 => ask::get(&key, actor.chance(20)),
        50..62 => ask::set(&key, actor.value(), ask::ANY),
        62..68 => ask::exists(&key, actor.chance(20)),
        68..74 => ask::children2(&key, actor.chance(20)),
        74..84 => ask::get_acl(&key),
        84..96 => ask::set_acl(&key, acl(actor), ask::ANY),
        _ => ask::multi(vec![
            ask::op_check(&key, 0),
            ask::op_set(&key, actor.value(), ask::ANY),
        ]),
    }
}

/// An ACL, sound more often than not.
fn acl<R: Runtime>(actor: &mut Actor<R>) -> Vec<Acl> {
    let (user, password) = USERS[actor.rng.random_range(0..USERS.len())];
    let identity = digest_identity(&format!("{user}:{password}"));
    let digest = |perms| ask::acl(perms, &identity.scheme, &identity.id);
    match actor.rng.random_range(0..100) {
        0..25 => vec![ask::acl(ALL, "world", "anyone")],
        25..45 => vec![digest(ALL)],
        45..60 => vec![ask::acl(READ, "world", "anyone"), digest(ALL)],
        60..70 => vec![
            digest(READ | ADMIN),
            ask::acl(CREATE | DELETE, "world", "anyone"),
        ],
        70..80 => vec![ask::acl(WRITE | ADMIN, "world", "anyone"), digest(READ)],
        // Refused when the session has no identity.
        80..95 => vec![ask::acl(ALL, "auth", "")],
        95..98 => vec![],
        _ => vec![ask::acl(ALL, "nonsense", "x")],
    }
}
