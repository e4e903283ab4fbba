//! What happened, as one number and as a short log.
//!
//! The fingerprint is a running hash over the world's own events with their due times: two
//! runs of a seed are the same run when their fingerprints are. It is no hash of the
//! executor's turns, so that it hangs on what the simulation means and not on how it is
//! scheduled. The short log is a ring of the newest lines with fixed columns, for people.

use crate::world::keyed::mix;
use std::collections::VecDeque;
use std::fmt::{self, Write};

/// Lines kept when nothing else is asked for.
pub const LOG_LINES_DEFAULT: usize = 10_000;

/// Declares [`Kind`] with names and a dense numbering.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal,)*) => {
        /// What kind of event it is.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum Kind {
            $($(#[$doc])* $kind,)*
        }

        impl Kind {
            /// Its name in the log.
            pub fn name(self) -> &'static str {
                match self {
                    $(Kind::$kind => $name,)*
                }
            }
        }
    };
}

kinds! {
    /// A host's program was started.
    Start = "start",
    /// A host's program ended by itself.
    Exit = "exit",
    /// A host's program was killed.
    Crash = "crash",
    /// A host lost power.
    PowerCut = "power-cut",
    /// A host's program stands still.
    Pause = "pause",
    /// It goes on.
    Resume = "resume",
    /// A connection was asked for.
    Dial = "dial",
    /// A connection came to be, at the listener.
    Connect = "connect",
    /// A connection was refused.
    Refuse = "refuse",
    /// A request for a connection was lost.
    Lost = "lost",
    /// Bytes went into a connection.
    Send = "send",
    /// Bytes were read.
    Receive = "receive",
    /// A side learns, at the time given, that its connection is broken.
    Reset = "reset",
    /// A side closed its connection.
    Close = "close",
    /// A fault of the network began or ended.
    Network = "network",
    /// A disk operation was submitted; the time given is when it will be done.
    Submit = "submit",
    /// A disk operation took effect.
    Disk = "disk",
    /// A fault of a disk began or ended.
    DiskFault = "disk-fault",
    /// A clock was changed.
    Clock = "clock",
    /// Something from outside the world: an invariant, a nemesis, a client.
    Note = "note",
}

/// Tells whether a kind is worth a line when only the rare is logged.
fn is_frequent(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Send | Kind::Receive | Kind::Submit | Kind::Disk | Kind::Dial
    )
}

/// How much the short log holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogDetail {
    /// Nothing.
    Off,
    /// Everything but single messages and disk operations.
    Rare,
    /// Everything.
    All,
}

enum Detail {
    Numbers([u64; 3]),
    Text(String),
}

struct Line {
    at_ns: u64,
    host: u16,
    kind: Kind,
    detail: Detail,
}

/// The fingerprint, the count and the log of one life.
pub struct Trace {
    fingerprint: u64,
    events: u64,
    detail: LogDetail,
    lines_max: usize,
    lines: VecDeque<Line>,
    lines_lost: u64,
}

impl Trace {
    /// An empty trace that keeps at most `lines_max` lines.
    pub fn new(detail: LogDetail, lines_max: usize) -> Trace {
        Trace {
            fingerprint: 0,
            events: 0,
            detail,
            lines_max,
            lines: VecDeque::new(),
            lines_lost: 0,
        }
    }

    /// The running hash of every event so far.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// How many events there were.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Adds an event whose meaning is three numbers.
    pub fn numbers(&mut self, at_ns: u64, host: u16, kind: Kind, numbers: [u64; 3]) {
        let [a, b, c] = numbers;
        self.fold(at_ns, host, kind);
        self.fingerprint = mix(self.fingerprint ^ a);
        self.fingerprint = mix(self.fingerprint.rotate_left(17) ^ b);
        self.fingerprint = mix(self.fingerprint.rotate_left(31) ^ c);
        if self.keeps(kind) {
            self.push(at_ns, host, kind, Detail::Numbers(numbers));
        }
    }

    /// Adds an event told in words.
    pub fn text(&mut self, at_ns: u64, host: u16, kind: Kind, text: fmt::Arguments<'_>) {
        self.fold(at_ns, host, kind);
        // The words are part of the run also where no log is kept: the fingerprint must not
        // hang on the log's detail.
        let text = text.to_string();
        for word in text.as_bytes().chunks(8) {
            let mut padded = [0; 8];
            padded[..word.len()].copy_from_slice(word);
            self.fingerprint = mix(self.fingerprint ^ u64::from_le_bytes(padded));
        }
        if self.keeps(kind) {
            self.push(at_ns, host, kind, Detail::Text(text));
        }
    }

    fn fold(&mut self, at_ns: u64, host: u16, kind: Kind) {
        self.events += 1;
        let place = (u64::from(host) << 8) | kind as u64;
        self.fingerprint = mix(self.fingerprint ^ at_ns.rotate_left(24) ^ place);
    }

    fn keeps(&self, kind: Kind) -> bool {
        match self.detail {
            LogDetail::Off => false,
            LogDetail::Rare => !is_frequent(kind),
            LogDetail::All => true,
        }
    }

    fn push(&mut self, at_ns: u64, host: u16, kind: Kind, detail: Detail) {
        if self.lines.len() >= self.lines_max {
            self.lines.pop_front();
            self.lines_lost += 1;
        }
        self.lines.push_back(Line {
            at_ns,
            host,
            kind,
            detail,
        });
    }

    /// The log: virtual time in milliseconds, host, kind, text; one event a line. `name`
    /// tells the name of a host; host 0 is the conductor.
    pub fn log(&self, name: impl Fn(u16) -> String) -> String {
        let mut log = String::new();
        if self.lines_lost > 0 {
            let _ = writeln!(log, "# {} older lines were dropped", self.lines_lost);
        }
        for line in &self.lines {
            let (ms, ns) = (line.at_ns / 1_000_000, line.at_ns % 1_000_000);
            let _ = write!(
                log,
                "{ms:>9}.{ns:06}  {:<10}  {:<10}",
                name(line.host),
                line.kind.name()
            );
            let _ = match &line.detail {
                Detail::Numbers([a, b, c]) => writeln!(log, "  {a} {b} {c}"),
                Detail::Text(text) => writeln!(log, "  {text}"),
            };
        }
        log
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(detail: LogDetail) -> Trace {
        let mut trace = Trace::new(detail, 2);
        trace.numbers(1, 1, Kind::Send, [1, 2, 3]);
        trace.text(2_500_001, 2, Kind::Network, format_args!("cut {} {}", 1, 2));
        trace.numbers(3, 1, Kind::Receive, [1, 2, 3]);
        trace.text(4, 0, Kind::Note, format_args!("heal"));
        trace
    }

    #[test]
    fn fingerprint_hangs_on_the_events_and_not_on_the_log() {
        let all = filled(LogDetail::All);
        assert_eq!(all.fingerprint(), filled(LogDetail::Off).fingerprint());
        assert_eq!(all.events(), 4);
        let mut other = Trace::new(LogDetail::Off, 0);
        other.numbers(1, 1, Kind::Send, [1, 2, 4]);
        let mut same = Trace::new(LogDetail::Off, 0);
        same.numbers(1, 1, Kind::Send, [1, 2, 3]);
        assert_ne!(other.fingerprint(), same.fingerprint());
    }

    #[test]
    fn log_is_bounded_and_has_columns() {
        let name = |host| format!("h{host}");
        let rare = filled(LogDetail::Rare).log(name);
        assert_eq!(
            rare,
            "        2.500001  h2          network     cut 1 2\n        \
             0.000004  h0          note        heal\n"
        );
        let all = filled(LogDetail::All).log(name);
        assert!(all.starts_with("# 2 older lines were dropped\n"), "{all}");
        assert_eq!(filled(LogDetail::Off).log(name), "");
    }
}
