//! What may have happened without anybody being told: requests of unknown fate, the ends of
//! sessions, and nodes that go by themselves (see [`super::lapses`]).
//!
//! Each has a window of zxids in which it can lie, if it happened at all. The lower end is
//! what had been shown to anybody before it was asked (W1, R3) and what its session had
//! been answered before (W2); the upper end is the session's next answered transaction,
//! which fences it: after a session shows up elsewhere, its old requests are refused.
//!
//! Answers to: `consistency.md` 3.2, unanswered transactions, "fenced".

use super::case::{Case, RequestIndex, Role};
use super::changes::{Change, Place, each_change};
use super::lapses::{self, Asked, Lapsing};
use super::times::Times;
use crate::history::Op;
use crate::model::{Paths, SessionIndex};
use rustc_hash::FxHashMap;

/// Number of a candidate.
pub type CandidateIndex = u32;

/// Something that may have happened.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The request; None for the end of the session, or of a node that goes by itself.
    pub request: Option<RequestIndex>,
    /// The node that goes by itself.
    pub lapse: Option<Box<Lapsing>>,
    /// The session; none has what goes by itself.
    pub session: SessionIndex,
    /// It lies after this zxid.
    pub low: i64,
    /// It lies before this zxid.
    pub high: i64,
    /// What it changes, if it takes effect; of the end of a session that is not known before.
    pub parts: Vec<Place>,
    /// What the end of a session surely takes away, if it comes at the right time.
    pub owned: Vec<Owned>,
    /// Where it lies, as the walk assumes at the moment.
    pub assigned: Option<i64>,
}

impl Candidate {
    /// True if it is the end of its session.
    pub fn is_end(&self) -> bool {
        self.request.is_none() && self.lapse.is_none()
    }
}

/// An ephemeral that surely exists after `from` and before `until`, unless its session has
/// ended.
#[derive(Debug, Clone, Copy)]
pub struct Owned {
    /// Zxid that made it.
    pub from: i64,
    /// The first zxid at which something else may have deleted it.
    pub until: i64,
    /// The node and its parent: what changes when it goes.
    pub parts: [Place; 2],
}

/// All that may have happened.
pub struct Candidates {
    /// By number.
    pub list: Vec<Candidate>,
    /// Requests of unknown fate by what they would provide.
    pub providing: FxHashMap<Change, Vec<CandidateIndex>>,
    /// The candidates of each session: requests in the order sent, its end after them all.
    pub of_session: Vec<Vec<CandidateIndex>>,
    /// The candidate that ends each session.
    pub end_of: Vec<CandidateIndex>,
    /// Nodes that may go by themselves, whose names are not known before.
    pub unnamed: Vec<CandidateIndex>,
    /// When what has a zxid can have happened, if anything goes by itself.
    pub asked: Asked,
}

impl Candidates {
    /// None at all, for a world in which others act unseen anyway.
    pub fn none(sessions: usize) -> Self {
        let nothing = |session| Candidate {
            request: None,
            lapse: None,
            session,
            low: i64::MAX,
            high: i64::MIN,
            parts: Vec::new(),
            owned: Vec::new(),
            assigned: None,
        };
        Candidates {
            list: (0..sessions as SessionIndex).map(nothing).collect(),
            providing: FxHashMap::default(),
            of_session: Vec::new(),
            end_of: (0..sessions as CandidateIndex).collect(),
            unnamed: Vec::new(),
            asked: Asked::default(),
        }
    }
}

impl Candidates {
    /// A session cannot have ended before its ephemerals were last seen.
    pub fn outlive(&mut self, seen: &[i64]) {
        for (&end, &seen) in self.end_of.iter().zip(seen) {
            let end = &mut self.list[end as usize];
            end.low = end.low.max(seen);
        }
    }

    /// What was surely done by a zxid lies no later, and what its session had sent before it
    /// lies before it.
    pub fn precede(&mut self, seen: &[i64]) {
        let mut before: FxHashMap<SessionIndex, i64> = FxHashMap::default();
        for (candidate, &seen) in self.list.iter_mut().zip(seen).rev() {
            if candidate.request.is_none() {
                continue;
            }
            let before = before.entry(candidate.session).or_insert(i64::MAX);
            candidate.high = candidate.high.min(*before);
            if seen < candidate.high && candidate.low < seen {
                candidate.high = seen + 1;
                *before = seen;
            }
        }
    }
}

/// Collects the candidates of a case.
pub fn collect<'h>(
    case: &Case<'h>,
    times: &Times,
    paths: &mut Paths<'h>,
    write_is_touch: bool,
) -> Candidates {
    let mut candidates = Candidates {
        list: Vec::new(),
        providing: FxHashMap::default(),
        of_session: vec![Vec::new(); case.sessions.len()],
        end_of: Vec::new(),
        unnamed: Vec::new(),
        asked: Asked::default(),
    };
    let mut last_seen = vec![0i64; case.sessions.len()];
    let mut last_write = vec![0i64; case.sessions.len()];
    let mut close = vec![i64::MAX; case.sessions.len()];
    // Candidates of each session whose upper end is still open.
    let mut open: Vec<Vec<CandidateIndex>> = vec![Vec::new(); case.sessions.len()];
    for (index, request) in case.requests.iter().enumerate() {
        let session = request.session as usize;
        if session >= case.sessions.len() {
            continue;
        }
        match request.role {
            Role::Transaction => {
                for candidate in open[session].drain(..) {
                    candidates.list[candidate as usize].high = request.zxid;
                }
                last_seen[session] = last_seen[session].max(request.zxid);
                if matches!(request.op, Op::Close) && matches!(request.answer, Some(Ok(_))) {
                    close[session] = request.zxid;
                } else {
                    last_write[session] = request.zxid;
                }
            }
            Role::Read | Role::Sync => last_seen[session] = last_seen[session].max(request.zxid),
            Role::Unanswered if !matches!(request.op, Op::Close) => {
                let number = candidates.list.len() as CandidateIndex;
                let mut parts = Vec::new();
                each_change(request.op, paths, &mut |change| {
                    parts.extend(change.places());
                    candidates.providing.entry(change).or_default().push(number);
                });
                candidates.list.push(Candidate {
                    request: Some(index as RequestIndex),
                    lapse: None,
                    session: request.session,
                    low: times
                        .known_before(request.call)
                        .max(last_seen[session])
                        .max(case.start_zxid),
                    high: i64::MAX,
                    parts,
                    owned: Vec::new(),
                    assigned: None,
                });
                candidates.of_session[session].push(number);
                open[session].push(number);
            }
            Role::Unanswered | Role::ReadSomewhere | Role::Nothing => {}
        }
    }
    for (session, known) in case.sessions.iter().enumerate() {
        let expiry = case.earliest_expiry(session as SessionIndex, write_is_touch);
        // A close that was answered is in the order already; before it only expiry can end
        // the session. One that was not may have ended it any time since it was sent.
        let unanswered_close = known.close_sent.filter(|_| close[session] == i64::MAX);
        let begin = unanswered_close.map_or(expiry, |sent| sent.min(expiry));
        let number = candidates.list.len() as CandidateIndex;
        candidates.of_session[session].push(number);
        candidates.end_of.push(number);
        candidates.list.push(Candidate {
            request: None,
            lapse: None,
            session: session as SessionIndex,
            low: times
                .known_before(begin)
                .max(last_write[session])
                .max(case.start_zxid),
            high: close[session],
            parts: Vec::new(),
            owned: Vec::new(),
            assigned: None,
        });
    }
    lapses::collect(case, times, paths, &mut candidates);
    candidates
}
