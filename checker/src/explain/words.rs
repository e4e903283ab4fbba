//! Records in words a person can follow.
//!
//! What always holds: one line each, without a control character, whatever bytes a hostile
//! history put into its paths and values; and every sentence about a record begins with
//! `process P at T s: `, which is how reports find the record again.
//!
//! Answers to: `consistency.md` 3.5 ("session 2 read /a=1 at zxid 5 after …").

use crate::history::{
    Acl, Answer, Body, ErrorCode, Lapse, Op, Record, SessionEvent, StartNode, Stat, WatchMode,
};
use std::fmt::Write as _;

/// Most characters of a path that are shown.
const PATH_CHARS_MAX: usize = 120;
/// Most parts of a multi, names of a list and entries of an ACL that are shown.
const PARTS_SHOWN_MAX: usize = 6;

/// A record in words, for reports: `process 4 at 2.500000 s: session 0x11 asks get /a (xid 7)`.
pub fn record(record: &Record) -> String {
    format!(
        "process {} at {}: {}",
        record.process,
        time(record.time),
        body(&record.body)
    )
}

/// What a record says, without who and when.
pub fn body(body: &Body) -> String {
    match body {
        Body::Invoke { session, xid, op } => {
            format!("session {session:#x} asks {} (xid {xid})", self::op(op))
        }
        Body::Return { xid, zxid, result } => {
            format!("answer to xid {xid} at zxid {zxid:#x}: {}", outcome(result))
        }
        Body::Lost { xid } => format!("xid {xid} is given up, its fate unknown"),
        Body::Notify { zxid, event, path } => {
            let place = match zxid {
                -1 => "at a zxid that was not told".to_string(),
                zxid => format!("at zxid {zxid:#x}"),
            };
            format!("notified of {} {} {place}", event.name(), self::path(path))
        }
        Body::Session(event) => session(event),
        Body::Ping { sent } => format!("ping sent at {} is answered", time(*sent)),
        Body::Final => "final reads begin".into(),
    }
}

/// Nanoseconds as seconds with six places: `2.500000 s`.
pub fn time(time: u64) -> String {
    format!(
        "{}.{:06} s",
        time / 1_000_000_000,
        time % 1_000_000_000 / 1000
    )
}

/// A request in words: `set /a to "x", expecting version 3`.
pub fn op(op: &Op) -> String {
    let name = op.name();
    let mut words = match op.path() {
        Some(path) => format!("{name} {}", self::path(path)),
        None => name.to_string(),
    };
    match op {
        Op::Create {
            data,
            acl,
            ephemeral,
            lapse,
            sequential,
            ..
        } => {
            add(&mut words, format_args!(" with {}", value(data)));
            match lapse {
                None => {}
                Some(Lapse::Container) => words.push_str(", container"),
                Some(Lapse::Ttl(ms)) => add(&mut words, format_args!(", time to live {ms} ms")),
            }
            for (is, word) in [(ephemeral, "ephemeral"), (sequential, "sequential")] {
                if *is {
                    add(&mut words, format_args!(", {word}"));
                }
            }
            if **acl != *Acl::open() {
                add(&mut words, format_args!(", {}", self::acl(acl)));
            }
        }
        Op::Set { data, version, .. } => {
            add(&mut words, format_args!(" to {}", value(data)));
            expected(&mut words, *version);
        }
        Op::SetAcl { acl, version, .. } => {
            add(&mut words, format_args!(" to {}", self::acl(acl)));
            expected(&mut words, *version);
        }
        Op::Delete { version, .. } | Op::Check { version, .. } => expected(&mut words, *version),
        Op::Exists { watch, .. } | Op::Get { watch, .. } | Op::Children { watch, .. } => {
            if *watch {
                words.push_str(", leaving a watch");
            }
        }
        Op::Multi { ops } => {
            words.push_str(" of ");
            words.push_str(&list(ops, "; ", self::op));
        }
        Op::AddWatch { mode, .. } => add(&mut words, format_args!(", {}", mode.name())),
        Op::RemoveWatches { watches, .. } => add(&mut words, format_args!(", {}", watches.name())),
        Op::GetAcl { .. } | Op::Sync { .. } | Op::Close => {}
    }
    words
}

/// The outcome of a request in words.
pub fn outcome(result: &Result<Answer, ErrorCode>) -> String {
    match result {
        Ok(answer) => self::answer(answer),
        Err(code) => code.to_string(),
    }
}

/// An answer in words: `"x", version 3, mzxid 0x5, …`.
pub fn answer(answer: &Answer) -> String {
    match answer {
        Answer::Done => "done".into(),
        Answer::Path(path) => format!("made {}", self::path(path)),
        Answer::Created { path, stat } => {
            format!("made {}: {}", self::path(path), self::stat(stat))
        }
        Answer::Stat(stat) => self::stat(stat),
        Answer::Data { data, stat } => format!("{}, {}", value(data), self::stat(stat)),
        Answer::Names(names) => self::names(names),
        Answer::NamesStat { names, stat } => {
            format!("{}; {}", self::names(names), self::stat(stat))
        }
        Answer::Acl { acl, stat } => format!("{}; {}", self::acl(acl), self::stat(stat)),
        Answer::Multi(parts) => format!("[{}]", list(parts, "; ", outcome)),
    }
}

/// A Stat in words, what is zero left out where zero is the rule.
pub fn stat(stat: &Stat) -> String {
    let mut words = format!(
        "version {}, czxid {:#x}, mzxid {:#x}",
        stat.version, stat.czxid, stat.mzxid
    );
    if stat.num_children != 0 || stat.cversion != 0 {
        add(
            &mut words,
            format_args!(
                ", {}, cversion {}, pzxid {:#x}",
                count(stat.num_children, "child", "children"),
                stat.cversion,
                stat.pzxid
            ),
        );
    }
    if stat.aversion != 0 {
        add(&mut words, format_args!(", aversion {}", stat.aversion));
    }
    if stat.ephemeral_owner != 0 {
        add(
            &mut words,
            format_args!(", ephemeral of session {:#x}", stat.ephemeral_owner),
        );
    }
    add(
        &mut words,
        format_args!(", {}", count(stat.data_length, "byte", "bytes")),
    );
    words
}

/// A path as it may be printed: quoted and escaped if it holds anything odd, cut if endless.
pub fn path(path: &str) -> String {
    let plain = !path.is_empty() && path.chars().all(|c| !c.is_control() && !c.is_whitespace());
    let cut: String = path.chars().take(PATH_CHARS_MAX).collect();
    let dots = if cut.len() < path.len() { "…" } else { "" };
    match plain {
        true => format!("{cut}{dots}"),
        false => format!("{cut:?}{dots}"),
    }
}

/// A node of a start state in words: `/a = "x", version 3, …`.
pub fn node(node: &StartNode) -> String {
    let (path, stat) = (path(&node.path), stat(&node.stat));
    format!("{path} = {}, {stat}", value(&node.data))
}

/// Text as it may be printed anywhere: what controls a terminal becomes a sign for what cannot
/// be shown.
pub fn plain(text: &str) -> String {
    let shown = |c: char| {
        if c.is_control() {
            char::REPLACEMENT_CHARACTER
        } else {
            c
        }
    };
    text.chars().map(shown).collect()
}

fn value(data: &Option<crate::history::Value>) -> String {
    match data {
        Some(data) => format!("{data:?}"),
        None => "null".into(),
    }
}

fn names(names: &[crate::history::Path]) -> String {
    match names.is_empty() {
        true => "no children".into(),
        false => format!(
            "{}: {}",
            count(names.len() as i32, "child", "children"),
            list(names, ", ", |name| path(name))
        ),
    }
}

/// An ACL, permissions as letters.
pub fn acl(acl: &[Acl]) -> String {
    let entry = |entry: &Acl| {
        let letters = ["r", "w", "c", "d", "a"];
        let perms: String = (0..5)
            .filter(|bit| entry.perms >> bit & 1 == 1)
            .map(|bit| letters[bit])
            .collect();
        let id = &entry.identity;
        let name = match id.id.is_empty() {
            true => String::new(),
            false => path(&id.id),
        };
        format!("{}:{name}:{perms}", path(&id.scheme))
    };
    format!("ACL {}", list(acl, ", ", entry))
}

fn expected(words: &mut String, version: i32) {
    if version != -1 {
        add(words, format_args!(", expecting version {version}"));
    }
}

fn list<T>(items: &[T], between: &str, each: impl Fn(&T) -> String) -> String {
    let mut words: Vec<String> = items.iter().take(PARTS_SHOWN_MAX).map(each).collect();
    if items.len() > PARTS_SHOWN_MAX {
        words.push(format!("{} more", items.len() - PARTS_SHOWN_MAX));
    }
    words.join(between)
}

fn count(number: i32, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

fn add(words: &mut String, more: std::fmt::Arguments<'_>) {
    words.write_fmt(more).expect("a string takes everything");
}

fn session(event: &SessionEvent) -> String {
    match event {
        SessionEvent::Connecting {
            session: 0,
            last_zxid_seen,
        } => format!("asks for a session, last zxid seen {last_zxid_seen:#x}"),
        SessionEvent::Connecting {
            session,
            last_zxid_seen,
        } => {
            format!("connects with session {session:#x}, last zxid seen {last_zxid_seen:#x}")
        }
        SessionEvent::Connected {
            session,
            timeout_ms,
            reattached,
            ..
        } => {
            let how = if *reattached { "re-attached" } else { "new" };
            format!("is connected, session {session:#x} ({how}), timeout {timeout_ms} ms")
        }
        SessionEvent::Disconnected => "is disconnected".into(),
        SessionEvent::Expired { session } => {
            format!("is told that session {session:#x} has expired")
        }
        SessionEvent::Abandoned { session } => {
            format!("leaves session {session:#x} without closing it")
        }
        SessionEvent::SetWatches {
            relative_zxid,
            data,
            exist,
            child,
            stays,
        } => {
            let (data, exist, child) = (data.len(), exist.len(), child.len());
            let mut words = format!(
                "registers watches again relative to {relative_zxid:#x}: {data} data, {exist} exist, {child} child"
            );
            for mode in [WatchMode::Persistent, WatchMode::Recursive] {
                match mode.among(stays).count() {
                    0 => {}
                    count => add(&mut words, format_args!(", {count} {}", mode.name())),
                }
            }
            words
        }
        SessionEvent::SetWatchesDone { zxid } => {
            format!("has its watches registered again at {zxid:#x}")
        }
        SessionEvent::WatchesLeftOut => "has its watches left out of the history".into(),
        SessionEvent::Auth { identity } => {
            let (scheme, id) = (path(&identity.scheme), path(&identity.id));
            format!("authenticates as {scheme}:{id}")
        }
        SessionEvent::AuthDone { ok } => {
            format!("authentication {}", if *ok { "succeeds" } else { "fails" })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Value;

    fn asked(op: Op) -> String {
        let body = Body::Invoke {
            session: 0x11,
            xid: 7,
            op,
        };
        record(&Record {
            process: 4,
            time: 2_500_000_000,
            server: None,
            body,
        })
    }

    #[test]
    fn a_request_reads_like_a_sentence() {
        let set = Op::Set {
            path: "/a".into(),
            data: Some(Value::from("x")),
            version: 3,
        };
        assert_eq!(
            asked(set),
            "process 4 at 2.500000 s: session 0x11 asks set /a to \"x\", expecting version 3 (xid 7)"
        );
    }

    #[test]
    fn hostile_paths_and_values_stay_on_one_harmless_line() {
        for hostile in ["/\u{1b}[31m", "/a\nb", "", "/\u{0}", &"/x".repeat(10_000)] {
            let told = asked(Op::Set {
                path: hostile.into(),
                data: Some(Value::from(hostile)),
                version: -1,
            });
            assert!(!told.chars().any(char::is_control), "{told}");
            assert!(told.len() < 1000, "{} bytes", told.len());
        }
    }
}
