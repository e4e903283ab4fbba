//! What every role of one server shares: promises, the log's end, links, fitness.
//!
//! What always holds: `epochs` is what the disk has confirmed, never what was merely asked
//! for (ZOOKEEPER-2307); `durable` likewise; the accepted epoch never falls.

use super::links::Links;
use super::message::{Formation, Message};
use super::window::Window;
use super::{Boot, MemberKind, ZabConfig, ZabOutput};
use crate::base::event::{Event, Fitness};
use crate::base::{Epoch, LinkId, Mono, Now, ServerId, Zxid};
use crate::log::{Entry, EpochRecord};
use std::collections::{BTreeMap, BTreeSet};

/// What a role wants to become.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// It goes on.
    Stay,
    /// Back to electing.
    Look(&'static str),
    /// Elected.
    Lead,
    /// Somebody else was.
    Follow(ServerId),
}

/// The shared part of one server.
#[derive(Clone, Debug)]
pub struct Common {
    pub(super) config: ZabConfig,
    pub(super) voters: BTreeSet<ServerId>,
    pub(super) links: Links,
    pub(super) window: Window,
    /// The log is durable up to here.
    pub(super) durable: Zxid,
    /// On disk; the default before the first record.
    pub(super) epochs: EpochRecord,
    /// The record being written, and one that waits behind it.
    saving: Option<EpochRecord>,
    wanted: Option<EpochRecord>,
    pub(super) formation: Formation,
    /// What the others say of their first boot.
    pub(super) formations: BTreeMap<ServerId, Formation>,
    /// The first record was asked for.
    pub(super) founding: bool,
    /// The operator has let this server back in before it knew that it was wiped.
    pub(super) rejoins: bool,
    /// The election round, kept across roles.
    pub(super) round: u64,
    /// A durable record is damaged: the greatest zxid it is known to have held.
    pub(super) damaged: Option<Zxid>,
    /// The log and state cannot be built upon: a whole snapshot is needed.
    pub(super) needs_snapshot: bool,
}

impl Common {
    pub(super) fn new(config: ZabConfig, boot: Boot, now: Now) -> Common {
        let voters = config
            .members
            .iter()
            .filter(|(_, kind)| **kind == MemberKind::Voter)
            .map(|(id, _)| *id)
            .collect();
        let (damaged, promises_lost) = match boot.fitness {
            Fitness::Whole | Fitness::Empty => (None, false),
            Fitness::Damaged {
                mark,
                promises_lost,
            } => (Some(mark), promises_lost),
            Fitness::Amnesiac => (None, true),
        };
        let mut epochs = boot.epochs.unwrap_or_default();
        if promises_lost {
            epochs.voting = false;
            // A record that says "no vote" also says who may change that: a wiped server
            // does not come back by being restarted (row D15).
            epochs.restorable |= boot.epochs.is_none();
        }
        let formation = match (boot.fitness, boot.epochs) {
            (Fitness::Empty, _) => Formation::Empty,
            (_, Some(record)) if record.accepted == Epoch::ZERO && record.voting => {
                Formation::Founding
            }
            (Fitness::Whole | Fitness::Damaged { .. } | Fitness::Amnesiac, _) => Formation::Formed,
        };
        let window = Window::new(
            boot.snapshot,
            boot.tail,
            config.history_entries_max,
            config.history_bytes_max,
        );
        Common {
            links: Links::new(&config, now.mono),
            durable: window.last(),
            window,
            voters,
            epochs,
            saving: None,
            wanted: None,
            formation,
            formations: BTreeMap::new(),
            founding: false,
            rejoins: false,
            round: 0,
            damaged,
            needs_snapshot: damaged.is_some(),
            config,
        }
    }

    pub(super) fn me(&self) -> ServerId {
        self.config.me
    }

    pub(super) fn is_voter(&self) -> bool {
        self.voters.contains(&self.config.me)
    }

    /// May its votes and acknowledgements count? (Rows D10, D12, D15.)
    pub(super) fn is_fit(&self) -> bool {
        self.is_voter()
            && self.epochs.voting
            && self.damaged.is_none()
            && self.formation != Formation::Empty
    }

    /// Is everything appended on the platter?
    pub(super) fn is_drained(&self) -> bool {
        self.durable == self.window.last()
    }

    pub(super) fn ticks(&self, now: Mono, ticks: u64) -> Mono {
        now.plus_ms(ticks * self.config.tick_ms)
    }

    /// Does it ask for its vote back when it introduces itself?
    pub(super) fn is_amnesiac(&self) -> bool {
        self.is_voter() && !self.epochs.voting && self.epochs.restorable
    }

    pub(super) fn send(&self, link: LinkId, message: Message, out: &mut Vec<ZabOutput>) {
        out.push(ZabOutput::Send { link, message });
    }

    /// Appends to log and window.
    pub(super) fn append(&mut self, entry: Entry, out: &mut Vec<ZabOutput>) {
        self.window.push(entry.clone());
        out.push(ZabOutput::Append(entry));
    }

    /// Asks for a new epoch record; epochs only grow. One is written at a time.
    pub(super) fn save(&mut self, change: impl FnOnce(&mut EpochRecord), out: &mut Vec<ZabOutput>) {
        let newest = self.wanted.or(self.saving).unwrap_or(self.epochs);
        let mut record = newest;
        change(&mut record);
        record.accepted = record.accepted.max(newest.accepted);
        record.current = record.current.max(newest.current);
        if self.saving.is_none() {
            self.saving = Some(record);
            out.push(ZabOutput::SaveEpochs(record));
        } else {
            self.wanted = Some(record);
        }
    }

    /// A record is durable.
    pub(super) fn saved(&mut self, record: EpochRecord, out: &mut Vec<ZabOutput>) {
        assert_eq!(self.saving, Some(record), "a record nobody asked for");
        let before = std::mem::replace(&mut self.epochs, record);
        self.saving = None;
        if record.accepted > before.accepted {
            self.formation = Formation::Formed;
            out.push(ZabOutput::Event(Event::EpochAccepted(record.accepted)));
        } else if self.formation == Formation::Empty {
            self.formation = if record.voting {
                Formation::Founding
            } else {
                Formation::Formed
            };
        }
        if record.current > before.current {
            out.push(ZabOutput::Event(Event::EpochCurrent(record.current)));
        }
        if let Some(wanted) = self.wanted.take() {
            self.saving = Some(wanted);
            out.push(ZabOutput::SaveEpochs(wanted));
        } else if self.rejoins && !record.voting && !record.restorable && self.is_voter() {
            // The operator's word came while the record was on its way.
            self.save(|record| record.restorable = true, out);
        }
    }

    /// Delivers what is both committed and durable here, in order.
    pub(super) fn deliver(&mut self, committed: Zxid, out: &mut Vec<ZabOutput>) {
        let upto = committed.min(self.durable);
        self.window.deliver(upto, |entry| {
            let hash = crc32fast::hash(&entry.payload);
            out.push(ZabOutput::Event(Event::Delivered {
                zxid: entry.zxid,
                hash,
            }));
            out.push(ZabOutput::Deliver(entry.clone()));
        });
    }

    /// How far the first boot is among the voters.
    pub(super) fn all_voters(&self, is: impl Fn(Formation) -> bool) -> bool {
        self.voters.iter().all(|id| {
            if *id == self.config.me {
                is(self.formation)
            } else {
                self.formations
                    .get(id)
                    .is_some_and(|formation| is(*formation))
            }
        })
    }

    /// Has anybody accepted an epoch?
    pub(super) fn anybody_formed(&self) -> bool {
        self.formation == Formation::Formed
            || self
                .formations
                .values()
                .any(|formation| *formation == Formation::Formed)
    }
}
