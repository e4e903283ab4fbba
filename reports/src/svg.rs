//! The space-time picture: a lane per server, a lane per client, time from left to right.
//!
//! What it is not: a page; colours are classes that [`crate::html`] gives meaning. What
//! always holds: every text from a file is escaped, and the picture stays bounded however
//! long the run: what shares a column of pixels is drawn once, convicting records always.

use crate::html::escape;
use crate::lanes::{ClientLane, Fate, Lanes, Mark, MarkKind, Operation, ServerLane, session_word};
use crate::read::Run;
use crate::summary::seconds;
use gamekeeper_checker::history::{Body, Record};
use gamekeeper_checker::words;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// Most client lanes drawn.
pub const CLIENT_LANES_MAX: usize = 48;

/// Most operations of a lane drawn as bars; more become ticks.
const BARS_MAX: usize = 300;

/// Most characters of a tooltip.
const TITLE_CHARS_MAX: usize = 240;

/// Most rows of planned faults.
const FAULT_ROWS_MAX: usize = 4;

const WIDTH: f64 = 1320.0;
const LEFT: f64 = 92.0;
const RIGHT: f64 = 12.0;
const AXIS: f64 = 22.0;
const FAULT_ROW: f64 = 12.0;
const SERVER_LANE: f64 = 38.0;
const CLIENT_LANE: f64 = 36.0;
const OPERATION_ROWS: usize = 4;

/// A time from and until, nanoseconds.
pub type Window = (u64, u64);

/// What a picture shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Show {
    /// Servers only, with a window marked.
    Overview(Window),
    /// Servers and clients.
    Everything,
}

/// Around the first convicting record, or the whole run when none names a time.
pub fn window(lanes: &Lanes) -> Window {
    const BEFORE_NS: u64 = 2_000_000_000;
    const AFTER_NS: u64 = 1_000_000_000;
    const LENGTH_MAX_NS: u64 = 6_000_000_000;
    match lanes.convicted.times {
        Some((first, last)) if first <= lanes.end => {
            let from = first.saturating_sub(BEFORE_NS);
            let until = last
                .saturating_add(AFTER_NS)
                .min(from.saturating_add(LENGTH_MAX_NS));
            (from, until.min(lanes.end).max(from.saturating_add(1)))
        }
        Some(_) | None => (0, lanes.end),
    }
}

/// Draws a picture.
pub fn draw(run: &Run, lanes: &Lanes, window: Window, show: Show) -> String {
    let mut canvas = Canvas {
        body: String::new(),
        window,
        y: AXIS,
    };
    canvas.faults(run);
    for lane in &lanes.servers {
        canvas.server(lane, &lanes.convicted.moments);
    }
    if show == Show::Everything {
        canvas.y += 10.0;
        for lane in lanes.clients.iter().take(CLIENT_LANES_MAX) {
            canvas.client(lane, &run.history.records, &lanes.convicted.records);
        }
    }
    canvas.finish(run, lanes, show)
}

/// A picture being drawn, from top to bottom.
struct Canvas {
    body: String,
    window: Window,
    y: f64,
}

impl Canvas {
    fn x(&self, time: u64) -> f64 {
        let (from, until) = self.window;
        let share =
            time.clamp(from, until).saturating_sub(from) as f64 / (until - from).max(1) as f64;
        LEFT + share * (WIDTH - LEFT - RIGHT)
    }

    fn sees(&self, from: u64, until: u64) -> bool {
        from <= self.window.1 && until >= self.window.0
    }

    fn push(&mut self, text: std::fmt::Arguments<'_>) {
        self.body
            .write_fmt(text)
            .expect("a string takes everything");
        self.body.push('\n');
    }

    /// A box from a time to a time, with a tooltip.
    fn bar(&mut self, class: &str, (from, until): Window, (y, height): (f64, f64), title: &str) {
        let x = self.x(from);
        let width = (self.x(until) - x).max(1.0);
        let title = title_of(title);
        self.push(format_args!(
            r#"<rect class="{class}" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}">{title}</rect>"#
        ));
    }

    fn label(&mut self, text: &str, small: &str) {
        let (y, below) = (self.y + 15.0, self.y + 28.0);
        let (text, small) = (escape(text), escape(small));
        self.push(format_args!(
            r#"<text class="name" x="4" y="{y:.1}">{text}</text><text class="small" x="4" y="{below:.1}">{small}</text>"#
        ));
    }

    /// What was planned; whether it struck, the outcome says only by kind.
    fn faults(&mut self, run: &Run) {
        let mut rows: Vec<u64> = Vec::new();
        let top = self.y;
        for planned in &run.scenario.plan {
            let (from, until) = planned.span(run.scenario.phases);
            if !self.sees(from, until) {
                continue;
            }
            let free = rows.iter().position(|end| *end <= from);
            let row = match free {
                Some(row) => row,
                None if rows.len() < FAULT_ROWS_MAX => {
                    rows.push(0);
                    rows.len() - 1
                }
                None => FAULT_ROWS_MAX - 1,
            };
            let words = planned.words();
            let y = top + row as f64 * FAULT_ROW;
            let title = format!("planned: {words}\n{} to {}", seconds(from), seconds(until));
            self.bar("fault", (from, until), (y, FAULT_ROW - 3.0), &title);
            let room = self.x(until) - self.x(from);
            let x = self.x(from) + 2.0;
            if room > 6.0 * planned.kind().len() as f64 {
                let kind = escape(planned.kind());
                let y = y + 8.0;
                self.push(format_args!(
                    r#"<text class="on-fault" x="{x:.1}" y="{y:.1}">{kind}</text>"#
                ));
            }
            rows[row] = rows[row].max(until.max(from.saturating_add(1)));
        }
        if !rows.is_empty() {
            self.y -= 4.0;
            self.label("faults", "as planned");
            self.y = top + (rows.len() as f64 * FAULT_ROW).max(26.0) + 8.0;
        }
    }

    fn server(&mut self, lane: &ServerLane, convicted: &BTreeSet<(u32, u64)>) {
        let y = self.y;
        let kind = if lane.observer { "observer" } else { "voter" };
        self.label(&format!("server {}", lane.id), kind);
        let mut narrow = BTreeSet::new();
        for span in &lane.spans {
            let (x, end) = (self.x(span.from), self.x(span.until));
            let repeated = end - x < 1.0 && !narrow.insert((x as u64, span.state));
            if repeated || !self.sees(span.from, span.until) {
                continue;
            }
            let name = span.state.name();
            let epoch = span.epoch.map(|epoch| format!(" epoch {epoch}"));
            let leader = span.leader.map(|leader| format!(" of server {leader}"));
            let (epoch, leader) = (epoch.unwrap_or_default(), leader.unwrap_or_default());
            let (from, until) = (seconds(span.from), seconds(span.until));
            let title = format!(
                "server {}: {name}{epoch}{leader}\n{from} to {until}",
                lane.id
            );
            let times = (span.from, span.until);
            self.bar(&format!("state {name}"), times, (y + 6.0, 20.0), &title);
            let short = span.epoch.map(|epoch| format!("e{epoch}"));
            if let Some(short) = short.filter(|_| end - x > 26.0) {
                let x = x + 4.0;
                let y = y + 20.0;
                self.push(format_args!(
                    r#"<text class="on-{name}" x="{x:.1}" y="{y:.1}">{short}</text>"#
                ));
            }
        }
        for (from, until) in &lane.pauses {
            if self.sees(*from, *until) {
                let title = format!("server {} stands still", lane.id);
                self.bar("pause", (*from, *until), (y + 14.0, 4.0), &title);
            }
        }
        self.marks(lane, y);
        for (_, time) in convicted.iter().filter(|(server, _)| *server == lane.id) {
            let title = format!("convicting, at {}", seconds(*time));
            self.bar("convict", (*time, *time), (y + 2.0, 28.0), &title);
        }
        self.y += SERVER_LANE;
    }

    fn marks(&mut self, lane: &ServerLane, y: f64) {
        let mut columns = BTreeSet::new();
        for mark in &lane.marks {
            let Mark { time, kind, text } = mark;
            let x = self.x(*time);
            let width = if *kind == MarkKind::Snapshot { 3 } else { 1 };
            let column = (x as u64 / width, *kind as u8);
            if !self.sees(*time, *time) || !columns.insert(column) {
                continue;
            }
            let (class, shape) = match kind {
                MarkKind::Recovered => ("recovered", format!("M{x:.1} {:.1}l4 7h-8z", y + 26.0)),
                MarkKind::Halted => (
                    "halted-mark",
                    format!("M{:.1} {y:.1}l8 8m0 -8l-8 8", x - 4.0),
                ),
                MarkKind::Established => {
                    ("established", format!("M{x:.1} {:.1}l-4 -7h8z", y + 6.0))
                }
                MarkKind::Snapshot => (
                    "snapshot",
                    format!("M{:.1} {:.1}h4v4h-4z", x - 2.0, y + 28.0),
                ),
            };
            let at = seconds(*time);
            let title = title_of(&format!("server {}: {text}\n{at}", lane.id));
            self.push(format_args!(
                r#"<path class="{class}" d="{shape}">{title}</path>"#
            ));
        }
    }

    fn client(&mut self, lane: &ClientLane, records: &[Record], convicted: &BTreeSet<usize>) {
        let operations: Vec<&Operation> = lane
            .operations
            .iter()
            .filter(|operation| self.sees(operation.from, operation.until))
            .collect();
        let seen = |index: &&usize| self.sees(records[**index].time, records[**index].time);
        let others: Vec<usize> = lane.others.iter().filter(seen).copied().collect();
        if operations.is_empty() && others.is_empty() {
            return;
        }
        self.label(
            &format!("process {}", lane.process),
            &format!("{} operations", operations.len()),
        );
        let y = self.y;
        self.push(format_args!(
            r#"<line class="rule" x1="{LEFT}" x2="{:.1}" y1="{:.1}" y2="{:.1}"/>"#,
            WIDTH - RIGHT,
            y + 31.0,
            y + 31.0
        ));
        match operations.len() > BARS_MAX {
            true => self.ticks(&operations, records, y),
            false => self.bars(&operations, records, y),
        }
        for operation in operations {
            let ends = [Some(operation.invoke), operation.end];
            if ends.iter().flatten().any(|index| convicted.contains(index)) {
                let title = format!("convicting\n{}", operation_words(operation, records));
                let times = (operation.from, operation.until);
                self.bar("convict", times, (y - 1.0, 30.0), &title);
            }
        }
        self.others(&others, records, convicted, y);
        self.y += CLIENT_LANE;
    }

    /// Every operation from its request to its answer, side by side where they overlap.
    fn bars(&mut self, operations: &[&Operation], records: &[Record], y: f64) {
        let mut rows = [0u64; OPERATION_ROWS];
        for operation in operations {
            let free = rows.iter().position(|end| *end <= operation.from);
            let row = free.unwrap_or(OPERATION_ROWS - 1);
            rows[row] = rows[row].max(operation.until);
            let class = format!("op {}", fate_name(operation.fate));
            let title = operation_words(operation, records);
            let place = (y + 1.0 + 7.0 * row as f64, 6.0);
            self.bar(&class, (operation.from, operation.until), place, &title);
        }
    }

    /// A row for each fate, one tick for all that share a column.
    fn ticks(&mut self, operations: &[&Operation], records: &[Record], y: f64) {
        let mut columns: BTreeMap<(Fate, u64), (usize, &Operation)> = BTreeMap::new();
        for operation in operations {
            let column = (self.x(operation.from) * 0.8) as u64;
            let entry = columns.entry((operation.fate, column));
            entry.or_insert((0, operation)).0 += 1;
        }
        for ((fate, _), (count, first)) in columns {
            let row = match fate {
                Fate::Ok => 0.0,
                Fate::Failed => 1.0,
                Fate::Unknown => 2.0,
            };
            let mut title = operation_words(first, records);
            if count > 1 {
                title = format!("{count} operations, the first:\n{title}");
            }
            let class = format!("op {}", fate_name(fate));
            let times = (first.from, first.from);
            self.bar(&class, times, (y + 1.0 + 9.0 * row, 8.0), &title);
        }
    }

    /// Sessions' and watches' records, below the line; convicting ones over the whole lane.
    fn others(&mut self, of: &[usize], records: &[Record], convicted: &BTreeSet<usize>, y: f64) {
        let mut columns = BTreeSet::new();
        for index in of {
            let record = &records[*index];
            let class = match &record.body {
                Body::Session(event) => match session_word(event) {
                    "connected" => "session connected",
                    "disconnected" => "session disconnected",
                    "expired" | "abandoned" => "session expired",
                    _ => "session other",
                },
                Body::Notify { .. } => "session notified",
                Body::Final => "session final",
                Body::Invoke { .. }
                | Body::Return { .. }
                | Body::Lost { .. }
                | Body::Ping { .. } => continue,
            };
            let moment = (record.time, record.time);
            let title = words(record);
            if convicted.contains(index) {
                self.bar("convict", moment, (y - 1.0, 35.0), &title);
            }
            if columns.insert((self.x(record.time) as u64, class)) {
                let x = self.x(record.time);
                let (y, title) = (y + 31.0, title_of(&title));
                self.push(format_args!(
                    r#"<circle class="{class}" cx="{x:.1}" cy="{y:.1}" r="2.5">{title}</circle>"#
                ));
            }
        }
    }

    fn finish(self, run: &Run, lanes: &Lanes, show: Show) -> String {
        let bottom = self.y + 4.0;
        let mut back = String::new();
        let mut add = |text: String| {
            back.push_str(&text);
            back.push('\n');
        };
        for time in grid(self.window) {
            let x = self.x(time);
            let label = seconds(time);
            add(format!(
                r#"<line class="grid" x1="{x:.1}" x2="{x:.1}" y1="16" y2="{bottom:.1}"/><text class="axis" x="{x:.1}" y="12">{label}</text>"#
            ));
        }
        if let Show::Overview((from, until)) = show {
            let (x, width) = (self.x(from), (self.x(until) - self.x(from)).max(2.0));
            add(format!(
                r#"<rect class="window" x="{x:.1}" y="16" width="{width:.1}" height="{:.1}"/>"#,
                bottom - 16.0
            ));
        }
        let records = lanes.convicted.records.iter();
        let times = records.map(|index| run.history.records[*index].time);
        let moments = lanes.convicted.moments.iter().map(|(_, time)| *time);
        for time in times.chain(moments).filter(|time| self.sees(*time, *time)) {
            let x = self.x(time);
            add(format!(
                r#"<line class="convict-line" x1="{x:.1}" x2="{x:.1}" y1="16" y2="{bottom:.1}"/>"#
            ));
        }
        let body = self.body;
        format!(
            "<svg viewBox=\"0 0 {WIDTH} {bottom:.0}\" role=\"img\" aria-label=\"space-time picture\">\n{back}{body}</svg>\n"
        )
    }
}

/// Round times within a window, not too many.
fn grid((from, until): Window) -> Vec<u64> {
    const LINES_MAX: u64 = 14;
    let mut step = 1_000_000;
    let mut factors = [2, 5, 10].iter().cycle();
    let mut base = step;
    while (until - from) / step > LINES_MAX {
        let factor = *factors.next().expect("a cycle does not end");
        match base.checked_mul(factor) {
            Some(next) => step = next,
            None => break,
        }
        if factor == 10 {
            base = step;
        }
    }
    let first = from.div_ceil(step);
    let room = usize::try_from(2 * LINES_MAX).expect("a few lines");
    let times = (0..).map_while(|index| first.checked_add(index)?.checked_mul(step));
    times.take_while(|time| *time <= until).take(room).collect()
}

/// An operation's fate, also as a class on the page.
fn fate_name(fate: Fate) -> &'static str {
    match fate {
        Fate::Ok => "ok",
        Fate::Failed => "failed",
        Fate::Unknown => "unknown",
    }
}

fn operation_words(operation: &Operation, records: &[Record]) -> String {
    let asked = words(&records[operation.invoke]);
    match operation.end {
        Some(end) => format!("{asked}\n{}", words(&records[end])),
        None => format!("{asked}\nnever answered"),
    }
}

fn title_of(text: &str) -> String {
    let lines: Vec<String> = text
        .lines()
        .map(|line| match line.char_indices().nth(TITLE_CHARS_MAX) {
            Some((cut, _)) => format!("{}…", &line[..cut]),
            None => line.to_string(),
        })
        .collect();
    format!("<title>{}</title>", escape(&lines.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::read;
    use crate::testing::{Directory, HOSTILE};

    fn picture(name: &str) -> String {
        let run = read(Directory::new(name).path()).unwrap();
        let lanes = Lanes::of(&run);
        draw(&run, &lanes, (0, lanes.end), Show::Everything)
    }

    #[test]
    fn every_server_and_client_has_a_lane() {
        let picture = picture("svg-lanes");
        for name in ["server 1", "server 2", "server 3", "process 1", "process 2"] {
            assert!(picture.contains(&format!(">{name}</text>")), "{name}");
        }
        for class in [
            "state leading",
            "op unknown",
            "op failed",
            "halted-mark",
            "convict",
        ] {
            assert!(picture.contains(&format!("class=\"{class}\"")), "{class}");
        }
    }

    #[test]
    fn hostile_texts_are_escaped() {
        let picture = picture("svg-hostile");
        assert!(!picture.contains(HOSTILE) && !picture.contains("<script"));
        assert!(picture.contains("&lt;script&gt;"));
    }

    #[test]
    fn window_is_around_the_first_convicting_record() {
        let run = read(Directory::new("svg-window").path()).unwrap();
        let mut lanes = Lanes::of(&run);
        assert_eq!(window(&lanes), (500_000_000, 3_500_000_000));
        lanes.convicted.times = None;
        assert_eq!(window(&lanes), (0, 4_000_000_000));
    }

    #[test]
    fn grid_is_round_and_not_crowded() {
        assert_eq!(grid((0, 72_000_000_000)).len(), 15);
        for end in [1, 999, 3_000_000_000, u64::MAX] {
            assert!(grid((0, end)).len() <= 28, "{end}");
        }
    }
}
