//! A TCP segment as the state machine sees it, independent of how it travels.

use super::seq::Seq;

/// TCP flags, with the bit positions of the TCP header (RFC 9293 section 3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u8);

impl Flags {
    /// No more data from the sender.
    pub const FIN: Flags = Flags(0x01);
    /// Synchronize sequence numbers.
    pub const SYN: Flags = Flags(0x02);
    /// Reset the connection.
    pub const RST: Flags = Flags(0x04);
    /// Push.
    pub const PSH: Flags = Flags(0x08);
    /// The acknowledgement number is significant.
    pub const ACK: Flags = Flags(0x10);
    /// The urgent pointer is significant.
    pub const URG: Flags = Flags(0x20);
    /// ECN echo (RFC 3168).
    pub const ECE: Flags = Flags(0x40);
    /// Congestion window reduced (RFC 3168).
    pub const CWR: Flags = Flags(0x80);

    /// Whether all bits of `other` are set.
    pub fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets together.
    #[must_use]
    pub fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

/// The most SACK blocks that fit the 40 octets of TCP options (RFC 2018 section 3).
pub const MAX_SACK_BLOCKS: usize = 4;

/// Up to four ranges `[start, end)` of selectively acknowledged data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SackBlocks {
    blocks: [(Seq, Seq); MAX_SACK_BLOCKS],
    len: u8,
}

impl SackBlocks {
    /// Appends a block; returns false, changing nothing, when there is no room.
    pub fn push(&mut self, start: Seq, end: Seq) -> bool {
        if usize::from(self.len) == MAX_SACK_BLOCKS {
            return false;
        }
        self.blocks[usize::from(self.len)] = (start, end);
        self.len += 1;
        true
    }

    /// The blocks, most recent first as RFC 2018 asks of the sender.
    pub fn as_slice(&self) -> &[(Seq, Seq)] {
        &self.blocks[..usize::from(self.len)]
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Removes the first block, if there is one.
    pub fn remove_first(&mut self) {
        let mut rest = SackBlocks::default();
        for &(start, end) in self.as_slice().iter().skip(1) {
            rest.push(start, end);
        }
        *self = rest;
    }

    /// Sorts the blocks by where they start, counted from `base`.
    pub fn sort_above(&mut self, base: Seq) {
        self.blocks[..usize::from(self.len)].sort_unstable_by_key(|&(start, _)| start - base);
    }

    /// Keeps the blocks for which `keep` holds.
    pub fn retain(&mut self, keep: impl Fn(Seq, Seq) -> bool) {
        let mut kept = SackBlocks::default();
        for &(start, end) in self.as_slice() {
            if keep(start, end) {
                kept.push(start, end);
            }
        }
        *self = kept;
    }
}

/// A probe of the path's MTU, or the answer to one (docs/tortp.md, section 8). It travels as an option of a segment that
/// is not TCP's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathProbe {
    /// The peer wants to hear that a datagram of this size has arrived.
    Request(u32),
    /// The request with this token has arrived.
    Answer(u32),
}

/// The TCP options that this implementation understands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Maximum segment size, on SYN only (RFC 9293 section 3.7.1).
    pub mss: Option<u16>,
    /// Window scale shift, on SYN only (RFC 7323 section 2).
    pub window_scale: Option<u8>,
    /// SACK is permitted, on SYN only (RFC 2018 section 2).
    pub sack_permitted: bool,
    /// Selective acknowledgements (RFC 2018 section 3).
    pub sack: SackBlocks,
    /// The relay's circuit number, on the first SYN of a circuit only. It travels as an experimental
    /// option (RFC 6994): kind 254, length 8, ExID 0x7554, 4 octets of number.
    pub circuit_number: Option<u32>,
    /// The segment is a probe of the path, or answers one, and no TCP segment.
    pub path_probe: Option<PathProbe>,
    /// Segments received that routers had marked as having met congestion (docs/tortp.md section 5): kind 254, length
    /// 8, ExID 0x7545, 4 octets.
    pub ce_count: Option<u32>,
}

impl Options {
    /// Octets that the options take in a header, padded to whole words.
    pub fn encoded_len(&self) -> usize {
        crate::tortp::options::encoded_len(self)
    }
}

/// A TCP segment with its payload borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// Control flags.
    pub flags: Flags,
    /// Sequence number of the first octet (or of the SYN).
    pub seq: Seq,
    /// Acknowledgement number; zero, and without meaning, unless `flags` has ACK.
    pub ack: Seq,
    /// The window field as it travels, not scaled.
    pub window: u16,
    /// Options.
    pub options: Options,
    /// Data.
    pub payload: &'a [u8],
    /// The datagram that brought it was marked (CE, RFC 3168). Has no meaning on the way out.
    pub ce: bool,
}

impl Segment<'_> {
    /// SEG.LEN of RFC 9293: octets of data, plus one each for SYN and FIN.
    pub fn len(&self) -> u32 {
        self.payload.len() as u32
            + u32::from(self.flags.has(Flags::SYN))
            + u32::from(self.flags.has(Flags::FIN))
    }

    /// Whether it takes no sequence space.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
