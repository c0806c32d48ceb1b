//! Rivals on the same link: everything that could carry circuits between two relays, with the same traffic, in real
//! time. One process each side.
//!
//! ```text
//! cells       what travels: cells of 514 octets, and their way out of a stream
//! traffic     bulk, quiet and request circuits; what is measured of them
//! transport   what a rival has to do, and the list of rivals
//! tls         1, 2: TLS over one TCP connection of the kernel's, or one for each circuit
//! quic        3, 4: QUIC with a stream for each circuit, or with datagrams
//! sctp/       5: SCTP over DTLS
//! utp         6: uTP
//! segments    inner TCP alone, in datagrams that something else protects: for 4 and 7
//! udp_or      7: UDP-OR
//! ours        8: utcp
//! dtls        a DTLS session over a UDP socket, for 5 and 7
//! datagrams   a UDP socket
//! process     one side as a process
//! points      variants and points
//! figures     what processes and link tell, as figures
//! run         the emulated link, both processes, figures
//! targets     what utcp has to reach
//! ```

// This part of the lab measures real time; the library never does.
#![allow(clippy::disallowed_methods)]

pub mod cells;
pub mod clock;
pub mod datagrams;
pub mod dtls;
pub mod figures;
pub mod identity;
pub mod ours;
pub mod points;
pub mod process;
pub mod quic;
pub mod run;
pub mod sctp;
pub mod segments;
pub mod targets;
pub mod tls;
pub mod traffic;
pub mod transport;
pub mod udp_or;
pub mod utp;
