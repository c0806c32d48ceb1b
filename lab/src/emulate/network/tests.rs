use super::*;
use crate::emulate::link::{MILLIS, SECONDS};

/// A packet between two of the addresses 10.0.0.1 and so on.
fn packet(from: u8, to: u8, size: usize) -> Vec<u8> {
    let mut packet = vec![0; size];
    packet[0] = 0x45;
    packet[12..16].copy_from_slice(&[10, 0, 0, from + 1]);
    packet[16..20].copy_from_slice(&[10, 0, 0, to + 1]);
    packet
}

fn mesh(ports: u8, link: impl FnMut(Ends) -> Link) -> Network {
    let addresses: Vec<Ipv4Addr> = (1..=ports)
        .map(|last| Ipv4Addr::new(10, 0, 0, last))
        .collect();
    Network::mesh(&addresses, link)
}

fn plain(ports: u8, delay: Nanos) -> Network {
    mesh(ports, |_| Link::new(Conditions::plain(delay), 1))
}

/// When, and at which port.
fn drain(network: &mut Network) -> Vec<(Nanos, usize)> {
    std::iter::from_fn(|| network.leave(Nanos::MAX))
        .map(|arrival| (arrival.at, arrival.port))
        .collect()
}

#[test]
fn packets_go_where_their_address_says_and_nowhere_else() {
    let mut network = mesh(3, |ends| {
        let delay = (10 * ends.from + ends.to) as u64;
        Link::new(Conditions::plain(delay * MILLIS), 1)
    });
    network.enter(0, 0, packet(0, 1, 100));
    network.enter(0, 2, packet(2, 0, 100));
    network.enter(0, 1, packet(1, 2, 100));
    assert_eq!(network.next(), Some(MILLIS));
    assert_eq!(network.leave(MILLIS - 1), None);
    assert_eq!(
        drain(&mut network),
        [(MILLIS, 1), (12 * MILLIS, 2), (20 * MILLIS, 0)]
    );
    // Nobody has the address; there is none.
    network.enter(0, 0, packet(0, 77, 100));
    network.enter(0, 0, vec![0x45; 19]);
    assert_eq!((network.next(), network.unroutable), (None, 2));
    let link = network.between(1, 2).expect("all pairs have one");
    let counters = network.link(link).counters;
    assert_eq!(
        (
            counters.entered,
            counters.delivered,
            counters.delivered_octets
        ),
        (1, 1, 100)
    );
}

#[test]
fn pairs_are_apart() {
    let link = |delay| Link::new(Conditions::plain(delay), 1);
    let mut network = Network::pairs([[link(1), link(2)], [link(3), link(4)]]);
    for port in 0..4 {
        network.enter(0, port, vec![port as u8; 60]);
    }
    assert_eq!(drain(&mut network), [(1, 1), (2, 0), (3, 3), (4, 2)]);
}

#[test]
fn the_traffic_of_one_pair_does_not_change_what_happens_to_another() {
    let run = |busy: bool| {
        let mut network = mesh(3, |ends| {
            let mut conditions = Conditions::plain(MILLIS);
            conditions.loss = 0.3;
            Link::new(conditions, (ends.from * 3 + ends.to) as u64)
        });
        for number in 0..2_000u64 {
            if busy {
                network.enter(number, 1, packet(1, 2, 100));
                network.enter(number, 0, packet(0, 2, 100));
            }
            network.enter(number, 0, packet(0, 1, 100));
        }
        let arrived = drain(&mut network);
        arrived
            .into_iter()
            .filter(|&(_, port)| port == 1)
            .collect::<Vec<_>>()
    };
    let quiet = run(false);
    assert!((1_200..1_600).contains(&quiet.len()), "{}", quiet.len());
    assert_eq!(quiet, run(true));
}

#[test]
fn all_links_of_a_host_share_its_access_in_each_direction() {
    // 1,000 octets take a millisecond.
    let limit = Limit {
        rate: 8_000_000,
        queue: 2_000,
    };
    let mut network = plain(3, 10 * MILLIS);
    network.set_access(0, Some(limit), None);
    network.enter(0, 0, packet(0, 1, 1_000));
    network.enter(0, 0, packet(0, 2, 1_000));
    assert_eq!(drain(&mut network), [(11 * MILLIS, 1), (12 * MILLIS, 2)]);
    let mut network = plain(3, 10 * MILLIS);
    network.set_access(0, None, Some(limit));
    // They meet after the links: two at once, two of four wait, the last finds the queue full.
    for from in [1, 2, 1, 2] {
        network.enter(0, from, packet(from as u8, 0, 1_000));
    }
    let arrivals = drain(&mut network);
    assert_eq!(arrivals, [11, 12, 13].map(|at| (at * MILLIS, 0)));
    let dropped = network.link(network.between(2, 0).expect("there")).counters;
    assert_eq!(
        (dropped.entered, dropped.delivered, dropped.access),
        (2, 1, 1)
    );
}

#[test]
fn packets_come_to_a_shared_access_in_the_order_of_their_arrival() {
    let mut network = mesh(3, |ends| {
        let delay = if ends.from == 1 { 30 } else { 10 };
        Link::new(Conditions::plain(delay * MILLIS), 1)
    });
    network.set_access(
        0,
        None,
        Some(Limit {
            rate: 8_000_000,
            queue: 100_000,
        }),
    );
    // The first to enter has the longer way, and may not keep the line busy for the second.
    network.enter(0, 1, packet(1, 0, 1_000));
    network.enter(0, 2, packet(2, 0, 1_000));
    assert_eq!(drain(&mut network), [(11 * MILLIS, 0), (31 * MILLIS, 0)]);
}

#[test]
fn a_shared_line_is_filled_and_not_exceeded() {
    let rate = 20_000_000;
    let mut network = plain(3, 10 * MILLIS);
    network.set_access(
        0,
        None,
        Some(Limit {
            rate,
            queue: 50_000,
        }),
    );
    // 24 Mbit/s from each of two, for 5 s.
    for number in 0..10_000u64 {
        for from in [1, 2] {
            network.enter(number * SECONDS / 2_000, from, packet(from as u8, 0, 1_500));
        }
    }
    let arrivals = drain(&mut network);
    let time = (arrivals[arrivals.len() - 1].0 - arrivals[0].0) as f64 / SECONDS as f64;
    let carried = (arrivals.len() - 1) as f64 * 12_000.0 / time;
    assert!((carried / rate as f64 - 1.0).abs() < 1e-3, "{carried}");
}

#[test]
fn copies_arrive_both() {
    let mut conditions = Conditions::plain(MILLIS);
    conditions.duplicate = 1.0;
    let mut network = mesh(2, |_| Link::new(conditions.clone(), 1));
    network.enter(0, 0, packet(0, 1, 100));
    assert_eq!(drain(&mut network), [(MILLIS, 1), (MILLIS, 1)]);
    assert_eq!(network.link(1).counters.delivered, 2);
}

#[test]
fn a_restart_forgets_what_is_under_way() {
    let mut network = plain(2, MILLIS);
    network.set_access(
        1,
        None,
        Some(Limit {
            rate: 8_000,
            queue: 100_000,
        }),
    );
    for _ in 0..50 {
        network.enter(0, 0, packet(0, 1, 1_000));
    }
    network.restart();
    assert_eq!(network.next(), None);
    assert!(
        network
            .links()
            .iter()
            .all(|(_, link)| link.counters.entered == 0)
    );
    // The access is idle again, and limited as before.
    network.enter(5, 0, packet(0, 1, 1_000));
    assert_eq!(drain(&mut network), [(5 + MILLIS + SECONDS, 1)]);
}
