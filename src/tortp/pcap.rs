//! Packet captures: classic pcap files (draft-ietf-opsawg-pcap) of IP packets without a link layer.

use std::net::IpAddr;

use super::raw;
use super::translate::{flow, to_packet};
use crate::endpoint::Role;
use crate::time::{SECOND, Time};

/// Time stamps in microseconds; the octet order of the file is told by the order of this one.
const MAGIC: u32 = 0xa1b2_c3d4;
const VERSION_MAJOR: u16 = 2;
const VERSION_MINOR: u16 = 4;
/// Longer than any IP packet without jumbograms.
const SNAP_LEN: u32 = 262_144;
/// Packets begin with the IPv4 or IPv6 header.
const LINKTYPE_RAW: u32 = 101;

/// Octets of the file header.
pub const HEADER_LEN: usize = 24;

/// Octets before each packet.
pub const RECORD_HEADER_LEN: usize = 16;

/// Appends the file header; it stands once, at the start.
pub fn header(out: &mut Vec<u8>) {
    out.extend_from_slice(&MAGIC.to_le_bytes());
    out.extend_from_slice(&VERSION_MAJOR.to_le_bytes());
    out.extend_from_slice(&VERSION_MINOR.to_le_bytes());
    out.extend_from_slice(&[0; 8]); // time zone and accuracy: not used
    out.extend_from_slice(&SNAP_LEN.to_le_bytes());
    out.extend_from_slice(&LINKTYPE_RAW.to_le_bytes());
}

/// Appends a record of one IP packet. The file's time stamps count from 1970, `time` from where the caller's
/// clock began; seconds are taken modulo 2^32.
pub fn record(time: Time, packet: &[u8], out: &mut Vec<u8>) {
    let captured = &packet[..packet.len().min(SNAP_LEN as usize)];
    out.extend_from_slice(&((time.0 / SECOND) as u32).to_le_bytes());
    out.extend_from_slice(&((time.0 % SECOND) as u32).to_le_bytes());
    out.extend_from_slice(&(captured.len() as u32).to_le_bytes());
    out.extend_from_slice(
        &u32::try_from(packet.len())
            .unwrap_or(u32::MAX)
            .to_le_bytes(),
    );
    out.extend_from_slice(captured);
}

/// Appends a record for each segment of a datagram's plaintext, as TCP/IP packets from `sender`, which has
/// the DTLS role `role`, to `receiver`. Path probes are no TCP, and not among them. Returns how many were left out
/// because they cannot be translated: none if the datagram passes [`check`](super::check) and both addresses are of
/// one family.
pub fn datagram(
    time: Time,
    plaintext: &[u8],
    sender: IpAddr,
    receiver: IpAddr,
    role: Role,
    out: &mut Vec<u8>,
) -> usize {
    let mut packet = Vec::new();
    let mut left_out = 0;
    for segment in raw::segments(plaintext).filter(|s| !super::is_path_probe(s)) {
        let flow = flow(segment.circuit, sender, receiver, role);
        match to_packet(&segment, &flow, &mut packet) {
            Ok(()) => record(time, &packet, out),
            Err(_) => left_out += 1,
        }
    }
    left_out
}
