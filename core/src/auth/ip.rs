//! The `ip` scheme: an address, or an address and the number of leading bits that count.

use std::net::IpAddr;

/// Splits `addr` or `addr/bits`; `None` when malformed.
fn parse(id: &str) -> Option<(IpAddr, u32)> {
    let (addr, bits) = match id.split_once('/') {
        Some((addr, bits)) => (addr, Some(bits)),
        None => (id, None),
    };
    let addr: IpAddr = addr.parse().ok()?;
    let width = if addr.is_ipv4() { 32 } else { 128 };
    let bits = match bits {
        Some(bits) => bits.parse().ok().filter(|bits| *bits <= width)?,
        None => width,
    };
    Some((addr, bits))
}

/// May this id stand in an access-control list?
pub fn is_valid(id: &str) -> bool {
    parse(id).is_some()
}

/// Does an entry's id cover a connection's address? Families must agree.
pub fn matches(entry: &str, addr: &str) -> bool {
    let (Some((network, bits)), Ok(addr)) = (parse(entry), addr.parse::<IpAddr>()) else {
        return false;
    };
    match (network, addr) {
        (IpAddr::V4(network), IpAddr::V4(addr)) => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            u32::from(network) & mask == u32::from(addr) & mask
        }
        (IpAddr::V6(network), IpAddr::V6(addr)) => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            u128::from(network) & mask == u128::from(addr) & mask
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_cover_what_they_say() {
        assert!(matches("10.1.0.0/16", "10.1.200.3"));
        assert!(!matches("10.1.0.0/16", "10.2.0.1"));
        assert!(matches("10.1.2.3", "10.1.2.3"));
        assert!(matches("0.0.0.0/0", "255.1.2.3"));
        assert!(matches("2001:db8::/32", "2001:db8::7"));
        assert!(!matches("0.0.0.0/0", "::1"), "families must agree");
    }

    #[test]
    fn nonsense_is_not_an_address() {
        for id in ["", "10.0.0", "10.0.0.1/33", "10.0.0.1/-1", "::/129", "host"] {
            assert!(!is_valid(id), "{id}");
        }
    }
}
