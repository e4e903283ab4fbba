//! What the leader knows of one learner, and how it talks to it.
//!
//! What always holds: while a snapshot is on its way, everything else waits behind it, so
//! that a learner hears of a transaction only after what precedes it.
//!
//! Answers to `LearnerHandler`.

use crate::base::{LinkId, Mono, ServerId, Zxid};
use crate::log::Entry;
use crate::zab::ZabOutput;
use crate::zab::common::Common;
use crate::zab::message::Message;
use std::collections::VecDeque;

/// How far a learner is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// The link is up.
    Linked,
    /// It has introduced itself.
    Introduced,
    /// It was told the epoch.
    Told,
    /// It has acknowledged the epoch and waits for a quorum to do so.
    Promised,
    /// It is sent the history; everything proposed goes to it, too.
    Syncing,
    /// It has acknowledged NewLeader.
    Synced,
    /// It was told to serve.
    UpToDate,
}

/// A snapshot on its way to a learner, and what has to go behind it.
#[derive(Clone, Debug)]
pub(super) struct Feed {
    pub(super) sent: u32,
    pub(super) acked: u32,
    pub(super) crc: crc32fast::Hasher,
    pub(super) done: bool,
    pub(super) behind: VecDeque<Message>,
}

#[derive(Clone, Debug)]
pub(super) struct Handle {
    pub(super) server: ServerId,
    pub(super) step: Step,
    pub(super) observer: bool,
    /// Its promises and acknowledgements count.
    pub(super) voting: bool,
    pub(super) needs_snapshot: bool,
    pub(super) amnesiac: bool,
    /// An amnesiac that was there before the epoch was established without it.
    pub(super) restore: bool,
    pub(super) history: Vec<Zxid>,
    /// Durable there, as far as it said.
    pub(super) acked: Zxid,
    /// The end of what precedes NewLeader.
    pub(super) sync_end: Zxid,
    /// Observers: sent as committed up to here.
    pub(super) informed: Zxid,
    pub(super) feed: Option<Feed>,
    pub(super) pong: u64,
    pub(super) heard_at: Mono,
    /// Since when it has owed an acknowledgement.
    pub(super) behind_since: Option<Mono>,
}

impl Handle {
    /// Sends, behind a snapshot that is still on its way.
    pub(super) fn say(&mut self, link: LinkId, message: Message, out: &mut Vec<ZabOutput>) {
        match &mut self.feed {
            Some(feed) if !feed.done => feed.behind.push_back(message),
            Some(_) | None => out.push(ZabOutput::Send { link, message }),
        }
    }

    /// Sends an observer what was committed since it was last told.
    pub(super) fn inform(
        &mut self,
        common: &Common,
        link: LinkId,
        committed: Zxid,
        out: &mut Vec<ZabOutput>,
    ) {
        if !self.observer || committed <= self.informed {
            return;
        }
        for entry in common
            .window
            .after(self.informed)
            .take_while(|e| e.zxid <= committed)
        {
            let Entry { zxid, payload } = entry.clone();
            out.push(ZabOutput::Send {
                link,
                message: Message::Inform { zxid, payload },
            });
        }
        self.informed = committed;
    }
}
