//! What the properties and classes mean, for somebody who has not read the specification.
//!
//! Answers to: `consistency.md` 3.1 and 3.4; ZooKeeper's "Consistency Guarantees".

use crate::verdict::{Class, Property};

/// What a property promises, in one sentence.
pub fn promise(property: Property) -> &'static str {
    match property {
        Property::LinearizableWrites => {
            "All writes have one order that respects time: a write sent after another was answered comes after it, and replaying the order gives every answer."
        }
        Property::ConditionalWrites => {
            "A write or delete that expects a version succeeds exactly if the node has that version then; success adds one, failure changes nothing."
        }
        Property::SessionFifo => {
            "What one session sends takes effect, and is answered, in the order sent."
        }
        Property::ReadYourWrites => "A session's read sees every write that it sent before.",
        Property::MonotonicReads => {
            "A session never goes back in time, whichever server it talks to."
        }
        Property::OneOrder => {
            "All sessions see prefixes of the same order of writes, over all paths together."
        }
        Property::NoFutureReads => {
            "Nothing is read that nobody wrote, or before anybody asked for it to be written."
        }
        Property::SyncThenRead => {
            "A read after sync sees everything that had been answered to anybody before the sync was sent."
        }
        Property::Durability => "What was answered stays: no later read may miss it.",
        Property::WatchBeforeData => {
            "A client hears of a change through its watch before it sees any state as new as the change."
        }
        Property::WatchOneShot => {
            "One registration of a watch gives at most one notification; one that stays gives one for every change, in order."
        }
        Property::WatchNotSpurious => {
            "A notification has a registration that is still live and a transaction of its type."
        }
        Property::EphemeralsEnd => {
            "When a session ends its ephemeral nodes go with it, at once, and nothing of it takes effect after."
        }
        Property::EphemeralsStay => {
            "A session does not expire, and its ephemeral nodes do not go, before its timeout has passed since the ensemble last heard from it; nor does a container or TTL node before it may."
        }
        Property::SequentialNames => {
            "The number in a sequential node's name is how many children its parent had been given before."
        }
        Property::MultiAtomic => {
            "A multi is one transaction: all of its parts at one place of the order, or none."
        }
        Property::StatArithmetic => {
            "Every field of a Stat follows from the transactions that touched the node."
        }
        Property::ReplicasAgree => {
            "Two servers that have applied the same transactions hold the same bytes and the same Stat."
        }
        Property::ZxidSanity => {
            "Every transaction has a zxid of its own, and the start of an epoch is nobody's."
        }
        Property::AccessControl => {
            "Nothing is shown, changed or announced that the node's ACL does not allow, and nothing refused that it allows."
        }
    }
}

/// What a class says of a violation, and what follows for whoever mends it.
pub fn class(class: Class) -> &'static str {
    match class {
        Class::Inconsistent => {
            "class A, inconsistent: no order of the writes whatever explains what the clients saw; the service gave wrong answers"
        }
        Class::ZxidNotHonest => {
            "class B, zxid not honest: another order would explain the answers, so each is right for some moment, but not for that of the zxid that came with it; clients rely on zxids too"
        }
        Class::Undetermined => {
            "undetermined: with the zxids as reported nothing explains the answers; whether another order would was not decided"
        }
    }
}

/// What to do about a verdict that could not be reached.
pub const UNKNOWN_CURE: &str = "The judge gave up within its budget; it does not say that anything is wrong. \
What helps: fewer requests of unknown fate on the same nodes, a history that ends with reads of \
everything after the faults have healed, server transaction logs as a witness, or judging up to an \
earlier point of the file (`head -n N FILE | zkcheck -`).";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_promise_is_one_sentence() {
        for property in Property::ALL {
            let promise = promise(property);
            assert!(
                promise.ends_with('.') && !promise.contains(". "),
                "{promise}"
            );
        }
    }
}
