//! Stories told in files: `testdata/*.txt`.
//!
//! A `#` line is the story, another line is one verb, and below it, indented, stands what
//! the servers said and did because of it. `GAMEKEEPER_REWRITE=1` writes the talk anew: read
//! the difference before believing it.
//!
//! | verb | does |
//! |---|---|
//! | `ensemble VOTERS OBSERVERS WINDOW` | a new world; so many delivered entries are kept |
//! | `start`, `crash`, `wipe`, `forget`, `snapshot`, `rejoin`, `confirm` IDS | to these servers |
//! | `propose ID [N]` | new transactions on a leader |
//! | `hold`, `release` IDS | their disks stand still, or go on |
//! | `cut A B`, `open` | nothing passes between two, until opened |
//! | `break A B` | every wire between two |
//! | `settle` | everything that needs no time |
//! | `wait MS` | that, and time passes |
//! | `logs` | what everybody has on disk |

use super::ZabInput;
use super::testworld::World;
use crate::base::ServerId;
use std::path::Path;

fn ids(words: &[&str]) -> Vec<ServerId> {
    let id = |word: &&str| ServerId(word.parse().expect("a server's number"));
    words.iter().map(id).collect()
}

fn ensemble(words: &[&str]) -> World {
    let number = |i: usize| -> u8 { words[i].parse().expect("a number") };
    let mut world = World::new(number(0), number(1));
    world.config.history_entries_max = usize::from(number(2));
    (world.talks, world.terse) = (true, true);
    world
}

fn each(world: &mut World, verb: &str, id: ServerId) {
    match verb {
        "start" => world.start(id),
        "crash" => world.crash(id, 0, 0),
        "wipe" => {
            world.server(id).disk = Default::default();
            world.judge.hurt.insert(id);
        }
        "forget" => {
            world.server(id).disk.epochs = None;
            world.judge.hurt.insert(id);
        }
        "snapshot" => world.snapshot(id),
        "rejoin" => world.step(id, ZabInput::Rejoin),
        "confirm" => world.confirm(id),
        "hold" => drop(world.held.insert(id)),
        "release" => drop(world.held.remove(&id)),
        _ => panic!("no verb {verb:?}"),
    }
}

fn act(world: &mut World, verb: &str, words: &[&str]) {
    match verb {
        "propose" => {
            let times = words.get(1).map_or(1, |n| n.parse().expect("a number"));
            for _ in 0..times {
                world.propose(ids(words)[0]).expect("it takes proposals");
            }
        }
        "cut" => {
            let (a, b) = (ids(words)[0], ids(words)[1]);
            world.cuts.extend([(a, b), (b, a)]);
        }
        "open" => world.cuts.clear(),
        "break" => {
            let (a, b) = (ids(words)[0], ids(words)[1]);
            for (link, end) in world.servers[&a].ends.clone() {
                if end.peer == b {
                    world.snap(a, link, (0, 0));
                }
            }
        }
        "settle" => world.settle(),
        "wait" => world.wait(words[0].parse().expect("milliseconds")),
        "logs" => {
            for id in world.ids() {
                let disk = &world.servers[&id].disk;
                let (log, epochs) = (disk.logged(), disk.epochs.unwrap_or_default());
                let log: Vec<_> = log.iter().map(|entry| entry.zxid).collect();
                world.say(|| format!("s{id} {:?}/{:?} {log:?}", epochs.accepted, epochs.current));
            }
        }
        _ => ids(words).into_iter().for_each(|id| each(world, verb, id)),
    }
}

/// Plays a file's verbs and returns it with the talk that came of them.
fn play(text: &str) -> String {
    let mut world = World::new(1, 0);
    let mut told = String::new();
    for line in text.lines() {
        if line.starts_with("    ") {
            continue;
        }
        told.push_str(line);
        told.push('\n');
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[0] {
            "ensemble" => world = ensemble(&words[1..]),
            verb => act(&mut world, verb, &words[1..]),
        }
        for line in world.talk.drain(..) {
            told.push_str("    ");
            told.push_str(&line);
            told.push('\n');
        }
    }
    told
}

#[allow(clippy::disallowed_methods, clippy::disallowed_types)] // Stories are files.
fn tell(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/zab/testdata")
        .join(name);
    let text = std::fs::read_to_string(&path).expect("a story");
    let told = play(&text);
    if std::env::var("GAMEKEEPER_REWRITE").is_ok_and(|on| on == "1") {
        std::fs::write(&path, told).expect("a story written anew");
        return;
    }
    for (at, (old, new)) in text.lines().zip(told.lines()).enumerate() {
        assert_eq!(old, new, "{name}, line {}", at + 1);
    }
    assert_eq!(
        text.lines().count(),
        told.lines().count(),
        "{name} ends elsewhere"
    );
}

macro_rules! stories {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            tell(concat!(stringify!($name), ".txt"));
        }
    )*};
}

stories! {
    first_boot
    broadcast
    uncommitted_tail_is_cut
    a_learner_behind_gets_a_diff
    a_learner_far_behind_gets_a_snapshot
    stray_entry_of_a_middle_epoch
    a_joiner_finds_the_settled_leader
    an_observer_learns_what_is_committed
    an_amnesiac_gets_its_vote_from_a_later_epoch
    a_wiped_voter_waits_for_rejoin
    a_deposed_leader_is_not_confirmed
    a_leader_dies_before_it_serves
}
