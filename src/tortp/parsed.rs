//! The parsed layer: [`Segment`], with the options that this implementation understands.

use super::options;
use super::raw::{self, MAX_PAYLOAD, RawSegment};
use crate::tcp::segment::{Flags, Options, PathProbe, Segment};
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

/// The segment of a datagram that passes [`check`](super::check) and holds one only, with its circuit identifier.
pub fn only(datagram: &[u8]) -> Option<(u32, Segment<'_>)> {
    let raw = raw::only(datagram)?;
    Some((raw.circuit, parse(&raw)?))
}

/// The circuit identifier that path probes and their answers have: that of control.
const PATH_PROBE_CIRCUIT: u32 = 0;

/// Octets of a datagram that holds nothing but a path probe without padding.
pub const EMPTY_PATH_PROBE: usize = raw::DATAGRAM_HEADER + raw::MIN_SEGMENT_HEADER + 8;

/// Appends a path probe or its answer, with `padding` octets of zeros as its payload.
pub fn encode_path_probe(probe: PathProbe, padding: usize, out: &mut Vec<u8>) {
    let padding = padding.min(MAX_PAYLOAD);
    let options = Options {
        path_probe: Some(probe),
        ..Options::default()
    };
    encode_header(
        PATH_PROBE_CIRCUIT,
        Flags::default(),
        Seq(0),
        Seq(0),
        0,
        &options,
        padding as u16,
        out,
    );
    out.resize(out.len() + padding, 0);
}

/// Whether a segment is a path probe or the answer to one, and so not for TCP.
pub fn is_path_probe(raw: &RawSegment<'_>) -> bool {
    may_be_path_probe(raw) && options::parse(raw.options).is_ok_and(|o| o.path_probe.is_some())
}

/// No segment of TCP is without flags.
fn may_be_path_probe(raw: &RawSegment<'_>) -> bool {
    raw.circuit == PATH_PROBE_CIRCUIT && raw.flags == Flags::default()
}

/// Understands the options of a segment; `None` if they are malformed.
///
/// Options that have a meaning on a SYN only are left out of other segments (RFC 9293 section 3.7.1, RFC 7323
/// section 2.2, RFC 2018 section 2), and that of a path probe out of those that are TCP's.
fn parse<'a>(raw: &RawSegment<'a>) -> Option<Segment<'a>> {
    let mut options = if raw.options.is_empty() {
        Options::default()
    } else {
        options::parse(raw.options).ok()?
    };
    options.path_probe = options.path_probe.filter(|_| may_be_path_probe(raw));
    if !raw.flags.has(Flags::SYN) && !raw.options.is_empty() {
        options = Options {
            sack: options.sack,
            path_probe: options.path_probe,
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
