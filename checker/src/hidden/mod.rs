//! Histories whose zxids are hidden: is there any order that explains what clients saw?
//!
//! A history says twice what happened: by its answers, and by the zxids that came with them.
//! The walk takes the zxids at their word. Here they are taken away, all of them: of headers,
//! notifications and Stats, and what clients said of themselves when they came back. What is
//! left (answers, errors, names, versions, counters, wall clock times, sessions, real time) is
//! asked for an order of its own. That decides histories recorded without zxids, and of a
//! history that the walk convicted it tells which half is wrong:
//!
//! | class | claims | proof |
//! |---|---|---|
//! | A, inconsistent | no order explains the answers | a search through all orders of a part that has an order if the whole has one |
//! | B, zxid not honest | some order does | that order, written into the history, accepted by the walk and by the verifier |
//! | undetermined | nothing | |
//!
//! | step | room | does |
//! |---|---|---|
//! | sort | `graph`, `sights` | what must come before what by versions, counters, time and sessions; a circle convicts (L1) |
//! | class | `class` | in which order all this is tried after a conviction |
//! | shade | `shadow`, `lens` | what is said of a few nodes alone, which may be impossible by itself |
//! | cut | `part` | leaves out what cannot have caused the conviction |
//! | lay out | `puzzle` | what has to be ordered, and what waits for what |
//! | tell apart | `reach` | which requests can be exchanged |
//! | recall | `recall` | where the zxids of all but what convicts put what nobody was told of: what to try first |
//! | search | `search` | transactions in order of time, reads as early as they fit (L3) |
//! | listen | `watching` | the same along notifications, where an order was refused for their sake |
//! | prove | `fill`, `again` | an order as a history with honest zxids, for the ordinary judges |
//!
//! What always holds: nothing is guessed. `valid` and class B were proved by judges who know
//! nothing of this module; `invalid` and class A looked at every order; all else says which
//! budget ended. Budgets are in configurations, so that verdicts repeat.
//!
//! Answers to: `consistency.md` 3.2 ("Rejecting"), 3.3 and 6.

mod again;
mod class;
mod fill;
mod graph;
mod lens;
mod part;
mod puzzle;
mod reach;
mod recall;
mod search;
mod shadow;
mod sights;
mod watching;

pub use class::{CLASS_CONFIGURATIONS, classify};

use crate::history::History;
use crate::model::{AclTable, Paths, Tree};
use crate::verdict::{Class, Property, Summary, Verdict, Violation};
use crate::verify::verify;
use crate::walk::case::{self, Case, RequestIndex, Role};
use crate::walk::{Options, check_without_zxids, judge_with_certificate, may_lapse, times};
use fill::{Fill, MANNERS};
use graph::Circle;
use part::Part;
use puzzle::{Known, Puzzle};
use reach::Reaches;
use recall::{NO_HINT, Recalled};
use rustc_hash::FxHashMap;
use search::{Allowance, Deed, Outcome, Search, Sights};
use std::rc::Rc;
use watching::Watching;

/// Configurations that [`judge_without_zxids`] may look at if nobody says otherwise.
pub const CONFIGURATIONS: u64 = 5_000_000;

/// How hard the walk may try to follow an order that was found: it has nothing to search for.
const FOLLOW_TRIES_MAX: u64 = 10_000;

/// As [`Options::steps_per_item_max`], for the same walk.
const FOLLOW_STEPS_PER_ITEM_MAX: u64 = 20;

/// As [`Options::steps_min`], for the same walk.
const FOLLOW_STEPS_MIN: u64 = 100_000;

/// Why nothing is decided where containers or TTL nodes were made.
const BY_THEMSELVES: &str =
    "without zxids nothing tells when containers and TTL nodes go by themselves";

/// Judges a history as if no zxid had been recorded, looking at no more than so many
/// configurations. Deterministic, as [`crate::judge`].
///
/// An open world is always unknown: others wrote too, and without zxids nothing tells what.
pub fn judge_without_zxids(history: &History, options: &Options, configurations: u64) -> Verdict {
    let options = &options.for_service(&history.header);
    if options.open_world(history) {
        return Verdict::Unknown("without zxids only a closed world can be judged".into());
    }
    let mut case = match case::cut(history) {
        Ok(case) => case,
        Err(verdict) => return verdict,
    };
    if let Err(mut violation) = check_without_zxids(&case, options) {
        (violation.class, violation.class_reason) = inconsistent("no zxid is needed to see it");
        return Verdict::Invalid(violation);
    }
    // Zxids that were recorded name the likeliest order, and whoever believes them asks for
    // more than who does not.
    if case.requests.iter().any(|request| request.zxid > 0)
        && let Ok(summary) = judged(history, options)
    {
        return Verdict::Valid(summary);
    }
    if may_lapse(&case) {
        return Verdict::Unknown(BY_THEMSELVES.into());
    }
    let known = match find_out(&mut case) {
        Ok(known) => known,
        Err(circle) => return Verdict::Invalid(violation_of(&case, &circle)),
    };
    let first = configurations.min(CLASS_CONFIGURATIONS);
    let mut hidden = Hidden::new(&mut case, known, options, first);
    let mut finding = hidden.decide(&Part::whole());
    if matches!(finding, Finding::Open(_)) {
        // What no order explains mostly shows on one node; the whole takes long to tell.
        if let Some(dark) = class::dark_anywhere(hidden.case, options, first) {
            return Verdict::Invalid(dark.violation(hidden.case));
        }
        if configurations > first {
            (hidden.allowance.configurations, hidden.spared) = (configurations, configurations);
            finding = hidden.decide(&Part::whole());
        }
    }
    match finding {
        Finding::Proved(summary) => Verdict::Valid(*summary),
        Finding::Impossible(stuck) => Verdict::Invalid(hidden.violation(&stuck)),
        Finding::Open(reason) => Verdict::Unknown(reason),
    }
}

fn inconsistent(reason: &str) -> (Class, String) {
    (Class::Inconsistent, reason.into())
}

/// What is known in the end.
enum Finding {
    /// An order, and the judges' word for it.
    Proved(Box<Summary>),
    /// No order: what could not be gone on with.
    Impossible(Vec<RequestIndex>),
    /// Not decided, and why.
    Open(String),
}

struct Hidden<'c, 'h> {
    case: &'c Case<'h>,
    known: Rc<Known>,
    tree: Tree<'h>,
    options: &'c Options,
    allowance: Allowance,
    /// Configurations that may be looked at besides, along notifications.
    spared: u64,
}

impl<'c, 'h> Hidden<'c, 'h> {
    /// Takes the case's paths and ACLs over.
    fn new(
        case: &'c mut Case<'h>,
        known: Known,
        options: &'c Options,
        configurations: u64,
    ) -> Self {
        let paths = std::mem::replace(&mut case.paths, Paths::new());
        let acls = std::mem::replace(&mut case.acls, AclTable::new());
        let case: &'c Case<'h> = case;
        let ids = case.sessions.iter().map(|session| session.id).collect();
        let start = &case.history.header.start;
        let mut tree = Tree::new(start, paths, acls, ids, |id| case.index_of_session(id));
        tree.go_blind();
        Hidden {
            case,
            known: Rc::new(known),
            tree,
            options,
            allowance: Allowance {
                configurations,
                spent: 0,
                learns: true,
                exists_needs_read: options.exists_needs_read,
            },
            spared: configurations,
        }
    }

    /// Looks for an order of a part, which must be the whole for it to be proved.
    fn decide(&mut self, part: &Part) -> Finding {
        let write_is_touch = self.options.write_is_touch;
        let likely = Puzzle::of(self.case, &self.known, part, write_is_touch, true);
        let refused = match self.search(&likely, true) {
            Outcome::Unknown => return self.out_of_budget(),
            Outcome::Nowhere(_) => None,
            Outcome::Order(deeds, _) => match self.prove(&likely, &deeds) {
                Ok(summary) => return Finding::Proved(Box::new(summary)),
                Err(reason) => Some(reason),
            },
        };
        let every = Puzzle::of(self.case, &self.known, part, write_is_touch, false);
        let refused = match (self.search(&every, false), refused) {
            (Outcome::Nowhere(stuck), _) => return Finding::Impossible(stuck),
            (Outcome::Unknown, None) => return self.out_of_budget(),
            (Outcome::Unknown | Outcome::Order(..), Some(reason)) => reason,
            (Outcome::Order(deeds, _), None) => match self.prove(&every, &deeds) {
                Ok(summary) => return Finding::Proved(Box::new(summary)),
                Err(reason) => reason,
            },
        };
        self.listen(part, &likely, refused)
    }

    /// Looks for an order along what sessions were told, where one without was refused.
    fn listen(&mut self, part: &Part, puzzle: &Puzzle<'c, 'h>, refused: String) -> Finding {
        let Some(watching) = Watching::of(part, puzzle, &self.tree.paths) else {
            return Finding::Open(refused);
        };
        self.allowance.configurations += std::mem::take(&mut self.spared);
        self.allowance.learns = true;
        let search = Search::new(puzzle, &mut self.tree, Some(&watching));
        let stuck = match search.run(&mut self.allowance) {
            Outcome::Order(deeds, sights) => {
                return match self.prove_as_found(puzzle, &deeds, &sights) {
                    Ok(summary) => Finding::Proved(Box::new(summary)),
                    Err(reason) => Finding::Open(reason),
                };
            }
            Outcome::Unknown => None,
            // Where times were learned, or more was asked of a sync than was promised, that
            // nothing was found proves nothing.
            Outcome::Nowhere(_) => self.is_impossible_to_hear(part),
        };
        match stuck {
            Some(stuck) => Finding::Impossible(stuck),
            None => Finding::Open(format!(
                "no decision along the notifications within the configurations allowed; {refused}"
            )),
        }
    }

    /// Looks for an order of the whole near the one that the zxids tell without what convicts,
    /// with so many configurations for each that comes into question.
    fn recall(&mut self, convicting: &[usize], configurations: u64) -> Finding {
        let mut tried: Vec<Recalled> = Vec::new();
        let (left, spared) = (self.allowance.configurations, self.spared);
        let (case, options) = (self.case, self.options);
        let rings = recall::rings(case, convicting).into_iter();
        let near = rings.map(|ring| recall::forgetting(case, ring, options));
        let untimed = std::iter::once_with(|| recall::without_time(case, options));
        for recalled in near.chain(untimed).flatten() {
            if tried.contains(&recalled) {
                continue;
            }
            let known = with_hints(case, &self.known, &recalled);
            let before = std::mem::replace(&mut self.known, Rc::new(known));
            (self.allowance.configurations, self.spared) = (configurations, configurations);
            let finding = self.decide(&Part::whole());
            self.known = before;
            (self.allowance.configurations, self.spared) = (left, spared);
            match finding {
                Finding::Proved(_) | Finding::Impossible(_) => return finding,
                Finding::Open(_) => tried.push(recalled),
            }
        }
        self.out_of_budget()
    }

    /// What could not be gone on with, if a part, and so the whole, has no order.
    fn is_impossible(&mut self, part: &Part) -> Option<Vec<RequestIndex>> {
        let puzzle = Puzzle::of(
            self.case,
            &self.known,
            part,
            self.options.write_is_touch,
            false,
        );
        match self.search(&puzzle, false) {
            Outcome::Nowhere(stuck) => Some(stuck),
            Outcome::Order(..) | Outcome::Unknown => None,
        }
    }

    /// As [`Hidden::is_impossible`], along what sessions were told; what could not be gone on
    /// with, if so.
    fn is_impossible_to_hear(&mut self, part: &Part) -> Option<Vec<RequestIndex>> {
        let write_is_touch = self.options.write_is_touch;
        let puzzle = Puzzle::of(self.case, &self.known, part, write_is_touch, false);
        let watching = Watching::of(part, &puzzle, &self.tree.paths)?;
        self.allowance.learns = false;
        let search = Search::new(&puzzle, &mut self.tree, Some(&watching));
        match search.run(&mut self.allowance) {
            Outcome::Nowhere(stuck) => Some(stuck),
            Outcome::Order(..) | Outcome::Unknown => None,
        }
    }

    fn search(&mut self, puzzle: &Puzzle<'c, 'h>, learns: bool) -> Outcome {
        self.allowance.learns = learns;
        Search::new(puzzle, &mut self.tree, None).run(&mut self.allowance)
    }

    /// Has an order of the whole judged.
    fn prove(&mut self, puzzle: &Puzzle<'c, 'h>, deeds: &[Deed]) -> Result<Summary, String> {
        let needs_read = self.options.exists_needs_read;
        let mut refusal = "the reads have no place in it together".to_string();
        for manner in MANNERS {
            let filled = Fill::write(puzzle, deeds, None, &mut self.tree, needs_read, manner);
            let Some(filled) = filled else { continue };
            match judged(&filled, self.options) {
                Ok(summary) => return Ok(summary),
                Err(reason) => refusal = reason,
            }
        }
        Err(format!(
            "an order explains the answers one by one, but is refused as a whole: {refusal}"
        ))
    }

    /// Has an order of the whole judged in which the reads have their places.
    fn prove_as_found(
        &mut self,
        puzzle: &Puzzle<'c, 'h>,
        deeds: &[Deed],
        sights: &Sights,
    ) -> Result<Summary, String> {
        let needs_read = self.options.exists_needs_read;
        let manner = MANNERS[MANNERS.len() - 1];
        let filled = Fill::write(
            puzzle,
            deeds,
            Some(sights),
            &mut self.tree,
            needs_read,
            manner,
        );
        let filled = filled.ok_or("the reads have no place in it together")?;
        let refused = |reason| {
            format!(
                "an order explains answers and notifications one by one, but is refused as a whole: {reason}"
            )
        };
        judged(&filled, self.options).map_err(refused)
    }

    fn out_of_budget(&self) -> Finding {
        Finding::Open("no decision within the configurations allowed".into())
    }

    fn words_of_search(&self) -> String {
        let looked_at = self.allowance.spent;
        format!(
            "none of the orders that time allows explains the answers ({looked_at} configurations)"
        )
    }

    fn violation(&self, stuck: &[RequestIndex]) -> Box<Violation> {
        let requests = stuck
            .iter()
            .map(|&number| &self.case.requests[number as usize]);
        let records: Vec<u32> = requests
            .take(STUCK_TOLD_MAX)
            .flat_map(|request| [request.invoke, request.done])
            .collect();
        Box::new(Violation {
            property: Property::LinearizableWrites,
            class: Class::Inconsistent,
            class_reason: self.words_of_search(),
            records: times::records(self.case, &records),
            state_before: String::new(),
            reason: "no order of the writes explains the answers; the order that comes farthest can go on with none of these".into(),
        })
    }
}

/// What can be known without a search. The likely order is that of the zxids, if any were
/// recorded, and what nobody was told of is where the servers' log has it.
///
/// # Errors
/// No order is possible.
fn find_out(case: &mut Case<'_>) -> Result<Known, Circle> {
    let sorted = graph::sort(case)?;
    let zxids = case.requests.iter().map(|request| request.zxid);
    let likely = match zxids.clone().any(|zxid| zxid > 0) {
        true => zxids.collect(),
        false => sorted,
    };
    let known = Known {
        likely,
        reaches: Rc::new(Reaches::of(case)),
        ends: FxHashMap::default(),
    };
    Ok(with_hints(case, &known, &Recalled::of_log(case)))
}

/// The same with other hints of what nobody was told.
fn with_hints(case: &Case<'_>, known: &Known, recalled: &Recalled) -> Known {
    let mut likely = known.likely.clone();
    for (request, likely) in case.requests.iter().zip(&mut likely) {
        if request.role == Role::Unanswered {
            *likely = NO_HINT;
        }
    }
    for (&number, &zxid) in &recalled.requests {
        likely[number as usize] = zxid;
    }
    Known {
        likely,
        reaches: Rc::clone(&known.reaches),
        ends: recalled.ends.clone(),
    }
}

fn violation_of(case: &Case<'_>, circle: &Circle) -> Box<Violation> {
    let requests = circle.requests.iter();
    let requests = requests.map(|&number| &case.requests[number as usize]);
    let records: Vec<u32> = requests
        .flat_map(|request| [request.invoke, request.done])
        .collect();
    let (class, class_reason) = inconsistent("no zxid is needed to see it");
    Box::new(Violation {
        property: circle.property,
        class,
        class_reason,
        records: times::records(case, &records),
        state_before: String::new(),
        reason: circle.reason.clone(),
    })
}

/// Most requests that are named as what no order goes on with.
const STUCK_TOLD_MAX: usize = 4;

/// What the ordinary judges say of a history with honest zxids.
fn judged(filled: &History, options: &Options) -> Result<Summary, String> {
    let options = Options {
        tries_max: options.tries_max.min(FOLLOW_TRIES_MAX),
        steps_per_item_max: options.steps_per_item_max.min(FOLLOW_STEPS_PER_ITEM_MAX),
        steps_min: options.steps_min.min(FOLLOW_STEPS_MIN),
        ..options.clone()
    };
    match judge_with_certificate(filled, &options) {
        (Verdict::Valid(summary), Some(certificate)) => {
            match verify(filled, &certificate, options.terms()) {
                Ok(()) => Ok(summary),
                Err(refusal) => Err(refusal.to_string()),
            }
        }
        (Verdict::Valid(_), None) => Err("it came without a certificate".into()),
        (Verdict::Invalid(violation), _) => Err(format!(
            "{} {}: {}",
            violation.property.code(),
            violation.property.name(),
            violation.reason
        )),
        (Verdict::Unknown(reason) | Verdict::Malformed { reason, .. }, _) => Err(reason),
    }
}
