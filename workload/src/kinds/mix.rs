//! Everything on a small shared tree, pipelined at a drawn depth.
//!
//! Few keys, so that clients meet: creates find nodes that exist, deletes find children,
//! conditional writes lose races. Reads and writes of one session follow each other without
//! waiting, which is what P3 to P7 are about (known bugs of the groups "Read path" and
//! "Multi, sequential nodes, stat").

use crate::actor::{Actor, Outcome};
use crate::ask::{self, Mode};
use gamekeeper_core::proto::{MultiOp, Request, Response};
use gamekeeper_runtime::Runtime;
use rand::RngExt;
use std::collections::BTreeMap;

const ROOT: &str = "/mix";
/// Most sequential nodes a client remembers, to delete them again.
const NAMES_MAX: usize = 12;

/// What a client remembers of the tree: versions it saw, names it was given.
#[derive(Default)]
struct Memory {
    versions: BTreeMap<String, i32>,
    names: Vec<String>,
}

impl Memory {
    fn learn(&mut self, request: &Request, outcome: &Outcome) {
        let Ok((_, response)) = outcome else { return };
        if let (Some(path), Some(stat)) = (ask::data_path(request), ask::stat_of(response)) {
            self.versions.insert(path.to_owned(), stat.version);
        }
        if let Response::Create { path } = response
            && path.contains("/s-")
        {
            self.names.push(path.to_string());
        }
    }

    /// The version last seen, or any, or one that is surely wrong.
    fn version<R: Runtime>(&self, actor: &mut Actor<R>, path: &str) -> i32 {
        let seen = self.versions.get(path).copied().unwrap_or(0);
        match actor.rng.random_range(0..10) {
            0..5 => seen,
            5..9 => ask::ANY,
            _ => seen + 1,
        }
    }
}

/// See the module's head.
pub(super) async fn work<R: Runtime>(actor: &mut Actor<R>) {
    actor.ensure(&[ROOT.into()]).await;
    let mut memory = Memory::default();
    while actor.on_duty() {
        actor.think().await;
        let depth = actor.rng.random_range(1..=actor.spec.pipeline);
        let requests: Vec<Request> = (0..depth).map(|_| draw(actor, &mut memory)).collect();
        let outcomes = actor.ask_all(requests.clone()).await;
        for (request, outcome) in requests.iter().zip(&outcomes) {
            memory.learn(request, outcome);
        }
    }
}

/// A key, or now and then a child of one.
fn place<R: Runtime>(actor: &mut Actor<R>) -> String {
    let key = format!("{ROOT}/k{}", actor.key());
    match actor.chance(25) {
        true => format!("{key}/c{}", actor.rng.random_range(0..3)),
        false => key,
    }
}

fn draw<R: Runtime>(actor: &mut Actor<R>, memory: &mut Memory) -> Request {
    let path = place(actor);
    match actor.rng.random_range(0..100) {
        0..20 => ask::get(&path, false),
        20..40 => {
            let version = memory.version(actor, &path);
            ask::set(&path, actor.value(), version)
        }
        40..50 => ask::create(&path, actor.value(), Mode::Persistent),
        50..53 => ask::create2(&path, actor.value(), Mode::Persistent),
        53..56 => ask::create(&path, actor.value(), Mode::Ephemeral),
        56..64 => {
            let version = memory.version(actor, &path);
            ask::delete(&path, version)
        }
        64..72 => ask::exists(&path, false),
        72..77 => ask::children(&path, false),
        77..82 => ask::children2(ROOT, false),
        82..88 => ask::sync(&path),
        88..94 => sequential(actor, memory),
        _ => small_multi(actor, memory, &path),
    }
}

/// Makes a numbered node, or removes one made before, so that the tree stays small.
fn sequential<R: Runtime>(actor: &mut Actor<R>, memory: &mut Memory) -> Request {
    if memory.names.len() >= NAMES_MAX || (!memory.names.is_empty() && actor.chance(40)) {
        let pick = actor.rng.random_range(0..memory.names.len());
        return ask::delete(&memory.names.swap_remove(pick), ask::ANY);
    }
    let path = format!("{ROOT}/s-");
    ask::create(&path, actor.value(), Mode::PersistentSequential)
}

fn small_multi<R: Runtime>(actor: &mut Actor<R>, memory: &mut Memory, path: &str) -> Request {
    let other = place(actor);
    let version = memory.version(actor, path);
    let ops: Vec<MultiOp> = match actor.rng.random_range(0..3) {
        0 => vec![
            ask::op_check(path, version),
            ask::op_set(&other, actor.value(), ask::ANY),
        ],
        1 => vec![
            ask::op_create(path, actor.value(), Mode::Persistent),
            ask::op_set(path, actor.value(), 0),
            ask::op_delete(&other, ask::ANY),
        ],
        _ => vec![
            ask::op_set(path, actor.value(), version),
            ask::op_set(&other, actor.value(), ask::ANY),
        ],
    };
    ask::multi(ops)
}
