//! A directory as a program holds it.

use crate::world::runtime::Process;
use gamekeeper_core::base::{DiskDone, DiskRequest};
use gamekeeper_runtime::Disk;
use std::fmt;
use std::task::{Context, Poll};

/// A host's directory, open in one program. Dropping it closes the directory; what was
/// submitted before is still carried out.
pub struct SimDisk {
    pub(in crate::world) process: Process,
    pub(in crate::world) index: usize,
    pub(in crate::world) session: u64,
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimDisk {} of {:?}", self.index, self.process)
    }
}

impl Disk for SimDisk {
    fn submit(&mut self, request: DiskRequest) {
        let (index, session) = (self.index, self.session);
        self.process.act(|state, scene| {
            state.directories[index].submit(scene, session, request);
        });
    }

    fn poll_done(&mut self, cx: &mut Context<'_>) -> Poll<DiskDone> {
        let (index, session) = (self.index, self.session);
        let done = self
            .process
            .act(|state, scene| state.directories[index].poll_done(scene, session, cx));
        done.unwrap_or(Poll::Pending)
    }
}

impl Drop for SimDisk {
    fn drop(&mut self) {
        let (index, session) = (self.index, self.session);
        self.process
            .act(|state, _| state.directories[index].close(session));
    }
}
