//! Who may do what: ACLs and identities.
//!
//! Authentication takes effect at the server the moment its packet arrives, beside the
//! queue of requests, so what a client observes bounds a request's identities only from
//! both sides: those surely added before it was sent, and those perhaps added before it
//! was answered. Where the two bounds disagree the answer decides, and nothing is judged.
//!
//! Answers to: `protocol.md` section 13.

use crate::history::{Acl, Identity};
use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;

/// READ permission.
pub const READ: i32 = 1;
/// WRITE permission.
pub const WRITE: i32 = 2;
/// CREATE permission.
pub const CREATE: i32 = 4;
/// DELETE permission.
pub const DELETE: i32 = 8;
/// ADMIN permission.
pub const ADMIN: i32 = 16;

/// Number of an ACL in the table.
pub type AclId = u32;

/// World, anyone, everything.
pub const OPEN: AclId = 0;

/// World, anyone, READ: `/zookeeper/config`.
pub const READ_ONLY: AclId = 1;

/// What is known of a permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Surely allowed.
    Yes,
    /// Surely denied.
    No,
    /// Depends on what was not observed.
    Unclear,
}

/// Number of a set of identities in the table.
pub type IdentitiesId = u32;

/// Whom a request came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Who {
    /// Identities surely present.
    pub surely: IdentitiesId,
    /// Identities perhaps present; holds the sure ones.
    pub perhaps: IdentitiesId,
    /// Without the client's address entries of scheme `ip` say nothing.
    address: Address,
}

/// Whether a client's address is known. As wide as a number: requests are moved about with it,
/// and processors are slow to read back what lies about a single byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u32)]
enum Address {
    #[default]
    Known,
    Unknown,
}

impl Who {
    /// Whom a request comes from that was sent by this one and answered to that one.
    pub fn until(self, answered: Who) -> Who {
        Who {
            surely: self.surely,
            perhaps: answered.perhaps,
            address: match self.address {
                Address::Known => answered.address,
                Address::Unknown => Address::Unknown,
            },
        }
    }
}

/// What is known of the identities of one client object, along its connections.
#[derive(Clone, Default)]
pub struct Credentials {
    surely: Vec<Identity>,
    perhaps: Vec<Identity>,
    sent: VecDeque<Identity>,
    address: Address,
    who: Who,
}

impl Credentials {
    /// Whom a request that is sent now comes from.
    pub fn who(&self) -> Who {
        self.who
    }

    /// A connection begins, with the client's address if it is known.
    pub fn connected(&mut self, address: Option<&str>, new_session: bool, table: &mut AclTable) {
        if new_session {
            self.perhaps.clear();
        }
        self.surely.clear();
        self.sent.clear();
        self.address = match address {
            Some(_) => Address::Known,
            None => Address::Unknown,
        };
        if let Some(address) = address {
            let identity = Identity::new("ip", address);
            self.surely.push(identity.clone());
            self.perhaps.push(identity);
        }
        self.renew(table);
    }

    /// The connection ends.
    pub fn disconnected(&mut self, table: &mut AclTable) {
        self.surely.clear();
        self.sent.clear();
        self.renew(table);
    }

    /// An auth packet leaves.
    pub fn authenticate(&mut self, identity: &Identity, table: &mut AclTable) {
        self.sent.push_back(identity.clone());
        self.perhaps.push(identity.clone());
        self.renew(table);
    }

    /// The oldest auth packet on its way is answered.
    pub fn authenticated(&mut self, ok: bool, table: &mut AclTable) {
        if let (Some(identity), true) = (self.sent.pop_front(), ok) {
            self.surely.push(identity);
        }
        self.renew(table);
    }

    fn renew(&mut self, table: &mut AclTable) {
        for list in [&mut self.surely, &mut self.perhaps] {
            list.sort();
            list.dedup();
        }
        self.who = Who {
            surely: table.identities_id(&self.surely),
            perhaps: table.identities_id(&self.perhaps),
            address: self.address,
        };
    }
}

#[derive(Clone)]
struct AclEntry {
    list: Vec<Acl>,
    /// An entry of scheme `auth` was replaced by identities that are not surely known.
    unclear: bool,
}

/// All ACLs and sets of identities of a history, by number.
#[derive(Clone)]
pub struct AclTable {
    acls: Vec<AclEntry>,
    acl_ids: BTreeMap<(Vec<Acl>, bool), AclId>,
    identities: Vec<Vec<Identity>>,
    identities_ids: BTreeMap<Vec<Identity>, IdentitiesId>,
}

impl AclTable {
    /// Knows the open ACL and the empty set of identities.
    pub fn new() -> Self {
        let mut table = AclTable {
            acls: Vec::new(),
            acl_ids: BTreeMap::new(),
            identities: Vec::new(),
            identities_ids: BTreeMap::new(),
        };
        table.intern(vec![Acl::new(31, "world", "anyone")], false);
        table.intern(vec![Acl::new(READ, "world", "anyone")], false);
        table.identities_id(&[]);
        table
    }

    /// The number of a set of identities.
    pub fn identities_id(&mut self, identities: &[Identity]) -> IdentitiesId {
        if let Some(&id) = self.identities_ids.get(identities) {
            return id;
        }
        let id = self.identities.len() as IdentitiesId;
        self.identities.push(identities.to_vec());
        self.identities_ids.insert(identities.to_vec(), id);
        id
    }

    /// The identities of a number.
    pub fn identities(&self, id: IdentitiesId) -> &[Identity] {
        &self.identities[id as usize]
    }

    /// The number of an ACL as the server keeps it when `who` sends it: without
    /// duplicates, `auth` replaced by the sender's identities.
    pub fn normalised(&mut self, acl: &[Acl], who: Who) -> AclId {
        if Acl::is_open(acl) {
            return OPEN;
        }
        if let [only] = acl
            && only.perms == 31
            && &*only.identity.scheme == "world"
        {
            return OPEN;
        }
        let (mut list, mut unclear) = (Vec::new(), false);
        for entry in acl {
            if &*entry.identity.scheme == "auth" {
                unclear |= who.surely != who.perhaps;
                let known = self
                    .identities(who.surely)
                    .iter()
                    .filter(|identity| &*identity.scheme != "ip");
                list.extend(known.map(|identity| Acl {
                    perms: entry.perms,
                    identity: identity.clone(),
                }));
            } else {
                list.push(entry.clone());
            }
        }
        let mut seen = Vec::new();
        list.retain(|entry| {
            let fresh = !seen.contains(entry);
            seen.push(entry.clone());
            fresh
        });
        self.intern(list, unclear)
    }

    /// The entries behind a number, as far as they are known.
    pub fn entries(&self, acl: AclId) -> &[Acl] {
        &self.acls[acl as usize].list
    }

    /// What `who` may do under an ACL; `wanted` may hold several permissions, of which one is enough.
    pub fn access(&self, acl: AclId, wanted: i32, who: Who) -> Access {
        if acl == OPEN {
            return Access::Yes;
        }
        let AclEntry { list, unclear } = &self.acls[acl as usize];
        if list.is_empty() && !unclear {
            return Access::Yes;
        }
        let allows = |identities: IdentitiesId| {
            let identities = self.identities(identities);
            identities
                .iter()
                .any(|identity| &*identity.scheme == "super")
                || list.iter().any(|entry| {
                    entry.perms & wanted != 0 && matches_any(&entry.identity, identities)
                })
        };
        if allows(who.surely) {
            return Access::Yes;
        }
        let hidden_address = who.address == Address::Unknown
            && list.iter().any(|entry| &*entry.identity.scheme == "ip");
        match *unclear || hidden_address || allows(who.perhaps) {
            true => Access::Unclear,
            false => Access::No,
        }
    }

    /// True if anybody may read under this ACL.
    pub fn world_readable(&self, acl: AclId) -> bool {
        self.access(acl, READ, Who::default()) == Access::Yes
    }

    /// True if a client may have been shown `shown` for this ACL: the same entries,
    /// the hash of a digest perhaps hidden.
    pub fn shows_as(&self, acl: AclId, shown: &[Acl]) -> bool {
        let AclEntry { list, unclear } = &self.acls[acl as usize];
        let hidden = |identity: &Identity| {
            let user = identity.id.split(':').next().unwrap_or_default();
            Identity::new(&identity.scheme, &format!("{user}:x"))
        };
        let fits = |mine: &Acl, other: &Acl| {
            mine.perms == other.perms
                && (mine.identity == other.identity
                    || &*mine.identity.scheme == "digest"
                        && hidden(&mine.identity) == other.identity)
        };
        // In any order: that of the identities behind `auth` is nowhere promised.
        *unclear
            || list.len() == shown.len()
                && list
                    .iter()
                    .all(|mine| shown.iter().any(|other| fits(mine, other)))
                && shown
                    .iter()
                    .all(|other| list.iter().any(|mine| fits(mine, other)))
    }

    fn intern(&mut self, list: Vec<Acl>, unclear: bool) -> AclId {
        let key = (list, unclear);
        if let Some(&id) = self.acl_ids.get(&key) {
            return id;
        }
        let id = self.acls.len() as AclId;
        self.acls.push(AclEntry {
            list: key.0.clone(),
            unclear,
        });
        self.acl_ids.insert(key, id);
        id
    }
}

fn matches_any(wanted: &Identity, identities: &[Identity]) -> bool {
    match &*wanted.scheme {
        "world" => true,
        "ip" => identities
            .iter()
            .any(|identity| &*identity.scheme == "ip" && address_matches(&wanted.id, &identity.id)),
        _ => identities.contains(wanted),
    }
}

/// `10.0.0.0/8` against `10.1.2.3`; what is not IPv4 must be equal.
fn address_matches(pattern: &str, address: &str) -> bool {
    let (network, bits) = match pattern.split_once('/') {
        Some((network, bits)) => (network, bits.parse().unwrap_or(32u32).min(32)),
        None => (pattern, 32),
    };
    match (network.parse::<Ipv4Addr>(), address.parse::<Ipv4Addr>()) {
        (Ok(network), Ok(address)) => {
            let differing = u32::from(network) ^ u32::from(address);
            bits == 0 || differing >> (32 - bits) == 0
        }
        (Ok(_), Err(_)) | (Err(_), Ok(_)) | (Err(_), Err(_)) => pattern == address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permission_is_unclear_only_between_the_two_bounds() {
        let mut table = AclTable::new();
        let (me, you) = (
            Identity::new("digest", "me:1"),
            Identity::new("digest", "you:2"),
        );
        let (none, mine) = (
            table.identities_id(&[]),
            table.identities_id(std::slice::from_ref(&me)),
        );
        let acl = table.normalised(
            &[Acl {
                perms: READ | WRITE,
                identity: me.clone(),
            }],
            Who::default(),
        );
        let who = |surely, perhaps| Who {
            surely,
            perhaps,
            address: Address::Known,
        };
        assert_eq!(table.access(acl, READ, who(mine, mine)), Access::Yes);
        assert_eq!(table.access(acl, READ, who(none, mine)), Access::Unclear);
        assert_eq!(table.access(acl, READ, who(none, none)), Access::No);
        assert_eq!(table.access(acl, DELETE, who(mine, mine)), Access::No);
        let yours = table.identities_id(&[you]);
        assert_eq!(table.access(acl, READ, who(yours, yours)), Access::No);
        let creator = table.normalised(&[Acl::new(31, "auth", "")], who(mine, mine));
        assert!(table.shows_as(
            creator,
            &[Acl {
                perms: 31,
                identity: me
            }]
        ));
        assert!(table.shows_as(creator, &[Acl::new(31, "digest", "me:x")]));
        assert!(!table.shows_as(creator, &[Acl::new(31, "digest", "you:x")]));
    }

    #[test]
    fn addresses_match_by_prefix() {
        assert!(address_matches("10.0.0.0/8", "10.200.3.4"));
        assert!(!address_matches("10.0.0.0/8", "11.0.0.1"));
        assert!(address_matches("10.0.0.1", "10.0.0.1"));
        assert!(address_matches("0.0.0.0/0", "1.2.3.4"));
    }
}
