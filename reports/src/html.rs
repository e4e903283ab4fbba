//! The page: verdict on top, the picture, then the tables; one file that needs no other.
//!
//! What always holds: it loads nothing and runs nothing (no script, no address), and every
//! text from a file went through [`escape`], or through the checker's template.

use crate::failure;
use crate::lanes::{Lanes, State};
use crate::read::{Run, Verdict};
use crate::summary::{Summary, counts, learners, seconds};
use crate::svg::{CLIENT_LANES_MAX, Show, draw, window};
use std::fmt::Write as _;

const STYLE: &str = r#"
:root { color-scheme: light dark; --page: #fbfbf9; --ink: #1c1f24; --dim: #6a7078; --rule: #dcdfe3;
  --down: #e4e6e9; --recovering: #b9bfc7; --looking: #e9b949; --following: #7fb2e5; --observing: #b7a6e6;
  --leading: #2f8f5b; --halted: #b3392f; --ok: #5b8fbf; --failed: #d29922; --unknown: #a0459b;
  --fault: #e7d3cf; --convict: #d1242f; --good: #2f8f5b; }
@media (prefers-color-scheme: dark) { :root { --page: #14171b; --ink: #e4e7eb; --dim: #98a0aa; --rule: #2c323a;
  --down: #23282f; --recovering: #4b535e; --looking: #b98a1e; --following: #2f6396; --observing: #65549c;
  --leading: #2f9d62; --halted: #c4473c; --ok: #6ea3d6; --failed: #d9a531; --unknown: #c76fc1;
  --fault: #4a3330; --convict: #ff6b6b; --good: #4cc38a; } }
body { margin: 0 auto; max-width: 1380px; padding: 20px; background: var(--page); color: var(--ink);
  font: 14px/1.45 system-ui, sans-serif; }
h1 { font-size: 22px; margin: 0 0 8px; } h2 { font-size: 16px; margin: 26px 0 8px; }
h1 .invalid { color: var(--convict); } h1 .valid { color: var(--good); }
h1 .unknown, h1 .vacuous { color: var(--failed); }
.records { margin: 0; padding: 8px 14px; border-left: 4px solid var(--convict); list-style: none;
  font: 12px/1.5 ui-monospace, monospace; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 16px; margin: 12px 0; }
dt { color: var(--dim); } dd { margin: 0; overflow-wrap: anywhere; } p { color: var(--dim); margin: 4px 0; }
.scroll { overflow-x: auto; } svg { width: 100%; min-width: 900px; height: auto; display: block; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 3px 14px 3px 0; text-align: right; border-bottom: 1px solid var(--rule); white-space: nowrap; }
th { color: var(--dim); font-weight: 500; } td.text, th.text { text-align: left; }
.legend span { display: inline-block; margin: 0 14px 4px 0; } .legend i { display: inline-block; width: 12px;
  height: 12px; margin-right: 5px; vertical-align: -1px; }
svg text { fill: var(--ink); font: 11px system-ui, sans-serif; } svg .name { font-weight: 600; font-size: 12px; }
svg .small, svg .axis { fill: var(--dim); font-size: 10px; } svg .axis { text-anchor: middle; }
svg .on-leading { fill: #fff; font-weight: 600; } svg .on-fault { font-size: 9px; }
.grid, .rule { stroke: var(--rule); } .fault { fill: var(--fault); } .window { fill: var(--convict); opacity: .12; }
.down { fill: var(--down); background: var(--down); } .recovering { fill: var(--recovering); background: var(--recovering); }
.looking { fill: var(--looking); background: var(--looking); } .following { fill: var(--following); background: var(--following); }
.observing { fill: var(--observing); background: var(--observing); } .leading { fill: var(--leading); background: var(--leading); }
.halted { fill: var(--halted); background: var(--halted); } .pause { fill: var(--ink); opacity: .75; }
.established { fill: var(--leading); } .halted-mark { stroke: var(--halted); stroke-width: 2.5; fill: none; }
.snapshot, path.recovered { fill: var(--dim); } .ok { fill: var(--ok); background: var(--ok); }
.failed { fill: var(--failed); background: var(--failed); } .unknown { fill: var(--unknown); background: var(--unknown); }
h1 .unknown { background: none; } .session { fill: var(--dim); } .session.connected { fill: var(--good); }
.session.disconnected { fill: var(--failed); } .session.expired { fill: var(--halted); } .session.notified { fill: var(--unknown); }
.session.final { fill: var(--ink); } .convict { fill: var(--convict); fill-opacity: .25; stroke: var(--convict); stroke-width: 1.5; }
.convict-line { stroke: var(--convict); stroke-dasharray: 3 3; }
"#;

/// Text as it may stand anywhere on a page, attribute values included. Control characters,
/// which a page may not hold, become a sign for what cannot be shown.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// The whole page.
pub fn page(run: &Run, lanes: &Lanes, summary: &Summary) -> String {
    let mut out = String::new();
    let title = format!("seed {}: {}", run.outcome.seed, run.outcome.verdict.name());
    out.push_str("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    out.push_str("<meta name=\"viewport\" content=\"width=device-width\">\n");
    add(
        &mut out,
        format_args!(
            "<title>{}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n",
            escape(&title)
        ),
    );
    verdict(&mut out, run, summary);
    out.push_str(&failure::section(run, lanes).unwrap_or_default());
    pictures(&mut out, run, lanes);
    elections(&mut out, summary);
    servers(&mut out, summary);
    clients(&mut out, summary);
    out.push_str("</body>\n</html>\n");
    out
}

fn add(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a string takes everything");
}

fn verdict(out: &mut String, run: &Run, summary: &Summary) {
    let outcome = &run.outcome;
    let name = outcome.verdict.name();
    let words = escape(&summary.verdict());
    add(
        out,
        format_args!("<h1><span class=\"{name}\">{words}</span></h1>\n"),
    );
    if !outcome.records.is_empty() {
        out.push_str("<ul class=\"records\">\n");
        for record in &outcome.records {
            add(out, format_args!("<li>{}</li>\n", escape(record)));
        }
        out.push_str("</ul>\n");
    }
    let ops = outcome.ops;
    let facts = [
        ("seed", outcome.seed.to_string()),
        ("fingerprint", outcome.fingerprint.clone()),
        ("ensemble", summary.ensemble()),
        ("timing", summary.timing.clone()),
        ("traffic", summary.traffic.clone()),
        ("happened", summary.happened()),
        ("faults", counts(&outcome.faults)),
        ("skipped", counts(&outcome.skipped)),
        (
            "operations",
            format!(
                "{} ok, {} failed, {} unknown",
                ops.ok, ops.failed, ops.unknown
            ),
        ),
    ];
    out.push_str("<dl>\n");
    for (name, text) in facts {
        add(
            out,
            format_args!("<dt>{name}</dt><dd>{}</dd>\n", escape(&text)),
        );
    }
    out.push_str("</dl>\n");
}

fn pictures(out: &mut String, run: &Run, lanes: &Lanes) {
    let whole = (0, lanes.end);
    let seen = match run.outcome.verdict {
        Verdict::Invalid => window(lanes),
        Verdict::Valid | Verdict::Unknown | Verdict::Vacuous => whole,
    };
    if seen != whole {
        out.push_str("<h2>The whole run</h2>\n<div class=\"scroll\">\n");
        out.push_str(&draw(run, lanes, whole, Show::Overview(seen)));
        out.push_str("</div>\n");
    }
    let (from, until) = (seconds(seen.0), seconds(seen.1));
    add(out, format_args!("<h2>From {from} to {until}</h2>\n"));
    legend(out);
    out.push_str("<div class=\"scroll\">\n");
    out.push_str(&draw(run, lanes, seen, Show::Everything));
    out.push_str("</div>\n");
    if lanes.clients.len() > CLIENT_LANES_MAX {
        let more = lanes.clients.len() - CLIENT_LANES_MAX;
        add(
            out,
            format_args!("<p>{more} more clients are not drawn.</p>\n"),
        );
    }
}

fn legend(out: &mut String) {
    out.push_str("<div class=\"legend\">");
    for state in State::ALL {
        let name = state.name();
        add(
            out,
            format_args!("<span><i class=\"{name}\"></i>{name}</span>"),
        );
    }
    for name in ["ok", "failed", "unknown"] {
        add(
            out,
            format_args!("<span><i class=\"{name}\"></i>operation {name}</span>"),
        );
    }
    out.push_str("</div>\n<p>Over a server: ▼ epoch established, ✕ halted, a dark line while it stands still. Under it: ▲ recovered, ■ snapshot or cut log. \
        Dots under a client: its session and its watches. Red: what convicts. Point at anything for its words.</p>\n");
}

fn table(out: &mut String, title: &str, head: &[&str], rows: &[Vec<String>]) {
    add(
        out,
        format_args!("<h2>{title}</h2>\n<div class=\"scroll\">\n<table>\n<tr>"),
    );
    for name in head {
        add(out, format_args!("<th>{name}</th>"));
    }
    out.push_str("</tr>\n");
    for row in rows {
        out.push_str("<tr>");
        for cell in row {
            add(out, format_args!("<td>{}</td>", escape(cell)));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</table>\n</div>\n");
}

fn elections(out: &mut String, summary: &Summary) {
    let head = [
        "epoch",
        "leader",
        "its life",
        "established",
        "led for",
        "leaderless before",
        "commits",
        "history up to",
        "learners",
    ];
    let rows: Vec<Vec<String>> = summary
        .elections
        .iter()
        .map(|election| {
            vec![
                election.epoch.to_string(),
                format!("server {}", election.leader),
                election.incarnation.to_string(),
                seconds(election.from),
                seconds(election.until - election.from),
                seconds(election.gap),
                election.commits.to_string(),
                election.last.clone(),
                learners(election),
            ]
        })
        .collect();
    table(out, "Elections", &head, &rows);
}

fn servers(out: &mut String, summary: &Summary) {
    let mut head = vec!["server", "lives"];
    head.extend(State::ALL.iter().map(|state| state.name()));
    let rows: Vec<Vec<String>> = summary
        .servers
        .iter()
        .map(|server| {
            let mut row = vec![server.id.to_string(), server.incarnations.to_string()];
            row.extend(State::ALL.iter().map(|state| {
                let time = server.states_ns.get(state.name());
                time.map_or_else(String::new, |ns| seconds(*ns))
            }));
            row
        })
        .collect();
    table(out, "Servers", &head, &rows);
}

fn clients(out: &mut String, summary: &Summary) {
    let head = [
        "process",
        "ok",
        "failed",
        "unknown",
        "connections",
        "expired",
        "notified",
    ];
    let rows: Vec<Vec<String>> = summary
        .clients
        .iter()
        .map(|client| {
            let numbers = [
                u64::from(client.process),
                client.ok,
                client.failed,
                client.unknown,
                client.connections,
                client.expired,
                client.notified,
            ];
            numbers.iter().map(u64::to_string).collect()
        })
        .collect();
    table(out, "Clients", &head, &rows);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::read;
    use crate::testing::{Directory, HOSTILE};

    fn whole_page(dir: &Directory) -> String {
        let run = read(dir.path()).unwrap();
        let lanes = Lanes::of(&run);
        page(&run, &lanes, &Summary::of(&run, &lanes))
    }

    #[test]
    fn page_stands_alone() {
        let page = whole_page(&Directory::new("html-alone"));
        for outside in [
            "http:", "https:", "src=", "href=", "url(", "@import", "<script",
        ] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert!(page.contains("invalid: P5 monotonic-reads"));
        assert_eq!(page.matches("<svg").count(), 2);
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
    }

    #[test]
    fn hostile_texts_are_escaped_wherever_they_stand() {
        let dir = Directory::new("html-hostile");
        let quoted = serde_json::to_string(HOSTILE).unwrap();
        let outcome = std::fs::read_to_string(dir.path().join("outcome.json")).unwrap();
        let outcome = outcome
            .replace("\"abc\"", &quoted)
            .replace("\"P5 monotonic-reads\"", &quoted)
            .replace("{\"kill\":1}", &format!("{{{quoted}:1}}"));
        dir.put("outcome.json", &outcome);
        let scenario = std::fs::read_to_string(dir.path().join("scenario.toml")).unwrap();
        let scenario = scenario
            .replace("\"isolate\"", &quoted)
            .replace("\"mix\"", &quoted);
        dir.put("scenario.toml", &scenario);
        let events = std::fs::read_to_string(dir.path().join("events.jsonl")).unwrap();
        let events = events.replace("\"last\":\"0x0\"", &format!("\"last\":{quoted}"));
        dir.put("events.jsonl", &events);
        let page = whole_page(&dir);
        assert!(
            !page.contains(HOSTILE) && !page.contains("<script"),
            "{page}"
        );
        assert!(page.matches("&lt;script&gt;").count() > 8);
    }

    #[test]
    fn extreme_times_do_no_harm() {
        let dir = Directory::new("html-extreme");
        let most = u64::MAX.to_string();
        for (file, from, to) in [
            ("outcome.json", "4000000000", most.as_str()),
            ("events.jsonl", "3000000000", most.as_str()),
            (
                "events.jsonl",
                "\"epoch\":2",
                "\"epoch\":18446744073709551615",
            ),
            ("history.jsonl", "2100000000", most.as_str()),
            (
                "scenario.toml",
                "at_ms = 1000",
                "at_ms = 9223372036854775807",
            ),
        ] {
            let text = std::fs::read_to_string(dir.path().join(file)).unwrap();
            assert!(text.contains(from), "{file}");
            dir.put(file, &text.replace(from, to));
            assert!(whole_page(&dir).ends_with("</html>\n"));
        }
    }

    #[test]
    fn control_characters_do_not_pass() {
        assert_eq!(escape("a\0\u{1b}[2J'"), "a\u{fffd}\u{fffd}[2J&#39;");
    }
}
