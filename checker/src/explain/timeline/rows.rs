//! Who did what when: a row for each session or client, a bar for each request.
//!
//! What always holds: bars of one line do not overlap, what convicts is always drawn, and the
//! number of rows, lines and bars is bounded.

use super::super::deed::{Clock, Deed, Kind};
use super::picture::Drawn;
use super::window::{WIDTH, Window};
use std::collections::{BTreeMap, BTreeSet};

/// Most rows drawn.
const ROWS_MAX: usize = 40;
/// Height of one line of bars, pixels.
pub(super) const LINE_HEIGHT: usize = 24;
/// Most lines of bars of one row.
const LINES_MAX: usize = 6;
/// Width of a letter, thousandths of the picture, for labels that must be readable.
const LETTER: f64 = 5.8;
/// Least width of a bar, thousandths of the picture.
pub(super) const BAR_MIN: f64 = 3.0;
/// How many colours there are for servers.
pub(super) const SERVER_COLOURS: u32 = 8;
/// Most letters on a bar.
const LABEL_CHARS_MAX: usize = 32;

/// What one session or client did.
pub(super) struct Row {
    pub(super) name: String,
    pub(super) client: String,
    /// How many did not find room.
    pub(super) crowded: usize,
    pub(super) convicts: bool,
    pub(super) height: usize,
    pub(super) bars: Vec<Bar>,
    pub(super) at: Vec<Strip>,
}

/// One thing.
pub(super) struct Bar {
    pub(super) left: String,
    pub(super) width: String,
    pub(super) top: usize,
    pub(super) class: String,
    pub(super) label: String,
    pub(super) number: Option<usize>,
    pub(super) title: String,
    pub(super) lines: Vec<String>,
}

/// Which server was talked to.
pub(super) struct Strip {
    pub(super) left: String,
    pub(super) width: String,
    pub(super) colour: u32,
    pub(super) server: u32,
}

/// A row for each session or client, the convicting ones first.
pub(super) fn rows(drawn: &[Drawn], window: &Window) -> Vec<Row> {
    let mut by_session: BTreeMap<(i64, u32), Vec<&Drawn>> = BTreeMap::new();
    for drawn in drawn {
        let key = match drawn.deed.session {
            0 => (0, drawn.deed.process),
            session => (session, 0),
        };
        by_session.entry(key).or_default().push(drawn);
    }
    let rows = by_session.into_values().map(|drawn| row(&drawn, window));
    let mut rows: Vec<Row> = rows.collect();
    rows.sort_by_key(|row| !row.convicts);
    rows.truncate(ROWS_MAX);
    rows
}

fn row(drawn: &[&Drawn], window: &Window) -> Row {
    let mut lines = Lines::default();
    // What convicts gets its place first, then what is needed, then the rest while there is room.
    let mut ranked = drawn.to_vec();
    ranked.sort_by_key(|drawn| (drawn.convicts.is_none(), !drawn.needed));
    let bars = ranked.iter();
    let bars = bars.filter_map(|drawn| bar_of(drawn, window, &mut lines));
    let mut bars: Vec<Bar> = bars.collect();
    bars.reverse();
    let clients: BTreeSet<u32> = drawn.iter().map(|drawn| drawn.deed.process).collect();
    let clients: Vec<String> = clients.iter().map(u32::to_string).collect();
    let clients = format!("client {}", clients.join(", "));
    let (name, client) = match (drawn[0].deed.session, drawn[0].deed.clock()) {
        (_, Clock::Numbers) => (clients, String::new()),
        (0, Clock::Nanoseconds) => ("no session".into(), clients),
        (session, Clock::Nanoseconds) => (format!("{session:#x}"), clients),
    };
    Row {
        name,
        client,
        crowded: drawn.len() - bars.len(),
        convicts: bars.iter().any(|bar| bar.number.is_some()),
        height: lines.height() + 8,
        at: strips(drawn, window),
        bars,
    }
}

fn bar_of(drawn: &Drawn, window: &Window, lines: &mut Lines) -> Option<Bar> {
    let (deed, number) = (&drawn.deed, drawn.convicts);
    let left = window.place(deed.from);
    let end = match (deed.until, deed.kind) {
        (Some(until), _) => window.place(until),
        (None, Kind::Unanswered) => window.place(u64::MAX),
        (None, _) => left,
    };
    let moment = matches!(deed.kind, Kind::Notified | Kind::Session);
    let width = (end - left).max(if moment { 0.0 } else { BAR_MIN });
    let label = if moment { String::new() } else { short(deed) };
    let room = match number {
        Some(_) => width.max(LETTER * label.chars().count() as f64 + 12.0),
        None => width.max(8.0),
    };
    // A label that would leave the picture goes to the left from the bar's end.
    let tail = number.is_some() && left + room > WIDTH;
    let line = match tail {
        true => lines.place((left + width - room).min(left), left + width),
        false => lines.place(left, left + room),
    };
    if line >= LINES_MAX && number.is_none() {
        return None;
    }
    let mut class = format!("bar {}", deed.kind.name());
    for (is, name) in [
        (number.is_some(), "convict"),
        (!drawn.needed, "loose"),
        (left > 600.0, "flip"),
        (tail, "tail"),
    ] {
        if is {
            class.push(' ');
            class.push_str(name);
        }
    }
    let mut told = vec![deed.who()];
    if !deed.told.is_empty() {
        told.push(format!("→ {}", deed.told));
    }
    told.push(format!("{} ({})", deed.when(), deed.places()));
    Some(Bar {
        left: percent(left),
        width: percent(width),
        top: line * LINE_HEIGHT,
        class,
        label,
        number,
        title: deed.what.clone(),
        lines: told,
    })
}

/// Which server a session was talking to.
fn strips(drawn: &[&Drawn], window: &Window) -> Vec<Strip> {
    let mut spans: Vec<(u32, u64, u64)> = Vec::new();
    for Drawn { deed, .. } in drawn {
        let Some(server) = deed.server else { continue };
        let until = deed.until.unwrap_or(deed.from);
        match spans.last_mut() {
            Some(last) if last.0 == server => last.2 = last.2.max(until),
            _ => spans.push((server, deed.from, until)),
        }
    }
    let strip = |&(server, from, until): &(u32, u64, u64)| {
        let left = window.place(from);
        Strip {
            left: percent(left),
            width: percent((window.place(until) - left).max(BAR_MIN)),
            colour: server % SERVER_COLOURS,
            server,
        }
    };
    spans.iter().map(strip).collect()
}

/// Lines of bars that do not overlap; what is taken, in any order.
#[derive(Default)]
pub(super) struct Lines(Vec<Vec<(f64, f64)>>);

impl Lines {
    /// The first line that is free from `left` to `right`, taken from now on unless it is one
    /// line too many.
    pub(super) fn place(&mut self, left: f64, right: f64) -> usize {
        let free = |taken: &Vec<(f64, f64)>| {
            taken
                .iter()
                .all(|&(from, until)| until <= left || from >= right)
        };
        let line = self.0.iter().position(free).unwrap_or(self.0.len());
        if line == self.0.len() && line <= LINES_MAX {
            self.0.push(Vec::new());
        }
        if let Some(taken) = self.0.get_mut(line) {
            taken.push((left, right));
        }
        line
    }

    pub(super) fn height(&self) -> usize {
        self.0.len().clamp(1, LINES_MAX) * LINE_HEIGHT
    }
}

/// Thousandths as a percentage for a style sheet.
pub(super) fn percent(thousandths: f64) -> String {
    format!("{:.3}%", thousandths / 10.0)
}

/// The first words, as a bar has no room for more; of an operation that others recorded what
/// it is told too, since it is short.
fn short(deed: &Deed) -> String {
    match deed.clock() {
        Clock::Nanoseconds => {
            let words: Vec<&str> = deed.what.split(' ').take(2).collect();
            words.join(" ").trim_end_matches(',').to_string()
        }
        Clock::Numbers => match deed.what.char_indices().nth(LABEL_CHARS_MAX) {
            Some((end, _)) => format!("{}…", &deed.what[..end]),
            None => deed.what.clone(),
        },
    }
}
