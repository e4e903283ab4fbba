//! What a shell must be told: who it is, where it lives, and its bounds.

use gamekeeper_core::base::{ServerId, limits};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Addresses and bounds of one server's shell.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ShellConfig {
    /// This server.
    pub me: ServerId,
    /// Where clients connect.
    pub client_addr: SocketAddr,
    /// Where servers connect. Not opened when `peers` names nobody else.
    pub peer_addr: SocketAddr,
    /// Every server's peer address; this server's own entry is not used.
    pub peers: BTreeMap<ServerId, SocketAddr>,
    /// The server's directory.
    pub data_dir: String,
    /// The ensemble's number; servers of another are refused.
    pub cluster_id: u64,
    /// One `Input::Rejoin` right after the start: the operator lets a wiped server back in.
    pub rejoin: bool,
    /// Most batches, and most disk completions, taken before other tasks may run. The
    /// simulator draws it, since a crash falls between two drains. At least 1.
    pub drain_max: usize,
    /// Largest client frame, bytes (`jute.maxbuffer`).
    pub client_frame_bytes_max: usize,
    /// Largest message between servers, bytes.
    pub peer_frame_bytes_max: usize,
    /// Smallest and largest read, bytes.
    pub read_buffer_bytes: (usize, usize),
    /// A client with more unread bytes than this before a further frame is closed.
    pub client_backlog_bytes_max: usize,
    /// The same for a link.
    pub link_backlog_bytes_max: usize,
    /// Most client connections; further ones are closed at once.
    pub clients_max: usize,
    /// Most accepted links; further ones are closed at once.
    pub links_accepted_max: usize,
    /// Longest wait for a connection to another server, ms (`cnxTimeout`).
    pub connect_ms_max: u64,
    /// Longest wait for the hello of another server, ms.
    pub hello_ms_max: u64,
    /// Longest a closed connection is kept to bring out what was sent before, ms.
    pub linger_ms_max: u64,
}

impl ShellConfig {
    /// A configuration with the usual bounds.
    pub fn new(
        me: ServerId,
        client_addr: SocketAddr,
        peer_addr: SocketAddr,
        peers: BTreeMap<ServerId, SocketAddr>,
        data_dir: impl Into<String>,
        cluster_id: u64,
    ) -> ShellConfig {
        ShellConfig {
            me,
            client_addr,
            peer_addr,
            peers,
            data_dir: data_dir.into(),
            cluster_id,
            rejoin: false,
            drain_max: limits::SHELL_DRAIN_MAX,
            client_frame_bytes_max: limits::FRAME_BYTES_MAX,
            peer_frame_bytes_max: limits::PEER_FRAME_BYTES_MAX,
            read_buffer_bytes: limits::SHELL_READ_BYTES,
            client_backlog_bytes_max: limits::CLIENT_BACKLOG_BYTES_MAX,
            link_backlog_bytes_max: limits::LINK_BACKLOG_BYTES_MAX,
            clients_max: limits::CLIENTS_MAX,
            links_accepted_max: limits::LINKS_ACCEPTED_MAX,
            connect_ms_max: 5_000,
            hello_ms_max: 5_000,
            linger_ms_max: 2_000,
        }
    }

    /// True when there is anybody to link with.
    pub fn has_peers(&self) -> bool {
        self.peers.keys().any(|&id| id != self.me)
    }
}
