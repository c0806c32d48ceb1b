use super::*;
use crate::emulate::delay::Delay;

const PACKETS: u64 = 200_000;

/// Bits a second that nothing waits for.
const FAST: u64 = 8_000_000_000;

/// Sends packets of 100 octets, one a millisecond; what becomes of each.
fn fates(conditions: &Conditions, seed: u64, packets: u64) -> (Vec<Fate>, Link) {
    let mut link = Link::new(conditions.clone(), seed);
    let fates = (0..packets).map(|number| link.enter(number * MILLIS, &mut [0x45; 100]));
    (fates.collect(), link)
}

fn is_lost(fate: &Fate) -> bool {
    *fate == Fate::Dropped(Cause::Lost)
}

fn share(hits: u64) -> f64 {
    hits as f64 / PACKETS as f64
}

/// A binomial share is within four of its standard deviations of what was asked for.
fn near(measured: f64, wanted: f64) {
    let deviation = (wanted * (1.0 - wanted) / PACKETS as f64).sqrt();
    assert!(
        (measured - wanted).abs() <= 4.0 * deviation,
        "{measured}, not {wanted}"
    );
}

fn arrivals(link: &mut Link, at: impl IntoIterator<Item = Nanos>, size: usize) -> Vec<Nanos> {
    at.into_iter()
        .filter_map(|at| match link.enter(at, &mut vec![0x45; size]) {
            Fate::Arrives(at, _) => Some(at),
            Fate::Dropped(_) => None,
        })
        .collect()
}

#[test]
fn packets_leave_at_the_rate_of_the_link_after_its_delay() {
    // 1,000 octets take a millisecond.
    let mut link = Link::new(Conditions::new(8_000_000, 20 * MILLIS), 1);
    let arrivals = arrivals(&mut link, [0, 0, 0, 40 * MILLIS], 1_000);
    assert_eq!(arrivals, [11, 12, 13, 51].map(|at| at * MILLIS));
}

#[test]
fn a_link_without_a_rate_only_delays() {
    let mut link = Link::new(Conditions::plain(20 * MILLIS), 1);
    assert_eq!(
        arrivals(&mut link, [5, 5, 7], 1_000),
        [5, 5, 7].map(|at| at + 20 * MILLIS)
    );
}

#[test]
fn the_rate_is_carried_over_a_long_time_and_not_exceeded() {
    let rate = 9_999_991;
    let mut conditions = Conditions::new(rate, 20 * MILLIS);
    conditions.queue = 1 << 30;
    let mut link = Link::new(conditions, 1);
    let arrivals = arrivals(&mut link, (0..20_000).map(|n| n * 1_000), 1_500);
    let octets = 1_500.0 * (arrivals.len() - 1) as f64;
    let time = (arrivals[arrivals.len() - 1] - arrivals[0]) as f64 / SECONDS as f64;
    assert!((octets * 8.0 / time / rate as f64 - 1.0).abs() < 1e-5);
}

#[test]
fn the_queue_holds_what_it_is_told_and_drops_the_last_to_come() {
    let mut link = Link::new(Conditions::new(8_000_000, 20 * MILLIS), 1);
    // One is being sent, 20 wait.
    assert_eq!(arrivals(&mut link, [0; 30], 1_000).len(), 21);
    assert_eq!(link.counters.overflowed, 9);
    assert_eq!(
        (link.counters.entered, link.counters.entered_octets),
        (30, 30_000)
    );
    let queue = link.bottleneck();
    assert!(
        queue.quantile(1.0).abs_diff(20_000) <= 200,
        "{}",
        queue.quantile(1.0)
    );
    assert!(
        queue.quantile(0.5).abs_diff(14_000) <= 1_000,
        "{}",
        queue.quantile(0.5)
    );
    // A smaller one still fits when the queue is empty again.
    assert_eq!(arrivals(&mut link, [30 * MILLIS], 1_000).len(), 1);
}

#[test]
fn random_loss_is_as_frequent_as_asked_for() {
    for loss in [0.001, 0.01, 0.3, 1.0] {
        let mut conditions = Conditions::plain(MILLIS);
        conditions.loss = loss;
        let (fates, link) = fates(&conditions, 1, PACKETS);
        let lost = fates.iter().filter(|fate| is_lost(fate)).count() as u64;
        near(share(lost), loss);
        assert_eq!(link.counters.lost, lost);
    }
}

#[test]
fn bursty_loss_has_the_mean_and_the_length_of_bursts_that_the_model_gives() {
    let burst = Burst {
        enter: 0.01,
        leave: 0.2,
        loss: 1.0,
        loss_good: 0.0,
    };
    let mut conditions = Conditions::plain(MILLIS);
    conditions.burst = Some(burst);
    let (fates, _) = fates(&conditions, 1, PACKETS);
    let lost: Vec<bool> = fates.iter().map(is_lost).collect();
    let total = lost.iter().filter(|&&lost| lost).count() as f64;
    let bursts = lost.windows(2).filter(|pair| !pair[0] && pair[1]).count() as f64;
    // 1/21 of all; a burst lasts for 5 packets in the mean, where independent losses would last for 1.05.
    let mean = burst.mean_loss();
    assert!((mean - 1.0 / 21.0).abs() < 1e-12);
    assert!(
        (total / PACKETS as f64 / mean - 1.0).abs() < 0.1,
        "{total} of {PACKETS}"
    );
    assert!(
        (total / bursts - 5.0).abs() < 0.4,
        "{} a burst",
        total / bursts
    );
}

#[test]
fn both_states_of_bursty_loss_have_losses_of_their_own() {
    let burst = Burst {
        enter: 0.05,
        leave: 0.05,
        loss: 0.4,
        loss_good: 0.02,
    };
    let mut conditions = Conditions::plain(MILLIS);
    conditions.burst = Some(burst);
    let (fates, _) = fates(&conditions, 3, PACKETS);
    let lost = fates.iter().filter(|fate| is_lost(fate)).count() as f64;
    assert!((lost / PACKETS as f64 / 0.21 - 1.0).abs() < 0.05, "{lost}");
}

#[test]
fn the_same_packets_are_hit_with_the_same_seed_and_others_with_another() {
    let mut conditions = Conditions::new(FAST, 20 * MILLIS);
    conditions.loss = 0.1;
    conditions.burst = Some(Burst {
        enter: 0.01,
        leave: 0.3,
        loss: 0.9,
        loss_good: 0.0,
    });
    conditions.delay = Delay::Normal {
        mean: 20 * MILLIS,
        deviation: 3 * MILLIS,
    };
    conditions.reorder = 0.1;
    conditions.reorder_by = 5 * MILLIS;
    conditions.duplicate = 0.1;
    conditions.corrupt = 0.1;
    let (first, mut link) = fates(&conditions, 1, 5_000);
    assert_eq!(first, fates(&conditions, 1, 5_000).0);
    assert_ne!(first, fates(&conditions, 2, 5_000).0);
    // And once more after it was begun anew.
    link.restart();
    assert_eq!(link.counters, Counters::default());
    let again: Vec<Fate> = (0..5_000u64)
        .map(|n| link.enter(n * MILLIS, &mut [0x45; 100]))
        .collect();
    assert_eq!(first, again);
}

#[test]
fn one_kind_of_disturbance_does_not_change_the_choices_of_another() {
    let mut conditions = Conditions::plain(20 * MILLIS);
    conditions.loss = 0.05;
    let (alone, _) = fates(&conditions, 1, 20_000);
    conditions.duplicate = 0.2;
    conditions.corrupt = 0.2;
    conditions.reorder = 0.2;
    conditions.delay = Delay::Uniform {
        mean: 20 * MILLIS,
        jitter: MILLIS,
    };
    let (beside, _) = fates(&conditions, 1, 20_000);
    let lost = |fates: &[Fate]| fates.iter().map(is_lost).collect::<Vec<bool>>();
    assert_eq!(lost(&alone), lost(&beside));
    assert!(lost(&alone).contains(&true));
}

#[test]
fn late_packets_are_overtaken_and_hold_nobody_up() {
    let mut conditions = Conditions::plain(20 * MILLIS);
    conditions.reorder = 0.25;
    conditions.reorder_by = 5 * MILLIS;
    let (fates, link) = fates(&conditions, 1, PACKETS);
    let late = fates.iter().zip(0..).filter(|(fate, number)| {
        let due = number * MILLIS + 20 * MILLIS;
        match fate {
            Fate::Arrives(at, marks) if marks.reordered => *at == due + 5 * MILLIS,
            Fate::Arrives(at, _) => {
                assert_eq!(*at, due);
                false
            }
            Fate::Dropped(_) => panic!("nothing is lost here"),
        }
    });
    let late = late.count() as u64;
    near(share(late), 0.25);
    assert_eq!(link.counters.reordered, late);
}

#[test]
fn jitter_keeps_the_order_unless_told_otherwise() {
    for keep_order in [true, false] {
        let mut conditions = Conditions::plain(0);
        conditions.delay = Delay::Uniform {
            mean: 20 * MILLIS,
            jitter: 5 * MILLIS,
        };
        conditions.keep_order = keep_order;
        let mut link = Link::new(conditions, 1);
        let arrivals = arrivals(&mut link, (0..1_000).map(|n| n * MILLIS), 100);
        assert_eq!(arrivals.is_sorted(), keep_order);
    }
}

#[test]
fn copies_and_damage_are_as_frequent_as_asked_for_and_damage_is_one_bit() {
    let mut conditions = Conditions::plain(MILLIS);
    conditions.duplicate = 0.02;
    conditions.corrupt = 0.05;
    let mut link = Link::new(conditions, 1);
    let (mut copies, mut damaged, mut places) = (0, 0, std::collections::HashSet::new());
    for number in 0..PACKETS {
        let mut packet = [0x45u8; 100];
        let Fate::Arrives(_, marks) = link.enter(number, &mut packet) else {
            panic!("nothing is lost here");
        };
        copies += u64::from(marks.duplicated);
        damaged += u64::from(marks.corrupted);
        let flipped: u32 = packet.iter().map(|octet| (octet ^ 0x45).count_ones()).sum();
        assert_eq!(flipped, u32::from(marks.corrupted));
        places.extend(packet.iter().position(|&octet| octet != 0x45));
    }
    near(share(copies), 0.02);
    near(share(damaged), 0.05);
    assert_eq!(places.len(), 100, "every octet is hit at some time");
    assert_eq!(
        (link.counters.duplicated, link.counters.corrupted),
        (copies, damaged)
    );
}

/// The sum of an IPv4 header with its checksum: 0xffff if that is right.
fn header_sum(packet: &[u8]) -> u16 {
    let halves = packet[..20]
        .chunks(2)
        .map(|half| u32::from(u16::from_be_bytes([half[0], half[1]])));
    let sum: u32 = halves.sum();
    ((sum & 0xffff) + (sum >> 16)) as u16
}

/// An IPv4 packet with this ECN field and a right checksum.
fn with_ecn(ecn: u8) -> Vec<u8> {
    let mut packet = vec![0; 1_000];
    packet[..20].copy_from_slice(&[
        0x45,
        0xb8 | ecn,
        3,
        232,
        18,
        52,
        0x40,
        0,
        64,
        17,
        0,
        0,
        10,
        0,
        0,
        1,
        10,
        0,
        0,
        2,
    ]);
    let checksum = !header_sum(&packet);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    assert_eq!(header_sum(&packet), 0xffff);
    packet
}

#[test]
fn packets_of_ecn_capable_transports_are_marked_above_the_threshold_only() {
    for ecn in 0..4u8 {
        let mut conditions = Conditions::new(8_000_000, 20 * MILLIS);
        conditions.mark = Some(5_000);
        let mut link = Link::new(conditions, 1);
        for number in 0..10 {
            let mut packet = with_ecn(ecn);
            let Fate::Arrives(_, marks) = link.enter(0, &mut packet) else {
                panic!("the queue is long enough");
            };
            // The first is sent at once; number 6 finds 5,000 octets waiting.
            let above = number >= 6;
            let capable = ecn == 1 || ecn == 2;
            assert_eq!(marks.marked, above && capable, "ECN {ecn}, packet {number}");
            assert_eq!(packet[1] & 3, if marks.marked { 3 } else { ecn });
            assert_eq!(header_sum(&packet), 0xffff, "the checksum holds");
        }
    }
}

#[test]
fn what_is_not_a_segment_of_tcp_is_not_chosen() {
    let mut link = Link::new(Conditions::plain(MILLIS), 1);
    link.watch(Box::new(|_| true));
    assert!(matches!(link.enter(0, &mut with_ecn(0)), Fate::Arrives(..)));
    assert_eq!(link.counters.chosen, 0);
}

#[test]
fn other_conditions_hold_from_the_next_packet_on() {
    let mut link = Link::new(Conditions::plain(20 * MILLIS), 1);
    assert_eq!(arrivals(&mut link, [0], 100), [20 * MILLIS]);
    let mut conditions = Conditions::plain(30 * MILLIS);
    conditions.loss = 1.0;
    link.set_conditions(conditions);
    assert!(arrivals(&mut link, [MILLIS], 100).is_empty());
    link.set_conditions(Conditions::plain(5 * MILLIS));
    // The order is kept: it may not overtake the first.
    assert_eq!(
        arrivals(&mut link, [2 * MILLIS, 40 * MILLIS], 100),
        [20 * MILLIS, 45 * MILLIS]
    );
}
