//! Everything on the page but the rows: words, the axis, what could not be drawn, lanes, the
//! reduced history.

use super::super::account::Account;
use super::super::deed::{Clock, Deed, Kind};
use super::super::words;
use super::rows::{BAR_MIN, Bar, LINE_HEIGHT, Lines, Row, SERVER_COLOURS, percent, rows};
use super::window::{Stretch, Window};
use super::{Lane, Scene, Span};
use askama::Template;
use std::collections::BTreeSet;

/// Most things drawn.
const DEEDS_MAX: usize = 600;
/// Most things of a reduced history that are listed.
const STORY_MAX: usize = 200;
/// Most nodes of a start state that are listed.
const NODES_MAX: usize = 50;
/// Rows that do not convict are shown at once if there are no more than so many.
const OTHERS_SHOWN_MAX: usize = 6;

/// A page of its own.
#[derive(Template)]
#[template(path = "page.html")]
pub(super) struct Page {
    pub(super) name: String,
    pub(super) property: String,
    pub(super) section: String,
}

/// One violation.
#[derive(Template)]
#[template(path = "timeline.html")]
pub(super) struct Picture<'a> {
    account: &'a Account,
    ticks: Vec<Tick>,
    gaps: Vec<Gap>,
    groups: Vec<Group>,
    rows: Vec<Row>,
    /// What a row is: `session`, `client`.
    row_noun: &'static str,
    others: usize,
    others_shown: bool,
    left_out: usize,
    servers: Vec<Colour>,
    /// Kinds that are drawn, for the key.
    kinds: Vec<Kind>,
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

struct Colour {
    server: u32,
    colour: u32,
}

/// Something that is drawn.
pub(super) struct Drawn {
    pub(super) deed: Deed,
    /// Its place among what convicts, from 1.
    pub(super) convicts: Option<usize>,
    /// Whether it could not be left out.
    pub(super) needed: bool,
}

impl<'a> Picture<'a> {
    pub(super) fn of(scene: &'a Scene) -> Picture<'a> {
        let window = Window::around(scene.stage, &scene.convicting);
        let (drawn, left_out) = drawn(scene, &window);
        let rows = rows(&drawn, &window);
        let others = rows.iter().filter(|row| !row.convicts).count();
        let servers: BTreeSet<u32> = drawn.iter().filter_map(|drawn| drawn.deed.server).collect();
        let kinds: BTreeSet<Kind> = drawn.iter().map(|drawn| drawn.deed.kind).collect();
        let colour = |server: u32| Colour {
            server,
            colour: server % SERVER_COLOURS,
        };
        let clock = scene.stage.clock();
        Picture {
            account: scene.account,
            ticks: ticks(&window, clock),
            gaps: gaps(&window, clock),
            groups: groups(scene.lanes, &window),
            rows,
            row_noun: match clock {
                Clock::Nanoseconds => "session",
                Clock::Numbers => "client",
            },
            others,
            others_shown: others <= OTHERS_SHOWN_MAX,
            left_out,
            servers: servers.into_iter().map(colour).collect(),
            kinds: kinds.into_iter().collect(),
        }
    }

    fn nodes_max(&self) -> usize {
        NODES_MAX
    }

    fn story_max(&self) -> usize {
        STORY_MAX
    }

    fn draws(&self, kind: &str) -> bool {
        self.kinds.iter().any(|drawn| drawn.name() == kind)
    }
}

/// What is drawn, and how much more there would be.
fn drawn(scene: &Scene, window: &Window) -> (Vec<Drawn>, usize) {
    let inside = |number: &usize| {
        let (from, until) = scene.stage.span(*number);
        window.shows(from, until)
    };
    let mut numbers: Vec<usize> = (0..scene.stage.len()).filter(inside).collect();
    let all = numbers.len();
    if all > DEEDS_MAX {
        // What convicts stays, and then what is nearest to it.
        let convicting = scene.convicting.iter();
        let distance = |number: usize| convicting.clone().map(|&one| number.abs_diff(one)).min();
        numbers.sort_by_key(|&number| (distance(number), number));
        numbers.truncate(DEEDS_MAX);
        numbers.sort_unstable();
    }
    let left_out = all - numbers.len();
    let drawn = numbers.into_iter().map(|number| Drawn {
        deed: scene.stage.deed(number),
        convicts: scene
            .convicting
            .iter()
            .position(|&one| one == number)
            .map(|place| place + 1),
        needed: scene
            .needed
            .as_ref()
            .is_none_or(|needed| needed.contains(&number)),
    });
    (drawn.collect(), left_out)
}

/// Ticks at the ends and in the middle of every stretch.
fn ticks(window: &Window, clock: Clock) -> Vec<Tick> {
    let of = |stretch: &Stretch| {
        let middle = stretch.from + (stretch.until - stretch.from) / 2;
        [stretch.from, middle].map(|time| Tick {
            left: percent(window.place(time)),
            label: clock.words(time),
        })
    };
    window.stretches.iter().flat_map(of).collect()
}

fn gaps(window: &Window, clock: Clock) -> Vec<Gap> {
    let between = window.stretches.windows(2).map(|pair| Gap {
        left: percent(pair[0].right),
        width: percent(pair[1].left - pair[0].right),
        label: format!("{} left out", clock.words(pair[1].from - pair[0].until)),
    });
    between.collect()
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
