//! A server's directory, row by row of the table in `gamekeeper_core::base::disk`.
//!
//! Each case has a directory of its own, named after `dir`, which must be new.

use crate::{Disk, Runtime};
use bytes::Bytes;
use gamekeeper_core::base::{
    DiskDone, DiskError, DiskLane, DiskOp, DiskRequest, DiskToken, DiskValue,
};
use std::future::poll_fn;

/// Every case of this page.
pub async fn all<R: Runtime>(runtime: &R, dir: &str) {
    create_makes_an_empty_file_once(runtime, dir).await;
    write_lands_at_its_offset(runtime, dir).await;
    read_is_short_at_the_end(runtime, dir).await;
    truncate_cuts_and_extends(runtime, dir).await;
    rename_replaces(runtime, dir).await;
    delete_removes(runtime, dir).await;
    list_is_sorted_with_lengths(runtime, dir).await;
    missing_files_are_errors(runtime, dir).await;
    name_means_the_same_file_to_both_lanes(runtime, dir).await;
    lane_completes_in_order(runtime, dir).await;
    reopened_directory_has_what_was_synced(runtime, dir).await;
}

/// A disk used one operation at a time.
struct Desk<D> {
    disk: D,
    token: u64,
}

impl<D: Disk> Desk<D> {
    fn open<R: Runtime<Disk = D>>(runtime: &R, dir: &str, case: &str) -> Desk<D> {
        let disk = runtime.disk(&format!("{dir}-{case}")).expect("opens");
        Desk { disk, token: 0 }
    }

    fn submit(&mut self, lane: DiskLane, op: DiskOp) -> DiskToken {
        self.token += 1;
        let token = DiskToken(self.token);
        self.disk.submit(DiskRequest { token, lane, op });
        token
    }

    async fn done(&mut self) -> DiskDone {
        poll_fn(|cx| self.disk.poll_done(cx)).await
    }

    async fn on(&mut self, lane: DiskLane, op: DiskOp) -> Result<DiskValue, DiskError> {
        let token = self.submit(lane, op);
        let done = self.done().await;
        assert_eq!(done.token, token, "a completion of another operation");
        done.result
    }

    async fn run(&mut self, op: DiskOp) -> Result<DiskValue, DiskError> {
        self.on(DiskLane::Log, op).await
    }

    async fn ok(&mut self, op: DiskOp) {
        assert_eq!(self.run(op.clone()).await, Ok(DiskValue::Done), "{op:?}");
    }

    async fn file(&mut self, name: &str, content: &str) {
        self.ok(create(name)).await;
        self.ok(write(name, 0, content)).await;
    }

    async fn holds(&mut self, name: &str, content: &str) {
        let content = Bytes::copy_from_slice(content.as_bytes());
        let read = self.run(read(name, 0, 1 << 20)).await;
        assert_eq!(read, Ok(DiskValue::Bytes(content)), "{name}");
    }

    async fn lists(&mut self, expected: &[(&str, u64)]) {
        let listing = expected.iter().map(|&(n, len)| (n.to_string(), len));
        let listing = DiskValue::Listing(listing.collect());
        assert_eq!(self.run(DiskOp::List).await, Ok(listing));
    }
}

fn create(file: &str) -> DiskOp {
    let file = file.to_string();
    DiskOp::Create { file }
}

fn write(file: &str, offset: u64, data: &str) -> DiskOp {
    let (file, data) = (file.to_string(), Bytes::copy_from_slice(data.as_bytes()));
    DiskOp::Write { file, offset, data }
}

fn sync(file: &str) -> DiskOp {
    let file = file.to_string();
    DiskOp::Sync { file }
}

fn read(file: &str, offset: u64, len: u64) -> DiskOp {
    let file = file.to_string();
    DiskOp::Read { file, offset, len }
}

fn truncate(file: &str, len: u64) -> DiskOp {
    let file = file.to_string();
    DiskOp::Truncate { file, len }
}

fn rename(from: &str, to: &str) -> DiskOp {
    let (from, to) = (from.to_string(), to.to_string());
    DiskOp::Rename { from, to }
}

fn delete(file: &str) -> DiskOp {
    let file = file.to_string();
    DiskOp::Delete { file }
}

/// `Create`: empty, and an error when the name is taken, which leaves the file alone.
pub async fn create_makes_an_empty_file_once<R: Runtime>(runtime: &R, dir: &str) {
    let mut desk = Desk::open(runtime, dir, "create");
    desk.lists(&[]).await;
    desk.ok(create("a")).await;
    desk.holds("a", "").await;
    desk.ok(write("a", 0, "kept")).await;
    assert_eq!(desk.run(create("a")).await, Err(DiskError::Exists));
    desk.holds("a", "kept").await;
}

/// `Write`: over old bytes, past the end, and with a gap that reads as zeroes.
pub async fn write_lands_at_its_offset<R: Runtime>(runtime: &R, dir: &str) {
    let mut desk = Desk::open(runtime, dir, "write");
    desk.file("a", "hello world").await;
    desk.ok(write("a", 6, "there, you")).await;
    desk.holds("a", "hello there, you").await;
    desk.ok(write("a", 18, "!")).await;
    desk.holds("a", "hello there, you\0\0!").await;
    desk.ok(write("a", 3, "")).await;
    desk.holds("a", "hello there, you\0\0!").await;
}

/// `Read`: what there is, nothing past the end, and no memory for a length only claimed.
pub async fn read_is_short_at_the_end<R: Runtime>(runtime: &R, dir: &str) {
    let mut desk = Desk::open(runtime, dir, "read");
    desk.file("a", "0123456789").await;
    for (offset, len, expected) in [
        (0, 4, "0123"),
        (6, 4, "6789"),
        (6, 100, "6789"),
        (0, u64::MAX, "0123456789"),
        (10, 5, ""),
        (99, 5, ""),
        (3, 0, ""),
    ] {
        let expected = DiskValue::Bytes(Bytes::copy_from_slice(expected.as_bytes()));
        let value = desk.run(read("a", offset, len)).await;
        assert_eq!(value, Ok(expected), "read {len} at {offset}");
    }
}

/// `Truncate`: shorter loses the tail for good, longer reads as zeroes.
pub async fn truncate_cuts_and_extends<R: Runtime>(runtime: &R, dir: &str) {
    let mut desk = Desk::open(runtime, dir, "truncate");
    desk.file("a", "0123456789").await;
    desk.ok(truncate("a", 4)).await;
    desk.holds("a", "0123").await;
    desk.ok(truncate("a", 6)).await;
    desk.holds("a", "0123\0\0").await;
}

/// `Rename`: the old name is gone, a file of the new name is replaced.
pub async fn rename_replaces<R: Runtime>(runtime: &R, dir: &str) {
    let mut desk = Desk::open(runtime, dir, "rename");
    desk.file("old", "new content").await;
    desk.file("target", "x").await;
    desk.ok(rename("old", "target")).await;
    desk.holds("target", "new content").await;
    desk.lists(&[("target", 11)]).await;
    desk.ok(write("target", 0, "NEW")).await;
    desk.ok(sync("target")).await;
    desk.holds("target", "NEW content").await;
    desk.file("old", "another").await;
    desk.holds("target", "NEW content").await;
}

/// `Delete`: the name is free again and nothing of the old bytes comes back.
pub async fn delete_removes<R: Runtime>(runtime: &R, dir: &str) {
    let mut desk = Desk::open(runtime, dir, "delete");
    desk.file("a", "first life").await;
    desk.ok(delete("a")).await;
    desk.lists(&[]).await;
    desk.ok(create("a")).await;
    desk.holds("a", "").await;
}

/// `List`: every file with its length, in order of names.
pub async fn list_is_sorted_with_lengths<R: Runtime>(runtime: &R, dir: &str) {
    let mut desk = Desk::open(runtime, dir, "list");
    for (name, content) in [("log.10", "1"), ("b", "22"), ("log.2", ""), ("a", "333")] {
        desk.file(name, content).await;
    }
    desk.ok(DiskOp::SyncDir).await;
    desk.lists(&[("a", 3), ("b", 2), ("log.10", 1), ("log.2", 0)])
        .await;
}

/// Whatever is asked of a file that is not there answers `NotFound` and makes none.
pub async fn missing_files_are_errors<R: Runtime>(runtime: &R, dir: &str) {
    let mut desk = Desk::open(runtime, dir, "missing");
    for op in [
        write("a", 0, "x"),
        sync("a"),
        read("a", 0, 1),
        truncate("a", 0),
        rename("a", "b"),
        delete("a"),
    ] {
        assert_eq!(
            desk.run(op.clone()).await,
            Err(DiskError::NotFound),
            "{op:?}"
        );
    }
    desk.lists(&[]).await;
}

/// Once an operation of one lane is complete, the other lane sees what it did: also when a
/// name came to mean another file.
pub async fn name_means_the_same_file_to_both_lanes<R: Runtime>(runtime: &R, dir: &str) {
    let mut desk = Desk::open(runtime, dir, "lanes");
    desk.file("a", "of the log lane").await;
    for op in [delete("a"), create("a"), write("a", 0, "second file")] {
        assert_eq!(desk.on(DiskLane::Snapshot, op).await, Ok(DiskValue::Done));
    }
    desk.holds("a", "second file").await;
    for op in [create("b"), write("b", 0, "third"), rename("b", "a")] {
        assert_eq!(desk.on(DiskLane::Snapshot, op).await, Ok(DiskValue::Done));
    }
    desk.holds("a", "third").await;
}

/// Operations take effect and complete in the order of their lane, errors among them.
pub async fn lane_completes_in_order<R: Runtime>(runtime: &R, dir: &str) {
    let mut desk = Desk::open(runtime, dir, "order");
    let (mut log, mut snapshot) = (Vec::new(), Vec::new());
    log.push(desk.submit(DiskLane::Log, create("log")));
    snapshot.push(desk.submit(DiskLane::Snapshot, create("snap")));
    for round in 0..20 {
        for op in [
            write("log", round, "x"),
            sync("log"),
            read("log", 0, 1 << 20),
            sync("none"),
        ] {
            log.push(desk.submit(DiskLane::Log, op));
        }
        snapshot.push(desk.submit(DiskLane::Snapshot, write("snap", round, "y")));
    }
    let (mut log, mut snapshot) = (log.into_iter().peekable(), snapshot.into_iter().peekable());
    let mut lengths = Vec::new();
    while log.peek().is_some() || snapshot.peek().is_some() {
        let done = desk.done().await;
        let lane = match log.peek() == Some(&done.token) {
            true => &mut log,
            false => &mut snapshot,
        };
        assert_eq!(lane.next(), Some(done.token), "out of its lane's order");
        match done.result {
            Ok(DiskValue::Bytes(bytes)) => lengths.push(bytes.len()),
            Ok(DiskValue::Done) | Err(DiskError::NotFound) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(
        lengths,
        (1..=20).collect::<Vec<_>>(),
        "each read sees the write before it"
    );
}

/// A directory that is closed and opened again has what was synced.
pub async fn reopened_directory_has_what_was_synced<R: Runtime>(runtime: &R, dir: &str) {
    let mut desk = Desk::open(runtime, dir, "reopened");
    desk.file("a", "content").await;
    desk.ok(sync("a")).await;
    desk.ok(DiskOp::SyncDir).await;
    drop(desk);
    let mut desk = Desk::open(runtime, dir, "reopened");
    desk.holds("a", "content").await;
    desk.lists(&[("a", 7)]).await;
}
