//! TORTP: what is encoded is decoded again, and nothing that arrives can do harm.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use utcp::tcp::segment::{Flags, Options, PathProbe, SackBlocks, Segment};
use utcp::tcp::seq::Seq;
use utcp::tortp::{self, Malformed, RawSegment, options as tcp_options, raw};

/// A segment's fields, owned.
#[derive(Clone, Debug)]
struct Owned {
    circuit: u32,
    flags: Flags,
    reserved: u8,
    seq: Seq,
    ack: Seq,
    window: u16,
    urgent: u16,
    raw_options: Vec<u8>,
    options: Options,
    payload: Vec<u8>,
}

impl Owned {
    fn raw(&self) -> RawSegment<'_> {
        RawSegment {
            flags: self.flags,
            reserved: self.reserved,
            circuit: self.circuit,
            seq: self.seq,
            ack: self.ack,
            window: self.window,
            urgent: self.urgent,
            options: &self.raw_options,
            payload: &self.payload,
        }
    }

    fn parsed(&self) -> Segment<'_> {
        Segment {
            flags: self.flags,
            seq: self.seq,
            ack: self.ack,
            window: self.window,
            options: self.options,
            payload: &self.payload,
            ce: false,
        }
    }
}

fn sack(blocks: &[(u32, u32)]) -> SackBlocks {
    let mut sack = SackBlocks::default();
    for &(start, end) in blocks {
        assert!(sack.push(Seq(start), Seq(end)));
    }
    sack
}

prop_compose! {
    /// Options of a SYN that fit 40 octets together: without SACK, or with as many blocks as fit.
    fn syn_options()(
        mss in option::of(any::<u16>()),
        window_scale in option::of(0..=14_u8),
        sack_permitted in any::<bool>(),
        circuit_number in option::of(any::<u32>()),
        ce_count in option::of(any::<u32>()),
        blocks in vec(any::<(u32, u32)>(), 0..=1),
    ) -> Options {
        Options {
            mss, window_scale, sack_permitted, circuit_number, ce_count, sack: sack(&blocks), ..Options::default()
        }
    }
}

prop_compose! {
    fn other_options()(
        ce_count in option::of(any::<u32>()),
        blocks in vec(any::<(u32, u32)>(), 0..=3),
    ) -> Options {
        Options { sack: sack(&blocks), ce_count, ..Options::default() }
    }
}

/// Well-formed option octets of any kinds, a whole number of words.
fn raw_options() -> impl Strategy<Value = Vec<u8>> {
    let unknown = (6..=253_u8, vec(any::<u8>(), 0..12)).prop_map(|(kind, value)| {
        let mut octets = vec![kind, value.len() as u8 + 2];
        octets.extend(value);
        octets
    });
    let one = prop_oneof![
        Just(vec![1]),
        any::<[u8; 2]>().prop_map(|[a, b]| vec![2, 4, a, b]),
        any::<u8>().prop_map(|shift| vec![3, 3, shift]),
        Just(vec![4, 2]),
        any::<[u8; 8]>().prop_map(|block| [&[5, 10], &block[..]].concat()),
        any::<[u8; 4]>().prop_map(|number| [&[254, 8, 0x75, 0x54], &number[..]].concat()),
        unknown,
    ];
    (vec(one, 0..10), any::<u8>()).prop_map(|(list, after_end)| {
        let mut octets = Vec::new();
        for option in list {
            if octets.len() + option.len() <= 40 {
                octets.extend(option);
            }
        }
        if octets.len() % 4 != 0 {
            octets.push(0);
        }
        // After the end of the list anything may stand, and is carried.
        octets.resize(octets.len().next_multiple_of(4), after_end);
        octets
    })
}

prop_compose! {
    fn segment()(
        circuit in any::<u32>(),
        flags in any::<u8>().prop_map(Flags),
        reserved in 0..16_u8,
        seq in any::<u32>(),
        ack in any::<u32>(),
        window in any::<u16>(),
        urgent in any::<u16>(),
        raw_options in raw_options(),
        syn_options in syn_options(),
        other_options in other_options(),
        payload in prop_oneof![9 => vec(any::<u8>(), 0..64), 1 => vec(any::<u8>(), 1000..2000)],
    ) -> Owned {
        Owned {
            circuit,
            flags,
            reserved,
            seq: Seq(seq),
            ack: Seq(if flags.has(Flags::ACK) { ack } else { 0 }),
            window,
            urgent: if flags.has(Flags::URG) { urgent } else { 0 },
            raw_options,
            options: if flags.has(Flags::SYN) { syn_options } else { other_options },
            payload,
        }
    }
}

fn datagram(segments: &[Owned]) -> Vec<u8> {
    let mut out = Vec::new();
    tortp::begin(&mut out);
    for segment in segments {
        assert!(segment.raw().encode(&mut out));
    }
    out
}

proptest! {
    #[test]
    fn raw_round_trip(segments in vec(segment(), 1..6)) {
        let octets = datagram(&segments);
        prop_assert_eq!(tortp::check(&octets), Ok(()));
        let expected: Vec<_> = segments.iter().map(Owned::raw).collect();
        prop_assert_eq!(raw::segments(&octets).collect::<Vec<_>>(), expected);
        let lengths: usize = segments.iter().map(|s| s.raw().encoded_len()).sum();
        prop_assert_eq!(octets.len(), tortp::DATAGRAM_HEADER + lengths);
    }

    #[test]
    fn parsed_round_trip(segments in vec(segment(), 1..6)) {
        let mut octets = Vec::new();
        tortp::begin(&mut octets);
        for segment in &segments {
            let before = octets.len();
            tortp::encode(segment.circuit, &segment.parsed(), &mut octets);
            prop_assert_eq!(octets.len() - before, tortp::encoded_len(&segment.parsed()));
        }
        prop_assert_eq!(tortp::check(&octets), Ok(()));
        let expected: Vec<_> = segments.iter().map(|s| (s.circuit, s.parsed())).collect();
        prop_assert_eq!(tortp::segments(&octets).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn header_and_payload_apart(segment in segment()) {
        let mut whole = Vec::new();
        tortp::begin(&mut whole);
        tortp::encode(segment.circuit, &segment.parsed(), &mut whole);
        let mut apart = Vec::new();
        tortp::begin(&mut apart);
        tortp::encode_header(
            segment.circuit,
            segment.flags,
            segment.seq,
            segment.ack,
            segment.window,
            &segment.options,
            segment.payload.len() as u16,
            &mut apart,
        );
        prop_assert!(apart.len() <= tortp::DATAGRAM_HEADER + tortp::MAX_SEGMENT_HEADER);
        apart.extend_from_slice(&segment.payload);
        prop_assert_eq!(whole, apart);
    }

    #[test]
    fn random_octets(octets in vec(any::<u8>(), 0..300), versioned in any::<bool>()) {
        let mut octets = octets;
        if versioned && !octets.is_empty() {
            octets[0] = tortp::VERSION << 4;
        }
        let raw: Vec<_> = raw::segments(&octets).collect();
        prop_assert_eq!(tortp::segments(&octets).count(), raw.len());
        // What passes the check is understood to the last octet, and encoding it again changes nothing.
        if tortp::check(&octets).is_ok() {
            let mut again = vec![octets[0]];
            for segment in raw {
                prop_assert!(segment.encode(&mut again));
            }
            prop_assert_eq!(again, octets);
        }
    }

    #[test]
    fn changed_octets(segments in vec(segment(), 1..4), at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let mut octets = datagram(&segments);
        let at = at.index(octets.len());
        octets[at] = to;
        let parsed = tortp::segments(&octets).count();
        prop_assert_eq!(parsed, raw::segments(&octets).count());
        if tortp::check(&octets).is_ok() {
            let mut again = vec![octets[0]];
            for segment in raw::segments(&octets) {
                prop_assert!(segment.encode(&mut again));
            }
            prop_assert_eq!(again, octets);
        }
    }

    #[test]
    fn every_truncation(segments in vec(segment(), 1..4)) {
        let octets = datagram(&segments);
        let mut ends = vec![tortp::DATAGRAM_HEADER];
        for segment in &segments {
            ends.push(ends[ends.len() - 1] + segment.raw().encoded_len());
        }
        for len in 0..octets.len() {
            let cut = &octets[..len];
            // The segments that are whole, whatever follows them.
            let whole = ends.iter().filter(|&&end| end <= len).count().saturating_sub(1);
            prop_assert_eq!(raw::segments(cut).count(), whole);
            let result = tortp::check(cut);
            if len <= tortp::DATAGRAM_HEADER {
                prop_assert_eq!(result, Err(Malformed::Empty));
            } else if ends.contains(&len) {
                prop_assert_eq!(result, Ok(()));
            } else {
                prop_assert!(matches!(result, Err(Malformed::Header | Malformed::Truncated)));
            }
        }
    }

    #[test]
    fn random_options(octets in vec(any::<u8>(), 0..60)) {
        let parsed = tcp_options::parse(&octets);
        prop_assert_eq!(parsed.map(|_| ()), tcp_options::check(&octets));
        if let Ok(options) = parsed {
            prop_assert!(options.window_scale.is_none_or(|shift| shift <= 14));
        }
    }
}

fn pure_ack() -> Segment<'static> {
    Segment {
        flags: Flags::ACK,
        seq: Seq(1),
        ack: Seq(2),
        window: 3,
        options: Options::default(),
        payload: &[],
        ce: false,
    }
}

#[test]
fn sizes() {
    let ack = pure_ack();
    assert_eq!(tortp::encoded_len(&ack), 18);
    let syn = Segment {
        flags: Flags::SYN,
        ..ack
    };
    assert_eq!(tortp::encoded_len(&syn), 14);
    let full = Segment {
        flags: Flags(0xff),
        options: Options {
            sack: sack(&[(1, 2); 4]),
            ..Options::default()
        },
        ..ack
    };
    // 34 octets of SACK, padded to 36.
    assert_eq!(tortp::encoded_len(&full), 14 + 4 + 2 + 36);
    assert_eq!(tortp::MAX_SEGMENT_HEADER, 60);
}

#[test]
fn begin_starts_afresh() {
    let mut out = vec![1, 2, 3];
    tortp::begin(&mut out);
    assert_eq!(out, [0x10]);
}

#[test]
fn other_versions_have_their_own_error() {
    let mut octets = Vec::new();
    tortp::begin(&mut octets);
    tortp::encode(7, &pure_ack(), &mut octets);
    for first in 0..=255_u8 {
        octets[0] = first;
        let known = first >> 4 == tortp::VERSION;
        assert_eq!(
            tortp::check(&octets),
            if known {
                Ok(())
            } else {
                Err(Malformed::Version)
            }
        );
        assert_eq!(tortp::segments(&octets).count(), usize::from(known));
    }
}

#[test]
fn options_that_do_not_fit_together_lose_sack_blocks() {
    let options = Options {
        mss: Some(1400),
        window_scale: Some(10),
        sack_permitted: true,
        circuit_number: Some(5),
        ce_count: None,
        sack: sack(&[(1, 2), (3, 4), (5, 6), (7, 8)]),
        ..Options::default()
    };
    let mut octets = [0xaa; 40];
    let len = tcp_options::encode(&options, &mut octets);
    assert_eq!(len, 36);
    assert_eq!(len, tcp_options::encoded_len(&options));
    let expected = Options {
        sack: sack(&[(1, 2), (3, 4)]),
        ..options
    };
    assert_eq!(tcp_options::parse(&octets[..len]), Ok(expected));
}

#[test]
fn window_scale_above_14_is_14() {
    let parsed = tcp_options::parse(&[3, 3, 15, 0]).unwrap();
    assert_eq!(parsed.window_scale, Some(14));
    let mut octets = [0; 40];
    let options = Options {
        window_scale: Some(200),
        ..Options::default()
    };
    assert_eq!(tcp_options::encode(&options, &mut octets), 4);
    assert_eq!(octets[..4], [3, 3, 14, 0]);
}

#[test]
fn options_of_a_syn_are_ignored_elsewhere() {
    let octets = tcp_options_of_a_syn();
    let mut segment = RawSegment {
        flags: Flags::SYN,
        options: &octets,
        ..RawSegment::default()
    };
    for (flags, seen) in [(Flags::SYN, true), (Flags::ACK, false)] {
        segment.flags = flags;
        let mut out = Vec::new();
        tortp::begin(&mut out);
        assert!(segment.encode(&mut out));
        let (_, parsed) = tortp::segments(&out).next().unwrap();
        assert_eq!(parsed.options.mss.is_some(), seen);
        assert_eq!(parsed.options.window_scale.is_some(), seen);
        assert_eq!(parsed.options.sack_permitted, seen);
        assert_eq!(parsed.options.circuit_number.is_some(), seen);
        assert_eq!(parsed.options.ce_count, Some(4));
        assert_eq!(parsed.options.sack.as_slice(), [(Seq(9), Seq(10))]);
    }
}

fn tcp_options_of_a_syn() -> Vec<u8> {
    let options = Options {
        mss: Some(1),
        window_scale: Some(2),
        sack_permitted: true,
        circuit_number: Some(3),
        ce_count: Some(4),
        sack: sack(&[(9, 10)]),
        ..Options::default()
    };
    let mut octets = [0; 40];
    let len = tcp_options::encode(&options, &mut octets);
    octets[..len].to_vec()
}

/// A path probe is a segment of control without any flag: the option means nothing on a segment that TCP could send.
#[test]
fn path_probes_are_told_from_segments() {
    for (probe, padding) in [(PathProbe::Request(7), 1_000), (PathProbe::Answer(8), 0)] {
        let mut out = Vec::new();
        tortp::begin(&mut out);
        tortp::encode_path_probe(probe, padding, &mut out);
        assert_eq!(out.len(), tortp::EMPTY_PATH_PROBE + padding);
        assert_eq!(tortp::check(&out), Ok(()));
        let (circuit, segment) = tortp::segments(&out).next().expect("a segment");
        assert_eq!((circuit, segment.flags), (0, Flags::default()));
        assert_eq!(segment.options.path_probe, Some(probe));
        assert_eq!(segment.payload.len(), padding);

        let raw = raw::segments(&out).next().expect("a segment");
        assert!(tortp::is_path_probe(&raw));
        for other in [
            RawSegment { circuit: 2, ..raw },
            RawSegment {
                flags: Flags::ACK,
                ..raw
            },
            RawSegment {
                flags: Flags::SYN,
                ..raw
            },
            RawSegment {
                options: &[],
                ..raw
            },
        ] {
            assert!(!tortp::is_path_probe(&other), "{other:?}");
            let mut out = Vec::new();
            tortp::begin(&mut out);
            assert!(other.encode(&mut out));
            let (_, segment) = tortp::segments(&out).next().expect("a segment");
            assert_eq!(segment.options.path_probe, None);
        }
    }
}

#[test]
fn bad_options() {
    let encoding = [
        &[8][..],                // no length
        &[8, 0, 0, 0],           // length 0
        &[8, 1, 0, 0],           // length 1
        &[8, 5, 0, 0],           // one over the end
        &[1, 1, 1, 2],           // no length after padding
        &[2, 4, 5, 0xb4, 3, 3],  // the second one over the end
        &[254, 255, 0x75, 0x54], // far over the end
    ];
    for octets in encoding {
        assert_eq!(
            tcp_options::check(octets),
            Err(Malformed::OptionEncoding),
            "{octets:?}"
        );
    }
    let length = [
        &[2, 3, 0, 0][..],
        &[2, 5, 0, 0, 0],
        &[3, 2, 0, 0],
        &[3, 4, 0, 0],
        &[4, 3, 0, 0],
        &[5, 2, 0, 0],
        &[5, 6, 0, 0, 0, 0],
        &[254, 4, 0x75, 0x54],
        &[254, 7, 0x75, 0x54, 0, 0, 0],
        &[254, 4, 0x75, 0x50],
        &[254, 9, 0x75, 0x51, 0, 0, 0, 0, 0],
    ];
    for octets in length {
        assert_eq!(
            tcp_options::check(octets),
            Err(Malformed::OptionLength),
            "{octets:?}"
        );
    }
    let good = [
        &[][..],
        &[0, 9, 9, 9],                    // nothing after the end counts
        &[1, 1, 1, 1],                    // padding only
        &[254, 4, 0x75, 0x55],            // another experiment
        &[254, 2, 1, 1],                  // too short for an experiment identifier
        &[8, 10, 1, 2, 3, 4, 5, 6, 7, 8], // timestamps are not used
    ];
    for octets in good {
        assert_eq!(
            tcp_options::parse(octets),
            Ok(Options::default()),
            "{octets:?}"
        );
    }
}

#[test]
fn what_cannot_be_encoded_is_refused() {
    let long = vec![0; tortp::MAX_PAYLOAD + 1];
    let bad = [
        RawSegment {
            ack: Seq(1),
            ..RawSegment::default()
        },
        RawSegment {
            urgent: 1,
            ..RawSegment::default()
        },
        RawSegment {
            reserved: 16,
            ..RawSegment::default()
        },
        RawSegment {
            options: &[1; 3],
            ..RawSegment::default()
        },
        RawSegment {
            options: &[1; 44],
            ..RawSegment::default()
        },
        RawSegment {
            payload: &long,
            ..RawSegment::default()
        },
    ];
    let mut out = Vec::new();
    for segment in bad {
        assert!(!segment.encode(&mut out));
        assert!(out.is_empty());
    }
}

#[test]
fn payload_beyond_the_length_field_is_left_out() {
    let long = vec![5; tortp::MAX_PAYLOAD + 1];
    let segment = Segment {
        payload: &long,
        ..pure_ack()
    };
    let mut out = Vec::new();
    tortp::begin(&mut out);
    tortp::encode(1, &segment, &mut out);
    assert_eq!(tortp::check(&out), Ok(()));
    assert_eq!(
        out.len(),
        tortp::DATAGRAM_HEADER + tortp::encoded_len(&segment)
    );
    let (_, decoded) = tortp::segments(&out).next().unwrap();
    assert_eq!(decoded.payload.len(), tortp::MAX_PAYLOAD);
}

#[test]
fn reasons_have_distinct_words() {
    let names: std::collections::HashSet<_> = Malformed::ALL.iter().map(|m| m.name()).collect();
    let texts: std::collections::HashSet<_> = Malformed::ALL.iter().map(|m| m.text()).collect();
    assert_eq!(names.len(), Malformed::ALL.len());
    assert_eq!(texts.len(), Malformed::ALL.len());
}
