//! A server's directory as files, with one thread a lane.
//!
//! The threads block so that nobody else does: an operation is queued, carried out in its
//! lane's order, and its completion wakes the driver. Nothing is written on anybody's
//! behalf: no cache, no batching, no retry; a failed sync is reported and that is all
//! (row D5 of the fault model).
//!
//! What always holds: one process a directory (a lock file says so), and once the disk is
//! dropped nothing touches the directory any more, so a server can be started on it again
//! in the same process.

use crate::Disk;
use bytes::Bytes;
use gamekeeper_core::base::{DiskDone, DiskError, DiskLane, DiskOp, DiskRequest, DiskValue};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc as queue;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::thread::{self, JoinHandle};
use tokio::sync::mpsc;

/// Most files kept open that have nothing unsynced.
const FILES_OPEN_MAX: usize = 16;

/// Taken by the process that owns the directory; the dot hides it from `List`.
const LOCK_FILE: &str = ".lock";

/// A directory and the two threads that work on it.
///
/// The queues are as long as the peer's outstanding operations, which the peer bounds.
#[derive(Debug)]
pub struct TokioDisk {
    log: Lane,
    snapshot: Lane,
    done: mpsc::UnboundedReceiver<DiskDone>,
    stop: Arc<AtomicBool>,
    _lock: File,
}

impl TokioDisk {
    /// Opens a directory, making it when it is missing, and starts the threads.
    ///
    /// Fails when the directory cannot be made or is in use by another server.
    pub fn open(dir: &Path) -> io::Result<TokioDisk> {
        fs::create_dir_all(dir)?;
        if let Some(parent) = dir.parent().filter(|p| !p.as_os_str().is_empty()) {
            File::open(parent)?.sync_all()?;
        }
        let lock = lock(dir)?;
        let directory = Arc::new(Directory::open(dir)?);
        let stop = Arc::new(AtomicBool::new(false));
        let (done_tx, done) = mpsc::unbounded_channel();
        Ok(TokioDisk {
            log: Lane::start("disk-log", &directory, &stop, &done_tx)?,
            snapshot: Lane::start("disk-snapshot", &directory, &stop, &done_tx)?,
            done,
            stop,
            _lock: lock,
        })
    }
}

impl Disk for TokioDisk {
    fn submit(&mut self, request: DiskRequest) {
        check_names(&request.op);
        match request.lane {
            DiskLane::Log => self.log.submit(request),
            DiskLane::Snapshot => self.snapshot.submit(request),
        }
    }

    fn poll_done(&mut self, cx: &mut Context<'_>) -> Poll<DiskDone> {
        self.done
            .poll_recv(cx)
            .map(|done| done.expect("the lanes live as long as the disk"))
    }
}

impl Drop for TokioDisk {
    /// Waits for the operation each lane is in the middle of, and drops the rest.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.log.join();
        self.snapshot.join();
    }
}

fn lock(dir: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(dir.join(LOCK_FILE))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(io::Error::new(
            io::ErrorKind::ResourceBusy,
            format!("{} is in use by another server", dir.display()),
        )),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Names are the peer's own, so a bad one is a broken program.
fn check_names(op: &DiskOp) {
    let plain = |name: &str| {
        assert!(
            !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0']),
            "{name:?} is not a plain file name"
        );
    };
    match op {
        DiskOp::Create { file }
        | DiskOp::Write { file, .. }
        | DiskOp::Sync { file }
        | DiskOp::Truncate { file, .. }
        | DiskOp::Delete { file }
        | DiskOp::Read { file, .. } => plain(file),
        DiskOp::Rename { from, to } => {
            plain(from);
            plain(to);
        }
        DiskOp::SyncDir | DiskOp::List => {}
    }
}

/// A queue and the thread behind it.
#[derive(Debug)]
struct Lane {
    queue: Option<queue::Sender<DiskRequest>>,
    thread: Option<JoinHandle<()>>,
}

impl Lane {
    fn start(
        name: &str,
        directory: &Arc<Directory>,
        stop: &Arc<AtomicBool>,
        done: &mpsc::UnboundedSender<DiskDone>,
    ) -> io::Result<Lane> {
        let (queue, requests) = queue::channel::<DiskRequest>();
        let (directory, stop, done) = (directory.clone(), stop.clone(), done.clone());
        let work = move || {
            while let Ok(request) = requests.recv() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let result = directory.carry_out(&request.op);
                let token = request.token;
                if done.send(DiskDone { token, result }).is_err() {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name(name.to_string()).spawn(work)?;
        Ok(Lane {
            queue: Some(queue),
            thread: Some(thread),
        })
    }

    fn submit(&self, request: DiskRequest) {
        let queue = self.queue.as_ref().expect("only a dropped disk is closed");
        queue
            .send(request)
            .expect("a lane's thread never ends first");
    }

    fn join(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The directory and its open files, shared by both lanes so that a name means the same
/// file to both.
#[derive(Debug)]
struct Directory {
    path: PathBuf,
    handle: File,
    open: Mutex<Vec<OpenFile>>,
}

/// A file kept open; most recently used last.
#[derive(Debug)]
struct OpenFile {
    name: String,
    file: Arc<File>,
    /// Written since its last sync. Kept open until then: the kernel tells of a failed
    /// write-back through the handles that are open when it fails.
    dirty: bool,
}

impl Directory {
    fn open(path: &Path) -> io::Result<Directory> {
        Ok(Directory {
            path: path.to_path_buf(),
            handle: File::open(path)?,
            open: Mutex::new(Vec::new()),
        })
    }

    fn carry_out(&self, op: &DiskOp) -> Result<DiskValue, DiskError> {
        let result = match op {
            DiskOp::Create { file } => self.create(file),
            DiskOp::Write { file, offset, data } => self.write(file, *offset, data),
            DiskOp::Sync { file } => self.sync(file),
            DiskOp::Truncate { file, len } => self.truncate(file, *len),
            DiskOp::Rename { from, to } => self.rename(from, to),
            DiskOp::Delete { file } => self.delete(file),
            DiskOp::SyncDir => self.handle.sync_all().map(|()| DiskValue::Done),
            DiskOp::Read { file, offset, len } => self.read(file, *offset, *len),
            DiskOp::List => self.list(),
        };
        result.map_err(|error| {
            let known = disk_error(&error);
            if matches!(known, DiskError::Io | DiskError::NoSpace) {
                tracing::warn!(dir = %self.path.display(), %error, "a disk operation failed");
            }
            known
        })
    }

    fn create(&self, name: &str) -> io::Result<DiskValue> {
        let mut open = self.files();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(self.path.join(name))?;
        forget(&mut open, name);
        keep(&mut open, name, Arc::new(file), false);
        Ok(DiskValue::Done)
    }

    fn write(&self, name: &str, offset: u64, data: &[u8]) -> io::Result<DiskValue> {
        self.file(name, true)?.write_all_at(data, offset)?;
        Ok(DiskValue::Done)
    }

    fn truncate(&self, name: &str, len: u64) -> io::Result<DiskValue> {
        self.file(name, true)?.set_len(len)?;
        Ok(DiskValue::Done)
    }

    /// `fdatasync`: the bytes and the length; times do not matter.
    fn sync(&self, name: &str) -> io::Result<DiskValue> {
        let file = self.file(name, false)?;
        file.sync_data()?;
        let mut open = self.files();
        if let Some(kept) = open.iter_mut().find(|f| Arc::ptr_eq(&f.file, &file)) {
            kept.dirty = false;
        }
        Ok(DiskValue::Done)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<DiskValue> {
        fs::rename(self.path.join(from), self.path.join(to))?;
        // Only now, and under the lock: a handle the other lane opened meanwhile by the old
        // meaning of a name goes too.
        let mut open = self.files();
        forget(&mut open, to);
        if let Some(moved) = open.iter_mut().find(|f| f.name == from) {
            moved.name = to.to_string();
        }
        Ok(DiskValue::Done)
    }

    fn delete(&self, name: &str) -> io::Result<DiskValue> {
        fs::remove_file(self.path.join(name))?;
        forget(&mut self.files(), name);
        Ok(DiskValue::Done)
    }

    fn read(&self, name: &str, offset: u64, len: u64) -> io::Result<DiskValue> {
        let file = self.file(name, false)?;
        let there = file.metadata()?.len().saturating_sub(offset);
        let wanted = usize::try_from(len.min(there)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; wanted];
        let mut filled = 0;
        while filled < wanted {
            match file.read_at(&mut bytes[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(filled);
        Ok(DiskValue::Bytes(Bytes::from(bytes)))
    }

    fn list(&self) -> io::Result<DiskValue> {
        let mut listing = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let meta = match entry.metadata() {
                Ok(meta) => meta,
                // The other lane removed it since.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if meta.is_file() && !name.starts_with('.') {
                listing.push((name, meta.len()));
            }
        }
        listing.sort();
        Ok(DiskValue::Listing(listing))
    }

    /// The open file of a name. Opened under the lock, so that no handle of a name's former
    /// meaning is kept after a rename or delete.
    fn file(&self, name: &str, dirty: bool) -> io::Result<Arc<File>> {
        let mut open = self.files();
        if let Some(at) = open.iter().position(|f| f.name == name) {
            open[at..].rotate_left(1);
            let kept = open.last_mut().expect("just found");
            kept.dirty |= dirty;
            return Ok(kept.file.clone());
        }
        let path = self.path.join(name);
        let file = Arc::new(OpenOptions::new().read(true).write(true).open(path)?);
        keep(&mut open, name, file.clone(), dirty);
        Ok(file)
    }

    fn files(&self) -> MutexGuard<'_, Vec<OpenFile>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn keep(open: &mut Vec<OpenFile>, name: &str, file: Arc<File>, dirty: bool) {
    if open.len() >= FILES_OPEN_MAX
        && let Some(oldest) = open.iter().position(|f| !f.dirty)
    {
        open.remove(oldest);
    }
    open.push(OpenFile {
        name: name.to_string(),
        file,
        dirty,
    });
}

fn forget(open: &mut Vec<OpenFile>, name: &str) {
    open.retain(|f| f.name != name);
}

fn disk_error(error: &io::Error) -> DiskError {
    match error.kind() {
        io::ErrorKind::NotFound => DiskError::NotFound,
        io::ErrorKind::AlreadyExists => DiskError::Exists,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => DiskError::NoSpace,
        _ => DiskError::Io,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_from_a_broken_one() {
        let of = |errno| disk_error(&io::Error::from_raw_os_error(errno));
        assert_eq!(of(28), DiskError::NoSpace);
        assert_eq!(of(5), DiskError::Io);
        assert_eq!(of(2), DiskError::NotFound);
        assert_eq!(of(17), DiskError::Exists);
    }

    #[test]
    #[should_panic(expected = "plain file name")]
    fn a_name_never_leaves_the_directory() {
        check_names(&DiskOp::Delete {
            file: "../passwd".to_string(),
        });
    }
}
