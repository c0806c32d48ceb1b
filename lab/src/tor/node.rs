//! One Tor process of a private network.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use super::programs::Program;

/// What a node is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The directory authority.
    Authority,
    /// A relay, which is an exit as well.
    Relay,
    /// A client that builds no circuit by itself.
    Client,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its nickname.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// What it runs.
    pub program: Program,
    /// The emulated host that it is on.
    pub host: String,
    /// The address of the host.
    pub address: Ipv4Addr,
    /// Of a client: where applications connect to, on the host's own loopback.
    pub socks_port: u16,
    /// Its keys, logs and sockets.
    pub directory: PathBuf,
    /// Lines of its torrc beyond those that its role needs.
    pub lines: Vec<String>,
    /// RSA identity, 40 hexadecimal digits; empty until it is known, and of clients.
    pub fingerprint: String,
    /// Of an authority: fingerprint of its voting key.
    pub v3ident: String,
}

impl Node {
    /// Where it is controlled.
    pub fn control_socket(&self) -> PathBuf {
        self.directory.join("control")
    }

    /// Whether it is in the consensus.
    pub fn is_listed(&self) -> bool {
        self.role != Role::Client
    }

    /// Whether it offers our transport.
    pub fn is_patched_relay(&self) -> bool {
        self.role == Role::Relay && self.program == Program::Patched
    }
}
