//! Watches that stay when they fire, as a server keeps them and as a client knows of them.
//!
//! Since 3.9 one path of a connection has room for a watch of each mode; before, each of the
//! two tables keeps the last that was asked for (`one_mode`), and the oldest of those servers
//! put recursive watches into the table of lists as well (`older`).

use super::Client;
use gamekeeper_checker::history::*;
use std::collections::BTreeSet;

/// On the server.
#[derive(Default)]
pub struct Stays {
    data: BTreeSet<String>,
    child: BTreeSet<String>,
    below: BTreeSet<String>,
}

/// On the client.
#[derive(Default)]
pub struct Wanted {
    pub persistent: BTreeSet<String>,
    pub recursive: BTreeSet<String>,
}

fn upwards(path: &str) -> Vec<String> {
    let mut all = vec!["/".to_string()];
    let slashes = path.match_indices('/').skip(1);
    all.extend(slashes.map(|(at, _)| path[..at].to_string()));
    all.push(path.to_string());
    all
}

impl Stays {
    /// True if one of them is told of that.
    pub fn sees(&self, event: EventType, path: &str) -> bool {
        let node = || {
            let mut above = upwards(path).into_iter();
            self.data.contains(path) || above.any(|path| self.below.contains(&path))
        };
        match event {
            EventType::NodeCreated | EventType::NodeDataChanged => node(),
            EventType::NodeDeleted => node() || self.child.contains(path),
            EventType::NodeChildrenChanged => self.child.contains(path),
        }
    }

    /// A watch that fires once takes the place of what was there.
    pub fn replaced(&mut self, path: &str, children: bool, one_mode: bool) {
        match children {
            _ if !one_mode => {}
            true => drop(self.child.remove(path)),
            false => {
                self.data.remove(path);
                self.below.remove(path);
            }
        }
    }
}

impl Client {
    pub fn add_watch(&mut self, path: &str, mode: WatchMode, one_mode: bool, older: bool) {
        let own = || path.to_string();
        if one_mode {
            self.data_watches.remove(path);
            self.stays.data.remove(path);
            self.stays.below.remove(path);
        }
        if one_mode && (mode == WatchMode::Persistent || older) {
            self.child_watches.remove(path);
            self.stays.child.remove(path);
        }
        match mode {
            WatchMode::Persistent => {
                self.stays.data.insert(own());
                self.stays.child.insert(own());
            }
            WatchMode::Recursive => drop(self.stays.below.insert(own())),
        }
    }

    /// The server is asked for one, or to take some away.
    pub fn arrange(&mut self, op: &Op, one_mode: bool, older: bool) -> Result<Answer, ErrorCode> {
        let (path, kind) = match op {
            Op::AddWatch { path, mode } => {
                self.add_watch(path, *mode, one_mode, older);
                return Ok(Answer::Done);
            }
            Op::RemoveWatches { path, watches } => (&**path, *watches),
            _ => unreachable!("not about watches"),
        };
        let (mut data, mut child) = (false, false);
        if matches!(kind, WatchKind::Any | WatchKind::Data) {
            data |= self.data_watches.remove(path);
        }
        if matches!(kind, WatchKind::Any | WatchKind::Children) {
            child |= self.child_watches.remove(path);
        }
        let all = kind == WatchKind::Any;
        if all || kind == WatchKind::Persistent || one_mode && kind == WatchKind::Data {
            data |= self.stays.data.remove(path);
        }
        if all || kind == WatchKind::Persistent || one_mode && kind == WatchKind::Children {
            child |= self.stays.child.remove(path);
        }
        if all || kind == WatchKind::Recursive || one_mode && kind == WatchKind::Data {
            data |= self.stays.below.remove(path);
        }
        match data || child {
            true => Ok(Answer::Done),
            false => Err(ErrorCode::NO_WATCHER),
        }
    }

    /// The client is told that it was done.
    pub fn told_to_stay(&mut self, op: &Op, one_mode: bool) {
        let own = &mut self.my_stays;
        let (path, kind) = match op {
            Op::AddWatch { path, mode } => {
                match mode {
                    WatchMode::Persistent => own.persistent.insert(path.to_string()),
                    WatchMode::Recursive => own.recursive.insert(path.to_string()),
                };
                return;
            }
            Op::RemoveWatches { path, watches } => (&**path, *watches),
            _ => unreachable!("not about watches"),
        };
        let all = one_mode || kind == WatchKind::Any;
        if all || kind == WatchKind::Data {
            self.my_data.remove(path);
            self.my_exist.remove(path);
        }
        if all || kind == WatchKind::Children {
            self.my_child.remove(path);
        }
        if all || kind == WatchKind::Persistent {
            own.persistent.remove(path);
        }
        if all || kind == WatchKind::Recursive {
            own.recursive.remove(path);
        }
    }
}

impl super::Toy {
    /// Everything that ever fired, in order.
    pub fn events(&self) -> Vec<(i64, EventType, String)> {
        let all = self.log.iter().flat_map(|applied| {
            let fired = applied.events.iter();
            fired.map(|(event, path, _)| (applied.zxid, *event, path.clone()))
        });
        all.collect()
    }
}
