//! How circuits are carried. All with the same inner TCP.

use utcp::tcp::congestion::Algorithm;

use crate::endpoint::Mode;

/// What shares a TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// All circuits between two nodes: Tor's shape. Which circuit's cell is next is decided as Tor does: the one that
    /// has sent the least lately (EWMA, half-life 30 s), and only as long as the connection holds less than two
    /// congestion windows (KIST's limit, without its interval of 10 ms).
    All,
    /// Nothing: a connection for each circuit on each hop, as utcp has them.
    None(Mode),
    /// A connection for each circuit from client to exit; relays forward datagrams: UDP-OR.
    EndToEnd,
}

/// A transport with its congestion control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transport {
    /// As it is called in results.
    pub name: &'static str,
    /// What shares a TCP connection.
    pub sharing: Sharing,
    /// Congestion control of all of them.
    pub algorithm: Algorithm,
}

const fn transport(name: &'static str, sharing: Sharing, algorithm: Algorithm) -> Transport {
    Transport {
        name,
        sharing,
        algorithm,
    }
}

/// All of them.
pub const ALL: &[Transport] = &[
    transport("multiplexed, cubic", Sharing::All, Algorithm::Cubic),
    transport("multiplexed, bbr", Sharing::All, Algorithm::Bbr),
    transport("udp-or, cubic", Sharing::EndToEnd, Algorithm::Cubic),
    transport("udp-or, bbr", Sharing::EndToEnd, Algorithm::Bbr),
    transport(
        "utcp, cubic",
        Sharing::None(Mode::Independent),
        Algorithm::Cubic,
    ),
    transport(
        "utcp, bbr",
        Sharing::None(Mode::Independent),
        Algorithm::Bbr,
    ),
    transport(
        "utcp coupled, cubic",
        Sharing::None(Mode::Coupled),
        Algorithm::Cubic,
    ),
    transport(
        "utcp coupled, bbr",
        Sharing::None(Mode::Coupled),
        Algorithm::Bbr,
    ),
];

impl Transport {
    /// The one with this name.
    pub fn named(name: &str) -> Option<Transport> {
        ALL.iter().find(|t| t.name == name).copied()
    }

    /// Whether circuits have Tor's fixed window from end to end beside TCP's windows on each hop.
    pub fn has_circuit_window(&self) -> bool {
        self.sharing != Sharing::EndToEnd
    }
}
