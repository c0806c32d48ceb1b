//! The configuration files of a private network, as text.

use std::fmt::Write;

use super::node::{Node, Role};
use super::programs::Release;

/// Ports are the same on every host: each has an address of its own.
pub const OR_PORT: u16 = 5000;
/// Of our transport.
pub const OR_UDP_PORT: u16 = 5001;
/// Of the directory.
pub const DIR_PORT: u16 = 7000;

/// Tor's own congestion control, which decides how much of a circuit may be under way from end to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Windows {
    /// Proposal 324: Tor's Vegas.
    Vegas,
    /// 1000 cells a circuit and 500 a stream, as in the paper.
    Fixed,
}

impl Windows {
    /// For names of variants.
    pub fn name(self) -> &'static str {
        match self {
            Windows::Vegas => "vegas",
            Windows::Fixed => "fixed",
        }
    }
}

/// When votes are taken, in seconds of wall time.
#[derive(Clone, Copy, Debug)]
pub struct Voting {
    /// Until there is a consensus, one is made at each multiple of this.
    pub first_interval: u64,
    /// The vote is taken two of these before.
    pub first_delay: u64,
    /// The same once there is one.
    pub interval: u64,
    /// The same.
    pub delay: u64,
}

impl Voting {
    /// What a release can do. 0.2.0.35 has the first interval built in, by the test network's patch of its constants.
    pub fn of(release: Release) -> Voting {
        match release {
            Release::Modern => Voting {
                first_interval: 10,
                first_delay: 2,
                interval: 20,
                delay: 4,
            },
            Release::Old => Voting {
                first_interval: 20,
                first_delay: 5,
                interval: 20,
                delay: 4,
            },
        }
    }

    /// How long to wait before nodes start, so that at least `needed` seconds are left until the next vote: descriptors that
    /// arrive later are missing in the first consensus.
    pub fn wait(&self, wall: f64, needed: f64) -> f64 {
        let interval = self.first_interval as f64;
        let vote = interval - 2.0 * self.first_delay as f64;
        let left = (vote - wall).rem_euclid(interval);
        if left >= needed {
            0.0
        } else {
            left + interval - vote
        }
    }
}

/// The configuration of `node` in the network of `authorities`.
pub fn torrc(node: &Node, authorities: &[&Node], release: Release, windows: Windows) -> String {
    let mut text = match release {
        Release::Modern => modern(node, windows),
        Release::Old => old(node),
    };
    for line in &node.lines {
        let _ = writeln!(text, "{line}");
    }
    for authority in authorities {
        let word = match release {
            Release::Modern => "DirAuthority",
            Release::Old => "DirServer",
        };
        let _ = writeln!(
            text,
            "{word} {} orport={OR_PORT} v3ident={} {}:{DIR_PORT} {}",
            authority.name, authority.v3ident, authority.address, authority.fingerprint
        );
    }
    text
}

fn common(node: &Node) -> String {
    let directory = node.directory.display();
    format!(
        "Nickname {}\n\
         DataDirectory {directory}\n\
         Log notice file {directory}/tor.log\n\
         ControlSocket {}\n\
         SafeLogging 0\n\
         ShutdownWaitLength 0\n\
         OutboundBindAddress {}\n\
         __DisablePredictedCircuits 1\n",
        node.name,
        node.control_socket().display(),
        node.address,
    )
}

fn modern(node: &Node, windows: Windows) -> String {
    let mut text = String::from("TestingTorNetwork 1\n");
    text += &common(node);
    let address = node.address;
    if node.is_listed() {
        let _ = write!(
            text,
            "Address {address}\n\
             ORPort {address}:{OR_PORT} IPv4Only\n\
             DirPort {address}:{DIR_PORT}\n\
             SocksPort 0\n\
             AssumeReachable 1\n\
             ExitRelay 1\n\
             ExitPolicy accept *:*\n\
             IPv6Exit 0\n\
             ServerDNSDetectHijacking 0\n\
             ServerDNSTestAddresses\n\
             ServerDNSAllowBrokenConfig 1\n\
             BandwidthRate 1 GB\n\
             BandwidthBurst 1 GB\n\
             ContactInfo none\n"
        );
    }
    match node.role {
        Role::Authority => {
            let voting = Voting::of(Release::Modern);
            let cc_alg = match windows {
                Windows::Vegas => 2,
                Windows::Fixed => 0,
            };
            let _ = write!(
                text,
                "AuthoritativeDirectory 1\n\
                 V3AuthoritativeDirectory 1\n\
                 V3AuthVotingInterval {interval}\n\
                 V3AuthVoteDelay {delay}\n\
                 V3AuthDistDelay {delay}\n\
                 TestingV3AuthInitialVotingInterval {first_interval}\n\
                 TestingV3AuthInitialVoteDelay {first_delay}\n\
                 TestingV3AuthInitialDistDelay {first_delay}\n\
                 TestingDirAuthVoteExit *\n\
                 TestingDirAuthVoteGuard *\n\
                 TestingDirAuthVoteHSDir *\n\
                 TestingMinExitFlagThreshold 0\n\
                 MinMeasuredBWsForAuthToIgnoreAdvertised 0\n\
                 ConsensusParams cc_alg={cc_alg}\n",
                interval = voting.interval,
                delay = voting.delay,
                first_interval = voting.first_interval,
                first_delay = voting.first_delay,
            );
        }
        Role::Relay if node.is_patched_relay() => {
            let _ = writeln!(text, "ORUDPPort {OR_UDP_PORT}");
        }
        Role::Relay => {}
        Role::Client => {
            let _ = write!(
                text,
                "SocksPort 127.0.0.1:{}\n\
                 ConfluxEnabled 0\n\
                 ConnectionPadding 0\n\
                 CircuitPadding 0\n\
                 __LeaveStreamsUnattached 1\n\
                 UseEntryGuards 0\n\
                 LearnCircuitBuildTimeout 0\n\
                 CircuitBuildTimeout 60\n\
                 MaxCircuitDirtiness 1 day\n\
                 MaxClientCircuitsPending 64\n",
                node.socks_port
            );
        }
    }
    text
}

fn old(node: &Node) -> String {
    let mut text = common(node);
    let address = node.address;
    text += "DirAllowPrivateAddresses 1\n\
             EnforceDistinctSubnets 0\n\
             UseEntryGuards 0\n\
             ClientDNSRejectInternalAddresses 0\n";
    if node.is_listed() {
        let _ = write!(
            text,
            "Address {address}\n\
             ORPort {OR_PORT}\n\
             ORListenAddress {address}:{OR_PORT}\n\
             DirPort {DIR_PORT}\n\
             DirListenAddress {address}:{DIR_PORT}\n\
             SocksPort 0\n\
             AssumeReachable 1\n\
             ExitPolicy accept *:*\n\
             ExitPolicyRejectPrivate 0\n\
             ServerDNSDetectHijacking 0\n\
             BandwidthRate 1 GB\n\
             BandwidthBurst 1 GB\n\
             ContactInfo none\n"
        );
    }
    match node.role {
        Role::Authority => {
            let voting = Voting::of(Release::Old);
            let _ = write!(
                text,
                "AuthoritativeDirectory 1\n\
                 V2AuthoritativeDirectory 1\n\
                 V3AuthoritativeDirectory 1\n\
                 V3AuthVotingInterval {interval} seconds\n\
                 V3AuthVoteDelay {delay} seconds\n\
                 V3AuthDistDelay {delay} seconds\n\
                 AuthDirMaxServersPerAddr 0\n\
                 AuthDirMaxServersPerAuthAddr 0\n",
                interval = voting.interval,
                delay = voting.delay,
            );
        }
        Role::Relay if node.is_patched_relay() => {
            let _ = writeln!(text, "ORUDPPort {OR_UDP_PORT}");
        }
        Role::Relay => {}
        Role::Client => {
            let _ = write!(
                text,
                "SocksPort {port}\n\
                 SocksListenAddress 127.0.0.1:{port}\n\
                 __LeaveStreamsUnattached 1\n\
                 CircuitBuildTimeout 60 seconds\n\
                 MaxCircuitDirtiness 1 day\n",
                port = node.socks_port
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_start_when_enough_time_is_left_before_a_vote() {
        let voting = Voting::of(Release::Modern);
        // Votes are taken at 6, 16, 26.
        assert_eq!(voting.wait(100.0, 4.0), 0.0);
        assert_eq!(voting.wait(102.0, 4.0), 0.0);
        // The consensus of the vote at 106 is made at 110.
        assert_eq!(voting.wait(103.0, 4.0), 7.0);
        assert_eq!(voting.wait(107.0, 4.0), 0.0);
        for tenth in 0..200 {
            let start = f64::from(tenth) / 10.0;
            let start = start + voting.wait(start, 4.0);
            assert!((6.0 - start).rem_euclid(10.0) > 3.99, "{start}");
        }
    }
}
