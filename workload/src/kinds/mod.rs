//! The kinds of workload, one file each: what a client asks, and what that is meant to
//! provoke. Every file has one `work`, which ends when the actor is off duty.

mod acls;
mod churn;
mod lock;
mod mix;
mod multi;
mod register;
mod watches;

pub(crate) use acls::USERS;

use crate::actor::Actor;
use crate::spec::Kind;
use gamekeeper_runtime::Runtime;

/// Does an actor's kind of work until it is off duty.
pub(crate) async fn work<R: Runtime>(actor: &mut Actor<R>) {
    match actor.spec.kind {
        Kind::Mix => mix::work(actor).await,
        Kind::Register => register::work(actor).await,
        Kind::Lock => lock::work(actor).await,
        Kind::Churn => churn::work(actor).await,
        Kind::Watches => watches::work(actor).await,
        Kind::Multi => multi::work(actor).await,
        Kind::Acl => acls::work(actor).await,
    }
}
