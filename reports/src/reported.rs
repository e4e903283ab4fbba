//! What servers reported, line by line: `events.jsonl`, and their lives in `trace.log`.
//!
//! What it is not: a reader of files; [`crate::read`] hands in the lines and names the one
//! that is refused. Names of events that are not known are let through, roles are not: a
//! server without a known role cannot be drawn.
//!
//! Answers to: `docs/SIMULATION.md`, "Run directories".

use crate::read::plain;
use serde::Deserialize;

/// One line of `events.jsonl`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// Nanoseconds of the run.
    pub time: u64,
    /// Who.
    pub server: u32,
    /// Which of its lives, from 1.
    pub incarnation: u32,
    /// What.
    pub what: What,
}

/// What a server reported.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum What {
    /// It read its disk.
    Recovered {
        /// Last transaction found.
        last: String,
        /// In what state the disk was.
        fitness: String,
    },
    /// It has a new role.
    Role(Role),
    /// It leads a quorum.
    Established {
        /// The epoch.
        epoch: u64,
        /// The last transaction of the history it begins with.
        last: String,
    },
    /// A transaction was handed to the tree; only its number is kept.
    Delivered(u64),
    /// A part of the log was cut off.
    Truncated(String),
    /// A snapshot came from the leader.
    SnapshotInstalled(String),
    /// A snapshot was written.
    SnapshotTaken(String),
    /// It gave up; the reason.
    Halted(String),
    /// Something no report shows. Unknown names are here too: a server may learn new ones
    /// without a new layout.
    Other,
}

/// A server's role.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Reading its disk.
    Recovering,
    /// Without a leader, an election under way.
    Looking,
    /// Elected or has elected, not yet at work.
    Electing,
    /// Leads the epoch.
    Leading(u64),
    /// Follows (leader, epoch).
    Following(u64, u64),
    /// Observes (leader, epoch).
    Observing(u64, u64),
    /// Gave up.
    Halted,
}

/// One line of `trace.log` about a server's program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Beat {
    /// Nanoseconds of the run.
    pub time: u64,
    /// Whose.
    pub server: u32,
    /// What became of it.
    pub turn: Turn,
}

/// What became of a program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Turn {
    /// It began its life of this number.
    Start(u32),
    /// It is gone: killed, ended, or without power.
    End,
    /// It stands still.
    Pause,
    /// It goes on.
    Resume,
}

/// One line of `events.jsonl` as it stands there.
#[derive(Deserialize)]
struct EventLine {
    time: u64,
    server: u32,
    process: u32,
    event: String,
    role: Option<String>,
    leader: Option<u64>,
    epoch: Option<u64>,
    last: Option<String>,
    fitness: Option<String>,
    zxid: Option<String>,
    reason: Option<String>,
}

/// The event in a line of `events.jsonl`, or what is wrong with it.
pub(crate) fn event_of(text: &str, servers: u32) -> Result<Event, String> {
    let line: EventLine = serde_json::from_str(text).map_err(|error| plain(&error))?;
    if line.server == 0 || line.server > servers {
        return Err(format!("server {} is not one of {servers}", line.server));
    }
    Ok(Event {
        time: line.time,
        server: line.server,
        incarnation: line.process,
        what: what_of(&line)?,
    })
}

fn what_of(line: &EventLine) -> Result<What, String> {
    let text = |value: &Option<String>, name: &str| {
        value.clone().ok_or_else(|| format!("`{name}` is missing"))
    };
    let zxid = || text(&line.zxid, "zxid");
    Ok(match line.event.as_str() {
        "recovered" => What::Recovered {
            last: text(&line.last, "last")?,
            fitness: text(&line.fitness, "fitness")?,
        },
        "role" => What::Role(role_of(line)?),
        "established" => What::Established {
            epoch: line.epoch.ok_or("`epoch` is missing")?,
            last: text(&line.last, "last")?,
        },
        "delivered" => What::Delivered(number_of(&zxid()?)?),
        "truncated" => What::Truncated(zxid()?),
        "snapshot-installed" => What::SnapshotInstalled(zxid()?),
        "snapshot-taken" => What::SnapshotTaken(zxid()?),
        "halted" => What::Halted(text(&line.reason, "reason")?),
        _ => What::Other,
    })
}

fn role_of(line: &EventLine) -> Result<Role, String> {
    let role = line.role.as_deref().ok_or("`role` is missing")?;
    let epoch = || line.epoch.ok_or("`epoch` is missing");
    let leader = || line.leader.ok_or("`leader` is missing");
    Ok(match role {
        "recovering" => Role::Recovering,
        "looking" => Role::Looking,
        "electing" => Role::Electing,
        "leading" => Role::Leading(epoch()?),
        "following" => Role::Following(leader()?, epoch()?),
        "observing" => Role::Observing(leader()?, epoch()?),
        "halted" => Role::Halted,
        other => return Err(format!("no role: {other:?}")),
    })
}

fn number_of(zxid: &str) -> Result<u64, String> {
    zxid.strip_prefix("0x")
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .ok_or_else(|| format!("no zxid: {zxid:?}"))
}

/// The beat in a line: `milliseconds.nanoseconds host kind details`.
pub(crate) fn beat_of(line: &str, servers: u32) -> Result<Option<Beat>, String> {
    let mut words = line.split_whitespace();
    let (Some(at), Some(host), Some(kind)) = (words.next(), words.next(), words.next()) else {
        return Err("expected time, host and kind".into());
    };
    let time = millionths(at).ok_or_else(|| format!("no time: {at:?}"))?;
    let server = host.strip_prefix('s').and_then(|id| id.parse().ok());
    let Some(server) = server.filter(|id| (1..=servers).contains(id)) else {
        return Ok(None);
    };
    let turn = match kind {
        "start" => {
            let life = words.next().and_then(|word| word.parse().ok());
            Turn::Start(life.ok_or("a start without its number")?)
        }
        "exit" | "crash" | "power-cut" => Turn::End,
        "pause" => Turn::Pause,
        "resume" => Turn::Resume,
        _ => return Ok(None),
    };
    Ok(Some(Beat { time, server, turn }))
}

/// `12.000345` as millionths: nanoseconds of milliseconds, microseconds of seconds.
pub(crate) fn millionths(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.')?;
    let digits = part.len() == 6 && part.bytes().all(|byte| byte.is_ascii_digit());
    let part: u64 = digits.then(|| part.parse().ok())??;
    whole
        .parse::<u64>()
        .ok()?
        .checked_mul(1_000_000)?
        .checked_add(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lives_of_servers_are_heard_and_nothing_else() {
        let start = beat_of("  12.000345  s2   start       3 0 0", 3).unwrap();
        let expected = Beat {
            time: 12_000_345,
            server: 2,
            turn: Turn::Start(3),
        };
        assert_eq!(start, Some(expected));
        for line in [
            "1.000000 c2 start 1",
            "1.000000 s4 crash 1",
            "1.000000 s1 send 4",
        ] {
            assert_eq!(beat_of(line, 3).unwrap(), None, "{line}");
        }
        for line in ["", "1.000000 s1", "1.5 s1 crash 1", "1.000000 s1 start x"] {
            assert!(beat_of(line, 3).is_err(), "{line}");
        }
    }

    #[test]
    fn event_without_its_fields_is_refused() {
        let line = |rest: &str| format!(r#"{{"time":1,"server":1,"process":1,"event":{rest}}}"#);
        for (rest, reason) in [
            (r#""role","role":"king""#, "no role: \"king\""),
            (r#""role","role":"leading""#, "`epoch` is missing"),
            (r#""delivered","zxid":"7""#, "no zxid: \"7\""),
        ] {
            assert_eq!(event_of(&line(rest), 3).unwrap_err(), reason);
        }
        assert_eq!(event_of(&line(r#""new""#), 3).unwrap().what, What::Other);
    }
}
