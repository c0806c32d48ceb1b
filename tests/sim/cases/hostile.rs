//! Datagrams from those who mean no good, while circuits are at work.

use std::net::SocketAddr;

use utcp::time::{MILLISECOND, SECOND, Time};

use super::{broadband, scripts};
use crate::hostile::{Habit, Hostile};
use crate::net::{Net, address, seeds};
use crate::plan;
use crate::rng::Rng;

fn stranger() -> SocketAddr {
    "203.0.113.7:666".parse().expect("an address")
}

fn besiege(net: &mut Net, habit: Habit, from_peer: bool, seed: u64) {
    for target in 0..2 {
        let from = if from_peer {
            address(1 - target)
        } else {
            stranger()
        };
        let start = net.now();
        net.hostile.push(Hostile::new(
            habit,
            target,
            from,
            3 * MILLISECOND,
            start,
            seed + target as u64,
        ));
    }
}

fn lift(net: &mut Net) {
    for hostile in &mut net.hostile {
        hostile.next = Time::NEVER;
    }
}

fn siege(habit: Habit) {
    for from_peer in [true, false] {
        let name = format!("{habit:?}, forged {from_peer}");
        seeds(&name, 2, |name, seed| {
            let mut net = Net::pair(name, seed, broadband);
            net.recorded = Some(Default::default());
            net.establish();
            let connection = net.ready(0, 1).expect("ready");
            besiege(&mut net, habit, from_peer, seed);
            let mut rng = Rng::new(seed, 1);
            for number in 1..=20 {
                let (opener, acceptor) = if rng.chance(0.5) { (0, 1) } else { (1, 0) };
                let after = rng.below(2 * SECOND);
                let ends = scripts::orderly(&mut rng, 40_000);
                net.open(opener, acceptor, number, after, ends);
            }
            net.complete(90 * SECOND);
            let to_stranger = net.strays.get(&stranger()).copied().unwrap_or(0);
            let from_stranger: u64 = net.hostile.iter().map(|h| h.sent).sum();
            if to_stranger > from_stranger {
                net.fail(&format!(
                    "{to_stranger} octets answer {from_stranger} of an unproven address"
                ));
            }
            lift(&mut net);
            if net.ready(0, 1) != Some(connection) {
                net.fail("the connection did not stay");
            }
            net.assert_clean();
            // A damaged copy of a hello that has a valid cookie may begin a handshake, and that may not get far.
            for host in &net.hosts {
                let ready = host.connections.values().filter(|c| c.ready.is_some());
                assert_eq!(ready.count(), 1, "no other connection was reported");
            }
        });
    }
}

#[test]
fn garbage_leaves_circuits_untouched() {
    siege(Habit::Garbage);
}

#[test]
fn forged_records_leave_circuits_untouched() {
    siege(Habit::Records);
}

#[test]
fn forged_alerts_leave_circuits_untouched() {
    siege(Habit::Alerts);
}

#[test]
fn replayed_datagrams_leave_circuits_untouched() {
    siege(Habit::Replay);
}

#[test]
fn damaged_replays_leave_circuits_untouched() {
    siege(Habit::Damage);
}

#[test]
fn garbage_and_forged_alerts_do_not_stop_a_handshake() {
    for habit in [Habit::Garbage, Habit::Alerts] {
        seeds("besieged handshake", 5, |name, seed| {
            let mut net = Net::pair(name, seed, broadband);
            besiege(&mut net, habit, true, seed);
            net.pass(50 * MILLISECOND);
            net.establish();
            net.open(0, 1, 1, 0, plan::requests(3, 514, 5_000));
            net.complete(30 * SECOND);
        });
    }
}

#[test]
fn a_stranger_who_only_says_hello_leaves_no_state() {
    seeds("hello", 1, |name, seed| {
        let mut net = Net::pair(name, seed, broadband);
        net.recorded = Some(Default::default());
        net.establish();
        // The first datagram is a ClientHello without a cookie; the third one has a cookie for another address.
        let recorded = net.recorded.take().expect("recorded");
        let hellos: Vec<Vec<u8>> = recorded
            .iter()
            .filter(|p| p.to == address(1) && p.data[0] == 22 && p.data[13] == 1)
            .map(|p| p.data.clone())
            .collect();
        assert!(hellos.len() >= 2, "a cookie was asked for");
        let before = net.hosts[1].endpoint.stats();
        let memory = net.hosts[1].endpoint.memory();
        let mut sent = 0;
        for port in 1..=500 {
            let from = SocketAddr::from(([203, 0, 113, 9], port));
            for hello in &hellos {
                net.inject(from, 1, hello);
                sent += hello.len() as u64;
            }
        }
        let answered: u64 = net.strays.values().sum();
        assert!(answered > 0, "a hello is answered with a cookie");
        assert!(answered <= sent, "{answered} octets answer {sent}");
        for (to, octets) in &net.strays {
            let each: usize = hellos.iter().map(Vec::len).sum();
            assert!(*octets <= each as u64, "{octets} octets to {to}");
        }
        let after = net.hosts[1].endpoint.stats();
        assert_eq!(after.connections, before.connections);
        assert_eq!(after.half_open, before.half_open);
        assert_eq!(net.hosts[1].endpoint.memory(), memory);
        assert!(after.dropped_bad_cookie >= before.dropped_bad_cookie + 500);
    });
}
