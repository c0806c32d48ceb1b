//! TCP options (RFC 9293 section 3.1): octets to [`Options`] and back.
//!
//! | kind | length | option | source |
//! |---|---|---|---|
//! | 0 | - | end of list | RFC 9293 |
//! | 1 | - | no operation | RFC 9293 |
//! | 2 | 4 | maximum segment size | RFC 9293 section 3.7.1 |
//! | 3 | 3 | window scale | RFC 7323 section 2 |
//! | 4 | 2 | SACK permitted | RFC 2018 section 2 |
//! | 5 | 2 + 8n, n from 1 to 4 | SACK | RFC 2018 section 3 |
//! | 254 | 8 | ExID 0x7554: circuit number | RFC 6994, docs/tortp.md |
//! | 254 | 8 | ExID 0x7550: path probe; 0x7551: its answer | RFC 6994, docs/tortp.md |
//! | 254 | 8 | ExID 0x7545: count of marked segments | RFC 6994, docs/tortp.md |
//!
//! All others are skipped by their length.

use super::Malformed;
use crate::tcp::segment::{MAX_SACK_BLOCKS, Options, PathProbe};
use crate::tcp::seq::Seq;

/// The most octets of options in a TCP header.
pub const MAX_LEN: usize = 40;

/// The largest window scale shift (RFC 7323 section 2.3).
pub const MAX_WINDOW_SCALE: u8 = 14;

/// The experiment identifier (RFC 6994) of the circuit number.
pub const CIRCUIT_NUMBER_EXID: u16 = 0x7554;

/// The experiment identifier (RFC 6994) of the count of segments that arrived marked.
pub const CE_COUNT_EXID: u16 = 0x7545;

/// The experiment identifier of a path probe.
pub const PATH_PROBE_EXID: u16 = 0x7550;

/// The experiment identifier of the answer to a path probe.
pub const PATH_ANSWER_EXID: u16 = 0x7551;

const END: u8 = 0;
const NO_OPERATION: u8 = 1;
const MSS: u8 = 2;
const WINDOW_SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const SACK: u8 = 5;
const EXPERIMENT: u8 = 254;

/// One option, as far as this implementation tells them apart.
enum TcpOption<'a> {
    Mss(u16),
    WindowScale(u8),
    SackPermitted,
    /// The blocks, a whole number of 8 octets.
    Sack(&'a [u8]),
    CircuitNumber(u32),
    CeCount(u32),
    PathProbe(PathProbe),
    Unknown,
}

/// Walks over options, without padding.
struct Walk<'a> {
    rest: &'a [u8],
}

impl<'a> Walk<'a> {
    /// The next option, `None` at the end of the list.
    fn next(&mut self) -> Result<Option<TcpOption<'a>>, Malformed> {
        loop {
            match *self.rest {
                [] | [END, ..] => {
                    self.rest = &[];
                    return Ok(None);
                }
                [NO_OPERATION, ref rest @ ..] => self.rest = rest,
                [kind, len, ..] => {
                    let (option, rest) = self
                        .rest
                        .split_at_checked(usize::from(len))
                        .ok_or(Malformed::OptionEncoding)?;
                    let value = option.get(2..).ok_or(Malformed::OptionEncoding)?;
                    self.rest = rest;
                    return classify(kind, value).map(Some);
                }
                [_] => return Err(Malformed::OptionEncoding),
            }
        }
    }
}

/// Names an option by its kind and the octets after kind and length.
fn classify(kind: u8, value: &[u8]) -> Result<TcpOption<'_>, Malformed> {
    Ok(match (kind, value) {
        (MSS, &[a, b]) => TcpOption::Mss(u16::from_be_bytes([a, b])),
        (WINDOW_SCALE, &[shift]) => TcpOption::WindowScale(shift),
        (SACK_PERMITTED, []) => TcpOption::SackPermitted,
        (SACK, blocks) if !blocks.is_empty() && blocks.len().is_multiple_of(8) => {
            TcpOption::Sack(blocks)
        }
        (EXPERIMENT, &[x, y, ref value @ ..]) => {
            let number = || match value.try_into() {
                Ok(octets) => Ok(u32::from_be_bytes(octets)),
                Err(_) => Err(Malformed::OptionLength),
            };
            match u16::from_be_bytes([x, y]) {
                CIRCUIT_NUMBER_EXID => TcpOption::CircuitNumber(number()?),
                CE_COUNT_EXID => TcpOption::CeCount(number()?),
                PATH_PROBE_EXID => TcpOption::PathProbe(PathProbe::Request(number()?)),
                PATH_ANSWER_EXID => TcpOption::PathProbe(PathProbe::Answer(number()?)),
                _ => TcpOption::Unknown,
            }
        }
        (MSS | WINDOW_SCALE | SACK_PERMITTED | SACK, _) => return Err(Malformed::OptionLength),
        _ => TcpOption::Unknown,
    })
}

/// Whether options are well-formed. What follows an end of list is not looked at.
///
/// # Errors
/// [`Malformed::OptionEncoding`] or [`Malformed::OptionLength`].
pub fn check(octets: &[u8]) -> Result<(), Malformed> {
    let mut walk = Walk { rest: octets };
    while walk.next()?.is_some() {}
    Ok(())
}

/// Understands options. A window scale above 14 is taken for 14; of an option that comes twice the last counts,
/// except that SACK blocks add up.
///
/// # Errors
/// [`Malformed::OptionEncoding`] or [`Malformed::OptionLength`].
pub fn parse(octets: &[u8]) -> Result<Options, Malformed> {
    let mut options = Options::default();
    let mut walk = Walk { rest: octets };
    while let Some(option) = walk.next()? {
        match option {
            TcpOption::Mss(mss) => options.mss = Some(mss),
            TcpOption::WindowScale(shift) => {
                options.window_scale = Some(shift.min(MAX_WINDOW_SCALE));
            }
            TcpOption::SackPermitted => options.sack_permitted = true,
            TcpOption::Sack(blocks) => {
                for block in blocks.as_chunks::<8>().0 {
                    let [a, b, c, d, e, f, g, h] = *block;
                    let start = Seq(u32::from_be_bytes([a, b, c, d]));
                    let end = Seq(u32::from_be_bytes([e, f, g, h]));
                    // More than four do not fit 40 octets; of longer input the rest is left out.
                    options.sack.push(start, end);
                }
            }
            TcpOption::CircuitNumber(number) => options.circuit_number = Some(number),
            TcpOption::CeCount(count) => options.ce_count = Some(count),
            TcpOption::PathProbe(probe) => options.path_probe = Some(probe),
            TcpOption::Unknown => {}
        }
    }
    Ok(options)
}

/// Octets of all options but SACK, without padding.
fn len_without_sack(options: &Options) -> usize {
    let mss = if options.mss.is_some() { 4 } else { 0 };
    let window_scale = if options.window_scale.is_some() { 3 } else { 0 };
    let sack_permitted = if options.sack_permitted { 2 } else { 0 };
    let circuit_number = if options.circuit_number.is_some() {
        8
    } else {
        0
    };
    let ce_count = if options.ce_count.is_some() { 8 } else { 0 };
    let path_probe = if options.path_probe.is_some() { 8 } else { 0 };
    mss + window_scale + sack_permitted + circuit_number + ce_count + path_probe
}

/// How many SACK blocks fit beside the other options, which go first.
fn sack_blocks(options: &Options, others: usize) -> usize {
    let blocks = options.sack.as_slice().len().min(MAX_SACK_BLOCKS);
    blocks.min((MAX_LEN - 2 - others) / 8)
}

/// Octets that [`encode`] makes of these options, padding included: a multiple of 4, at most [`MAX_LEN`].
pub fn encoded_len(options: &Options) -> usize {
    let others = len_without_sack(options);
    let sack = match sack_blocks(options, others) {
        0 => 0,
        blocks => 2 + 8 * blocks,
    };
    (others + sack).next_multiple_of(4)
}

/// Writes options to the front of `out`, padded with zeros to a word, and returns their length as
/// [`encoded_len`] tells it. Of the SACK blocks the first ones that fit beside the other options are written.
pub fn encode(options: &Options, out: &mut [u8; MAX_LEN]) -> usize {
    let mut len = 0;
    let mut put = |octets: &[u8]| {
        out[len..len + octets.len()].copy_from_slice(octets);
        len += octets.len();
    };
    if let Some(mss) = options.mss {
        let [a, b] = mss.to_be_bytes();
        put(&[MSS, 4, a, b]);
    }
    if options.sack_permitted {
        put(&[SACK_PERMITTED, 2]);
    }
    if let Some(shift) = options.window_scale {
        put(&[WINDOW_SCALE, 3, shift.min(MAX_WINDOW_SCALE)]);
    }
    if let Some(number) = options.circuit_number {
        let [x, y] = CIRCUIT_NUMBER_EXID.to_be_bytes();
        put(&[EXPERIMENT, 8, x, y]);
        put(&number.to_be_bytes());
    }
    if let Some(count) = options.ce_count {
        let [x, y] = CE_COUNT_EXID.to_be_bytes();
        put(&[EXPERIMENT, 8, x, y]);
        put(&count.to_be_bytes());
    }
    if let Some(probe) = options.path_probe {
        let (exid, token) = match probe {
            PathProbe::Request(token) => (PATH_PROBE_EXID, token),
            PathProbe::Answer(token) => (PATH_ANSWER_EXID, token),
        };
        let [x, y] = exid.to_be_bytes();
        put(&[EXPERIMENT, 8, x, y]);
        put(&token.to_be_bytes());
    }
    let blocks = sack_blocks(options, len_without_sack(options));
    if blocks > 0 {
        put(&[SACK, (2 + 8 * blocks) as u8]);
        for (start, end) in &options.sack.as_slice()[..blocks] {
            put(&start.0.to_be_bytes());
            put(&end.0.to_be_bytes());
        }
    }
    let padded = len.next_multiple_of(4);
    out[len..padded].fill(END);
    padded
}
