//! TORTP to full TCP/IP packets and back (docs/tortp.md, "Translation to TCP/IP").
//!
//! The TCP part is exact in both directions: every field, the reserved bits and each octet of the options. The
//! addresses are the peers' own, the ports come from the circuit identifier, the checksums are computed, and of
//! the IP header nothing else is kept.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    IPV4_HEADER_LEN, IPV6_HEADER_LEN, IpAddress, IpProtocol, Ipv4Packet, Ipv4Repr, Ipv6Packet,
    Ipv6Repr, TCP_HEADER_LEN, TcpPacket, TcpSeqNumber,
};

use super::options;
use super::{Malformed, RawSegment};
use crate::endpoint::Role;
use crate::tcp::segment::Flags;
use crate::tcp::seq::Seq;

/// TTL and hop limit of the packets that are made.
const HOP_LIMIT: u8 = 64;

/// The two ends of a circuit as TCP/IP names them, seen from the side that sends the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// Address and port of the sender.
    pub local: SocketAddr,
    /// Address and port of the receiver.
    pub remote: SocketAddr,
}

impl Flow {
    /// The same flow in the other direction.
    #[must_use]
    pub fn reversed(self) -> Flow {
        Flow {
            local: self.remote,
            remote: self.local,
        }
    }
}

/// The flow of a circuit: the high 16 bits of the identifier are the port of the DTLS server, the low 16 bits
/// that of the client. `role` is the role of `local`.
pub fn flow(circuit: u32, local: IpAddr, remote: IpAddr, role: Role) -> Flow {
    let server = (circuit >> 16) as u16;
    let client = circuit as u16;
    let (local_port, remote_port) = match role {
        Role::Server => (server, client),
        Role::Client => (client, server),
    };
    Flow {
        local: SocketAddr::new(local, local_port),
        remote: SocketAddr::new(remote, remote_port),
    }
}

/// The circuit identifier of a flow, the inverse of [`flow`]. `role` is the role of `flow.local`.
pub fn circuit_of(flow: &Flow, role: Role) -> u32 {
    let (server, client) = match role {
        Role::Server => (flow.local.port(), flow.remote.port()),
        Role::Client => (flow.remote.port(), flow.local.port()),
    };
    u32::from(server) << 16 | u32::from(client)
}

/// Why something has no exact counterpart on the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Untranslatable {
    /// One address is IPv4, the other is IPv6.
    Family,
    /// The segment is too long for an IP packet.
    TooLong,
    /// The reserved bits are more than 4, or the options are no whole number of words or more than 10.
    Field,
    /// Neither IPv4 nor IPv6.
    IpVersion,
    /// The packet is shorter than its IP header says, or that header's lengths contradict each other.
    IpLength,
    /// The IPv4 header's checksum is wrong.
    IpChecksum,
    /// IPv4 options, or IPv6 extension headers.
    IpOptions,
    /// A fragment of a packet.
    Fragment,
    /// Not TCP.
    Protocol,
    /// The TCP header is cut off, or its data offset is below 5 or beyond the end.
    TcpHeader,
    /// The TCP checksum is wrong.
    TcpChecksum,
    /// The acknowledgement number is not 0, but ACK is clear.
    Acknowledgement,
    /// The urgent pointer is not 0, but URG is clear.
    UrgentPointer,
    /// The TCP options are malformed.
    Options(Malformed),
}

impl Untranslatable {
    /// A fixed name, as in docs/tortp.md.
    pub fn name(self) -> &'static str {
        match self {
            Untranslatable::Family => "family",
            Untranslatable::TooLong => "too-long",
            Untranslatable::Field => "field",
            Untranslatable::IpVersion => "ip-version",
            Untranslatable::IpLength => "ip-length",
            Untranslatable::IpChecksum => "ip-checksum",
            Untranslatable::IpOptions => "ip-options",
            Untranslatable::Fragment => "fragment",
            Untranslatable::Protocol => "protocol",
            Untranslatable::TcpHeader => "tcp-header",
            Untranslatable::TcpChecksum => "tcp-checksum",
            Untranslatable::Acknowledgement => "acknowledgement",
            Untranslatable::UrgentPointer => "urgent-pointer",
            Untranslatable::Options(malformed) => malformed.name(),
        }
    }

    /// A fixed English sentence.
    pub fn text(self) -> &'static str {
        match self {
            Untranslatable::Family => "one address is IPv4, the other is IPv6",
            Untranslatable::TooLong => "the segment is too long for an IP packet",
            Untranslatable::Field => "reserved bits or options do not fit a TCP header",
            Untranslatable::IpVersion => "neither IPv4 nor IPv6",
            Untranslatable::IpLength => "the IP header's lengths are wrong",
            Untranslatable::IpChecksum => "the IPv4 header's checksum is wrong",
            Untranslatable::IpOptions => "IPv4 options or IPv6 extension headers",
            Untranslatable::Fragment => "a fragment",
            Untranslatable::Protocol => "not TCP",
            Untranslatable::TcpHeader => "the TCP header is cut off or its data offset is wrong",
            Untranslatable::TcpChecksum => "the TCP checksum is wrong",
            Untranslatable::Acknowledgement => "an acknowledgement number without ACK",
            Untranslatable::UrgentPointer => "an urgent pointer without URG",
            Untranslatable::Options(malformed) => malformed.text(),
        }
    }
}

impl fmt::Display for Untranslatable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for Untranslatable {}

/// Makes the IP packet that carries a segment from `flow.local` to `flow.remote`, and puts it into `out` in
/// place of what is there. The ports are those of `flow`; `segment.circuit` is not looked at.
///
/// IPv4: no options, DSCP and ECN 0, identification 0, don't fragment, TTL 64. IPv6: no extension headers,
/// traffic class and flow label 0, hop limit 64.
///
/// # Errors
/// `Family`, `TooLong`, `Field`, `Acknowledgement`, `UrgentPointer` or `Options`; `out` is then left as it was.
pub fn to_packet(
    segment: &RawSegment<'_>,
    flow: &Flow,
    out: &mut Vec<u8>,
) -> Result<(), Untranslatable> {
    check(segment)?;
    let tcp_len = TCP_HEADER_LEN + segment.options.len() + segment.payload.len();
    let (local, remote) = (flow.local.ip(), flow.remote.ip());
    let ip_len = match (local, remote) {
        (IpAddr::V4(_), IpAddr::V4(_)) if IPV4_HEADER_LEN + tcp_len <= usize::from(u16::MAX) => {
            IPV4_HEADER_LEN
        }
        (IpAddr::V6(_), IpAddr::V6(_)) if tcp_len <= usize::from(u16::MAX) => IPV6_HEADER_LEN,
        (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => {
            return Err(Untranslatable::TooLong);
        }
        _ => return Err(Untranslatable::Family),
    };
    out.clear();
    out.resize(ip_len + tcp_len, 0);
    let (ip, tcp) = out.split_at_mut(ip_len);
    match (local, remote) {
        (IpAddr::V4(src_addr), IpAddr::V4(dst_addr)) => Ipv4Repr {
            src_addr,
            dst_addr,
            next_header: IpProtocol::Tcp,
            payload_len: tcp_len,
            hop_limit: HOP_LIMIT,
        }
        .emit(
            &mut Ipv4Packet::new_unchecked(ip),
            &ChecksumCapabilities::default(),
        ),
        (IpAddr::V6(src_addr), IpAddr::V6(dst_addr)) => Ipv6Repr {
            src_addr,
            dst_addr,
            next_header: IpProtocol::Tcp,
            payload_len: tcp_len,
            hop_limit: HOP_LIMIT,
        }
        .emit(&mut Ipv6Packet::new_unchecked(ip)),
        _ => return Err(Untranslatable::Family),
    }
    put_tcp(segment, flow, tcp);
    Ok(())
}

/// Whether a segment is one that a TCP header and TORTP both carry.
fn check(segment: &RawSegment<'_>) -> Result<(), Untranslatable> {
    if segment.reserved > 15
        || segment.options.len() > options::MAX_LEN
        || !segment.options.len().is_multiple_of(4)
    {
        return Err(Untranslatable::Field);
    }
    if !segment.flags.has(Flags::ACK) && segment.ack != Seq(0) {
        return Err(Untranslatable::Acknowledgement);
    }
    if !segment.flags.has(Flags::URG) && segment.urgent != 0 {
        return Err(Untranslatable::UrgentPointer);
    }
    options::check(segment.options).map_err(Untranslatable::Options)
}

/// Writes the TCP part into `octets`, which has its exact length.
fn put_tcp(segment: &RawSegment<'_>, flow: &Flow, octets: &mut [u8]) {
    // smoltcp has a setter for one of the four reserved bits only.
    octets[12] = segment.reserved;
    octets[13] = segment.flags.0;
    let mut packet = TcpPacket::new_unchecked(octets);
    packet.set_src_port(flow.local.port());
    packet.set_dst_port(flow.remote.port());
    packet.set_seq_number(TcpSeqNumber(segment.seq.0 as i32));
    packet.set_ack_number(TcpSeqNumber(segment.ack.0 as i32));
    packet.set_header_len((TCP_HEADER_LEN + segment.options.len()) as u8);
    packet.set_window_len(segment.window);
    packet.set_urgent_at(segment.urgent);
    packet.options_mut().copy_from_slice(segment.options);
    packet.payload_mut().copy_from_slice(segment.payload);
    packet.fill_checksum(&flow.local.ip().into(), &flow.remote.ip().into());
}

/// Takes a TCP/IP packet apart. `sender` is the DTLS role of the side that sent it, which `Flow::local` is.
/// Octets after the IP packet (padding of the link) are not looked at.
///
/// A kernel that leaves checksums to the network card hands out packets that are rejected here.
///
/// # Errors
/// All but `Family`, `TooLong` and `Field`.
pub fn from_packet(packet: &[u8], sender: Role) -> Result<(Flow, RawSegment<'_>), Untranslatable> {
    let (local, remote, octets) = match packet.first().map(|first| first >> 4) {
        Some(4) => from_ipv4(packet)?,
        Some(6) => from_ipv6(packet)?,
        _ => return Err(Untranslatable::IpVersion),
    };
    let tcp = TcpPacket::new_checked(octets).map_err(|_| Untranslatable::TcpHeader)?;
    if !tcp.verify_checksum(&IpAddress::from(local), &IpAddress::from(remote)) {
        return Err(Untranslatable::TcpChecksum);
    }
    let flow = Flow {
        local: SocketAddr::new(local, tcp.src_port()),
        remote: SocketAddr::new(remote, tcp.dst_port()),
    };
    let segment = RawSegment {
        flags: Flags(octets[13]),
        reserved: octets[12] & 0x0f,
        circuit: circuit_of(&flow, sender),
        seq: Seq(tcp.seq_number().0 as u32),
        ack: Seq(tcp.ack_number().0 as u32),
        window: tcp.window_len(),
        urgent: tcp.urgent_at(),
        options: tcp.options(),
        payload: tcp.payload(),
    };
    check(&segment)?;
    Ok((flow, segment))
}

/// Source, destination and payload of an IPv4 packet.
fn from_ipv4(octets: &[u8]) -> Result<(IpAddr, IpAddr, &[u8]), Untranslatable> {
    let packet = Ipv4Packet::new_checked(octets).map_err(|_| Untranslatable::IpLength)?;
    if !packet.verify_checksum() {
        return Err(Untranslatable::IpChecksum);
    }
    if usize::from(packet.header_len()) != IPV4_HEADER_LEN {
        return Err(Untranslatable::IpOptions);
    }
    if packet.more_frags() || packet.frag_offset() != 0 {
        return Err(Untranslatable::Fragment);
    }
    if packet.next_header() != IpProtocol::Tcp {
        return Err(Untranslatable::Protocol);
    }
    Ok((
        packet.src_addr().into(),
        packet.dst_addr().into(),
        packet.payload(),
    ))
}

/// Source, destination and payload of an IPv6 packet.
fn from_ipv6(octets: &[u8]) -> Result<(IpAddr, IpAddr, &[u8]), Untranslatable> {
    let packet = Ipv6Packet::new_checked(octets).map_err(|_| Untranslatable::IpLength)?;
    match packet.next_header() {
        IpProtocol::Tcp => {}
        IpProtocol::Ipv6Frag => return Err(Untranslatable::Fragment),
        IpProtocol::HopByHop | IpProtocol::Ipv6Route | IpProtocol::Ipv6Opts => {
            return Err(Untranslatable::IpOptions);
        }
        _ => return Err(Untranslatable::Protocol),
    }
    Ok((
        packet.src_addr().into(),
        packet.dst_addr().into(),
        packet.payload(),
    ))
}
