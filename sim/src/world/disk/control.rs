//! What a nemesis does to a disk, and what an oracle may ask it.
//!
//! It speaks of the one directory a host opened first. Damage strikes durable bytes only, and
//! at once; errors wait for the next operation they fit.

use super::judge::garbage;
use super::store::Store;
use super::{Armed, Directory, DiskFault};
use crate::trace::Kind;
use crate::world::alarm::NEVER;
use crate::world::conn::Scene;
use crate::world::{HostId, World};
use std::fmt;
use std::ops::Range;

/// How durable bytes go bad (rows D10 to D12).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rot {
    /// One bit of the range is flipped.
    Flip,
    /// The range reads as zeroes.
    Zeroes,
    /// The range reads as bytes that mean nothing.
    Garbage,
    /// The sectors of the range cannot be read until they are written again.
    Unreadable,
}

/// A whole directory as it was at some time (row D16).
#[derive(Clone, PartialEq, Eq)]
pub struct DiskImage(Store);

impl fmt::Debug for DiskImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DiskImage of {} files", self.0.names.len())
    }
}

/// The disk of one host, for its nemesis and its oracles.
#[derive(Clone, Debug)]
pub struct DiskControl {
    pub(in crate::world) world: World,
    pub(in crate::world) host: HostId,
}

impl DiskControl {
    /// Does something with the directory as it is now; nothing when the host has none yet.
    fn with<T>(&self, act: impl FnOnce(&mut Directory, &mut Scene<'_>) -> T) -> Option<T> {
        self.world.with_directory(self.host, |directory, scene| {
            directory.settle(scene);
            act(directory, scene)
        })
    }

    fn tell(scene: &mut Scene<'_>, host: HostId, what: fmt::Arguments<'_>) {
        (scene.trace).text(scene.now_ns, host.0, Kind::DiskFault, what);
    }

    /// The next operation that fits, on a file whose name begins with `prefix`, fails.
    pub fn arm(&self, fault: DiskFault, prefix: &str) {
        self.with(|directory, scene| {
            Self::tell(scene, self.host, format_args!("{fault:?} on {prefix}*"));
            directory.armed.push(Armed {
                fault,
                prefix: prefix.to_string(),
            });
        });
    }

    /// Takes back every fault that waits.
    pub fn disarm(&self) {
        self.with(|directory, _| directory.armed.clear());
    }

    /// Operations that failed so far because of a fault.
    pub fn struck(&self) -> u64 {
        self.with(|directory, _| directory.struck).unwrap_or(0)
    }

    /// The disk holds no more than `bytes` (row D7); `None` gives it room again.
    pub fn set_space(&self, bytes: Option<u64>) {
        self.with(|directory, scene| {
            Self::tell(scene, self.host, format_args!("space {bytes:?}"));
            directory.space_bytes = bytes;
        });
    }

    /// The disk is full as of now, but for `spare_bytes`.
    pub fn fill(&self, spare_bytes: u64) {
        self.set_space(Some(self.used_bytes() + spare_bytes));
    }

    /// Bytes that files take up.
    pub fn used_bytes(&self) -> u64 {
        self.with(|directory, _| directory.store.used())
            .unwrap_or(0)
    }

    /// Each operation submitted from now on takes up to `extra_ns` longer (row D8); 0 ends it.
    pub fn set_slow(&self, extra_ns: u64) {
        self.with(|directory, scene| {
            Self::tell(scene, self.host, format_args!("slow by {extra_ns} ns"));
            directory.extra_ns = extra_ns;
        });
    }

    /// The disk does nothing at all (row D8), or goes on where it stood.
    pub fn set_stuck(&self, stuck: bool) {
        self.with(|directory, scene| {
            Self::tell(scene, self.host, format_args!("stuck {stuck}"));
            match (directory.stuck_since_ns, stuck) {
                (None, true) => directory.stuck_since_ns = Some(scene.now_ns),
                (Some(since_ns), false) => {
                    directory.stuck_since_ns = None;
                    directory.stuck_ns += scene.now_ns - since_ns;
                    let at_ns = directory.next_ns();
                    if at_ns != NEVER {
                        (directory.waiter).ring_at(scene.alarms, scene.now_ns, at_ns);
                    }
                }
                (None, false) | (Some(_), true) => {}
            }
        });
    }

    /// Takes back every fault but damage already done.
    pub fn heal(&self) {
        self.disarm();
        self.set_space(None);
        self.set_slow(0);
        self.set_stuck(false);
    }

    /// Damages durable bytes of a file (rows D10 to D12). False when the range holds none.
    pub fn rot(&self, file: &str, range: Range<u64>, rot: Rot) -> bool {
        let done = self.with(|directory, scene| {
            let key = directory.key.and(range.start).and(scene.now_ns);
            let told = format_args!("{rot:?} in {file} {range:?}");
            Self::tell(scene, self.host, told);
            let store = &mut directory.store;
            match rot {
                Rot::Flip => store.damage(file, range, |bytes| {
                    let bit = key.below(bytes.len() as u64 * 8);
                    bytes[bit as usize / 8] ^= 1 << (bit % 8);
                }),
                Rot::Zeroes => store.damage(file, range, |bytes| bytes.fill(0)),
                Rot::Garbage => store.damage(file, range, |bytes| garbage(bytes, key)),
                Rot::Unreadable => store.make_unreadable(file, range),
            }
        });
        done.unwrap_or(false)
    }

    /// True while durable bytes that a name can reach are damaged and were not durably
    /// written, cut off or deleted since. A lost tail is no damage by this measure: nothing
    /// of it is there.
    pub fn is_rotten(&self) -> bool {
        self.with(|directory, _| directory.store.is_rotten())
            .unwrap_or(false)
    }

    /// A write that was to land at `range` of `file` landed in `to_file` at `to_offset`
    /// instead, and what `range` held before (zeroes) is there still (row D13). Both must be
    /// durable; false, and nothing done, when they are not.
    pub fn misdirect(&self, file: &str, range: Range<u64>, to_file: &str, to_offset: u64) -> bool {
        let done = self.with(|directory, scene| {
            let store = &mut directory.store;
            let len = range.end.saturating_sub(range.start);
            let there = store.durable(to_file).map_or(0, |bytes| bytes.len() as u64);
            let here = store.durable(file).map_or(0, |bytes| bytes.len() as u64);
            if len == 0 || range.end > here || to_offset + len > there {
                return false;
            }
            let told = format_args!("{file} {range:?} went to {to_file} {to_offset}");
            Self::tell(scene, self.host, told);
            let data = store.durable(file).unwrap_or(&[]);
            let data = data[range.start as usize..range.end as usize].to_vec();
            store.damage(file, range, |bytes| bytes.fill(0))
                && store.damage(to_file, to_offset..to_offset + len, |bytes| {
                    bytes.copy_from_slice(&data);
                })
        });
        done.unwrap_or(false)
    }

    /// The durable bytes of a file from an offset on are gone, without a trace (row D14).
    pub fn lose_tail(&self, file: &str, from: u64) -> bool {
        let done = self.with(|directory, scene| {
            Self::tell(scene, self.host, format_args!("{file} ends at {from}"));
            directory.store.lose_tail(file, from)
        });
        done.unwrap_or(false)
    }

    /// Everything is gone (row D15). Only for a host that is down.
    pub fn wipe(&self) {
        self.with(|directory, scene| {
            assert!(directory.open.is_none(), "wiped under a running program");
            Self::tell(scene, self.host, format_args!("wiped"));
            directory.store = Store::default();
        });
    }

    /// The directory as it is (row D16).
    pub fn image(&self) -> DiskImage {
        let store = self.with(|directory, _| directory.store.clone());
        DiskImage(store.unwrap_or_default())
    }

    /// The directory is again as it was (row D16). Only for a host that is down.
    pub fn restore(&self, image: &DiskImage) {
        self.with(|directory, scene| {
            assert!(directory.open.is_none(), "restored under a running program");
            Self::tell(scene, self.host, format_args!("restored {image:?}"));
            directory.store = image.0.clone();
        });
    }

    /// What would be left of a file if everything that was not synced were lost; `None` when
    /// not even its name would.
    pub fn durable_bytes(&self, file: &str) -> Option<Vec<u8>> {
        self.with(|directory, _| directory.store.durable(file).map(<[u8]>::to_vec))?
    }

    /// What a read of the whole file would show, unreadable sectors aside.
    pub fn visible_bytes(&self, file: &str) -> Option<Vec<u8>> {
        let seen = self.with(|directory, _| {
            let file = directory.store.file(file).ok()?;
            Some(file.live.clone())
        });
        seen?
    }

    /// Visible names and lengths, sorted.
    pub fn files(&self) -> Vec<(String, u64)> {
        self.with(|directory, _| directory.store.list())
            .unwrap_or_default()
    }

    /// Durable names and durable lengths, sorted.
    pub fn durable_files(&self) -> Vec<(String, u64)> {
        let files = self.with(|directory, _| {
            let store = &directory.store;
            let length = |inode: &u64| store.inodes[inode].durable.len() as u64;
            (store.durable_names.iter())
                .map(|(name, inode)| (name.clone(), length(inode)))
                .collect()
        });
        files.unwrap_or_default()
    }
}
