//! The judgement of a history, from the cheapest question to the dearest.
//!
//! | step | room | looks at |
//! |---|---|---|
//! | cut | `case` | pairs questions and answers, numbers everything |
//! | compare | `times`, `sessions` | zxids and times alone: P1 P3 P4 P5 P7 P8 P14 P19 |
//! | count | `watches` | notifications against registrations: P11 P12 |
//! | walk | `replay`, `evidence`, `unanswered` | the tree along the order: P1 P2 P6 P7 P9 P13–P18 P20 |
//! | mend | `mend`, `nogoods`, `choices`, `claims`, `changes`, `wants`, `survey`, `sightings`, `quiet`, `refuted`, `room`, `likely`, `slots` | where requests of unknown fate can lie |
//! | wait | `watches` | which notification came when: P10 P12 |
//! | believe | `witness` | where the servers' own log puts what nobody was told, if there is one |
//! | follow | `open` | what no stranger excuses, where others write too: all but P6 and P14 |
//! | search | `prefix` | reads whose prefix was not recorded: P6 |
//! | name | `blame` | which property a mismatch breaks |
//!
//! Answers to: `consistency.md` 3.2 and 6.

mod blame;
pub(crate) mod case;
mod changes;
mod choices;
mod claims;
mod evidence;
mod lapses;
mod left;
mod likely;
mod mend;
mod musts;
mod nogoods;
mod open;
mod prefix;
mod quiet;
mod refuted;
mod replay;
mod room;
mod sessions;
mod sightings;
mod slots;
mod sums;
mod survey;
pub(crate) mod times;
mod unanswered;
mod wants;
mod watches;
mod witness;

use crate::certificate::{Certificate, Sight, Step};
use crate::hidden::{CONFIGURATIONS, judge_without_zxids};
use crate::history::{Header, History, SyncPromise, World};
use crate::stream;
use crate::verdict::{Class, Property, Summary, Verdict, Violation};
use crate::verify::{Refusal, Terms, verify, verify_open};
use case::RequestIndex;
pub(crate) use case::lag_ns;
pub use case::{Role, role};
pub(crate) use choices::makes_ephemeral;
pub(crate) use lapses::{makes_lapsing, may_lapse, patience_ns};
pub(crate) use left::{Left, left_by};
use replay::Replay;
use times::Times;
pub(crate) use watches::{Table, registers, tables_of};

/// How to judge.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whether all clients were recorded; None takes the header's word.
    pub world: Option<World>,
    /// `exists` on a node without READ permission must be refused, as our service does it.
    /// Without it either answer goes: ZooKeeper refuses since 3.9 and did not before. A
    /// history whose header says `sync = leader` is judged without it.
    pub exists_needs_read: bool,
    /// A write that is answered proves that the leader heard its session when it was sent
    /// (P14). Without it, only what any server answered counts, less the time that
    /// followers may take to pass it on. ZooKeeper's leader hears of a session from the
    /// follower's pings only (`LearnerHandler`: a forwarded request touches nothing), so a
    /// history whose header says `sync = leader` is judged without it.
    pub write_is_touch: bool,
    /// Most placements of requests of unknown fate that are tried before giving up.
    pub tries_max: u64,
    /// Most steps walked before giving up, per item of the order.
    pub steps_per_item_max: u64,
    /// Steps that are walked before giving up however short the order is.
    pub steps_min: u64,
    /// Most zxids tried for one request of unknown fate at one mismatch.
    pub places_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            world: None,
            exists_needs_read: true,
            write_is_touch: true,
            tries_max: 1_000_000,
            steps_per_item_max: 1000,
            steps_min: STEPS_MIN,
            places_max: 512,
        }
    }
}

/// Steps that are walked before giving up however short the order is, unless asked for less.
const STEPS_MIN: u64 = 10_000_000;

/// Steps after which the walk gives up, whatever the size of the history.
const STEPS_MAX: u64 = 50_000_000;

impl Options {
    /// What a verifier of the verdict has to know.
    pub fn terms(&self) -> Terms {
        Terms {
            exists_needs_read: self.exists_needs_read,
            write_is_touch: self.write_is_touch,
        }
    }

    /// These options for a history of that service: what `sync = leader`, ZooKeeper's own
    /// promise, does not promise either is not asked for.
    pub fn for_service(&self, header: &Header) -> Options {
        let ours = header.sync == SyncPromise::Quorum;
        Options {
            exists_needs_read: self.exists_needs_read && ours,
            write_is_touch: self.write_is_touch && ours,
            ..self.clone()
        }
    }

    /// True if a history is judged as one in which others could have written too.
    pub fn open_world(&self, history: &History) -> bool {
        self.world.unwrap_or(history.header.world) == World::Open
    }

    fn steps_max(&self, items: usize) -> u64 {
        let items = items as u64;
        items
            .saturating_mul(self.steps_per_item_max)
            .clamp(self.steps_min.min(STEPS_MAX), STEPS_MAX)
            .max(items.saturating_mul(2))
    }
}

/// Judges a history. Deterministic and without side effects: the same history and options
/// give the same verdict, always.
pub fn judge(history: &History, options: &Options) -> Verdict {
    judge_metered(history, options, &mut Meter::default())
}

/// As [`judge`]; a valid verdict comes with the order and the prefixes that prove it, for
/// [`crate::verify`].
pub fn judge_with_certificate(
    history: &History,
    options: &Options,
) -> (Verdict, Option<Certificate>) {
    judged_within(history, options, &mut Meter::default())
}

fn judged_within(
    history: &History,
    options: &Options,
    meter: &mut Meter,
) -> (Verdict, Option<Certificate>) {
    let options = &options.for_service(&history.header);
    if options.open_world(history) {
        return (judged_open(history, options, meter), None);
    }
    match judged(history, options, meter, &[]) {
        Ok((summary, certificate)) => (Verdict::Valid(summary), Some(certificate)),
        Err(verdict) => (verdict, None),
    }
}

/// What is known of a session from before a stretch of history.
pub(crate) struct Known {
    /// Its id.
    pub session: i64,
    /// Negotiated timeout, ns.
    pub timeout_ns: u64,
    /// When the client had last sent something that the leader must have heard of.
    pub heard: Option<u64>,
    /// When the client first asked to close it.
    pub close_sent: Option<u64>,
}

/// The order of a stretch out of a longer history in a closed world.
///
/// # Errors
/// The verdict that comes without an order.
pub(crate) fn order_of_stretch(
    stretch: &History,
    options: &Options,
    known: &[Known],
) -> Result<Certificate, Verdict> {
    let options = options.for_service(&stretch.header);
    let found = judged(stretch, &options, &mut Meter::default(), known);
    found.map(|(_, certificate)| certificate)
}

/// What a judgement may cost where zxids do not bound it, and what it has cost.
pub(crate) struct Meter {
    /// Most configurations that are looked at where no zxids are told.
    pub configurations: u64,
    /// Items walked over, and placements tried, each as many of those as it costs.
    pub steps: u64,
}

impl Default for Meter {
    fn default() -> Self {
        Meter {
            configurations: CONFIGURATIONS,
            steps: 0,
        }
    }
}

impl Meter {
    /// Judges without zxids. (How many configurations that took is known only if they did not
    /// suffice.)
    fn without_zxids(&mut self, history: &History, options: &Options) -> Verdict {
        let verdict = judge_without_zxids(history, options, self.configurations);
        self.steps += match verdict {
            Verdict::Unknown(_) => self.configurations,
            Verdict::Valid(_) | Verdict::Invalid(_) | Verdict::Malformed { .. } => 0,
        };
        verdict
    }
}

/// As [`judge`], within and onto a meter.
pub(crate) fn judge_metered(history: &History, options: &Options, meter: &mut Meter) -> Verdict {
    match stream::acquit(history, options) {
        Ok(summary) => Verdict::Valid(summary),
        Err(_) => judged_within(history, options, meter).0,
    }
}

/// As [`judge`], but acquits only what a second opinion confirms (see [`crate::verify`]). The
/// thorough judge of an open world has no certificate but the zxids; of its verdict less is
/// confirmed. Who judges without zxids has had the order verified.
pub fn judge_verified(history: &History, options: &Options) -> Verdict {
    if let Ok((summary, opinion)) = stream::acquit_verified(history, options) {
        return confirmed(summary, opinion);
    }
    let terms = options.for_service(&history.header).terms();
    match judge_with_certificate(history, options) {
        (Verdict::Valid(summary), Some(certificate)) => {
            confirmed(summary, verify(history, &certificate, terms))
        }
        (Verdict::Valid(summary), None) if options.open_world(history) => {
            confirmed(summary, verify_open(history, terms))
        }
        (verdict, _) => verdict,
    }
}

/// The verdict of a judge that acquits, given a second opinion on it: where the two disagree
/// the judge contradicts itself, and nothing is known.
pub fn confirmed(summary: Summary, opinion: Result<(), Refusal>) -> Verdict {
    match opinion {
        Ok(()) => Verdict::Valid(summary),
        Err(refusal) => Verdict::Unknown(format!(
            "internal contradiction: the judge finds nothing wrong, but the verifier does: {refusal}"
        )),
    }
}

/// True unless transactions were answered and no answer says at which zxid anything was, as
/// recorders write that sit behind a client library.
fn tells_zxids(case: &case::Case<'_>) -> bool {
    let mut requests = case.requests.iter();
    requests.any(|request| request.zxid > 0)
        || !(case.requests.iter()).any(|request| request.role == Role::Transaction)
}

/// What needs neither tree nor zxids to convict: the order of replies, what syncs answer, when
/// sessions were told that they are gone, and how many notifications came.
///
/// # Errors
/// The first violation.
pub(crate) fn check_without_zxids(
    case: &case::Case<'_>,
    options: &Options,
) -> Result<(), Box<Violation>> {
    times::check_without_zxids(case)?;
    sessions::check(case, options.write_is_touch)?;
    watches::check_counts(case)
}

/// The order, or a verdict that comes without one: of a history that tells no zxids that is
/// [`judge_without_zxids`]'s, who has had the order verified.
fn judged(
    history: &History,
    options: &Options,
    meter: &mut Meter,
    known: &[Known],
) -> Result<(Summary, Certificate), Verdict> {
    let mut case = case::cut(history)?;
    for known in known {
        let session = case.index_of_session(known.session);
        if let Some(session) = case.sessions.get_mut(session as usize) {
            session.timeout_ns = session.timeout_ns.max(known.timeout_ns);
            session.answered = session.answered.max(known.heard);
            session.close_sent = known.close_sent.or(session.close_sent);
        }
    }
    if !tells_zxids(&case) {
        return Err(meter.without_zxids(history, options));
    }
    let times = Times::of(&case);
    times::check(&case, &times).map_err(Verdict::Invalid)?;
    sessions::check(&case, options.write_is_touch).map_err(Verdict::Invalid)?;
    watches::check_counts(&case).map_err(Verdict::Invalid)?;
    let summary = summary_of(&case);
    let mut replay = Replay::new(&mut case, &times, options);
    watches::watch_paths(&mut replay);
    prefix::trace_paths(&mut replay);
    replay.check_unique().map_err(Verdict::Invalid)?;
    check_seen(&replay).map_err(Verdict::Invalid)?;
    let found = order_of(&mut replay, history);
    meter.steps += replay.work;
    found.map(|found| told(summary, &replay, &found))
}

/// The order, as the servers' log has it or by search.
fn order_of(replay: &mut Replay<'_, '_>, history: &History) -> Result<Found, Verdict> {
    let mut contradicted = None;
    if replay.uncertain
        && let Some(placed) = witness::placements(replay.case, &replay.candidates)
    {
        match placed.and_then(|placed| follow(replay, &placed)) {
            Ok(found) => return Ok(found),
            Err(violation) => contradicted = Some(violation),
        }
        replay.start_over();
    }
    let verdict = match search(replay) {
        Ok(found) => return Ok(found),
        Err(verdict) => verdict,
    };
    Err(match (verdict, contradicted) {
        // What goes by itself is no line of a log.
        (Verdict::Unknown(_), Some(violation))
            if history.log_is_whole() && !may_lapse(replay.case) =>
        {
            Verdict::Invalid(witness::against(violation))
        }
        (verdict, _) => verdict,
    })
}

/// As `judged`, without an order: others wrote, too.
fn judged_open(history: &History, options: &Options, meter: &mut Meter) -> Verdict {
    let mut look = || -> Result<Summary, Verdict> {
        let mut case = case::cut(history)?;
        if !tells_zxids(&case) {
            return Err(meter.without_zxids(history, options));
        }
        let times = Times::of(&case);
        times::check(&case, &times).map_err(Verdict::Invalid)?;
        sessions::check(&case, options.write_is_touch).map_err(Verdict::Invalid)?;
        let summary = summary_of(&case);
        let (case, overheard) = open::check(&mut case, options).map_err(Verdict::Invalid)?;
        let notifications = watches::check_overheard(case, &overheard).map_err(Verdict::Invalid)?;
        Ok(Summary {
            notifications,
            world: World::Open,
            ..summary
        })
    };
    match look() {
        Ok(summary) => Verdict::Valid(summary),
        Err(verdict) => verdict,
    }
}

/// What a walk that reached the end found besides the order.
struct Found {
    /// How many notifications were matched.
    notifications: usize,
    /// The prefixes of reads that named none.
    placed: Vec<(RequestIndex, i64)>,
}

/// One walk as the servers' log has it.
fn follow(
    replay: &mut Replay<'_, '_>,
    placed: &witness::Placements,
) -> Result<Found, Box<Violation>> {
    replay.follow(placed)?;
    look_along(replay)
}

/// The walk with whatever placements explain what was seen.
fn search(replay: &mut Replay<'_, '_>) -> Result<Found, Verdict> {
    replay.run()?;
    look_along(replay).map_err(Verdict::Invalid)
}

/// What is judged once there is an order.
fn look_along(replay: &mut Replay<'_, '_>) -> Result<Found, Box<Violation>> {
    Ok(Found {
        notifications: watches::check(replay)?,
        placed: prefix::check(replay)?,
    })
}

fn told(summary: Summary, replay: &Replay<'_, '_>, found: &Found) -> (Summary, Certificate) {
    let summary = Summary {
        resolved: replay.resolved(),
        notifications: found.notifications,
        ..summary
    };
    (summary, certificate_of(replay, &found.placed))
}

/// P19: what somebody saw happen has a number that a transaction can have.
fn check_seen(replay: &Replay<'_, '_>) -> Result<(), Box<Violation>> {
    let start_of_epoch = |zxid: i64| zxid & 0xffff_ffff == 0;
    let hole = replay.holes.iter().find(|(zxid, _)| start_of_epoch(*zxid));
    let Some((zxid, evidence)) = hole else {
        return Ok(());
    };
    let seen: Vec<u32> = evidence.iter().map(|seen| seen.record).take(1).collect();
    Err(Box::new(Violation {
        property: Property::ZxidSanity,
        class: Class::Undetermined,
        class_reason: String::new(),
        records: times::records(replay.case, &seen),
        state_before: String::new(),
        reason: format!(
            "a change is said to be of {zxid:#x}, but the start of an epoch belongs to no transaction"
        ),
    }))
}

/// What the walk found, in the words of the history.
fn certificate_of(replay: &Replay<'_, '_>, placed: &[(RequestIndex, i64)]) -> Certificate {
    let requests = &replay.case.requests;
    let order: Vec<Step> = replay.order();
    let mut sights = Vec::new();
    let mut placed = placed.iter().peekable();
    for (index, request) in requests.iter().enumerate() {
        let zxid = match request.role {
            Role::Read | Role::Sync => request.zxid,
            Role::ReadSomewhere => match placed.next_if(|&&(number, _)| number as usize == index) {
                Some(&(_, zxid)) => zxid,
                None => continue,
            },
            Role::Transaction | Role::Unanswered | Role::Nothing => continue,
        };
        sights.push(Sight {
            invoke: request.invoke as usize,
            prefix: order.partition_point(|step| step.zxid <= zxid),
        });
    }
    Certificate { order, sights }
}

fn summary_of(case: &case::Case<'_>) -> Summary {
    let count = |role: Role| {
        case.requests
            .iter()
            .filter(|request| request.role == role)
            .count()
    };
    Summary {
        requests: case.requests.len(),
        transactions: count(Role::Transaction),
        reads: count(Role::Read) + count(Role::ReadSomewhere),
        unanswered: count(Role::Unanswered),
        resolved: 0,
        notifications: 0,
        sessions: case.sessions.len(),
        world: World::Closed,
    }
}
