//! Pairs that change together, and multis that must leave no trace.
//!
//! `/multi/x<k>` and `/multi/y<k>` always get the same value in one transaction, so a read of
//! part of it shows at a glance (P16). Failing multis hold sequential creates and are followed
//! at once by another one, whose number must not have moved (ZOOKEEPER-1624); some parts depend
//! on earlier ones of the same multi (ZOOKEEPER-4219).

use crate::actor::Actor;
use crate::ask::{self, Mode};
use gamekeeper_core::proto::{Request, Response};
use gamekeeper_runtime::Runtime;
use rand::RngExt;
use std::collections::VecDeque;

const ROOT: &str = "/multi";
const NUMBERED: &str = "/multi/q";
/// Most numbered nodes a client leaves before it removes the oldest.
const NUMBERED_MAX: usize = 10;
/// A version that no node of a run reaches.
const WRONG: i32 = 1_000_000;

/// See the module's head.
pub(super) async fn work<R: Runtime>(actor: &mut Actor<R>) {
    let mut roots = vec![ROOT.to_owned(), NUMBERED.to_owned()];
    for key in 0..actor.spec.keys {
        roots.extend([format!("{ROOT}/x{key}"), format!("{ROOT}/y{key}")]);
    }
    actor.ensure(&roots).await;
    let mut versions = vec![0; actor.spec.keys as usize];
    let mut numbered: VecDeque<String> = VecDeque::new();
    while actor.on_duty() {
        actor.think().await;
        let key = actor.key() as usize;
        let requests = draw(actor, key, versions[key], &mut numbered);
        let left = format!("{ROOT}/x{key}");
        for (request, outcome) in requests.clone().iter().zip(actor.ask_all(requests).await) {
            match outcome {
                Ok((_, Response::GetData { stat, .. }))
                    if ask::data_path(request) == Some(left.as_str()) =>
                {
                    versions[key] = stat.version;
                }
                Ok((_, Response::Create { path })) => numbered.push_back(path.to_string()),
                Ok(_) | Err(_) => {}
            }
        }
    }
}

fn draw<R: Runtime>(
    actor: &mut Actor<R>,
    key: usize,
    version: i32,
    numbered: &mut VecDeque<String>,
) -> Vec<Request> {
    let (x, y) = (format!("{ROOT}/x{key}"), format!("{ROOT}/y{key}"));
    let next = format!("{NUMBERED}/n-");
    let value = actor.value();
    if numbered.len() > NUMBERED_MAX {
        let ops = numbered.drain(..NUMBERED_MAX / 2);
        return vec![ask::multi(
            ops.map(|p| ask::op_delete(&p, ask::ANY)).collect(),
        )];
    }
    match actor.rng.random_range(0..100) {
        0..35 => vec![ask::multi(vec![
            ask::op_set(&x, value.clone(), ask::ANY),
            ask::op_set(&y, value, ask::ANY),
        ])],
        35..50 => vec![ask::multi(vec![
            ask::op_check(&x, version),
            ask::op_set(&x, value.clone(), version),
            ask::op_set(&y, value, ask::ANY),
        ])],
        50..65 => vec![
            ask::multi(vec![
                ask::op_create(&next, value.clone(), Mode::PersistentSequential),
                ask::op_set(&x, value, ask::ANY),
                ask::op_check(&y, WRONG),
                ask::op_set(&y, actor.value(), ask::ANY),
            ]),
            ask::create(&next, actor.value(), Mode::PersistentSequential),
        ],
        65..75 => {
            let node = format!("{ROOT}/t{}", actor.index);
            vec![ask::multi(vec![
                ask::op_create(&node, value, Mode::Persistent),
                ask::op_set(&node, actor.value(), 0),
                ask::op_delete(&node, 1),
            ])]
        }
        75..80 => vec![ask::multi(Vec::new())],
        _ => vec![ask::get(&x, false), ask::get(&y, false)],
    }
}
