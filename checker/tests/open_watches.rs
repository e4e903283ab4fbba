//! Where others write too: which notifications no stranger can excuse, and which are missed
//! nevertheless.

mod talk;

use gamekeeper_checker::Property;
use gamekeeper_checker::history::{Answer, Body, EventType, Op, SessionEvent, Stat, Value};
use talk::{Talk, beside, stat};

fn watching(talk: Talk, zxid: i64, stat: Stat) -> Talk {
    let op = Op::Get {
        path: "/p/a".into(),
        watch: true,
    };
    let data = Some(Value::from("x"));
    talk.ask(op, zxid, Ok(Answer::Data { data, stat }))
}

/// What the client is told of `/p/a`.
fn told(mut talk: Talk, zxid: i64, event: EventType) -> Talk {
    let time = 10 * talk.0.records.len() as u64;
    let path = "/p/a".into();
    talk.0.push(1, time, Body::Notify { zxid, event, path });
    talk
}

#[test]
fn p10_a_watch_has_fired_by_the_first_change_that_is_proved() {
    let changed = EventType::NodeDataChanged;
    let watch = || watching(Talk::new(), 20, stat(12, 2));
    // A stranger's set, which a Stat shows.
    watch()
        .get(30, "y", stat(25, 3))
        .breaks(Property::WatchBeforeData);
    told(watch(), 25, changed).get(30, "y", stat(25, 3)).valid();
    // Not every change leaves a trace: the first is told, the last is seen.
    told(watch(), 22, changed).get(30, "y", stat(25, 9)).valid();
    // One that it proves itself, but only afterwards.
    told(watch().get(24, "x", stat(12, 2)), 24, changed).breaks(Property::WatchBeforeData);
    told(watch(), 19, changed).breaks(Property::WatchBeforeData);
    // Somebody set the ACL, perhaps before: the client may not be told.
    let closed = Stat {
        aversion: 1,
        ..stat(25, 3)
    };
    watch().get(30, "y", closed).valid();
    // The node is another, and nobody knows who might read it when the first one went.
    let anew = Stat {
        czxid: 24,
        pzxid: 24,
        ..stat(25, 1)
    };
    watch().get(30, "y", anew).valid();
}

#[test]
fn p11_p12_notifications_need_a_registration_of_their_kind() {
    let changed = EventType::NodeDataChanged;
    let watch = || watching(Talk::new(), 20, stat(12, 2));
    told(told(watch(), 22, changed), 23, changed).breaks(Property::WatchOneShot);
    told(Talk::new(), 22, changed).breaks(Property::WatchNotSpurious);
    told(watch(), 22, EventType::NodeCreated).breaks(Property::WatchNotSpurious);
    told(watch(), 22, EventType::NodeChildrenChanged).breaks(Property::WatchNotSpurious);
    told(watch(), 22, EventType::NodeDeleted).valid();
    // What was done there is known, and it was something else.
    told(beside(watch(), "/p/b", 22), 22, changed).breaks(Property::WatchNotSpurious);
    told(beside(watch(), "/p/b", 21), 22, changed).valid();
    let missing = || Talk::new().gone(20);
    told(missing(), 22, EventType::NodeCreated).breaks(Property::WatchNotSpurious);
}

#[test]
fn p12_what_was_registered_before_the_recording_is_not_known() {
    let mut talk = Talk::new();
    talk.0.records.clear();
    told(talk, 22, EventType::NodeDataChanged).valid();
}

#[test]
fn p12_setwatches_makes_up_for_what_was_asked_for_only() {
    let again = |asked: &str, between: Option<EventType>| {
        let mut talk = Talk::new();
        let sent = SessionEvent::SetWatches {
            relative_zxid: 20,
            data: vec![asked.into()],
            exist: Vec::new(),
            child: Vec::new(),
            stays: Vec::new(),
        };
        talk.0.push(1, 2, Body::Session(sent));
        let mut talk = match between {
            Some(event) => told(talk, -1, event),
            None => talk,
        };
        let done = SessionEvent::SetWatchesDone { zxid: 30 };
        talk.0.push(1, 25, Body::Session(done));
        talk
    };
    let changed = EventType::NodeDataChanged;
    again("/p/a", Some(changed)).valid();
    again("/p/a", Some(EventType::NodeCreated)).breaks(Property::WatchNotSpurious);
    again("/p/b", Some(changed)).breaks(Property::WatchNotSpurious);
    // It had changed since, and nobody said so.
    again("/p/a", None)
        .get(40, "y", stat(25, 3))
        .breaks(Property::WatchBeforeData);
    again("/p/a", None).get(40, "y", stat(35, 3)).valid();
}
