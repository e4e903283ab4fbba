//! Which messages between servers were delivered: a sweep names the types nobody ever got.

use gamekeeper_core::zab::message::Message;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Every message's name, in order of its kind on the peer wire, which begins with 1.
pub const MESSAGES: [&str; 20] = [
    "Notification",
    "LearnerInfo",
    "LeaderInfo",
    "AckEpoch",
    "Diff",
    "Trunc",
    "SnapBegin",
    "SnapChunk",
    "SnapAck",
    "SnapEnd",
    "Propose",
    "NewLeader",
    "AckNewLeader",
    "UpToDate",
    "Ack",
    "Commit",
    "Inform",
    "Ping",
    "Pong",
    "App",
];

/// Counts messages delivered to any server of a run. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Mail(Arc<[AtomicU64; MESSAGES.len()]>);

impl Mail {
    /// A message is handed to a server.
    pub fn deliver(&self, message: &[u8]) {
        let kind = message.first().copied().unwrap_or(0);
        if let Some(count) = self.0.get(usize::from(kind).wrapping_sub(1)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often each was delivered, those that were.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        let counted = MESSAGES.iter().zip(self.0.iter());
        counted
            .map(|(name, count)| (name.to_string(), count.load(Ordering::Relaxed)))
            .filter(|(_, count)| *count > 0)
            .collect()
    }
}

/// The name of a message. A new one makes the compiler ask for it here and in [`MESSAGES`].
pub fn name_of(message: &Message) -> &'static str {
    match message {
        Message::Notification { .. } => "Notification",
        Message::LearnerInfo { .. } => "LearnerInfo",
        Message::LeaderInfo { .. } => "LeaderInfo",
        Message::AckEpoch { .. } => "AckEpoch",
        Message::Diff { .. } => "Diff",
        Message::Trunc { .. } => "Trunc",
        Message::SnapBegin { .. } => "SnapBegin",
        Message::SnapChunk(_) => "SnapChunk",
        Message::SnapAck { .. } => "SnapAck",
        Message::SnapEnd { .. } => "SnapEnd",
        Message::Propose { .. } => "Propose",
        Message::NewLeader { .. } => "NewLeader",
        Message::AckNewLeader { .. } => "AckNewLeader",
        Message::UpToDate { .. } => "UpToDate",
        Message::Ack { .. } => "Ack",
        Message::Commit { .. } => "Commit",
        Message::Inform { .. } => "Inform",
        Message::Ping { .. } => "Ping",
        Message::Pong { .. } => "Pong",
        Message::App(_) => "App",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use gamekeeper_core::zab::wire;

    #[test]
    fn place_in_the_list_is_the_kind_on_the_wire() {
        let mut named = 0;
        for kind in 0..=u8::MAX {
            // Enough zeroes for the longest fixed part of any message.
            let shapes = (0..40).map(|zeroes| {
                let mut bytes = vec![kind];
                bytes.resize(1 + zeroes, 0);
                wire::decode(&Bytes::from(bytes))
            });
            let mut read = shapes.flatten().map(|message| name_of(&message));
            if let Some(name) = read.next() {
                assert_eq!(Some(name), MESSAGES.get(usize::from(kind) - 1).copied());
                named += 1;
            }
        }
        assert_eq!(named, MESSAGES.len());
    }

    #[test]
    fn unknown_kinds_count_as_nothing() {
        let mail = Mail::default();
        for bytes in [&[][..], &[0], &[21], &[255], &[18, 0]] {
            mail.deliver(bytes);
        }
        let counts: Vec<_> = mail.counts().into_iter().collect();
        assert_eq!(counts, [("Ping".to_string(), 1)]);
    }
}
