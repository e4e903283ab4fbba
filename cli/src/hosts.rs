//! Names of servers to addresses.
//!
//! Answers to the first part of ZooKeeper's connect string (`host:port,host:port`); its
//! second part, the chroot, has a flag of its own here.

use crate::trouble::Trouble;
use gamekeeper_workload::Server;
use std::net::SocketAddr;
use tokio::net::lookup_host;

/// Most servers of one ensemble.
pub const HOSTS_MAX: usize = 256;

/// The servers of `h1:2181,h2:2181,…`, numbered from 1 in the order given.
///
/// # Errors
///
/// An entry that is no `host:port` or that has no address; none or too many entries.
pub async fn resolve(hosts: &str) -> Result<Vec<Server>, Trouble> {
    let names: Vec<&str> = hosts.split(',').map(str::trim).collect();
    if names.len() > HOSTS_MAX {
        let line = format!("--hosts: {} servers, at most {HOSTS_MAX} go", names.len());
        return Err(Trouble::new(line));
    }
    let mut servers = Vec::with_capacity(names.len());
    for (place, name) in names.into_iter().enumerate() {
        servers.push(Server {
            id: place as u32 + 1,
            addr: address(name).await?,
        });
    }
    Ok(servers)
}

/// The address of `host:port`; an IPv4 one where there are several.
///
/// # Errors
///
/// It is no `host:port`, or has no address.
pub async fn address(name: &str) -> Result<SocketAddr, Trouble> {
    let port = name.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
    if !matches!(port, Some(Ok(_))) {
        let line = format!("{name:?} is no host:port, as in localhost:2181");
        return Err(Trouble::new(line));
    }
    let found = match lookup_host(name).await {
        Ok(found) => found.collect::<Vec<_>>(),
        Err(error) => return Err(Trouble::new(format!("{name:?} has no address: {error}"))),
    };
    let first = found.iter().find(|addr| addr.is_ipv4()).or(found.first());
    first
        .copied()
        .ok_or_else(|| Trouble::new(format!("{name:?} has no address")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn servers_are_numbered_in_the_order_given() {
        let servers = resolve("127.0.0.1:2181, [::1]:2182").await.unwrap();
        assert_eq!(servers[0].id, 1);
        assert_eq!(servers[1].addr, "[::1]:2182".parse().unwrap());
    }

    #[tokio::test]
    async fn what_is_no_address_is_named() {
        for bad in ["", "here", "here:", "here:port", "127.0.0.1:2181,,"] {
            let trouble = resolve(bad).await.expect_err(bad);
            assert!(trouble.to_string().contains("host:port"), "{trouble}");
        }
    }
}
