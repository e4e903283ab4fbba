//! An open world: others write too, and nobody recorded them.
//!
//! There is no tree to replay: a change without a cause is somebody else's. What is left is
//! what no stranger can excuse. Each node's Stats are a chain: a life begins at czxid, its
//! versions and zxids only grow, equal numbers mean equal contents, and where a life was seen
//! at two places of the order the node was there all the way between. Recorded transactions
//! take part with what they were answered; a zxid that anything names and a recorded request
//! has must have been that request's doing; and a stranger's write needs a zxid that no
//! recorded request has, for a leader gives them out one by one.
//!
//! What it is not: a proof that the strangers' writes exist. It convicts only what none could
//! explain, and accepts the rest.
//!
//! | property | judged where others write, too | not judged, and why |
//! |---|---|---|
//! | P1 | real time of what was recorded; a delete refused for children that a Stat denies | whether a write's answer follows from the tree: strangers change it in between |
//! | P2 | the version that a set leaves; a refusal for a version that was right, where the Stats around it agree | success on a version that was wrong, if no Stat is told (delete, multi's check) |
//! | P3 P4 P5 P8 | all: they compare zxids and times | |
//! | P6 | reads that name their prefix | reads that name none: the order of what strangers wrote is not known |
//! | P7 | one mzxid, one value, and that which was written if the write was recorded; nothing recorded is seen before it was sent | values that no recorded client wrote: a stranger did |
//! | P9 | a node seen before and after was there in between, in lists too; a recorded change of children shows in every later Stat of the parent | a node gone for good: a stranger may delete |
//! | P10 | a registration must have fired by the first change that a recorded write, a Stat or another client's notification proves, where the ACL is known to have let the client read; a notification never follows an answer that shows its zxid | changes that left no trace; nodes whose ACL may have been changed |
//! | P11 | one registration, one notification; a watch that stays is told of every recorded change, and of each that a Stat or another client's notification proves, where the ACL is known to have let the client read | changes that left no trace |
//! | P12 | a registration of that kind, on a node that was (or was not) there, made before; a recorded request at its zxid did it; zxids never fall; what setWatches made up for had been asked for | whether a stranger's write with that zxid exists |
//! | P13 | after a recorded close no ephemeral of the session, and no transaction | ends by expiry: their zxid is not known |
//! | P14 | nobody is told of an expiry too early, or served after it | an ephemeral gone early: a stranger may delete it |
//! | P15 | within one life of the parent numbers grow by at least what was recorded, and by no more than the parent's Stats leave room for; exact where no zxid is free | across a gap in which the parent may have been made anew |
//! | P16 | a multi succeeds or fails as a whole, in the pattern of the protocol | the order of its parts' effects among strangers' writes |
//! | P17 | every Stat against every other of the same life, against lists, and against the request at the zxid it names | counters against writes that were not recorded |
//! | P18 | one zxid, one state of each node | |
//! | P19 | a number of its own for each transaction; the start of an epoch is nobody's, in Stats and notifications too | unexplained zxids: a stranger has them |
//! | P20 | what was allowed or refused, where the ACL is known (from a recorded create or setACL, or a getACL that hides nothing) and the node's aversion shows that nobody changed it since | other ACLs |
//!
//! | room | holds |
//! |---|---|
//! | `sights` | what every answer says of a path at a place of the order |
//! | `deeds` | which request stands at a zxid, what it can have done, and where others find room |
//! | `chain` | each path along the order: its lives, its Stats |
//! | `listings` | lists of children against the lives of the children |
//! | `steady` | what held of a path at a place where nobody looked |
//! | `numbers` | sequence numbers and counters of children |
//! | `rights` | ACLs, as far as they are known |
//! | `events` | what watches must have fired by |
//! | `courses` | what watches that stay must be told |
//!
//! Answers to: `consistency.md` 3.2, open world ("Stats chain"); 3.4.

mod chain;
mod courses;
mod deeds;
mod events;
mod listings;
mod numbers;
mod rights;
mod sights;
mod steady;

use super::Options;
use super::case::{Case, RequestIndex};
use super::times::records;
use crate::model::{AclTable, PathId, Paths};
use crate::verdict::{Class, Property, Violation};
use chain::Life;
use courses::Certain;
use deeds::Deeds;
use events::Events;
use rights::Rights;
use rustc_hash::FxHashMap;
use sights::{Listing, Sight};

/// Where servers write without a transaction, each for itself (`config`, quota statistics).
const OWN: &str = "/zookeeper";

/// What recorded clients saw and did while others wrote, too. It stays for whoever judges
/// notifications.
pub struct Overheard<'c, 'h> {
    /// `exists` on a node without READ permission must be refused.
    pub exists_needs_read: bool,
    case: &'c Case<'h>,
    paths: Paths<'h>,
    acls: AclTable,
    deeds: Deeds,
    /// What was seen of each path, in the order of zxids once it was followed.
    sights: FxHashMap<PathId, Vec<Sight<'h>>>,
    listings: FxHashMap<PathId, Vec<Listing<'h>>>,
    lives: FxHashMap<PathId, Vec<Life>>,
    rights: Rights,
    events: Events,
    certain: Certain,
}

/// Judges what no stranger's write can excuse, notifications apart.
///
/// # Errors
/// The first violation.
pub fn check<'c, 'h>(
    case: &'c mut Case<'h>,
    options: &Options,
) -> Result<(&'c Case<'h>, Overheard<'c, 'h>), Box<Violation>> {
    let paths = std::mem::replace(&mut case.paths, Paths::new());
    let acls = std::mem::replace(&mut case.acls, AclTable::new());
    let case: &'c Case<'h> = case;
    let mut open = Overheard {
        exists_needs_read: options.exists_needs_read,
        case,
        paths,
        acls,
        deeds: Deeds::default(),
        sights: FxHashMap::default(),
        listings: FxHashMap::default(),
        lives: FxHashMap::default(),
        rights: Rights::default(),
        events: Events::default(),
        certain: Certain::default(),
    };
    open.claim()?;
    for (index, request) in open.case.requests.iter().enumerate() {
        open.look(index as RequestIndex, request)?;
    }
    let mut seen: Vec<PathId> = open.sights.keys().copied().collect();
    seen.sort_unstable();
    for path in seen {
        let lives = open.chain(path)?;
        open.lives.insert(path, lives);
    }
    open.check_listings()?;
    open.check_children()?;
    open.check_numbers()?;
    open.check_refusals()?;
    open.check_rights()?;
    open.gather_events()?;
    open.gather_courses();
    Ok((case, open))
}

impl Overheard<'_, '_> {
    fn convict<T>(
        &self,
        property: Property,
        requests: &[RequestIndex],
        reason: String,
    ) -> Result<T, Box<Violation>> {
        let indices: Vec<u32> = requests
            .iter()
            .map(|&index| &self.case.requests[index as usize])
            .flat_map(|request| [request.invoke, request.done])
            .collect();
        Err(Box::new(Violation {
            property,
            class: Class::Undetermined,
            class_reason: String::new(),
            records: records(self.case, &indices),
            state_before: String::new(),
            reason,
        }))
    }
}
