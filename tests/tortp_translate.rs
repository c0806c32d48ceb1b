//! The translation between TORTP and TCP/IP packets is exact, and other TCPs read the packets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use proptest::collection::vec;
use proptest::prelude::*;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    IpAddress, IpProtocol, Ipv4Packet, Ipv4Repr, Ipv6Packet, Ipv6Repr, TcpControl, TcpPacket,
    TcpRepr, TcpSeqNumber,
};
use utcp::endpoint::Role;
use utcp::tcp::segment::{Flags, Options, SackBlocks, Segment};
use utcp::tcp::seq::Seq;
use utcp::tortp::translate::{Flow, Untranslatable, circuit_of, flow, from_packet, to_packet};
use utcp::tortp::{self, Malformed, RawSegment, options as tcp_options, raw};

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Client), Just(Role::Server)]
}

fn addresses() -> impl Strategy<Value = (IpAddr, IpAddr)> {
    prop_oneof![
        any::<(Ipv4Addr, Ipv4Addr)>().prop_map(|(a, b)| (a.into(), b.into())),
        any::<(Ipv6Addr, Ipv6Addr)>().prop_map(|(a, b)| (a.into(), b.into())),
    ]
}

/// Option octets of all kinds that this implementation knows and one that it does not, in words.
fn option_octets() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        Just(vec![1, 1, 1, 1]),
        any::<[u8; 2]>().prop_map(|[a, b]| vec![2, 4, a, b]),
        any::<u8>().prop_map(|shift| vec![1, 3, 3, shift]),
        Just(vec![4, 2, 1, 1]),
        any::<[u8; 8]>().prop_map(|block| [&[1, 1, 5, 10], &block[..]].concat()),
        any::<[u8; 8]>().prop_map(|stamps| [&[8, 10], &stamps[..], &[1, 1]].concat()),
        any::<[u8; 4]>().prop_map(|number| [&[254, 8, 0x75, 0x54], &number[..]].concat()),
    ];
    (vec(word, 0..8), any::<[u8; 3]>(), any::<bool>()).prop_map(|(words, after_end, end)| {
        let mut octets = Vec::new();
        for word in words {
            if octets.len() + word.len() <= 40 {
                octets.extend(word);
            }
        }
        if end && octets.len() < 40 {
            octets.push(0);
            octets.extend(after_end);
        }
        octets
    })
}

#[derive(Clone, Debug)]
struct Owned {
    fields: RawSegment<'static>,
    options: Vec<u8>,
    payload: Vec<u8>,
}

impl Owned {
    fn raw(&self) -> RawSegment<'_> {
        RawSegment {
            options: &self.options,
            payload: &self.payload,
            ..self.fields
        }
    }
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
        options in option_octets(),
        payload in vec(any::<u8>(), 0..100),
    ) -> Owned {
        let fields = RawSegment {
            circuit,
            flags,
            reserved,
            seq: Seq(seq),
            ack: Seq(if flags.has(Flags::ACK) { ack } else { 0 }),
            window,
            urgent: if flags.has(Flags::URG) { urgent } else { 0 },
            ..RawSegment::default()
        };
        Owned { fields, options, payload }
    }
}

proptest! {
    #[test]
    fn ports_and_circuit(circuit in any::<u32>(), (local, remote) in addresses(), role in role()) {
        let there = flow(circuit, local, remote, role);
        prop_assert_eq!(circuit_of(&there, role), circuit);
        let (server, client) = match role {
            Role::Server => (there.local, there.remote),
            Role::Client => (there.remote, there.local),
        };
        prop_assert_eq!(u32::from(server.port()), circuit >> 16);
        prop_assert_eq!(u32::from(client.port()), circuit & 0xffff);
        // Both sides name the two ends alike.
        let other = if role == Role::Client { Role::Server } else { Role::Client };
        prop_assert_eq!(there.reversed(), flow(circuit, remote, local, other));
    }

    /// TORTP to TCP/IP to TORTP.
    #[test]
    fn segment_round_trip(segment in segment(), (local, remote) in addresses(), role in role()) {
        let there = flow(segment.fields.circuit, local, remote, role);
        let mut packet = vec![9; 7];
        prop_assert_eq!(to_packet(&segment.raw(), &there, &mut packet), Ok(()));
        prop_assert_eq!(from_packet(&packet, role), Ok((there, segment.raw())));
        // Padding of a link changes nothing.
        packet.extend([0; 6]);
        prop_assert_eq!(from_packet(&packet, role), Ok((there, segment.raw())));
    }

    /// TCP/IP to TORTP octets to TCP/IP, from packets that smoltcp makes.
    #[test]
    fn packet_round_trip(
        ports in (1..=u16::MAX, 1..=u16::MAX),
        (local, remote) in addresses(),
        role in role(),
        control in prop_oneof![
            Just(TcpControl::None), Just(TcpControl::Psh), Just(TcpControl::Syn),
            Just(TcpControl::Fin), Just(TcpControl::Rst),
        ],
        seq in any::<i32>(),
        ack in proptest::option::of(any::<i32>()),
        window_len in any::<u16>(),
        max_seg_size in proptest::option::of(any::<u16>()),
        window_scale in proptest::option::of(0..=14_u8),
        sack_permitted in any::<bool>(),
        block in proptest::option::of(any::<(u32, u32)>()),
        payload in vec(any::<u8>(), 0..100),
    ) {
        let repr = TcpRepr {
            src_port: ports.0,
            dst_port: ports.1,
            control,
            seq_number: TcpSeqNumber(seq),
            ack_number: ack.map(TcpSeqNumber),
            window_len,
            window_scale,
            max_seg_size,
            sack_permitted,
            // smoltcp writes SACK blocks on segments with ACK only, but makes room for them on all.
            sack_ranges: [block.filter(|_| ack.is_some()), None, None],
            timestamp: None,
            payload: &payload,
        };
        let packet = smoltcp_packet(&repr, local, remote);
        let (there, segment) = from_packet(&packet, role).unwrap();
        prop_assert_eq!(there.local, SocketAddr::new(local, ports.0));
        prop_assert_eq!(there.remote, SocketAddr::new(remote, ports.1));

        let mut datagram = Vec::new();
        tortp::begin(&mut datagram);
        prop_assert!(segment.encode(&mut datagram));
        prop_assert_eq!(tortp::check(&datagram), Ok(()));
        let decoded = raw::segments(&datagram).next().unwrap();
        let mut again = Vec::new();
        let there = flow(decoded.circuit, local, remote, role);
        prop_assert_eq!(to_packet(&decoded, &there, &mut again), Ok(()));
        prop_assert_eq!(again, packet);
    }

    /// smoltcp understands what is sent as it was meant.
    #[test]
    fn smoltcp_reads_it(
        circuit in any::<u32>().prop_filter("ports", |c| c >> 16 != 0 && c & 0xffff != 0),
        (local, remote) in addresses(),
        role in role(),
        flags in prop_oneof![
            Just(Flags::ACK), Just(Flags::SYN), Just(Flags::SYN.with(Flags::ACK)),
            Just(Flags::FIN.with(Flags::ACK)), Just(Flags::RST), Just(Flags::ACK.with(Flags::PSH)),
        ],
        seq in any::<u32>(),
        ack in any::<u32>(),
        window in any::<u16>(),
        mss in proptest::option::of(any::<u16>()),
        window_scale in proptest::option::of(0..=14_u8),
        sack_permitted in any::<bool>(),
        circuit_number in proptest::option::of(any::<u32>()),
        blocks in vec(any::<(u32, u32)>(), 0..=3),
        payload in vec(any::<u8>(), 0..100),
    ) {
        let mut options = Options::default();
        if flags.has(Flags::SYN) {
            options = Options { mss, window_scale, sack_permitted, circuit_number, ..options };
        } else {
            for &(start, end) in &blocks {
                options.sack.push(Seq(start), Seq(end));
            }
        }
        let ack = Seq(if flags.has(Flags::ACK) { ack } else { 0 });
        let segment = Segment { flags, seq: Seq(seq), ack, window, options, payload: &payload, ce: false };
        let mut datagram = Vec::new();
        tortp::begin(&mut datagram);
        tortp::encode(circuit, &segment, &mut datagram);
        let raw = raw::segments(&datagram).next().unwrap();
        let there = flow(circuit, local, remote, role);
        let mut packet = Vec::new();
        prop_assert_eq!(to_packet(&raw, &there, &mut packet), Ok(()));

        let repr = smoltcp_reads(&packet, local, remote);
        prop_assert_eq!(repr.src_port, there.local.port());
        prop_assert_eq!(repr.dst_port, there.remote.port());
        prop_assert_eq!(repr.seq_number.0 as u32, seq);
        let acknowledged = flags.has(Flags::ACK).then_some(ack.0);
        prop_assert_eq!(repr.ack_number.map(|n| n.0 as u32), acknowledged);
        prop_assert_eq!(repr.window_len, window);
        prop_assert_eq!(repr.max_seg_size, options.mss);
        prop_assert_eq!(repr.window_scale, options.window_scale);
        prop_assert_eq!(repr.sack_permitted, options.sack_permitted);
        let ranges: Vec<_> = repr.sack_ranges.into_iter().flatten().collect();
        let expected: Vec<_> = options.sack.as_slice().iter().map(|b| (b.0.0, b.1.0)).collect();
        prop_assert_eq!(ranges, expected);
        prop_assert_eq!(repr.payload, &payload[..]);
        let control = match flags {
            Flags::ACK => TcpControl::None,
            Flags::RST => TcpControl::Rst,
            f if f.has(Flags::SYN) => TcpControl::Syn,
            f if f.has(Flags::FIN) => TcpControl::Fin,
            _ => TcpControl::Psh,
        };
        prop_assert_eq!(repr.control, control);
    }

    #[test]
    fn random_packets(octets in vec(any::<u8>(), 0..120), version in any::<bool>(), role in role()) {
        let mut octets = octets;
        if let Some(first) = octets.first_mut() {
            *first = if version { 0x45 } else { 0x60 };
        }
        // Random octets do not pass a checksum but by chance; what counts is that nothing panics.
        if let Ok((there, segment)) = from_packet(&octets, role) {
            let mut again = Vec::new();
            prop_assert_eq!(to_packet(&segment, &there, &mut again), Ok(()));
        }
    }

    /// Any octets for a TCP segment, with right checksums: rejected, or the same again after both translations.
    #[test]
    fn random_tcp(
        (local, remote) in addresses(),
        role in role(),
        header in any::<[u8; 20]>(),
        words in 4..=15_u8,
        rest in prop_oneof![vec(any::<u8>(), 0..80), vec(0..6_u8, 0..80)],
        // With ACK and URG in half of the cases, or hardly one would be free of stray numbers.
        flags in prop_oneof![any::<u8>(), any::<u8>().prop_map(|flags| flags | 0x30)],
    ) {
        let mut tcp = header.to_vec();
        tcp.extend(rest);
        tcp[12] = words << 4 | tcp[12] & 0x0f;
        tcp[13] = flags;
        let there = flow(0, local, remote, role);
        let empty = RawSegment { flags: Flags::ACK, payload: &tcp, ..RawSegment::default() };
        let mut packet = Vec::new();
        prop_assert_eq!(to_packet(&empty, &there, &mut packet), Ok(()));
        // In place of the segment that it was made for comes its payload.
        let ip = packet.len() - tcp.len() - 20;
        packet.drain(ip..ip + 20);
        if local.is_ipv4() {
            let mut header = Ipv4Packet::new_unchecked(&mut packet);
            header.set_total_len((20 + tcp.len()) as u16);
            header.fill_checksum();
        } else {
            Ipv6Packet::new_unchecked(&mut packet).set_payload_len(tcp.len() as u16);
        }
        repair_tcp(&mut packet, ip, &there);
        match from_packet(&packet, role) {
            Ok((there, segment)) => {
                let mut datagram = Vec::new();
                tortp::begin(&mut datagram);
                prop_assert!(segment.encode(&mut datagram));
                prop_assert_eq!(tortp::check(&datagram), Ok(()));
                let decoded = raw::segments(&datagram).next().unwrap();
                let mut again = Vec::new();
                prop_assert_eq!(to_packet(&decoded, &there, &mut again), Ok(()));
                prop_assert_eq!(again, packet);
            }
            Err(error) => prop_assert!(matches!(
                error,
                Untranslatable::TcpHeader
                    | Untranslatable::Acknowledgement
                    | Untranslatable::UrgentPointer
                    | Untranslatable::Options(_)
            )),
        }
    }

    /// No change of an octet that a checksum covers goes unnoticed.
    #[test]
    fn damaged_packets(
        segment in segment(),
        (local, remote) in addresses(),
        role in role(),
        at in any::<prop::sample::Index>(),
        bit in 0..8_u8,
    ) {
        let there = flow(segment.fields.circuit, local, remote, role);
        let mut packet = Vec::new();
        prop_assert_eq!(to_packet(&segment.raw(), &there, &mut packet), Ok(()));
        let at = at.index(packet.len());
        packet[at] ^= 1_u8 << bit;
        // Traffic class, flow label and hop limit of IPv6 have no checksum, and nothing is kept of them.
        let covered = local.is_ipv4() || !(matches!(at, 1..=3 | 7) || at == 0 && bit < 4);
        prop_assert_eq!(from_packet(&packet, role).is_err(), covered);
    }

    #[test]
    fn truncated_packets(segment in segment(), (local, remote) in addresses(), role in role()) {
        let there = flow(segment.fields.circuit, local, remote, role);
        let mut packet = Vec::new();
        prop_assert_eq!(to_packet(&segment.raw(), &there, &mut packet), Ok(()));
        for len in 0..packet.len() {
            let expected = if len == 0 { Untranslatable::IpVersion } else { Untranslatable::IpLength };
            prop_assert_eq!(from_packet(&packet[..len], role), Err(expected));
        }
    }
}

/// The IP packet that smoltcp makes of `repr`.
fn smoltcp_packet(repr: &TcpRepr<'_>, local: IpAddr, remote: IpAddr) -> Vec<u8> {
    let caps = ChecksumCapabilities::default();
    let len = repr.buffer_len();
    let mut octets;
    let tcp = match (local, remote) {
        (IpAddr::V4(src_addr), IpAddr::V4(dst_addr)) => {
            let next_header = IpProtocol::Tcp;
            let ip = Ipv4Repr {
                src_addr,
                dst_addr,
                next_header,
                payload_len: len,
                hop_limit: 64,
            };
            octets = vec![0; 20 + len];
            ip.emit(&mut Ipv4Packet::new_unchecked(&mut octets), &caps);
            &mut octets[20..]
        }
        (IpAddr::V6(src_addr), IpAddr::V6(dst_addr)) => {
            let next_header = IpProtocol::Tcp;
            let ip = Ipv6Repr {
                src_addr,
                dst_addr,
                next_header,
                payload_len: len,
                hop_limit: 64,
            };
            octets = vec![0; 40 + len];
            ip.emit(&mut Ipv6Packet::new_unchecked(&mut octets));
            &mut octets[40..]
        }
        _ => panic!("addresses of two families"),
    };
    let (local, remote) = (IpAddress::from(local), IpAddress::from(remote));
    repr.emit(&mut TcpPacket::new_unchecked(tcp), &local, &remote, &caps);
    octets
}

/// What smoltcp, with all checksums on, reads in a packet.
fn smoltcp_reads(packet: &[u8], local: IpAddr, remote: IpAddr) -> TcpRepr<'_> {
    let caps = ChecksumCapabilities::default();
    let tcp = if local.is_ipv4() {
        let ip = Ipv4Packet::new_checked(packet).unwrap();
        let repr = Ipv4Repr::parse(&ip, &caps).unwrap();
        assert_eq!(
            (IpAddr::V4(repr.src_addr), IpAddr::V4(repr.dst_addr)),
            (local, remote)
        );
        assert_eq!((repr.next_header, repr.hop_limit), (IpProtocol::Tcp, 64));
        assert_eq!(
            (ip.ident(), ip.dont_frag(), ip.dscp(), ip.ecn()),
            (0, true, 0, 0)
        );
        ip.payload()
    } else {
        let ip = Ipv6Packet::new_checked(packet).unwrap();
        let repr = Ipv6Repr::parse(&ip).unwrap();
        assert_eq!(
            (IpAddr::V6(repr.src_addr), IpAddr::V6(repr.dst_addr)),
            (local, remote)
        );
        assert_eq!((repr.next_header, repr.hop_limit), (IpProtocol::Tcp, 64));
        ip.payload()
    };
    let tcp = TcpPacket::new_checked(tcp).unwrap();
    TcpRepr::parse(&tcp, &local.into(), &remote.into(), &caps).unwrap()
}

const CIRCUIT: u32 = 0x2329_c000;

fn v4() -> Flow {
    flow(
        CIRCUIT,
        [192, 0, 2, 1].into(),
        [192, 0, 2, 2].into(),
        Role::Client,
    )
}

fn v6() -> Flow {
    let address = |last| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last));
    flow(CIRCUIT, address(1), address(2), Role::Client)
}

fn plain() -> RawSegment<'static> {
    RawSegment {
        circuit: CIRCUIT,
        flags: Flags::ACK,
        seq: Seq(1),
        ack: Seq(2),
        payload: b"cell",
        ..RawSegment::default()
    }
}

fn packet(segment: &RawSegment<'_>, flow: &Flow) -> Vec<u8> {
    let mut out = Vec::new();
    to_packet(segment, flow, &mut out).unwrap();
    out
}

/// Computes the IPv4 header's checksum anew after a change.
fn repair_ipv4(octets: &mut [u8]) {
    Ipv4Packet::new_unchecked(octets).fill_checksum();
}

/// Computes the TCP checksum anew after a change; the IP header is `ip` octets long.
fn repair_tcp(octets: &mut [u8], ip: usize, flow: &Flow) {
    let mut tcp = TcpPacket::new_unchecked(&mut octets[ip..]);
    tcp.fill_checksum(&flow.local.ip().into(), &flow.remote.ip().into());
}

#[test]
fn segments_that_no_packet_carries() {
    let long = vec![0; 65_535];
    let v4_most = &long[..65_535 - 40];
    let v6_most = &long[..65_535 - 20];
    let with = |payload| RawSegment { payload, ..plain() };
    let mixed = Flow {
        local: v4().local,
        remote: v6().remote,
    };
    let mut out = vec![1, 2, 3];
    let mut refused = |segment: RawSegment<'_>, flow: Flow| {
        let error = to_packet(&segment, &flow, &mut out).unwrap_err();
        assert_eq!(out, [1, 2, 3], "untouched after an error");
        error
    };
    assert_eq!(refused(plain(), mixed), Untranslatable::Family);
    assert_eq!(
        refused(with(&long[..v4_most.len() + 1]), v4()),
        Untranslatable::TooLong
    );
    assert_eq!(
        refused(with(&long[..v6_most.len() + 1]), v6()),
        Untranslatable::TooLong
    );
    let no_ack = RawSegment {
        flags: Flags::SYN,
        ..plain()
    };
    assert_eq!(refused(no_ack, v4()), Untranslatable::Acknowledgement);
    let urgent = RawSegment {
        urgent: 1,
        ..plain()
    };
    assert_eq!(refused(urgent, v4()), Untranslatable::UrgentPointer);
    let reserved = RawSegment {
        reserved: 16,
        ..plain()
    };
    assert_eq!(refused(reserved, v4()), Untranslatable::Field);
    for options in [&[1; 3][..], &[1; 44]] {
        assert_eq!(
            refused(RawSegment { options, ..plain() }, v4()),
            Untranslatable::Field
        );
    }
    let options = &[8, 0, 1, 1][..];
    let encoding = Untranslatable::Options(Malformed::OptionEncoding);
    assert_eq!(refused(RawSegment { options, ..plain() }, v4()), encoding);
    for (segment, flow) in [(with(v4_most), v4()), (with(v6_most), v6())] {
        let octets = packet(&segment, &flow);
        assert_eq!(from_packet(&octets, Role::Client), Ok((flow, segment)));
    }
}

#[test]
fn packets_that_are_rejected() {
    let v4_packet = packet(&plain(), &v4());
    let v6_packet = packet(&plain(), &v6());
    let rejected = |octets: &[u8]| from_packet(octets, Role::Client).unwrap_err();
    let changed = |octets: &[u8], at: usize, to: u8| {
        let mut octets = octets.to_vec();
        octets[at] = to;
        if octets[0] >> 4 == 4 {
            repair_ipv4(&mut octets);
        }
        octets
    };
    assert_eq!(rejected(&[]), Untranslatable::IpVersion);
    assert_eq!(
        rejected(&changed(&v4_packet, 0, 0x55)),
        Untranslatable::IpVersion
    );
    assert_eq!(
        rejected(&changed(&v4_packet, 9, 17)),
        Untranslatable::Protocol
    );
    assert_eq!(
        rejected(&changed(&v6_packet, 6, 17)),
        Untranslatable::Protocol
    );
    // More fragments; a fragment offset; an IPv6 fragment header.
    assert_eq!(
        rejected(&changed(&v4_packet, 6, 0x20)),
        Untranslatable::Fragment
    );
    assert_eq!(
        rejected(&changed(&v4_packet, 7, 1)),
        Untranslatable::Fragment
    );
    assert_eq!(
        rejected(&changed(&v6_packet, 6, 44)),
        Untranslatable::Fragment
    );
    for extension in [0, 43, 60] {
        assert_eq!(
            rejected(&changed(&v6_packet, 6, extension)),
            Untranslatable::IpOptions
        );
    }
    assert_eq!(
        rejected(&changed(&v4_packet, 0, 0x46)),
        Untranslatable::IpOptions
    );
    let mut wrong = v4_packet.clone();
    wrong[10] ^= 1;
    assert_eq!(rejected(&wrong), Untranslatable::IpChecksum);
    for octets in [&v4_packet, &v6_packet] {
        let mut wrong = octets.clone();
        *wrong.last_mut().unwrap() ^= 1;
        assert_eq!(rejected(&wrong), Untranslatable::TcpChecksum);
    }
    // Total length and header length that contradict each other.
    assert_eq!(
        rejected(&changed(&v4_packet, 0, 0x44)),
        Untranslatable::IpLength
    );
    assert_eq!(
        rejected(&changed(&v4_packet, 3, 19)),
        Untranslatable::IpLength
    );
    // A payload of 19 octets is no TCP header.
    assert_eq!(
        rejected(&changed(&v4_packet, 3, 39)),
        Untranslatable::TcpHeader
    );
    // The data offset is looked at before the checksum.
    for offset in [0x40, 0xf0] {
        let mut octets = v4_packet.clone();
        octets[32] = offset;
        assert_eq!(rejected(&octets), Untranslatable::TcpHeader);
    }
    let mut no_ack = v4_packet.clone();
    no_ack[33] = Flags::SYN.0;
    repair_tcp(&mut no_ack, 20, &v4());
    assert_eq!(rejected(&no_ack), Untranslatable::Acknowledgement);
    let mut urgent = v6_packet.clone();
    urgent[40 + 19] = 1;
    repair_tcp(&mut urgent, 40, &v6());
    assert_eq!(rejected(&urgent), Untranslatable::UrgentPointer);
    let mut options = packet(
        &RawSegment {
            options: &[2, 4, 5, 0xb4],
            ..plain()
        },
        &v4(),
    );
    options[41] = 3;
    repair_tcp(&mut options, 20, &v4());
    assert_eq!(
        rejected(&options),
        Untranslatable::Options(Malformed::OptionLength)
    );
}

/// smoltcp's `TcpRepr` has three SACK ranges and no ECE or CWR; these go through the raw fields.
#[test]
fn four_sack_blocks_and_ecn_bits() {
    let mut sack = SackBlocks::default();
    for n in 0..4 {
        assert!(sack.push(Seq(100 * n), Seq(100 * n + 50)));
    }
    let mut octets = [0; 40];
    let options = Options {
        sack,
        ..Options::default()
    };
    let len = tcp_options::encode(&options, &mut octets);
    let flags = Flags::ACK.with(Flags::ECE).with(Flags::CWR);
    let segment = RawSegment {
        flags,
        reserved: 0b1001,
        options: &octets[..len],
        ..plain()
    };
    let packet = packet(&segment, &v6());
    let tcp = TcpPacket::new_checked(&packet[40..]).unwrap();
    assert!(tcp.ece() && tcp.cwr() && tcp.ns() && tcp.ack() && !tcp.urg());
    assert_eq!(packet[40 + 12], 0xe9);
    let (_, back) = from_packet(&packet, Role::Client).unwrap();
    assert_eq!(tcp_options::parse(back.options), Ok(options));
    assert_eq!(back, segment);
}
