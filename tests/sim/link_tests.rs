//! The network model on its own, so that a fault in it is not taken for one of the library.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use utcp::time::{MILLISECOND, SECOND, Time};

use super::link::{CE, Field, HEADERS, Link, Packet};

/// Sends `times.len()` datagrams of `size` octets, numbered in their first eight octets; gives number, time and
/// datagram in the order of arrival.
fn send(link: Link, seed: u64, times: &[u64], size: usize) -> (Link, Vec<(u64, u64, Packet)>) {
    let mut link = link.seeded(seed);
    let mut queue = BinaryHeap::new();
    let mut packets = Vec::new();
    for (number, &time) in times.iter().enumerate() {
        let mut data = vec![0; size];
        data[..8].copy_from_slice(&(number as u64).to_le_bytes());
        packets.push(Packet {
            from: "192.0.2.1:1".parse().unwrap(),
            to: "192.0.2.2:1".parse().unwrap(),
            data,
            ecn: 0,
        });
        queue.push(Reverse((time, packets.len() - 1, 0)));
    }
    let mut arrived = Vec::new();
    while let Some(Reverse((time, index, stage))) = queue.pop() {
        let packet = packets[index].clone();
        if stage == 0 {
            link.enter(&packet);
        }
        if stage == link.stages() {
            arrived.push((
                u64::from_le_bytes(packet.data[..8].try_into().unwrap()),
                time,
                packet,
            ));
            continue;
        }
        for (at, packet) in link.pass(stage, Time(time), packet).0.into_iter().flatten() {
            assert!(at >= Time(time));
            packets.push(packet);
            queue.push(Reverse((at.0, packets.len() - 1, stage + 1)));
        }
    }
    (link, arrived)
}

fn every(interval: u64, count: u64) -> Vec<u64> {
    (0..count).map(|i| i * interval).collect()
}

#[test]
fn delay_adds_exactly_its_time() {
    let (_, arrived) = send(Link::new().delay(25 * MILLISECOND), 1, &[0, 10, 1_000], 100);
    let times: Vec<u64> = arrived.iter().map(|a| a.1).collect();
    assert_eq!(times, [25_000, 25_010, 26_000]);
}

#[test]
fn jitter_stays_within_its_bound_and_keeps_order() {
    let sent = every(100, 5_000);
    let (_, arrived) = send(Link::new().jitter(5_000), 2, &sent, 100);
    assert_eq!(arrived.len(), 5_000);
    let mut previous = 0;
    let mut varied = 0;
    for (index, (number, time, _)) in arrived.iter().enumerate() {
        assert_eq!(*number, index as u64);
        assert!(*time >= previous && *time >= sent[index] && *time <= sent[index] + 5_000);
        previous = *time;
        varied += u64::from(*time > sent[index]);
    }
    assert!(varied > 4_000);
}

#[test]
fn rate_spaces_datagrams_by_their_time_on_the_wire() {
    // 1,250 octets with headers at 1.25 MB/s: a millisecond each.
    let (_, arrived) = send(
        Link::new().rate(1_250_000, 1 << 20),
        1,
        &[0; 100],
        1_250 - HEADERS,
    );
    let times: Vec<u64> = arrived.iter().map(|a| a.1).collect();
    assert_eq!(times, (1..=100).map(|i| i * 1_000).collect::<Vec<_>>());
}

#[test]
fn rate_is_exact_over_a_long_time_at_high_speed() {
    // 125 MB/s, 1,400 octets: 11.2 us each; rounding must not add up.
    let (_, arrived) = send(
        Link::new().rate(125_000_000, usize::MAX),
        1,
        &vec![0; 100_000],
        1_400 - HEADERS,
    );
    assert_eq!(arrived.last().unwrap().1, 1_120_000);
}

#[test]
fn an_idle_bottleneck_does_not_save_up() {
    let (_, arrived) = send(
        Link::new().rate(1_250_000, 10_000),
        1,
        &[0, 500_000],
        1_250 - HEADERS,
    );
    assert_eq!(arrived[0].1, 1_000);
    assert_eq!(arrived[1].1, 501_000);
}

#[test]
fn the_queue_drops_the_tail_beyond_its_octets() {
    // One in transmission, and four of 1,250 octets fit 5,000.
    let (link, arrived) = send(
        Link::new().rate(1_250_000, 5_000),
        1,
        &[0; 10],
        1_250 - HEADERS,
    );
    let numbers: Vec<u64> = arrived.iter().map(|a| a.0).collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4]);
    assert_eq!(link.counters().dropped, 5);
    // Room comes back as datagrams leave: at 2,500 us the third is in transmission.
    let (_, arrived) = send(
        Link::new().rate(1_250_000, 5_000),
        1,
        &[0, 0, 0, 0, 0, 0, 2_500, 2_500, 2_500],
        1_250 - HEADERS,
    );
    let numbers: Vec<u64> = arrived.iter().map(|a| a.0).collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4, 6, 7]);
}

#[test]
fn random_loss_has_its_frequency() {
    for (p, low, high) in [
        (0.0, 0, 0),
        (0.001, 60, 140),
        (0.03, 2_850, 3_150),
        (0.1, 9_700, 10_300),
        (1.0, 100_000, 100_000),
    ] {
        let (link, arrived) = send(Link::new().loss(p), 3, &every(1, 100_000), 8);
        let lost = link.counters().dropped;
        assert!((low..=high).contains(&lost), "{p}: {lost}");
        assert_eq!(arrived.len() as u64, 100_000 - lost);
    }
}

#[test]
fn burst_loss_has_its_share_and_its_length() {
    let (_, arrived) = send(Link::new().burst_loss(0.05, 8.0), 4, &every(1, 200_000), 8);
    let lost = 200_000 - arrived.len();
    assert!((8_500..11_500).contains(&lost), "{lost}");
    let bursts = arrived.windows(2).filter(|w| w[1].0 > w[0].0 + 1).count();
    let mean = lost as f64 / bursts as f64;
    // Lost in a row: until the burst ends (one in eight) or a datagram passes (one in four), 1 / (1 - 7/8 * 3/4).
    assert!((2.6..3.2).contains(&mean), "{mean}");
    let (_, arrived) = send(Link::new().burst_loss(0.0, 8.0), 4, &every(1, 1_000), 8);
    assert_eq!(arrived.len(), 1_000);
}

#[test]
fn reordering_loses_nothing_and_moves_its_share() {
    let (link, arrived) = send(Link::new().reorder(0.1, 5_000), 5, &every(1_000, 10_000), 8);
    assert_eq!(arrived.len(), 10_000);
    assert!((850..1_150).contains(&link.counters().touched));
    let overtaken = arrived.windows(2).filter(|w| w[1].0 < w[0].0).count();
    assert!((400..1_100).contains(&overtaken), "{overtaken}");
    for (number, time, _) in &arrived {
        assert!((number * 1_000..=number * 1_000 + 5_000).contains(time));
    }
}

#[test]
fn duplicates_are_copies_in_their_share() {
    let (link, arrived) = send(
        Link::new().duplicate(0.1, 2_000),
        6,
        &every(1_000, 10_000),
        50,
    );
    let copies = link.counters().touched;
    assert!((850..1_150).contains(&copies));
    assert_eq!(arrived.len() as u64, 10_000 + copies);
    let mut seen = vec![0; 10_000];
    for (number, _, packet) in &arrived {
        seen[*number as usize] += 1;
        assert!(packet.data[8..].iter().all(|b| *b == 0));
    }
    assert!(seen.iter().all(|n| *n == 1 || *n == 2));
}

#[test]
fn corruption_flips_bits_in_its_share_and_changes_no_length() {
    let mut link = Link::new().corrupt(0.1).seeded(7);
    let mut damaged = 0;
    for _ in 0..10_000 {
        let packet = Packet {
            from: "192.0.2.1:1".parse().unwrap(),
            to: "192.0.2.2:1".parse().unwrap(),
            data: vec![0x5a; 100],
            ecn: 2,
        };
        let [Some((_, after)), None] = link.pass(0, Time(0), packet.clone()).0 else {
            panic!("corruption neither drops nor doubles");
        };
        assert_eq!(after.data.len(), 100);
        let bits: u32 = after
            .data
            .iter()
            .map(|octet| (octet ^ 0x5a).count_ones())
            .sum();
        assert!(bits <= 8);
        damaged += u64::from(bits > 0);
    }
    assert!((850..1_150).contains(&damaged), "{damaged}");
    assert_eq!(damaged, link.counters().touched);
}

#[test]
fn the_mtu_drops_larger_payloads_only() {
    let (_, arrived) = send(Link::new().mtu(1_200), 1, &[0], 1_200);
    assert_eq!(arrived.len(), 1);
    let (_, arrived) = send(Link::new().mtu(1_200), 1, &[0], 1_201);
    assert_eq!(arrived.len(), 0);
}

#[test]
fn a_blackout_drops_what_enters_within_it() {
    let (_, arrived) = send(
        Link::new().blackout(Time(SECOND), Time(2 * SECOND)),
        1,
        &[999_999, 1_000_000, 1_999_999, 2_000_000],
        8,
    );
    let numbers: Vec<u64> = arrived.iter().map(|a| a.0).collect();
    assert_eq!(numbers, [0, 3]);
}

#[test]
fn stages_act_in_the_order_they_are_named() {
    // The blackout sees the datagram after the delay in one, before it in the other.
    let (_, arrived) = send(
        Link::new().delay(100).blackout(Time(100), Time(200)),
        1,
        &[0, 150],
        8,
    );
    assert_eq!(arrived.iter().map(|a| a.0).collect::<Vec<_>>(), [1]);
    let (_, arrived) = send(
        Link::new().blackout(Time(100), Time(200)).delay(100),
        1,
        &[0, 150],
        8,
    );
    assert_eq!(arrived.iter().map(|a| a.0).collect::<Vec<_>>(), [0]);
}

#[test]
fn a_seed_repeats_and_another_differs() {
    let link = || {
        Link::new()
            .delay(1_000)
            .jitter(500)
            .loss(0.1)
            .reorder(0.1, 900)
            .duplicate(0.1, 100)
            .corrupt(0.1)
            .rate(1_000_000, 20_000)
    };
    let times = every(100, 2_000);
    let (_, first) = send(link(), 11, &times, 64);
    let (_, again) = send(link(), 11, &times, 64);
    let (_, other) = send(link(), 12, &times, 64);
    assert_eq!(first, again);
    assert_ne!(first, other);
}

/// Passes a datagram with this ECN field through a link of one stage at `now`; the field with which it comes out.
fn field(link: &mut Link, now: u64, ecn: u8) -> Option<u8> {
    let packet = Packet {
        from: "192.0.2.1:1".parse().unwrap(),
        to: "192.0.2.2:1".parse().unwrap(),
        data: vec![0; 1_250 - HEADERS],
        ecn,
    };
    let [out, _] = link.pass(0, Time(now), packet).0;
    out.map(|(_, packet)| packet.ecn)
}

#[test]
fn a_marking_queue_drops_only_what_cannot_be_marked() {
    let mut link = Link::new().marking_rate(1_250_000, 5_000, 2_500).seeded(1);
    // One in transmission and two in the queue are not too many.
    let out: Vec<_> = [2, 0, 1].map(|ecn| field(&mut link, 0, ecn)).into();
    assert_eq!(out, [Some(2), Some(0), Some(1)]);
    assert_eq!(field(&mut link, 0, 0), None);
    assert_eq!(field(&mut link, 0, 1), Some(CE));
    assert_eq!(field(&mut link, 0, CE), Some(CE));
    assert_eq!(field(&mut link, 0, 2), None, "the queue is full");
    let counters = link.counters();
    assert_eq!((counters.dropped, counters.touched), (2, 1));
    // Four milliseconds later it is half empty.
    assert_eq!(field(&mut link, 4_000, 0), Some(0));
}

#[test]
fn the_ecn_field_is_changed_as_it_is_said() {
    let mut link = Link::new().ecn(Field::Bleached).seeded(1);
    assert_eq!(field(&mut link, 0, CE), Some(0));
    let mut link = Link::new().ecn(Field::AlwaysMarked).seeded(1);
    assert_eq!(field(&mut link, 0, 2), Some(CE));
    let mut link = Link::new().ecn(Field::CapableDropped(Time(5))).seeded(1);
    assert_eq!(field(&mut link, 4, 2), Some(2));
    assert_eq!(field(&mut link, 5, 2), None);
    assert_eq!(field(&mut link, 5, 0), Some(0));
}
