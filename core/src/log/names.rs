//! What the store's files are called, and what a found name means.
//!
//! Numbers are sixteen lower-case hex digits, so that names sort as their numbers do. Only
//! names spelled exactly so are ours; any other file is foreign, and left alone. A name
//! ending in `.tmp` was never promised to anybody: recovery removes it.

use crate::base::ids::Zxid;

/// Numbers of segments, generations, attempts and writes stay below this: there is always
/// a next one. A greater one was not written by us.
pub(super) const NUMBER_END: u64 = 1 << 62;

/// First copy of the epoch record.
pub(super) const EPOCH_A: &str = "epoch.a";
/// Second copy of the epoch record.
pub(super) const EPOCH_B: &str = "epoch.b";
/// The high-water mark.
pub(super) const MARK: &str = "mark";

/// What a file is, judging by its name alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Name {
    /// A log segment.
    Segment(u64),
    /// A log segment that never got its name.
    SegmentTemp(u64),
    /// A complete snapshot.
    Snapshot {
        /// The generation of the log it belongs to.
        generation: u64,
        /// What it stands for.
        zxid: Zxid,
    },
    /// A snapshot that never got its name.
    SnapshotTemp {
        /// The generation it was meant for.
        generation: u64,
        /// Distinguishes attempts.
        serial: u64,
    },
    /// An epoch copy, the mark, or what became neither.
    Small,
    /// A small file that never got its name.
    SmallTemp,
    /// Not ours.
    Foreign,
}

/// The name of a segment.
pub(super) fn segment(id: u64) -> String {
    // Spelled by hand: this one is wanted for every batch.
    let mut name = String::with_capacity("log.".len() + 16);
    name.push_str("log.");
    for place in (0..16).rev() {
        let digit = (id >> (4 * place)) as u32 & 0xf;
        name.push(char::from_digit(digit, 16).expect("below sixteen"));
    }
    name
}

/// The name of a segment in the making.
pub(super) fn segment_temp(id: u64) -> String {
    temp(&segment(id))
}

/// The name of a snapshot.
pub(super) fn snapshot(generation: u64, zxid: Zxid) -> String {
    format!("snap.{generation:016x}.{:016x}", zxid.0)
}

/// The name of a snapshot in the making.
pub(super) fn snapshot_temp(generation: u64, zxid: Zxid, serial: u64) -> String {
    temp(&format!("{}.{serial:016x}", snapshot(generation, zxid)))
}

/// The name under which a file is made before it gets its own.
pub(super) fn temp(name: &str) -> String {
    format!("{name}.tmp")
}

/// Reads a name.
pub(super) fn parse(file: &str) -> Name {
    let parts: Vec<&str> = file.split('.').collect();
    let known = match parts.as_slice() {
        ["epoch", "a" | "b"] | ["mark"] => Some(Name::Small),
        ["epoch", "a" | "b", "tmp"] | ["mark", "tmp"] => Some(Name::SmallTemp),
        ["log", id] => number(id).map(Name::Segment),
        ["log", id, "tmp"] => number(id).map(Name::SegmentTemp),
        ["snap", generation, zxid] => {
            number(generation)
                .zip(hex(zxid))
                .map(|(generation, zxid)| Name::Snapshot {
                    generation,
                    zxid: Zxid(zxid),
                })
        }
        ["snap", generation, zxid, serial, "tmp"] => number(generation)
            .zip(hex(zxid))
            .zip(number(serial))
            .map(|((generation, _), serial)| Name::SnapshotTemp { generation, serial }),
        _ => None,
    };
    known.unwrap_or(Name::Foreign)
}

fn number(text: &str) -> Option<u64> {
    hex(text).filter(|n| *n < NUMBER_END)
}

fn hex(text: &str) -> Option<u64> {
    let spelled = text.len() == 16
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    spelled.then(|| u64::from_str_radix(text, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_as_what_they_were() {
        let zxid = Zxid(0xab_0000_0001);
        assert_eq!(segment(0x0123_4567_89ab_cdef), "log.0123456789abcdef");
        assert_eq!(parse(&segment(7)), Name::Segment(7));
        assert_eq!(parse(&segment_temp(8)), Name::SegmentTemp(8));
        assert_eq!(
            parse(&snapshot(3, zxid)),
            Name::Snapshot {
                generation: 3,
                zxid
            }
        );
        assert_eq!(
            parse(&snapshot_temp(3, zxid, 9)),
            Name::SnapshotTemp {
                generation: 3,
                serial: 9
            }
        );
        assert_eq!(parse(EPOCH_A), Name::Small);
        assert_eq!(parse(&temp(MARK)), Name::SmallTemp);
    }

    #[test]
    fn a_name_spelled_otherwise_is_foreign() {
        for name in [
            "log.7",
            "log.000000000000000G",
            "log.000000000000000A",
            "snap.0000000000000001",
            "log.ffffffffffffffff",
            "lost+found",
            "",
            "log.0000000000000001.tmp.tmp",
        ] {
            assert_eq!(parse(name), Name::Foreign, "{name}");
        }
    }
}
