//! Who may do what, as far as a history tells: what is surely known of a client bounds its
//! rights from below, what it perhaps had when it was answered from above.
//!
//! Answers to: `protocol.md` 13; `consistency.md` P20.

use crate::history::{Acl, ErrorCode, Identity};
use std::collections::BTreeSet;

/// The permission READ.
pub const READ: i32 = 1;
/// The permission WRITE.
pub const WRITE: i32 = 2;
/// The permission CREATE.
pub const CREATE: i32 = 4;
/// The permission DELETE.
pub const DELETE: i32 = 8;
/// The permission ADMIN.
pub const ADMIN: i32 = 16;

/// Who asks: identities surely had when asking, and perhaps had when answered.
#[derive(Debug, Clone, Default)]
pub struct Who {
    /// Had before the request was sent, on the connection that answered it.
    pub surely: BTreeSet<Identity>,
    /// Offered before it was answered.
    pub perhaps: BTreeSet<Identity>,
    /// Entries of scheme `ip` say nothing.
    pub address_unknown: bool,
}

/// One request: by whom, in which session, as which transaction.
#[derive(Clone, Copy)]
pub struct Caller<'a> {
    /// Session id.
    pub session: i64,
    /// Identities.
    pub who: &'a Who,
    /// The transaction, or the last that a read saw. 0 if that is not known: then not all was
    /// recorded, and a Stat of zeros says nothing.
    pub zxid: i64,
    /// What is assumed where it is not known whether the caller may.
    pub doubt: bool,
    /// It cannot have happened before.
    pub begun: u64,
}

impl Caller<'_> {
    /// Whether the caller has any of the permissions.
    ///
    /// # Errors
    /// What the server must answer if not.
    pub fn may(&self, rights: &Rights, permissions: i32) -> Result<(), ErrorCode> {
        match allows(rights, permissions, self.who).unwrap_or(self.doubt) {
            true => Ok(()),
            false => Err(ErrorCode::NO_AUTH),
        }
    }
}

/// The rights on a node.
#[derive(Debug, Clone, Default)]
pub struct Rights {
    /// As the server keeps them.
    entries: Vec<Acl>,
    /// What anybody may.
    anybody: i32,
    /// Who stands behind an entry of scheme `auth` is not surely known.
    unclear: bool,
}

impl Rights {
    /// The rights that a list gives which names everybody.
    pub fn of(entries: Vec<Acl>, unclear: bool) -> Self {
        let world = entries
            .iter()
            .filter(|entry| &*entry.identity.scheme == "world");
        Rights {
            anybody: world.fold(0, |all, entry| all | entry.perms),
            entries,
            unclear,
        }
    }

    /// True if anybody has one of the permissions, whoever it is.
    pub fn anybody_may(&self, permissions: i32) -> bool {
        self.anybody & permissions != 0
    }
}

/// The rights that `acl` gives when `who` sends it.
pub fn granted(acl: &[Acl], who: &Who) -> Rights {
    let (mut entries, mut unclear) = (Vec::<Acl>::new(), false);
    for entry in acl {
        let mut meant = vec![entry.clone()];
        if &*entry.identity.scheme == "auth" {
            unclear |= who.surely != who.perhaps;
            let sure = who
                .surely
                .iter()
                .filter(|identity| &*identity.scheme != "ip");
            meant = sure
                .map(|identity| Acl {
                    perms: entry.perms,
                    identity: identity.clone(),
                })
                .collect();
        }
        meant.retain(|entry| !entries.contains(entry));
        entries.extend(meant);
    }
    Rights::of(entries, unclear)
}

fn of_scheme<'a>(
    identities: impl IntoIterator<Item = &'a Identity>,
    scheme: &str,
) -> impl Iterator<Item = &'a Identity> {
    let identities = identities.into_iter();
    identities.filter(move |identity| *identity.scheme == *scheme)
}

/// Whether `who` has any of the permissions; None if that is not known.
fn allows(rights: &Rights, permissions: i32, who: &Who) -> Option<bool> {
    if rights.anybody_may(permissions) {
        return Some(true);
    }
    let any = |mine: &BTreeSet<Identity>| {
        let is_meant = |identity: &Identity| match &*identity.scheme {
            "ip" => of_scheme(mine, "ip").any(|mine| within(&mine.id, &identity.id)),
            _ => mine.contains(identity),
        };
        let mut entries = rights.entries.iter();
        entries.any(|entry| entry.perms & permissions != 0 && is_meant(&entry.identity))
            || of_scheme(mine, "super").next().is_some()
    };
    let named = rights.entries.iter().map(|entry| &entry.identity);
    let by_address = || of_scheme(named, "ip").next().is_some();
    if any(&who.surely) || rights.entries.is_empty() && !rights.unclear {
        return Some(true);
    }
    let doubtful = rights.unclear || any(&who.perhaps) || who.address_unknown && by_address();
    (!doubtful).then_some(false)
}

/// True if an address lies in a network `a.b.c.d/bits`.
fn within(address: &str, network: &str) -> bool {
    let number = |text: &str| -> Option<u32> {
        let bytes: Result<Vec<u8>, _> = text.split('.').map(str::parse).collect();
        Some(u32::from_be_bytes(bytes.ok()?.try_into().ok()?))
    };
    let (base, bits) = network.split_once('/').unwrap_or((network, "32"));
    match (number(address), number(base)) {
        (Some(address), Some(base)) => {
            let hidden = 32 - bits.parse().unwrap_or(32u32).min(32);
            u64::from(address) >> hidden == u64::from(base) >> hidden
        }
        (_, _) => address == network,
    }
}

/// True if a client may have been shown `seen`: the same entries in any order, the hash of
/// a digest perhaps hidden.
pub fn shown_as(rights: &Rights, seen: &[Acl]) -> bool {
    let plain = |entry: &Acl| match &*entry.identity.scheme {
        "digest" => {
            let user = entry.identity.id.split(':').next().unwrap_or_default();
            Acl::new(entry.perms, "digest", user)
        }
        _ => entry.clone(),
    };
    let hides = |seen: &Acl| seen.identity.id.ends_with(":x");
    let fits = |mine: &Acl, seen: &Acl| mine == seen || hides(seen) && plain(mine) == plain(seen);
    rights.unclear
        || rights.entries.len() == seen.len()
            && rights
                .entries
                .iter()
                .all(|mine| seen.iter().any(|seen| fits(mine, seen)))
            && seen
                .iter()
                .all(|seen| rights.entries.iter().any(|mine| fits(mine, seen)))
}
