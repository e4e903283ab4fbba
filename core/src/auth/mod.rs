//! Who a client is, what a node's list grants, and what a list must look like.
//!
//! Schemes built today: `world`, `ip` (added to every connection), `digest`, and the pseudo
//! scheme `auth`; `super` bypasses every check once a connection has it. It knows nothing of
//! trees. Answers to `ZooKeeperServer.checkACL`, `PrepRequestProcessor.fixupACL`,
//! `DigestAuthenticationProvider`, `IPAuthenticationProvider`.

pub mod ip;

use crate::base::limits::IDENTITIES_MAX;
use crate::proto::{Acl, AuthPacket, ErrorCode, Id, perms};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};
use std::net::IpAddr;

/// The identities of one connection, in the order they were proved.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Identities(Vec<Id>);

impl Identities {
    /// Those of a fresh connection: its address.
    pub fn of_address(addr: IpAddr) -> Identities {
        // A v4 client of a v6 socket is still a v4 client to an `ip` entry.
        Identities(vec![Id::new("ip", addr.to_canonical().to_string())])
    }

    /// One more; a repeated one changes nothing.
    pub fn add(&mut self, id: Id) {
        if !self.0.contains(&id) {
            self.0.push(id);
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Id> {
        self.0.iter()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Id> for Identities {
    fn from_iter<T: IntoIterator<Item = Id>>(ids: T) -> Identities {
        Identities(ids.into_iter().collect())
    }
}

/// Does the list grant one of the `wanted` bits to one of these identities?
///
/// # Errors
/// [`ErrorCode::NoAuth`] when it does not.
pub fn check(acl: &[Acl], wanted: i32, identities: &Identities) -> Result<(), ErrorCode> {
    let granted = acl.is_empty()
        || identities.iter().any(|id| id.scheme == "super")
        || acl
            .iter()
            .any(|entry| entry.perms & wanted != 0 && matches(&entry.id, identities));
    if granted {
        Ok(())
    } else {
        Err(ErrorCode::NoAuth)
    }
}

fn matches(entry: &Id, identities: &Identities) -> bool {
    if entry.scheme == "world" && entry.id == "anyone" {
        return true;
    }
    identities.iter().any(|id| {
        id.scheme == entry.scheme
            && match &*entry.scheme {
                "ip" => ip::matches(&entry.id, &id.id),
                _ => id.id == entry.id,
            }
    })
}

/// A list as it will be stored: duplicates gone, `auth` replaced by who asks.
///
/// # Errors
/// [`ErrorCode::InvalidAcl`] for an empty list, an unknown scheme, a malformed id, or
/// `auth` from somebody who has proved nothing.
pub fn normalise(acl: &[Acl], asker: &Identities) -> Result<Vec<Acl>, ErrorCode> {
    let mut stored: Vec<Acl> = Vec::with_capacity(acl.len());
    let mut keep = |entry: Acl| {
        if !stored.contains(&entry) {
            stored.push(entry);
        }
    };
    for entry in acl {
        match &*entry.id.scheme {
            "world" if entry.id.id == "anyone" => keep(entry.clone()),
            "auth" => {
                let proved: Vec<&Id> = asker.iter().filter(|id| id.scheme == "digest").collect();
                if proved.is_empty() {
                    return Err(ErrorCode::InvalidAcl);
                }
                for id in proved {
                    keep(Acl::new(entry.perms, id.clone()));
                }
            }
            "digest" if is_digest_id(&entry.id.id) => keep(entry.clone()),
            "ip" if ip::is_valid(&entry.id.id) => keep(entry.clone()),
            _ => return Err(ErrorCode::InvalidAcl),
        }
    }
    if stored.is_empty() {
        Err(ErrorCode::InvalidAcl)
    } else {
        Ok(stored)
    }
}

/// Exactly one colon with something on both sides.
fn is_digest_id(id: &str) -> bool {
    let mut parts = id.split(':');
    matches!(
        (parts.next(), parts.next(), parts.next()),
        (Some(user), Some(hash), None) if !user.is_empty() && !hash.is_empty()
    )
}

/// Adds what an auth packet proves.
///
/// # Errors
/// [`ErrorCode::AuthFailed`] for an unknown scheme, a null credential, or one identity too
/// many ([`IDENTITIES_MAX`]); the connection is closed after that answer. A wrong password
/// is no failure, only another identity.
pub fn authenticate(identities: &mut Identities, packet: &AuthPacket) -> Result<(), ErrorCode> {
    match (packet.scheme.as_deref(), &packet.auth) {
        (Some("digest"), Some(credential)) => {
            let id = Id::new("digest", digest_id(credential));
            if identities.len() >= IDENTITIES_MAX && !identities.0.contains(&id) {
                return Err(ErrorCode::AuthFailed);
            }
            identities.add(id);
            Ok(())
        }
        (Some("ip"), _) => Ok(()),
        _ => Err(ErrorCode::AuthFailed),
    }
}

/// `user:base64(SHA1("user:password"))`, of the credential as text: malformed UTF-8 is
/// replaced before it is hashed, as Java does.
pub fn digest_id(credential: &[u8]) -> String {
    let credential = String::from_utf8_lossy(credential);
    let user = credential.split(':').next().unwrap_or_default();
    let hash = STANDARD.encode(Sha1::digest(credential.as_bytes()));
    format!("{user}:{hash}")
}

/// Makes a super-user of whoever has proved the operator's digest id (`superDigest`, in the
/// form of [`digest_id`]). To be called after [`authenticate`] where one is configured.
pub fn promote(identities: &mut Identities, super_digest: &str) {
    let proved = |id: &Id| id.scheme == "digest" && id.id == super_digest;
    if identities.iter().any(proved) {
        identities.add(Id::new("super", ""));
    }
}

/// A list as it is shown to somebody without the right to administer the node: the hashes
/// of digest ids are hidden (CVE-2019-0201).
pub fn redact(acl: &[Acl]) -> Vec<Acl> {
    acl.iter()
        .map(|entry| {
            let mut entry = entry.clone();
            if entry.id.scheme == "digest" {
                let user = entry.id.id.split(':').next().unwrap_or_default();
                entry.id.id = format!("{user}:x").into();
            }
            entry
        })
        .collect()
}

/// May this connection administer a node with this list?
pub fn is_admin(acl: &[Acl], identities: &Identities) -> bool {
    check(acl, perms::ADMIN, identities).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn digest(credential: &str) -> Identities {
        let mut ids = Identities::of_address("10.0.0.1".parse().unwrap());
        let auth = Some(Bytes::copy_from_slice(credential.as_bytes()));
        authenticate(
            &mut ids,
            &AuthPacket {
                scheme: Some("digest".into()),
                auth,
            },
        )
        .unwrap();
        ids
    }

    #[test]
    fn the_digest_of_the_documentation() {
        assert_eq!(
            digest_id(b"super:admin"),
            "super:xQJmxLMiHGwaqBvst5y6rkB6HQs="
        );
    }

    #[test]
    fn the_configured_super_user_may_do_everything() {
        let nobody = [Acl::new(0, Id::anyone())];
        let secret = digest_id(b"super:admin");
        let mut ids = digest("super:guess");
        promote(&mut ids, &secret);
        assert_eq!(check(&nobody, perms::READ, &ids), Err(ErrorCode::NoAuth));
        let mut ids = digest("super:admin");
        promote(&mut ids, &secret);
        assert_eq!(check(&nobody, perms::READ, &ids), Ok(()));
    }

    #[test]
    fn identities_accumulate_up_to_a_bound() {
        let mut ids = Identities::default();
        let mut add = |credential: String| {
            let packet = AuthPacket {
                scheme: Some("digest".into()),
                auth: Some(credential.into()),
            };
            authenticate(&mut ids, &packet)
        };
        for i in 0..IDENTITIES_MAX {
            assert_eq!(add(format!("u{i}:p")), Ok(()));
        }
        assert_eq!(add("u1:p".into()), Ok(()), "known already");
        assert_eq!(add("one:more".into()), Err(ErrorCode::AuthFailed));
    }

    #[test]
    fn a_mapped_address_is_its_v4_self() {
        let ids = Identities::of_address("::ffff:10.1.2.3".parse().unwrap());
        let acl = [Acl::new(perms::READ, Id::new("ip", "10.1.0.0/16"))];
        assert_eq!(check(&acl, perms::READ, &ids), Ok(()));
    }

    #[test]
    fn an_empty_list_grants_everything() {
        assert_eq!(check(&[], perms::ADMIN, &Identities::default()), Ok(()));
    }

    #[test]
    fn any_of_the_wanted_bits_is_enough() {
        let ids = Identities::of_address("10.0.0.1".parse().unwrap());
        let acl = [Acl::new(perms::READ, Id::anyone())];
        assert_eq!(check(&acl, perms::READ | perms::ADMIN, &ids), Ok(()));
        assert_eq!(check(&acl, perms::ADMIN, &ids), Err(ErrorCode::NoAuth));
    }

    #[test]
    fn auth_stands_for_who_asks_and_needs_somebody() {
        let asker = digest("u:p");
        let stored = normalise(&Acl::creator_all(), &asker).unwrap();
        assert_eq!(
            stored,
            [Acl::new(perms::ALL, Id::new("digest", digest_id(b"u:p")))]
        );
        assert_eq!(check(&stored, perms::READ, &asker), Ok(()));
        assert_eq!(
            check(&stored, perms::READ, &digest("u:q")),
            Err(ErrorCode::NoAuth)
        );
        let nobody = Identities::of_address("10.0.0.1".parse().unwrap());
        assert_eq!(
            normalise(&Acl::creator_all(), &nobody),
            Err(ErrorCode::InvalidAcl)
        );
    }

    #[test]
    fn malformed_lists_are_refused() {
        let ids = digest("u:p");
        for id in [
            Id::new("world", "someone"),
            Id::new("digest", "nocolon"),
            Id::new("digest", "a:b:c"),
            Id::new("ip", "10.0.0.1/33"),
            Id::new("super", ""),
            Id::new("", ""),
        ] {
            let acl = [Acl::new(perms::ALL, id.clone())];
            assert_eq!(normalise(&acl, &ids), Err(ErrorCode::InvalidAcl), "{id:?}");
        }
        assert_eq!(normalise(&[], &ids), Err(ErrorCode::InvalidAcl));
    }

    #[test]
    fn unknown_schemes_and_null_credentials_fail() {
        let mut ids = Identities::default();
        let nothing = Some(Bytes::new());
        for (scheme, auth) in [
            (Some("world"), None),
            (Some("digest"), None),
            (Some("x"), nothing),
            (None, None),
        ] {
            let packet = AuthPacket {
                scheme: scheme.map(str::to_owned),
                auth,
            };
            assert_eq!(authenticate(&mut ids, &packet), Err(ErrorCode::AuthFailed));
        }
        assert!(ids.is_empty());
    }

    #[test]
    fn redaction_hides_the_hash_and_keeps_the_user() {
        let acl = [
            Acl::new(perms::ALL, Id::new("digest", "u:hash")),
            Acl::open()[0].clone(),
        ];
        let shown = redact(&acl);
        assert_eq!(shown[0].id.id, "u:x");
        assert_eq!(shown[1], acl[1]);
    }
}
