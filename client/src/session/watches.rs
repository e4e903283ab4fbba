//! Which one-shot watches this session believes to hold, so that they can be registered anew
//! after a reconnect.
//!
//! A watch enters when the reply that set it arrives and leaves with the event that used it
//! up, exactly as in the server's two managers (`protocol.md` 12.2, 12.3), where a data and an
//! exist watch of one path are one entry. Paths, not callbacks: whom an event concerns is the
//! application's business. Answers to `ZooKeeper.java`'s `ZKWatchManager`.

use crate::limits::SET_WATCHES_BYTES_MAX;
use gamekeeper_core::proto::{ErrorCode, EventType, Request, Response};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The three lists of a setWatches request.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct WatchLists {
    /// Set by getData, or by exists on a node that was there.
    pub data: Vec<Arc<str>>,
    /// Set by exists on a node that was not there.
    pub exist: Vec<Arc<str>>,
    /// Set by getChildren.
    pub child: Vec<Arc<str>>,
}

impl WatchLists {
    /// How many paths there are in all.
    pub fn len(&self) -> usize {
        self.data.len() + self.exist.len() + self.child.len()
    }

    /// True when there is no path.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The registrations of one session.
#[derive(Clone, Debug, Default)]
pub(super) struct WatchBook {
    data: BTreeSet<Arc<str>>,
    exist: BTreeSet<Arc<str>>,
    child: BTreeSet<Arc<str>>,
}

impl WatchBook {
    /// Takes note of an answered request: a watch is registered only when the reply says so.
    pub(super) fn on_reply(&mut self, request: &Request, result: &Result<Response, ErrorCode>) {
        let (list, asked) = match (request, result) {
            (Request::Exists(asked) | Request::GetData(asked), Ok(_)) => (&mut self.data, asked),
            (Request::Exists(asked), Err(ErrorCode::NoNode)) => (&mut self.exist, asked),
            (Request::GetChildren(asked) | Request::GetChildren2(asked), Ok(_)) => {
                (&mut self.child, asked)
            }
            _ => return,
        };
        if asked.watch {
            list.insert(asked.path.clone());
        }
    }

    /// Takes note of an event: what it used up is forgotten.
    pub(super) fn on_event(&mut self, kind: EventType, path: &str) {
        let (node, children) = match kind {
            EventType::NodeCreated | EventType::NodeDataChanged => (true, false),
            EventType::NodeChildrenChanged => (false, true),
            EventType::NodeDeleted => (true, true),
        };
        if node {
            self.data.remove(path);
            self.exist.remove(path);
        }
        if children {
            self.child.remove(path);
        }
    }

    /// Everything, cut into lists of bounded size, in a fixed order. A single path longer
    /// than the bound still travels (alone).
    pub(super) fn batches(&self) -> Vec<WatchLists> {
        let mut batches = Vec::new();
        let mut current = WatchLists::default();
        let mut bytes = 0;
        let mut add = |path: &Arc<str>, pick: fn(&mut WatchLists) -> &mut Vec<Arc<str>>| {
            let cost = path.len() + 4;
            if bytes + cost > SET_WATCHES_BYTES_MAX && !current.is_empty() {
                batches.push(std::mem::take(&mut current));
                bytes = 0;
            }
            bytes += cost;
            pick(&mut current).push(path.clone());
        };
        self.data.iter().for_each(|p| add(p, |l| &mut l.data));
        self.exist.iter().for_each(|p| add(p, |l| &mut l.exist));
        self.child.iter().for_each(|p| add(p, |l| &mut l.child));
        if !current.is_empty() {
            batches.push(current);
        }
        batches
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gamekeeper_core::proto::WatchRequest;

    fn exists(path: &str) -> Request {
        Request::Exists(WatchRequest {
            path: path.into(),
            watch: true,
        })
    }

    #[test]
    fn exists_on_a_missing_node_is_an_exist_watch_and_any_other_error_is_none() {
        let mut book = WatchBook::default();
        book.on_reply(&exists("/a"), &Err(ErrorCode::NoNode));
        book.on_reply(&exists("/b"), &Err(ErrorCode::NoAuth));
        let lists = book.batches();
        assert_eq!(lists.len(), 1);
        assert_eq!(*lists[0].exist[0], *"/a");
        assert_eq!(lists[0].len(), 1);
    }

    #[test]
    fn deletion_uses_up_all_watches_of_the_path_and_data_change_spares_the_children() {
        let full = WatchBook {
            data: BTreeSet::from(["/a".into()]),
            exist: BTreeSet::new(),
            child: BTreeSet::from(["/a".into(), "/b".into()]),
        };
        let mut book = full.clone();
        book.on_event(EventType::NodeDeleted, "/a");
        assert_eq!(*book.batches()[0].child[0], *"/b");
        assert_eq!(book.batches()[0].len(), 1);
        let mut book = full;
        book.on_event(EventType::NodeDataChanged, "/a");
        assert_eq!(book.batches()[0].child.len(), 2);
        assert_eq!(book.batches()[0].len(), 2);
    }

    #[test]
    fn batches_stay_within_the_bound_and_lose_nothing() {
        let mut book = WatchBook::default();
        for i in 0..3000 {
            book.data.insert(format!("/{i:0>100}").into());
            book.child.insert(format!("/{i:0>100}").into());
        }
        let batches = book.batches();
        assert!(batches.len() > 4);
        for lists in &batches {
            let bytes: usize = [&lists.data, &lists.exist, &lists.child]
                .iter()
                .flat_map(|l| l.iter())
                .map(|p| p.len() + 4)
                .sum();
            assert!(bytes <= SET_WATCHES_BYTES_MAX);
        }
        assert_eq!(batches.iter().map(WatchLists::len).sum::<usize>(), 6000);
    }
}
