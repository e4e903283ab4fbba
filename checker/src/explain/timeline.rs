//! A failure as a page: what convicts in words, and a picture of the time around it.
//!
//! What always holds: one file that loads nothing and runs nothing (no script, no address);
//! every text from a history goes through the template engine's escaping; only the stretches
//! of [`Window`] are drawn, never a whole history, and at most [`DEEDS_MAX`] things in them.
//!
//! Answers to: `consistency.md` 3.5.

use super::deed::{Deed, Kind};
use super::units::{self, Unit};
use super::window::Window;
use super::{Explanation, meaning, words};
use crate::history::{History, Start};
use askama::Template;
use std::collections::{BTreeMap, BTreeSet};

/// Most things drawn.
const DEEDS_MAX: usize = 600;
/// Most sessions drawn.
const ROWS_MAX: usize = 40;
/// Most things of a reduced history that are listed.
const STORY_MAX: usize = 200;
/// Most nodes of a start state that are listed.
const NODES_MAX: usize = 50;
/// Height of one line of bars, pixels.
const LINE_HEIGHT: usize = 24;
/// Most lines of bars of one session.
const LINES_MAX: usize = 6;
/// Width of a letter, thousandths of the picture, for labels that must be readable.
const LETTER: f64 = 5.8;
/// Least width of a bar, thousandths of the picture.
const BAR_MIN: f64 = 3.0;
/// How many colours there are for servers.
const SERVER_COLOURS: u32 = 8;

/// A lane that the history knows nothing of: what a server was, which fault struck.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lane {
    /// What its lanes are called together; each group can be hidden: `servers`, `faults`.
    pub group: String,
    /// Its name.
    pub name: String,
    /// What happened in it, in order.
    pub spans: Vec<Span>,
}

/// A stretch of time in a lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Nanoseconds.
    pub from: u64,
    /// Nanoseconds; equal to `from` for a moment.
    pub until: u64,
    /// A word.
    pub label: String,
    /// More words.
    pub words: String,
    /// How it is drawn.
    pub tone: Tone,
}

/// How a span is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Calm,
    /// More than that: a leader.
    Strong,
    /// In between.
    Restless,
    /// Not there.
    Absent,
    /// A fault.
    Bad,
}

impl Tone {
    fn class(self) -> &'static str {
        match self {
            Tone::Calm => "calm",
            Tone::Strong => "strong",
            Tone::Restless => "restless",
            Tone::Absent => "absent",
            Tone::Bad => "bad",
        }
    }
}

/// The whole page. `name` is what the history is called.
///
/// # Errors
/// The template could not be filled in.
pub fn page(
    name: &str,
    history: &History,
    explanation: &Explanation,
    lanes: &[Lane],
) -> Result<String, askama::Error> {
    let violation = &explanation.violation;
    Page {
        name: words::plain(name),
        code: violation.property.code(),
        property: violation.property.name(),
        section: section(history, explanation, lanes)?,
    }
    .render()
}

/// The part of a page that belongs to one violation, with its own style sheet, for whoever has
/// a page already.
///
/// # Errors
/// The template could not be filled in.
pub fn section(
    history: &History,
    explanation: &Explanation,
    lanes: &[Lane],
) -> Result<String, askama::Error> {
    Picture::of(history, explanation, lanes).render()
}

#[derive(Template)]
#[template(path = "page.html")]
struct Page {
    name: String,
    code: &'static str,
    property: &'static str,
    section: String,
}

#[derive(Template)]
#[template(path = "timeline.html")]
struct Picture {
    code: &'static str,
    property: &'static str,
    promise: &'static str,
    reason: String,
    class: &'static str,
    before: Vec<String>,
    convicts: Vec<Convict>,
    ticks: Vec<Tick>,
    gaps: Vec<Gap>,
    groups: Vec<Group>,
    rows: Vec<Row>,
    others: usize,
    left_out: usize,
    servers: Vec<Colour>,
    reduced: Option<Reduced>,
}

struct Convict {
    number: usize,
    who: String,
    what: String,
    told: String,
    when: String,
    places: String,
    right: String,
}

struct Tick {
    left: String,
    label: String,
}

struct Gap {
    left: String,
    width: String,
    label: String,
}

struct Group {
    name: String,
    id: String,
    lanes: Vec<LaneRow>,
}

struct LaneRow {
    name: String,
    bars: Vec<Bar>,
    height: usize,
}

struct Row {
    name: String,
    client: String,
    /// How many did not find room.
    crowded: usize,
    convicts: bool,
    height: usize,
    bars: Vec<Bar>,
    at: Vec<Strip>,
}

struct Bar {
    left: String,
    width: String,
    top: usize,
    class: String,
    label: String,
    number: Option<usize>,
    title: String,
    lines: Vec<String>,
}

struct Strip {
    left: String,
    width: String,
    colour: u32,
    server: u32,
}

struct Colour {
    server: u32,
    colour: u32,
}

struct Reduced {
    summary: String,
    start: Vec<String>,
    start_at: String,
    story: Vec<Told>,
    more: usize,
}

struct Told {
    when: String,
    who: String,
    what: String,
    told: String,
    convicts: bool,
}

impl Picture {
    fn of(history: &History, explanation: &Explanation, lanes: &[Lane]) -> Picture {
        let violation = &explanation.violation;
        let units = units::cut(history);
        let convicting = convicting(explanation, &units);
        let window = Window::around(history, &units, &convicting);
        let (deeds, left_out) = shown(history, &units, &convicting, &window);
        let rows = rows(&deeds, explanation, &window);
        let others = rows.iter().filter(|row| !row.convicts).count();
        let servers: BTreeSet<u32> = deeds.iter().filter_map(|deed| deed.server).collect();
        let colour = |server: u32| Colour {
            server,
            colour: server % SERVER_COLOURS,
        };
        let before = words::plain(&violation.state_before);
        Picture {
            code: violation.property.code(),
            property: violation.property.name(),
            promise: meaning::promise(violation.property),
            reason: words::plain(&violation.reason),
            class: meaning::class(violation.class),
            before: before
                .split("; ")
                .filter(|part| !part.is_empty())
                .map(str::to_string)
                .collect(),
            convicts: convicts(explanation),
            ticks: ticks(&window),
            gaps: gaps(&window),
            groups: groups(lanes, &window),
            rows,
            others,
            left_out,
            servers: servers.into_iter().map(colour).collect(),
            reduced: reduced(explanation),
        }
    }
}

/// Numbers of the units that convict.
fn convicting(explanation: &Explanation, units: &[Unit]) -> Vec<usize> {
    let records: BTreeSet<usize> = explanation
        .convicting
        .iter()
        .flat_map(|deed| deed.records.iter().copied())
        .collect();
    let convicts = |unit: &Unit| {
        unit.records()
            .any(|record| records.contains(&(record as usize)))
    };
    (0..units.len())
        .filter(|&number| convicts(&units[number]))
        .collect()
}

/// What is drawn, and how much more there would be.
fn shown(
    history: &History,
    units: &[Unit],
    convicting: &[usize],
    window: &Window,
) -> (Vec<Deed>, usize) {
    let inside = |unit: &Unit| {
        let from = history.records[unit.first as usize].time;
        let until = unit
            .second
            .map_or(from, |second| history.records[second as usize].time);
        window.shows(from, until)
    };
    let mut numbers: Vec<usize> = (0..units.len())
        .filter(|&number| inside(&units[number]))
        .collect();
    let all = numbers.len();
    if all > DEEDS_MAX {
        // What convicts stays, and then what is nearest to it.
        let distance = |number: usize| convicting.iter().map(|&other| number.abs_diff(other)).min();
        numbers.sort_by_key(|&number| (distance(number), number));
        numbers.truncate(DEEDS_MAX);
        numbers.sort_unstable();
    }
    let deeds = numbers
        .iter()
        .map(|&number| Deed::of(history, &units[number]));
    (deeds.collect(), all - numbers.len())
}

fn convicts(explanation: &Explanation) -> Vec<Convict> {
    let right = |index: usize| {
        let mut right = explanation.right.iter();
        right
            .find(|(which, _)| *which == index)
            .map_or(String::new(), |(_, right)| right.clone())
    };
    let convict = |(index, deed): (usize, &Deed)| Convict {
        number: index + 1,
        who: deed.who(),
        what: deed.what.clone(),
        told: deed.told.clone(),
        when: deed.when(),
        places: deed.places(),
        right: right(index),
    };
    explanation
        .convicting
        .iter()
        .enumerate()
        .map(convict)
        .collect()
}

/// A row for each session, the convicting ones first.
fn rows(deeds: &[Deed], explanation: &Explanation, window: &Window) -> Vec<Row> {
    let number_of = |deed: &Deed| {
        let mut convicting = explanation.convicting.iter();
        convicting
            .position(|other| other.records == deed.records)
            .map(|index| index + 1)
    };
    let kept: Option<BTreeSet<usize>> = explanation
        .reduction
        .as_ref()
        .map(|reduction| reduction.origin.iter().copied().collect());
    let mut by_session: BTreeMap<(i64, u32), Vec<&Deed>> = BTreeMap::new();
    for deed in deeds {
        let key = match deed.session {
            0 => (0, deed.process),
            session => (session, 0),
        };
        by_session.entry(key).or_default().push(deed);
    }
    let mut rows: Vec<Row> = Vec::new();
    for deeds in by_session.into_values() {
        let mut lines = Lines::default();
        let needed = |deed: &Deed| {
            let mut records = deed.records.iter();
            kept.as_ref()
                .is_none_or(|kept| records.any(|record| kept.contains(record)))
        };
        // What convicts gets its place first, then what is needed, then the rest while there is room.
        let mut ranked = deeds.clone();
        ranked.sort_by_key(|deed| (number_of(deed).is_none(), !needed(deed)));
        let bars = ranked
            .iter()
            .filter_map(|deed| bar_of(deed, number_of(deed), needed(deed), window, &mut lines));
        let mut bars: Vec<Bar> = bars.collect();
        bars.reverse();
        let clients: BTreeSet<u32> = deeds.iter().map(|deed| deed.process).collect();
        let clients: Vec<String> = clients.iter().map(u32::to_string).collect();
        rows.push(Row {
            name: match deeds[0].session {
                0 => "no session".into(),
                session => format!("{session:#x}"),
            },
            client: format!("client {}", clients.join(", ")),
            crowded: deeds.len() - bars.len(),
            convicts: bars.iter().any(|bar| bar.number.is_some()),
            height: lines.height() + 8,
            at: strips(&deeds, window),
            bars,
        });
    }
    rows.sort_by_key(|row| !row.convicts);
    rows.truncate(ROWS_MAX);
    rows
}

fn bar_of(
    deed: &Deed,
    number: Option<usize>,
    needed: bool,
    window: &Window,
    lines: &mut Lines,
) -> Option<Bar> {
    let left = window.place(deed.from);
    let end = match (deed.until, deed.kind) {
        (Some(until), _) => window.place(until),
        (None, Kind::Unanswered) => window.place(u64::MAX),
        (None, _) => left,
    };
    let moment = matches!(deed.kind, Kind::Notified | Kind::Session);
    let width = (end - left).max(if moment { 0.0 } else { BAR_MIN });
    let label = if moment {
        String::new()
    } else {
        short(&deed.what)
    };
    let room = match number {
        Some(_) => width.max(LETTER * label.chars().count() as f64 + 12.0),
        None => width.max(8.0),
    };
    let line = lines.place(left, left + room);
    if line >= LINES_MAX && number.is_none() {
        return None;
    }
    let mut class = format!("bar {}", deed.kind.name());
    for (is, name) in [
        (number.is_some(), "convict"),
        (!needed, "loose"),
        (left > 600.0, "flip"),
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
fn strips(deeds: &[&Deed], window: &Window) -> Vec<Strip> {
    let mut spans: Vec<(u32, u64, u64)> = Vec::new();
    for deed in deeds {
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

fn groups(lanes: &[Lane], window: &Window) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for lane in lanes {
        let mut lines = Lines::default();
        let spans = lane
            .spans
            .iter()
            .filter(|span| window.shows(span.from, span.until));
        let bars: Vec<Bar> = spans
            .map(|span| span_bar(span, window, &mut lines))
            .collect();
        let row = LaneRow {
            name: words::plain(&lane.name),
            bars,
            height: lines.height() + 4,
        };
        match groups.last_mut() {
            Some(last) if last.name == lane.group => last.lanes.push(row),
            _ => groups.push(Group {
                name: words::plain(&lane.group),
                id: format!("zk-group-{}", groups.len()),
                lanes: vec![row],
            }),
        }
    }
    groups
}

fn span_bar(span: &Span, window: &Window, lines: &mut Lines) -> Bar {
    let left = window.place(span.from);
    let width = (window.place(span.until) - left).max(BAR_MIN);
    let flip = if left > 600.0 { " flip" } else { "" };
    Bar {
        left: percent(left),
        width: percent(width),
        top: lines.place(left, left + width) * LINE_HEIGHT,
        class: format!("bar span {}{flip}", span.tone.class()),
        label: words::plain(&span.label),
        number: None,
        title: words::plain(&span.words),
        lines: vec![format!(
            "{} to {}",
            words::time(span.from),
            words::time(span.until)
        )],
    }
}

/// Ticks at the ends and in the middle of every stretch.
fn ticks(window: &Window) -> Vec<Tick> {
    let of = |stretch: &super::window::Stretch| {
        let middle = stretch.from + (stretch.until - stretch.from) / 2;
        [stretch.from, middle].map(|time| Tick {
            left: percent(window.place(time)),
            label: words::time(time),
        })
    };
    window.stretches.iter().flat_map(of).collect()
}

fn gaps(window: &Window) -> Vec<Gap> {
    let between = window.stretches.windows(2).map(|pair| Gap {
        left: percent(pair[0].right),
        width: percent(pair[1].left - pair[0].right),
        label: format!("{} left out", words::time(pair[1].from - pair[0].until)),
    });
    between.collect()
}

fn reduced(explanation: &Explanation) -> Option<Reduced> {
    let reduction = explanation.reduction.as_ref()?;
    let convicts: BTreeSet<usize> = reduction
        .violation
        .records
        .iter()
        .map(|(index, _)| *index)
        .collect();
    let deeds = Deed::all(&reduction.history);
    let told = |deed: &Deed| Told {
        when: deed.when(),
        who: deed.who(),
        what: deed.what.clone(),
        told: deed.told.clone(),
        convicts: deed.records.iter().any(|record| convicts.contains(record)),
    };
    let (start_at, start) = match &reduction.history.header.start {
        Start::Fresh => (String::new(), Vec::new()),
        Start::Nodes { zxid, nodes } => (
            format!("{zxid:#x}"),
            nodes.iter().take(NODES_MAX).map(words::node).collect(),
        ),
    };
    Some(Reduced {
        summary: explanation.reduced_in_words().unwrap_or_default(),
        start,
        start_at,
        story: deeds.iter().take(STORY_MAX).map(told).collect(),
        more: deeds.len().saturating_sub(STORY_MAX),
    })
}

/// Lines of bars that do not overlap; what is taken, in any order.
#[derive(Default)]
struct Lines(Vec<Vec<(f64, f64)>>);

impl Lines {
    /// The first line that is free from `left` to `right`, taken from now on unless it is one
    /// line too many.
    fn place(&mut self, left: f64, right: f64) -> usize {
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

    fn height(&self) -> usize {
        self.0.len().clamp(1, LINES_MAX) * LINE_HEIGHT
    }
}

/// Thousandths as a percentage for a style sheet.
fn percent(thousandths: f64) -> String {
    format!("{:.3}%", thousandths / 10.0)
}

/// The first words, as a bar has no room for more.
fn short(what: &str) -> String {
    let words: Vec<&str> = what.split(' ').take(2).collect();
    words.join(" ").trim_end_matches(',').to_string()
}
