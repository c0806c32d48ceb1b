//! TORTP: TCP segments of all circuits of a connection in the plaintext of DTLS records (docs/tortp.md).
//!
//! ```text
//! datagram = version octet, segment, segment, ...
//! raw:       octets <-> RawSegment       every field, and the options as they are
//! parsed:    RawSegment <-> Segment      with the options that this implementation understands
//! translate: RawSegment <-> IP packet    for captures, and to talk to other TCPs
//! ```
//!
//! A received datagram goes through [`check`] as a whole first, and is dropped whole with the reason if any of
//! it is malformed; then [`segments`] walks it. Nothing here allocates, except where the caller's `Vec` grows.

mod malformed;
pub mod options;
mod parsed;
pub mod pcap;
pub mod raw;
pub mod translate;

pub use malformed::Malformed;
pub use parsed::{
    EMPTY_PATH_PROBE, encode, encode_header, encode_path_probe, encoded_len, is_path_probe, only,
    segments,
};
pub use raw::{
    DATAGRAM_HEADER, MAX_PAYLOAD, MAX_SEGMENT_HEADER, MIN_SEGMENT_HEADER, RawSegment, VERSION,
    append, begin, check,
};
