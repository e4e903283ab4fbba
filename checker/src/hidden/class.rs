//! The class of a conviction: are the answers wrong, or the zxids?
//!
//! | asked, in this order | tells | because |
//! |---|---|---|
//! | times, sessions and counters alone | A | they need no order |
//! | the shadows on the nodes that the convicting records are about | A | small, and what is impossible is impossible there |
//! | what is tied to those nodes, up to the conviction | A | small |
//! | the whole, near the order that the zxids tell when some answers are forgotten | B, A | nearly right but for what convicts |
//! | the shadows on all other nodes | A | what convicts may only have suffered |
//! | the whole, near the order that all zxids tell | B, A | nothing was left to forget |
//!
//! What always holds: nothing here decides. A is said where a search looked at every order of what
//! has one if the whole has one, B where the ordinary judges accepted an order.
//!
//! Answers to: `consistency.md` 3.2 ("Rejecting") and 6.

use super::part::Part;
use super::shadow::{Focus, Shadows};
use super::{BY_THEMSELVES, Finding, Hidden, STUCK_TOLD_MAX, find_out, inconsistent};
use crate::history::History;
use crate::verdict::{Class, Property, Summary, Violation};
use crate::walk::case::{self, Case, RequestIndex};
use crate::walk::{Options, check_without_zxids, may_lapse, times};

/// Configurations that [`classify`] may look at in each of its searches if nobody says
/// otherwise: a few seconds in all.
pub const CLASS_CONFIGURATIONS: u64 = 50_000;

/// Of the configurations, one in so many may be spent on each shadow.
const SHADOW_SHARE: u64 = 4;

/// Of the configurations, one in so many may be spent on a small part before the whole.
const PART_SHARE: u64 = 4;

/// Tells whether what a history was convicted of is wrong whatever the zxids (class A), or
/// would be right with other ones (class B), and writes it into the violation.
///
/// Looks at no more than so many configurations in each of a handful of searches; where they do
/// not suffice, and in an open world, the class stays undetermined and the reason says so.
pub fn classify(
    history: &History,
    options: &Options,
    violation: &mut Violation,
    configurations: u64,
) {
    let (class, reason) = class_of(history, options, violation, configurations);
    (violation.class, violation.class_reason) = (class, reason);
}

fn class_of(
    history: &History,
    options: &Options,
    violation: &Violation,
    configurations: u64,
) -> (Class, String) {
    let options = &options.for_service(&history.header);
    if options.open_world(history) {
        let reason = "others wrote too, and without zxids nothing tells what";
        return (Class::Undetermined, reason.into());
    }
    let Ok(mut case) = case::cut(history) else {
        return (Class::Undetermined, "it is no history".into());
    };
    if check_without_zxids(&case, options).is_err() {
        return inconsistent("no zxid is needed to see it");
    }
    if may_lapse(&case) {
        return (Class::Undetermined, BY_THEMSELVES.into());
    }
    let known = match find_out(&mut case) {
        Ok(known) => known,
        Err(circle) => return inconsistent(&circle.reason),
    };
    let convicting: Vec<usize> = violation.records.iter().map(|&(index, _)| index).collect();
    let shadows = Shadows::of(&case);
    for focus in shadows.near(&convicting) {
        let mut left = configurations / SHADOW_SHARE;
        if let Some(dark) = dark(&shadows, &focus, options, &mut left) {
            return inconsistent(&dark.reason);
        }
    }
    let times = convicting
        .iter()
        .filter_map(|&index| history.records.get(index));
    let until = times.map(|record| record.time).max().unwrap_or(u64::MAX);
    let part = Part::tied_to(&mut case, &convicting, until);
    let mut hidden = Hidden::new(&mut case, known, options, configurations / PART_SHARE);
    if let Some(part) = &part
        && hidden.is_impossible(part).is_some()
    {
        return inconsistent(&hidden.words_of_search());
    }
    // What convicts a notification lies nearly always in the part alone.
    if let (
        Property::WatchBeforeData | Property::WatchOneShot | Property::WatchNotSpurious,
        Some(part),
    ) = (violation.property, &part)
        && hidden.is_impossible_to_hear(part).is_some()
    {
        return inconsistent(
            "along no order that time allows can the notifications have come when they came",
        );
    }
    let finding = match hidden.recall(&convicting, configurations) {
        Finding::Open(_) => {
            if let Some(dark) = dark_anywhere(hidden.case, options, configurations) {
                return inconsistent(&dark.reason);
            }
            hidden.allowance.configurations += configurations - configurations / PART_SHARE;
            hidden.decide(&Part::whole())
        }
        found @ (Finding::Proved(_) | Finding::Impossible(_)) => found,
    };
    match finding {
        Finding::Proved(summary) => dishonest(&summary),
        Finding::Impossible(_) => inconsistent(&hidden.words_of_search()),
        Finding::Open(reason) => (Class::Undetermined, reason),
    }
}

/// A shadow without an order: so the history has none.
pub(super) struct Dark {
    reason: String,
    /// Records of the history: what no order of the shadow goes on with.
    records: Vec<u32>,
}

impl Dark {
    /// The conviction of a history of which nothing but its answers was looked at.
    pub(super) fn violation(self, case: &Case<'_>) -> Box<Violation> {
        let (class, class_reason) = inconsistent("no zxid was looked at");
        Box::new(Violation {
            property: Property::LinearizableWrites,
            class,
            class_reason,
            records: times::records(case, &self.records),
            state_before: String::new(),
            reason: self.reason,
        })
    }
}

/// The shadow on some nodes, if it is known to have no order.
fn dark(
    shadows: &Shadows<'_, '_>,
    focus: &Focus<'_>,
    options: &Options,
    configurations: &mut u64,
) -> Option<Dark> {
    let shadow = shadows.cast(focus)?;
    let mut case = case::cut(&shadow.history).ok()?;
    let about = match focus {
        Focus::Node(path) => path.to_string(),
        Focus::Family(path) => format!("{path} and its children"),
    };
    let told = |case: &Case<'_>, requests: &[RequestIndex]| {
        let requests = requests.iter().take(STUCK_TOLD_MAX);
        let requests = requests.map(|&number| &case.requests[number as usize]);
        let records = requests.flat_map(|request| [request.invoke, request.done]);
        let records = records.filter_map(|index| shadow.records.get(index as usize));
        records.copied().collect()
    };
    let known = match find_out(&mut case) {
        Ok(known) => known,
        Err(circle) => {
            return Some(Dark {
                reason: format!("what was answered about {about} contradicts itself"),
                records: told(&case, &circle.requests),
            });
        }
    };
    // Whether a node is there may have been told by a list of its parent's children.
    let options = Options {
        exists_needs_read: false,
        ..options.clone()
    };
    let mut hidden = Hidden::new(&mut case, known, &options, *configurations);
    let impossible = hidden.is_impossible(&Part::whole());
    *configurations = hidden.allowance.configurations;
    impossible.map(|stuck| Dark {
        reason: format!(
            "none of the orders that time allows explains what was answered about {about} ({} configurations)",
            hidden.allowance.spent
        ),
        records: told(hidden.case, &stuck),
    })
}

/// The same of any node at all, since a walk that has many places to choose from convicts what
/// suffers, not what is wrong.
pub(super) fn dark_anywhere(
    case: &Case<'_>,
    options: &Options,
    configurations: u64,
) -> Option<Dark> {
    let mut left = configurations;
    let shadows = Shadows::of(case);
    let mut foci = shadows.everywhere().into_iter();
    foci.find_map(|focus| {
        let share = left.min(configurations / SHADOW_SHARE);
        let mut of_share = share;
        let dark = dark(&shadows, &focus, options, &mut of_share);
        left -= share - of_share;
        dark
    })
}

fn dishonest(summary: &Summary) -> (Class, String) {
    let reason = format!(
        "with the zxids left out, {} transactions have an order that explains every answer",
        summary.transactions
    );
    (Class::ZxidNotHonest, reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{
        self, Acl, Answer, Body, ErrorCode, EventType, Header, Identity, Op, SessionEvent, Stat,
    };
    use crate::verdict::Verdict;
    use crate::walk::judge;
    use std::path::{Path, PathBuf};

    /// The lives kept for tests, or the history files in `LIVES=DIR` and its folders.
    fn lives() -> Vec<PathBuf> {
        let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lives");
        let folder = std::env::var_os("LIVES").map_or(kept, PathBuf::from);
        let entries = std::fs::read_dir(&folder).expect("a folder of lives");
        let paths = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
        let file = |path: PathBuf| match path.is_dir() {
            true => path.join("history.jsonl"),
            false => path,
        };
        let is_life = |path: &PathBuf| path.extension().is_some_and(|end| end == "jsonl");
        let mut lives: Vec<PathBuf> = paths.map(file).filter(is_life).collect();
        lives.sort();
        lives
    }

    #[test]
    fn no_shadow_of_a_valid_life_is_dark() {
        let mut looked_at = 0;
        for file in lives() {
            let open = std::fs::File::open(&file).expect("a life");
            let history = crate::history::read(std::io::BufReader::new(open)).expect("a history");
            let options = Options::default();
            assert!(matches!(judge(&history, &options), Verdict::Valid(_)));
            let case = case::cut(&history).expect("a case");
            let shadows = Shadows::of(&case);
            let nodes = shadows.everywhere();
            let families = nodes.iter().filter_map(|focus| match focus {
                Focus::Node(path) => Some(Focus::Family(path)),
                Focus::Family(_) => None,
            });
            for focus in nodes.iter().cloned().chain(families) {
                let mut left = CLASS_CONFIGURATIONS / SHADOW_SHARE;
                let dark = dark(&shadows, &focus, &options, &mut left);
                let dark = dark.map(|dark| dark.reason);
                assert_eq!(dark, None, "{}", file.display());
                looked_at += 1;
            }
        }
        assert!(looked_at > 100);
    }
    /// Found in a valid life that was stripped of its zxids: the one notification was taken for
    /// what setWatches had registered, and the read after it was owed another.
    #[test]
    fn what_was_registered_again_after_a_reconnect_is_told_once() {
        let path: history::Path = "/a".into();
        let everybody = Acl {
            perms: 31,
            identity: Identity::new("world", "anyone"),
        };
        let create = Op::Create {
            path: path.clone(),
            data: Some("x".into()),
            acl: [everybody].into(),
            ephemeral: false,
            sequential: false,
            stat: false,
            lapse: None,
        };
        let get = Op::Get {
            path: path.clone(),
            watch: true,
        };
        let exists = Op::Exists {
            path: path.clone(),
            watch: false,
        };
        let delete = Op::Delete {
            path: path.clone(),
            version: -1,
        };
        let shown = Answer::Data {
            data: Some("x".into()),
            stat: Stat::default(),
        };
        let connected = Body::Session(SessionEvent::Connected {
            session: 1,
            timeout_ms: 4000,
            reattached: false,
            address: None,
        });
        let set_watches = SessionEvent::SetWatches {
            relative_zxid: 0,
            data: vec![path.clone()],
            exist: Vec::new(),
            child: Vec::new(),
            stays: Vec::new(),
        };
        let notified = Body::Notify {
            zxid: -1,
            event: EventType::NodeDeleted,
            path: path.clone(),
        };
        let ask = |session, xid, op| Body::Invoke { session, xid, op };
        let tell = |xid, result| Body::Return {
            xid,
            zxid: 0,
            result,
        };
        let mut history = History::new(Header::default());
        for (process, body) in [
            (1, connected.clone()),
            (2, ask(2, 1, create)),
            (2, tell(1, Ok(Answer::Path(path)))),
            (1, ask(1, 1, get.clone())),
            (1, tell(1, Ok(shown.clone()))),
            (1, Body::Session(SessionEvent::Disconnected)),
            (1, connected),
            (1, Body::Session(set_watches)),
            (1, Body::Session(SessionEvent::SetWatchesDone { zxid: 0 })),
            (1, ask(1, 2, get)),
            (1, tell(2, Ok(shown))),
            (2, ask(2, 2, delete)),
            (1, notified),
            (1, ask(1, 3, exists)),
            (1, tell(3, Err(ErrorCode::NO_NODE))),
            (2, tell(2, Ok(Answer::Done))),
        ] {
            let time = history.records.len() as u64;
            history.push(process, time, body);
        }
        let mut case = case::cut(&history).expect("a case");
        let Ok(known) = find_out(&mut case) else {
            panic!("a circle");
        };
        let options = Options::default();
        let mut hidden = Hidden::new(&mut case, known, &options, CLASS_CONFIGURATIONS);
        assert_eq!(hidden.is_impossible_to_hear(&Part::whole()), None);
    }
}
