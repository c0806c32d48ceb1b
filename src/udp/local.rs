//! Which of this machine's addresses each peer speaks to, for a socket that is bound to all of them: answers have to
//! leave from there, or the peer takes them for somebody else's.
//!
//! Source addresses of datagrams can be forged, so what a peer's address is said to speak to is believed only until its
//! connection is ready. What made it ready was authentic; from then on it stays as it is.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use crate::endpoint::canonical;

/// Entries before those of peers without a ready connection are forgotten.
const BOUND: usize = 1024;

/// An address of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Local {
    /// The address.
    pub ip: IpAddr,
    /// The interface, where the address alone does not tell it (link-local); else 0.
    pub interface: u32,
}

/// By peer.
#[derive(Debug)]
pub(super) struct Locals {
    entries: BTreeMap<SocketAddr, Local>,
    /// At so many entries the next look for those that are not needed any more.
    bound: usize,
}

impl Locals {
    pub(super) fn new() -> Locals {
        Locals {
            entries: BTreeMap::new(),
            bound: BOUND,
        }
    }

    /// Something has come from `peer` to `local`. `is_ready` tells whether a peer has a connection that is ready.
    pub(super) fn arrived(
        &mut self,
        peer: SocketAddr,
        local: Local,
        is_ready: impl Fn(SocketAddr) -> bool,
    ) {
        let peer = canonical(peer);
        match self.entries.get_mut(&peer) {
            Some(known) if *known == local => {}
            Some(known) => {
                if !is_ready(peer) {
                    *known = local;
                }
            }
            None => {
                if self.entries.len() >= self.bound {
                    self.entries.retain(|peer, _| is_ready(*peer));
                    self.bound = BOUND.max(2 * self.entries.len());
                }
                self.entries.insert(peer, local);
            }
        }
    }

    /// From where datagrams to `peer` leave; `None`: the kernel chooses.
    pub(super) fn get(&self, peer: SocketAddr) -> Option<Local> {
        if self.entries.is_empty() {
            return None;
        }
        self.entries.get(&canonical(peer)).copied()
    }

    /// The address is not this machine's any more, or the peer is not reached from there.
    pub(super) fn forget(&mut self, peer: SocketAddr) {
        self.entries.remove(&canonical(peer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: u32) -> SocketAddr {
        SocketAddr::new(std::net::Ipv4Addr::from(0x0A00_0000 + n).into(), 9001)
    }

    fn local(n: u8) -> Local {
        Local {
            ip: IpAddr::from([192, 0, 2, n]),
            interface: 0,
        }
    }

    #[test]
    fn what_came_last_before_the_connection_was_ready_stays() {
        let mut locals = Locals::new();
        locals.arrived(peer(1), local(1), |_| false);
        locals.arrived(peer(1), local(2), |_| false);
        assert_eq!(locals.get(peer(1)), Some(local(2)));
        locals.arrived(peer(1), local(3), |_| true);
        assert_eq!(
            locals.get(peer(1)),
            Some(local(2)),
            "anybody can send in a ready peer's name"
        );
        locals.forget(peer(1));
        assert_eq!(locals.get(peer(1)), None);
        locals.arrived(peer(1), local(3), |_| true);
        assert_eq!(locals.get(peer(1)), Some(local(3)));
    }

    #[test]
    fn a_mapped_address_is_the_ipv4_address() {
        let mut locals = Locals::new();
        locals.arrived("[::ffff:10.0.0.1]:9001".parse().unwrap(), local(1), |_| {
            false
        });
        assert_eq!(locals.get(peer(1)), Some(local(1)));
    }

    #[test]
    fn forged_senders_drive_nothing_but_themselves_out() {
        let mut locals = Locals::new();
        let is_ready = |peer: SocketAddr| peer < self::peer(600);
        for n in 0..100_000 {
            locals.arrived(peer(n), local(1), is_ready);
            assert!(locals.entries.len() <= 2 * BOUND);
        }
        for n in 0..600 {
            assert_eq!(locals.get(peer(n)), Some(local(1)));
        }
    }
}
