//! Watches that are registered again on another connection.
//!
//! Answers to: `consistency.md` P10, P12 (after a reconnect); `protocol.md` 12.6.

use super::late::Question;
use super::watches::{ConnectionId, Table};
use super::window::Place;
use super::{Doubt, Stream};
use crate::history::{Body, EventType, Path, Record, SessionEvent};
use std::borrow::Borrow;

impl<R: Borrow<Record>> Stream<R> {
    /// What was told for the sake of a setWatches had happened by now, though nobody else may
    /// have been told.
    pub(super) fn look_again(
        &mut self,
        place: Place,
        frame: &Record,
        told: &[(EventType, Path)],
    ) -> Result<(), Doubt> {
        let Body::Session(SessionEvent::SetWatches {
            relative_zxid,
            data,
            exist,
            child,
            ..
        }) = &frame.body
        else {
            return Ok(());
        };
        if !self.room.is_kept() {
            return Ok(());
        }
        for (event, path) in told {
            let id = self.tree.paths.id_shared(path);
            let question = Question::Again(*event, id, *relative_zxid);
            if let Err(diff) = self.ask_tree(place, question) {
                // Else setWatches told what had not happened, which is seen below.
                let _ = self.mend(place, question, diff)?;
            }
        }
        self.guesses.clear();
        for path in data.iter().chain(exist).chain(child) {
            let id = self.tree.paths.id_shared(path);
            self.room.saw(id, place.zxid());
        }
        Ok(())
    }

    /// A setWatches was answered in the state as it is: what had changed has been told, the
    /// rest is registered.
    pub(super) fn watch_again(
        &mut self,
        connection: ConnectionId,
        frame: &Record,
        zxid: i64,
        arrived: usize,
    ) -> Result<(), Doubt> {
        let Body::Session(SessionEvent::SetWatches {
            relative_zxid,
            data,
            exist,
            child,
            stays,
        }) = &frame.body
        else {
            return Ok(());
        };
        let lists = [
            (data, Table::Data, false),
            (exist, Table::Data, true),
            (child, Table::Child, false),
        ];
        let mut due: Vec<(EventType, &Path)> = Vec::new();
        for (list, table, for_creation) in lists {
            for path in list {
                let id = self.tree.paths.id_shared(path);
                let node = self.tree.node(id);
                let (changed, event) = match table {
                    Table::Data => (node.mzxid, EventType::NodeDataChanged),
                    Table::Child => (node.pzxid, EventType::NodeChildrenChanged),
                };
                match (node.exists, for_creation) {
                    (true, true) => due.push((EventType::NodeCreated, path)),
                    (false, false) => due.push((EventType::NodeDeleted, path)),
                    (true, false) if changed > *relative_zxid => {
                        if changed <= self.start_zxid {
                            return Err(Doubt::because("setWatches from before the history"));
                        }
                        due.push((event, path));
                    }
                    (_, _) => self.watches.register(connection, table, path, arrived)?,
                }
            }
        }
        // What stays makes up for nothing.
        for (path, mode) in stays {
            self.watches
                .stay(connection, (path, *mode), zxid, arrived)?;
        }
        self.watches.make_up(connection, &due)
    }
}
