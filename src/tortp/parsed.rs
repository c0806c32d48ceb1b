//! The parsed layer: [`Segment`], with the options that this implementation understands.

use super::options;
use super::raw::{self, MAX_PAYLOAD, RawSegment};
use crate::tcp::segment::{Flags, Options, Segment};
use crate::tcp::seq::Seq;

/// Octets on the wire of a segment.
pub fn encoded_len(segment: &Segment<'_>) -> usize {
    raw::fixed_len(segment.flags)
        + options::encoded_len(&segment.options)
        + segment.payload.len().min(MAX_PAYLOAD)
}

/// Appends a segment to a datagram that [`begin`](super::begin) has started. Payload beyond [`MAX_PAYLOAD`]
/// octets is left out, which to TCP is the same as if it were lost.
pub fn encode(circuit: u32, segment: &Segment<'_>, out: &mut Vec<u8>) {
    let payload = &segment.payload[..segment.payload.len().min(MAX_PAYLOAD)];
    encode_header(
        circuit,
        segment.flags,
        segment.seq,
        segment.ack,
        segment.window,
        &segment.options,
        payload.len() as u16,
        out,
    );
    out.extend_from_slice(payload);
}

/// Appends a segment up to its payload; the caller then appends exactly `payload_len` octets itself, from
/// wherever it holds them.
///
/// `ack` is written only if `flags` has ACK; the urgent pointer, if `flags` has URG, is 0.
#[allow(clippy::too_many_arguments)] // the fields of the header, in their order
pub fn encode_header(
    circuit: u32,
    flags: Flags,
    seq: Seq,
    ack: Seq,
    window: u16,
    options: &Options,
    payload_len: u16,
    out: &mut Vec<u8>,
) {
    let mut encoded = [0; options::MAX_LEN];
    let len = options::encode(options, &mut encoded);
    let segment = RawSegment {
        flags,
        reserved: 0,
        circuit,
        seq,
        ack,
        window,
        urgent: 0,
        options: &encoded[..len],
        payload: &[],
    };
    raw::put_header(&segment, payload_len, out);
}

/// The segments of a datagram with the circuit identifier of each, in order. Of one that does not pass
/// [`check`](super::check), those before the malformed one.
pub fn segments(datagram: &[u8]) -> impl Iterator<Item = (u32, Segment<'_>)> {
    raw::segments(datagram).map_while(|raw| Some((raw.circuit, parse(&raw)?)))
}

/// Understands the options of a segment; `None` if they are malformed.
///
/// Options that have a meaning on a SYN only are left out of other segments (RFC 9293 section 3.7.1, RFC 7323
/// section 2.2, RFC 2018 section 2).
fn parse<'a>(raw: &RawSegment<'a>) -> Option<Segment<'a>> {
    let mut options = options::parse(raw.options).ok()?;
    if !raw.flags.has(Flags::SYN) {
        options = Options {
            sack: options.sack,
            ce_count: options.ce_count,
            ..Options::default()
        };
    }
    Some(Segment {
        flags: raw.flags,
        seq: raw.seq,
        ack: raw.ack,
        window: raw.window,
        options,
        payload: raw.payload,
        ce: false,
    })
}
