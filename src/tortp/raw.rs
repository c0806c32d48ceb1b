//! The raw layer: every field of a segment as it is, the options as octets.
//!
//! ```text
//!  octets
//!  1   flags: CWR ECE URG ACK PSH RST SYN FIN
//!  1   options length in words (high 4 bits), reserved bits of the TCP header (low 4 bits)
//!  4   circuit identifier
//!  4   sequence number
//! (4)  acknowledgement number, only with ACK
//!  2   window
//! (2)  urgent pointer, only with URG
//!  2   payload length
//!      options, payload
//! ```

use super::{Malformed, options};
use crate::tcp::segment::Flags;
use crate::tcp::seq::Seq;

/// The version of the format that is sent, and the only one that is understood.
pub const VERSION: u8 = 1;

/// Octets of a datagram before its first segment.
pub const DATAGRAM_HEADER: usize = 1;

/// Octets of a segment that has no ACK, no URG, no options and no payload.
pub const MIN_SEGMENT_HEADER: usize = 14;

/// The most octets of a segment before its payload: with ACK, URG and 40 octets of options.
pub const MAX_SEGMENT_HEADER: usize = MIN_SEGMENT_HEADER + 4 + 2 + options::MAX_LEN;

/// The most octets of payload in a segment.
pub const MAX_PAYLOAD: usize = u16::MAX as usize;

/// A segment with nothing interpreted.
///
/// It can be encoded exactly if `ack` is 0 without ACK, `urgent` is 0 without URG, `reserved` is below 16,
/// `options` is a whole number of words up to 40 octets, and `payload` is at most [`MAX_PAYLOAD`] octets;
/// [`RawSegment::decode`] yields only such ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawSegment<'a> {
    /// Control flags.
    pub flags: Flags,
    /// The 4 bits between data offset and flags of the TCP header; the lowest is AE (RFC 9768).
    pub reserved: u8,
    /// Circuit identifier.
    pub circuit: u32,
    /// Sequence number.
    pub seq: Seq,
    /// Acknowledgement number, 0 without ACK.
    pub ack: Seq,
    /// Window, not scaled.
    pub window: u16,
    /// Urgent pointer, 0 without URG.
    pub urgent: u16,
    /// TCP options, a whole number of 32-bit words.
    pub options: &'a [u8],
    /// Data.
    pub payload: &'a [u8],
}

impl<'a> RawSegment<'a> {
    /// Octets before the payload.
    pub fn header_len(&self) -> usize {
        fixed_len(self.flags) + self.options.len()
    }

    /// Octets on the wire.
    pub fn encoded_len(&self) -> usize {
        self.header_len() + self.payload.len()
    }

    /// Whether encoding loses nothing, see [`RawSegment`].
    pub fn is_encodable(&self) -> bool {
        (self.flags.has(Flags::ACK) || self.ack == Seq(0))
            && (self.flags.has(Flags::URG) || self.urgent == 0)
            && self.reserved < 16
            && self.options.len() <= options::MAX_LEN
            && self.options.len().is_multiple_of(4)
            && self.payload.len() <= MAX_PAYLOAD
    }

    /// Appends the segment to `out`. Returns false, appending nothing, unless it
    /// [is encodable](RawSegment::is_encodable).
    #[must_use]
    pub fn encode(&self, out: &mut Vec<u8>) -> bool {
        if !self.is_encodable() {
            return false;
        }
        put_header(self, self.payload.len() as u16, out);
        out.extend_from_slice(self.payload);
        true
    }

    /// Takes one segment from the front of `octets`, and returns the rest. The encoding of its options is
    /// checked too.
    ///
    /// # Errors
    /// What is malformed about it.
    pub fn decode(octets: &'a [u8]) -> Result<(RawSegment<'a>, &'a [u8]), Malformed> {
        let mut rest = octets;
        let [flags, lengths] = take(&mut rest)?;
        let flags = Flags(flags);
        let words = usize::from(lengths >> 4);
        let circuit = u32::from_be_bytes(take(&mut rest)?);
        let seq = Seq(u32::from_be_bytes(take(&mut rest)?));
        let ack = if flags.has(Flags::ACK) {
            Seq(u32::from_be_bytes(take(&mut rest)?))
        } else {
            Seq(0)
        };
        let window = u16::from_be_bytes(take(&mut rest)?);
        let urgent = if flags.has(Flags::URG) {
            u16::from_be_bytes(take(&mut rest)?)
        } else {
            0
        };
        let payload_len = usize::from(u16::from_be_bytes(take(&mut rest)?));
        if words * 4 > options::MAX_LEN {
            return Err(Malformed::OptionsLength);
        }
        let (options, rest) = rest
            .split_at_checked(words * 4)
            .ok_or(Malformed::Truncated)?;
        let (payload, rest) = rest
            .split_at_checked(payload_len)
            .ok_or(Malformed::Truncated)?;
        options::check(options)?;
        let segment = RawSegment {
            flags,
            reserved: lengths & 0x0f,
            circuit,
            seq,
            ack,
            window,
            urgent,
            options,
            payload,
        };
        Ok((segment, rest))
    }
}

/// Octets of a header with these flags, without options.
pub(super) fn fixed_len(flags: Flags) -> usize {
    MIN_SEGMENT_HEADER
        + if flags.has(Flags::ACK) { 4 } else { 0 }
        + if flags.has(Flags::URG) { 2 } else { 0 }
}

/// Appends header and options of an encodable segment whose payload the caller appends.
pub(super) fn put_header(segment: &RawSegment<'_>, payload_len: u16, out: &mut Vec<u8>) {
    // Gathered on the stack first, so that `out` is grown and its bounds are looked at once.
    let mut header = [0; MAX_SEGMENT_HEADER];
    let mut len = 0;
    let mut put = |octets: &[u8]| {
        header[len..len + octets.len()].copy_from_slice(octets);
        len += octets.len();
    };
    let words = (segment.options.len() / 4) as u8;
    put(&[segment.flags.0, words << 4 | segment.reserved & 0x0f]);
    put(&segment.circuit.to_be_bytes());
    put(&segment.seq.0.to_be_bytes());
    if segment.flags.has(Flags::ACK) {
        put(&segment.ack.0.to_be_bytes());
    }
    put(&segment.window.to_be_bytes());
    if segment.flags.has(Flags::URG) {
        put(&segment.urgent.to_be_bytes());
    }
    put(&payload_len.to_be_bytes());
    put(segment.options);
    out.extend_from_slice(&header[..len]);
}

/// Takes `N` octets of a header.
fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Malformed> {
    let (octets, after) = rest.split_first_chunk().ok_or(Malformed::Header)?;
    *rest = after;
    Ok(*octets)
}

/// Starts a datagram: empties `out` and writes the version octet.
pub fn begin(out: &mut Vec<u8>) {
    out.clear();
    append(out);
}

/// Starts a datagram behind what is in `out` already.
pub fn append(out: &mut Vec<u8>) {
    out.push(VERSION << 4);
}

/// Whether a whole datagram is well-formed.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn check(datagram: &[u8]) -> Result<(), Malformed> {
    let (&version, mut rest) = datagram.split_first().ok_or(Malformed::Empty)?;
    if version >> 4 != VERSION {
        return Err(Malformed::Version);
    }
    if rest.is_empty() {
        return Err(Malformed::Empty);
    }
    while !rest.is_empty() {
        rest = RawSegment::decode(rest)?.1;
    }
    Ok(())
}

/// The segment of a well-formed datagram that holds one only, which is the usual case.
pub fn only(datagram: &[u8]) -> Option<RawSegment<'_>> {
    let (&version, rest) = datagram.split_first()?;
    match RawSegment::decode(rest) {
        Ok((segment, [])) if version >> 4 == VERSION => Some(segment),
        _ => None,
    }
}

/// The segments of a datagram, in order. Of one that does not pass [`check`], those before the malformed one;
/// none of a datagram of another version.
pub fn segments(datagram: &[u8]) -> Segments<'_> {
    let rest = match datagram.split_first() {
        Some((&version, rest)) if version >> 4 == VERSION => rest,
        _ => &[],
    };
    Segments { rest }
}

/// Iterator of [`segments`].
#[derive(Clone, Debug)]
pub struct Segments<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Segments<'a> {
    type Item = RawSegment<'a>;

    fn next(&mut self) -> Option<RawSegment<'a>> {
        match RawSegment::decode(self.rest) {
            Ok((segment, rest)) => {
                self.rest = rest;
                Some(segment)
            }
            Err(_) => {
                self.rest = &[];
                None
            }
        }
    }
}

impl std::iter::FusedIterator for Segments<'_> {}
