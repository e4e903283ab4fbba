//! Sessions told that they are gone: not too early, and never back.
//!
//! Answers to: `consistency.md` P14; `protocol.md` 11.1 and 11.2.

use super::case::{Case, Role};
use super::times::records;
use crate::history::{Body, SessionEvent};
use crate::model::SessionIndex;
use crate::verdict::{Class, Property, Violation};

/// Checks every session that was told Expired.
///
/// # Errors
/// The first violation.
pub fn check(case: &Case<'_>, write_is_touch: bool) -> Result<(), Box<Violation>> {
    for (index, session) in case.sessions.iter().enumerate() {
        let Some((told, record)) = session.expired else {
            continue;
        };
        let earliest = case.earliest_expiry(index as SessionIndex, write_is_touch);
        let closed_itself = session.close_sent.is_some_and(|sent| sent <= told);
        if !closed_itself && told < earliest {
            let heard = if session.heard.is_some() {
                session.heard_record
            } else {
                session.answered_record
            };
            let reason = format!(
                "session {:#x} (timeout {} ms) was told that it had expired at least {} ms before it could have",
                session.id,
                session.timeout_ns / 1_000_000,
                (earliest - told) / 1_000_000
            );
            return Err(early(
                case,
                &[heard, session.answered_record, record],
                reason,
            ));
        }
    }
    check_resurrected(case)
}

/// After Expired the same session is never served again.
fn check_resurrected(case: &Case<'_>) -> Result<(), Box<Violation>> {
    if case
        .sessions
        .iter()
        .all(|session| session.expired.is_none())
    {
        return Ok(());
    }
    for (index, record) in case.history.records.iter().enumerate() {
        let session = match &record.body {
            Body::Return { .. } => {
                let request = &case.requests[case.request_of[index] as usize];
                if request.role == Role::Nothing {
                    continue;
                }
                request.session
            }
            Body::Session(SessionEvent::Connected { session, .. }) => {
                case.index_of_session(*session)
            }
            Body::Invoke { .. }
            | Body::Lost { .. }
            | Body::Notify { .. }
            | Body::Session(_)
            | Body::Ping { .. }
            | Body::Final => continue,
        };
        let Some(session) = case.sessions.get(session as usize) else {
            continue;
        };
        if let Some((told, told_record)) = session.expired
            && (told_record as usize) < index
            && told <= record.time
        {
            let reason = format!(
                "session {:#x} was told that it had expired, and was served afterwards",
                session.id
            );
            return Err(early(case, &[told_record, index as u32], reason));
        }
    }
    Ok(())
}

fn early(case: &Case<'_>, indices: &[u32], reason: String) -> Box<Violation> {
    Box::new(Violation {
        property: Property::EphemeralsStay,
        class: Class::Undetermined,
        class_reason: String::new(),
        records: records(case, indices),
        state_before: String::new(),
        reason,
    })
}
