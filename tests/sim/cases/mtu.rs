//! Paths of every width: what they carry is found, and used (RFC 8899).

use utcp::stats::ConnectionInfo;
use utcp::time::{MILLISECOND, SECOND};

use super::broadband;
use crate::link::{HEADERS, Link};
use crate::net::{Net, seeds};
use crate::plan;

/// UDP payload of what a link with this MTU carries.
const fn payload(mtu: usize) -> usize {
    mtu - HEADERS
}

/// 10 Mbit/s, 40 ms, and this MTU.
fn link(mtu: usize) -> Link {
    broadband().mtu(payload(mtu))
}

/// 10 Mbit/s, 40 ms, and room for all that is sent.
fn roomy() -> Link {
    Link::new()
        .rate(1_250_000, 10_000_000)
        .delay(20 * MILLISECOND)
}

fn info(net: &Net, host: usize) -> ConnectionInfo {
    let id = net.ready(host, 1 - host).expect("ready");
    net.hosts[host].endpoint.connection_info(id).expect("known")
}

/// The size of datagrams of both hosts.
fn sizes(net: &Net) -> [usize; 2] {
    [0, 1].map(|host| info(net, host).datagram_size as usize)
}

/// Lets both hosts probe for up to this much.
fn allow(net: &mut Net, largest: usize) {
    for index in 0..2 {
        let mut config = net.config(index);
        config.largest_datagram = largest;
        net.reconfigure(index, config);
    }
}

/// Segments that host 0 has sent again so far: control's SYN, if those of both sides have crossed.
fn retransmitted(net: &mut Net) -> u64 {
    net.pass(200 * MILLISECOND);
    info(net, 0).stats.segments_retransmitted
}

/// Little traffic for this long, so that the hosts have a reason to look.
fn murmur(net: &mut Net, number: u32, seconds: u64) {
    let every = 500 * MILLISECOND;
    net.open(0, 1, number, 0, plan::cells(2 * seconds, 514, every));
    net.complete((2 * seconds + 60) * SECOND);
}

#[test]
fn every_width_is_found_and_used() {
    for mtu in [1_280, 1_400, 1_460, 1_492, 1_500, 9_000] {
        seeds(&format!("mtu {mtu}"), 2, |name, seed| {
            let mut net = Net::pair(name, seed, || link(mtu));
            allow(&mut net, payload(9_000));
            net.establish();
            net.open(0, 1, 1, 0, plan::both_ways(1_500_000, 1_500_000));
            net.complete(15 * SECOND);
            murmur(&mut net, 2, 15);
            assert_eq!(sizes(&net), [payload(mtu); 2]);
            // Below what was expected, at the start: once.
            for host in 0..2 {
                let narrow = u64::from(payload(mtu) < 1_432);
                assert_eq!(info(&net, host).stats.path_black_holes, narrow);
            }
            net.assert_clean();
        });
    }
}

#[test]
fn by_default_no_more_is_tried_than_ethernet_carries() {
    seeds("ethernet", 2, |name, seed| {
        let mut net = Net::pair(name, seed, || link(9_000));
        net.establish();
        net.open(0, 1, 1, 0, plan::upload(100_000));
        net.complete(5 * SECOND);
        assert_eq!(sizes(&net), [payload(1_500); 2]);
        // 1432, which is in use, with a control, and 1472.
        assert_eq!(info(&net, 0).stats.path_probes_sent, 3);
    });
}

#[test]
fn data_flows_at_full_size_while_the_path_is_still_measured() {
    seeds("mss", 2, |name, seed| {
        let mut net = Net::pair(name, seed, broadband);
        net.establish();
        net.pass(SECOND);
        net.open(0, 1, 1, 0, plan::upload(500_000));
        net.pass(200 * MILLISECOND);
        let flow = net.hosts[0].flows.values().find(|f| f.plan == Some(0));
        let id = flow.expect("open").id;
        let circuit = net.hosts[0].endpoint.circuit_info(id).expect("known");
        // Record, version octet, segment header.
        assert_eq!(circuit.mss as usize, payload(1_500) - 37 - 1 - 18);
        net.complete(10 * SECOND);
    });
}

/// Nothing but small segments gets through at first, and data that was sent in larger ones is sent again in smaller.
#[test]
fn a_tunnel_holds_the_first_transfer_up_for_less_than_a_second() {
    for mtu in [1_228, 1_280, 1_400] {
        seeds(&format!("tunnel {mtu}"), 4, |name, seed| {
            let mut net = Net::pair(name, seed, || link(mtu));
            net.establish();
            net.open(0, 1, 1, 0, plan::upload(100_000));
            net.open(1, 0, 2, 0, plan::upload(100_000));
            net.complete(SECOND);
            net.assert_clean();
        });
    }
}

#[test]
fn a_path_narrower_than_the_base_works_too() {
    seeds("narrow", 3, |name, seed| {
        let mut net = Net::pair(name, seed, || link(700));
        net.establish();
        // From the first octet: control's own SYN is full.
        net.control(0, 1, plan::requests(3, 4_000, 4_000));
        net.open(0, 1, 1, 0, plan::both_ways(100_000, 100_000));
        net.complete(20 * SECOND);
        murmur(&mut net, 2, 10);
        assert_eq!(sizes(&net), [payload(700); 2]);
    });
}

#[test]
fn a_path_that_becomes_narrower_in_the_middle_of_a_transfer() {
    for (before, after) in [(1_500, 1_400), (1_500, 1_280), (1_500, 700), (9_000, 1_500)] {
        seeds(&format!("shrink {before} {after}"), 3, |name, seed| {
            let mut net = Net::pair(name, seed, || link(before));
            allow(&mut net, payload(before));
            net.establish();
            for number in 1..=4 {
                net.open(0, 1, number, 0, plan::both_ways(600_000, 600_000));
            }
            net.pass(1_500 * MILLISECOND);
            assert_eq!(sizes(&net), [payload(before); 2]);
            net.links(|| link(after));
            net.complete(15 * SECOND);
            murmur(&mut net, 9, 15);
            assert_eq!(sizes(&net), [payload(after); 2]);
            for host in 0..2 {
                assert!(info(&net, host).stats.path_black_holes >= 1);
            }
            net.assert_clean();
        });
    }
}

#[test]
fn a_path_that_becomes_wider_is_noticed_within_ten_minutes_of_traffic() {
    seeds("grow", 2, |name, seed| {
        let mut net = Net::pair(name, seed, || link(1_300));
        net.establish();
        murmur(&mut net, 1, 10);
        assert_eq!(sizes(&net), [payload(1_300); 2]);
        net.links(|| link(1_500));
        murmur(&mut net, 2, 620);
        assert_eq!(sizes(&net), [payload(1_500); 2]);
        // The circuits' segments have grown, too.
        net.open(0, 1, 3, 0, plan::upload(400_000));
        net.complete(10 * SECOND);
        net.assert_clean();
    });
}

#[test]
fn each_direction_has_a_width_of_its_own() {
    for (there, back) in [(1_500, 1_280), (1_280, 1_500), (9_000, 1_400)] {
        seeds(&format!("asymmetric {there} {back}"), 2, |name, seed| {
            let mut net = Net::pair(name, seed, broadband);
            allow(&mut net, payload(9_000));
            net.link(0, 1, link(there));
            net.link(1, 0, link(back));
            net.establish();
            net.open(0, 1, 1, 0, plan::both_ways(500_000, 500_000));
            net.complete(15 * SECOND);
            murmur(&mut net, 2, 15);
            assert_eq!(sizes(&net), [payload(there), payload(back)]);
        });
    }
}

/// The lower half of what may go wrong: probes, answers and controls are lost at random.
#[test]
fn random_loss_does_not_change_what_is_found() {
    for (mtu, largest) in [(1_280, 1_500), (1_500, 1_500), (1_500, 9_000)] {
        let mut right = 0;
        let mut runs = 0;
        seeds(&format!("loss {mtu} {largest}"), 10, |name, seed| {
            let mut net = Net::pair(name, seed, || link(mtu).loss(0.05));
            allow(&mut net, payload(largest));
            net.establish();
            net.open(0, 1, 1, 0, plan::both_ways(300_000, 300_000));
            net.complete(120 * SECOND);
            murmur(&mut net, 2, 40);
            // A search that ended early stands until the raise timer; what is in use is never too large. Once in some
            // hundred runs three probes of the base are lost in a row, and not their controls.
            for size in sizes(&net) {
                assert!(size <= payload(mtu), "{size}");
                assert!(size >= 548, "{size}");
            }
            runs += 2;
            right += sizes(&net)
                .iter()
                .filter(|size| **size == payload(mtu))
                .count();
        });
        assert!(right * 10 >= runs * 9, "{right} of {runs} with {mtu}");
    }
}

/// Nothing but probes without padding and answers has their size, once the handshake is over.
#[test]
fn a_peer_that_answers_no_probes_is_sent_what_was_configured() {
    seeds("no answers", 3, |name, seed| {
        let mut net = Net::pair(name, seed, roomy);
        net.establish();
        net.links(|| roomy().without(utcp::tortp::EMPTY_PATH_PROBE + 37));
        let before = retransmitted(&mut net);
        net.open(0, 1, 1, 0, plan::both_ways(1_000_000, 1_000_000));
        net.complete(15 * SECOND);
        murmur(&mut net, 2, 60);
        assert_eq!(sizes(&net), [1_432; 2]);
        let stats = info(&net, 0).stats;
        assert!(stats.path_probes_sent <= 20, "{}", stats.path_probes_sent);
        assert_eq!(stats.segments_retransmitted, before);
        net.assert_clean();
    });
}

#[test]
fn probes_are_no_data_and_their_loss_is_no_congestion() {
    seeds("probe loss", 2, |name, seed| {
        // Every probe above 1432 is lost.
        let mut net = Net::pair(name, seed, || roomy().mtu(1_432));
        allow(&mut net, payload(9_000));
        net.establish();
        let before = retransmitted(&mut net);
        net.open(0, 1, 1, 0, plan::upload(1_000_000));
        net.complete(10 * SECOND);
        murmur(&mut net, 2, 20);
        let stats = info(&net, 0).stats;
        assert!(stats.path_probes_sent > 20, "{}", stats.path_probes_sent);
        assert_eq!(stats.segments_retransmitted, before);
        assert_eq!(stats.path_black_holes, 0);
    });
}

#[test]
fn an_idle_connection_is_not_probed() {
    seeds("idle", 1, |name, seed| {
        let mut net = Net::pair(name, seed, broadband);
        net.establish();
        net.pass(10 * SECOND);
        let before = net.counters(0, 1).entered;
        net.pass(10_000 * SECOND);
        assert_eq!(net.counters(0, 1).entered, before);
    });
}

/// A record takes 16,384 octets of plaintext at most.
#[test]
fn a_configured_size_beyond_that_of_a_record_is_used_as_far_as_a_record_goes() {
    for probing in [false, true] {
        seeds("huge datagrams", 1, |name, seed| {
            let mut net = Net::pair(name, seed, || {
                Link::new()
                    .rate(12_500_000, 2_000_000)
                    .delay(10 * MILLISECOND)
            });
            for index in 0..2 {
                let mut config = net.config(index);
                config.datagram_size = 65_507;
                config.path_mtu_discovery = probing;
                net.reconfigure(index, config);
            }
            net.establish();
            net.open(0, 1, 1, 0, plan::both_ways(1_000_000, 1_000_000));
            net.complete(10 * SECOND);
            assert_eq!(sizes(&net), [16_384 + 37; 2]);
        });
    }
}
