//! A peer that comes back without its memory, and a network that goes away for a while.

use utcp::endpoint::ConnectionState;
use utcp::error::CloseReason;
use utcp::time::{MILLISECOND, SECOND};

use super::{bad, broadband};
use crate::link::Link;
use crate::net::{Net, address, seeds};
use crate::plan;

/// Duplicates and late datagrams of before the restart arrive after it.
fn with_echoes() -> Link {
    Link::new()
        .duplicate(0.3, 3 * SECOND)
        .rate(1_250_000, 64_000)
        .delay(40 * MILLISECOND)
}

fn traffic(net: &mut Net) {
    for number in 1..=5 {
        net.open(0, 1, number, 0, plan::both_ways(400_000, 400_000));
        net.open(1, 0, 100 + number, 0, plan::requests(100, 514, 2_000));
    }
    net.pass(800 * MILLISECOND);
}

/// Connects until it succeeds: a late copy of an old handshake flight, which proves nothing, may spoil an attempt.
fn reconnect(net: &mut Net, from: usize, to: usize) {
    for _ in 0..4 {
        let id = net.connect(from, to);
        net.run_until("the attempt has ended", 40 * SECOND, |net| {
            let conn = net.connection(from, id).expect("known");
            conn.ready.is_some() || conn.closed.is_some()
        });
        if net.ready(from, to) == Some(id) {
            return;
        }
        net.pass(SECOND);
    }
    net.fail("no handshake in four succeeded");
}

/// The same numbers as before, on what connection there is now.
fn traffic_again(net: &mut Net) {
    for number in 1..=5 {
        net.open(0, 1, number, 0, plan::both_ways(40_000, 40_000));
        net.open(1, 0, 100 + number, 0, plan::requests(10, 514, 2_000));
    }
}

#[test]
fn a_killed_peer_that_reconnects_replaces_its_old_connection() {
    seeds("killed peer", 4, |name, seed| {
        let mut net = Net::pair(name, seed, with_echoes);
        net.establish();
        let old = net.ready(0, 1).expect("ready");
        traffic(&mut net);
        net.restart(1);
        reconnect(&mut net, 1, 0);
        net.run_until("the survivor has dropped the old", 60 * SECOND, |net| {
            net.connection(0, old).is_some_and(|c| c.closed.is_some())
        });
        let (_, reason) = net
            .connection(0, old)
            .and_then(|c| c.closed)
            .expect("closed");
        assert_eq!(reason, CloseReason::Restarted);
        traffic_again(&mut net);
        net.complete(90 * SECOND);
        let now = net.ready(0, 1).expect("a new connection");
        assert_ne!(now, old);
        net.assert_clean();
    });
}

#[test]
fn a_killed_peer_that_says_nothing_is_given_up() {
    seeds("silent peer", 2, |name, seed| {
        let mut net = Net::pair(name, seed, with_echoes);
        for index in 0..2 {
            let mut config = net.config(index);
            config.dead_timeout = 60 * SECOND;
            net.reconfigure(index, config);
        }
        net.establish();
        let old = net.ready(0, 1).expect("ready");
        traffic(&mut net);
        net.restart(1);
        net.run_until("the survivor has dropped the old", 150 * SECOND, |net| {
            net.connection(0, old).is_some_and(|c| c.closed.is_some())
        });
        let (_, reason) = net
            .connection(0, old)
            .and_then(|c| c.closed)
            .expect("closed");
        assert!(
            matches!(reason, CloseReason::Timeout | CloseReason::Restarted),
            "{reason:?}"
        );
        reconnect(&mut net, 0, 1);
        traffic_again(&mut net);
        net.complete(90 * SECOND);
        net.assert_clean();
    });
}

#[test]
fn a_peer_that_closes_before_its_restart_is_heard_at_once() {
    seeds("graceful restart", 4, |name, seed| {
        // The alert is sent once: the queue must not be full of data that goes before it.
        let mut net = Net::pair(name, seed, || with_echoes().rate(1_250_000, 1 << 20));
        net.establish();
        let old = net.ready(0, 1).expect("ready");
        let theirs = net.ready(1, 0).expect("ready");
        traffic(&mut net);
        net.doom();
        let result = net.hosts[1].endpoint.connection_close(theirs);
        assert_eq!(result, Ok(()));
        net.serve(1);
        let (_, reason) = net
            .connection(1, theirs)
            .and_then(|c| c.closed)
            .expect("closed");
        assert_eq!(reason, CloseReason::Local);
        net.restart(1);
        net.run_until("the survivor has heard it", SECOND, |net| {
            net.connection(0, old).is_some_and(|c| c.closed.is_some())
        });
        let (_, reason) = net
            .connection(0, old)
            .and_then(|c| c.closed)
            .expect("closed");
        assert_eq!(reason, CloseReason::Peer);
        reconnect(&mut net, 0, 1);
        traffic_again(&mut net);
        net.complete(60 * SECOND);
        net.assert_clean();
    });
}

#[test]
fn both_sides_restart_one_after_the_other() {
    seeds("restarts", 3, |name, seed| {
        let mut net = Net::pair(name, seed, bad);
        net.establish();
        for round in 0..4 {
            traffic(&mut net);
            let who = round % 2;
            net.restart(who);
            reconnect(&mut net, who, 1 - who);
            net.run_until("both are ready again", 90 * SECOND, |net| {
                let survivor = &net.hosts[1 - who];
                let ready = survivor
                    .connections
                    .values()
                    .filter(|c| c.ready.is_some() && c.closed.is_none())
                    .count();
                net.ready(who, 1 - who).is_some()
                    && ready == 1
                    && survivor
                        .flows
                        .values()
                        .all(|f| Some(f.connection) == survivor.ready(address(who)))
            });
        }
        traffic_again(&mut net);
        net.complete(120 * SECOND);
        net.assert_clean();
    });
}

/// Replays of the old session under the right address reach neither the new connection nor its circuits.
#[test]
fn old_datagrams_do_nothing_to_a_new_connection() {
    seeds("old datagrams", 2, |name, seed| {
        let mut net = Net::pair(name, seed, broadband);
        net.recorded = Some(Default::default());
        net.establish();
        traffic(&mut net);
        let old = net.recorded.take().expect("recorded");
        net.restart(1);
        reconnect(&mut net, 1, 0);
        net.run_until("both are ready again", 60 * SECOND, |net| {
            net.ready(1, 0).is_some() && net.ready(0, 1).is_some()
        });
        traffic_again(&mut net);
        for packet in old {
            net.pass(MILLISECOND);
            let to = usize::from(packet.to == address(1));
            net.inject(packet.from, to, &packet.data);
        }
        net.complete(60 * SECOND);
        net.assert_clean();
    });
}

#[test]
fn circuits_survive_a_minute_without_network() {
    seeds("blackout", 3, |name, seed| {
        let mut net = Net::pair(name, seed, broadband);
        net.establish();
        traffic(&mut net);
        let begin = net.now();
        let dark = || broadband().blackout(begin, begin + 60 * SECOND);
        net.links(dark);
        // Also such as are opened while nothing passes.
        net.open(0, 1, 50, 20 * SECOND, plan::requests(3, 514, 5_000));
        net.pass(60 * SECOND);
        net.complete(200 * SECOND);
        net.assert_clean();
    });
}

#[test]
fn circuits_survive_a_minute_without_network_in_one_direction() {
    for (from, to) in [(0, 1), (1, 0)] {
        seeds("one-way blackout", 2, |name, seed| {
            let mut net = Net::pair(name, seed, broadband);
            net.establish();
            traffic(&mut net);
            let begin = net.now();
            net.link(from, to, broadband().blackout(begin, begin + 60 * SECOND));
            net.pass(60 * SECOND);
            net.complete(200 * SECOND);
            net.assert_clean();
        });
    }
}

#[test]
fn a_network_gone_for_good_ends_the_connection_in_time() {
    seeds("gone", 2, |name, seed| {
        let mut net = Net::pair(name, seed, broadband);
        net.establish();
        let ids = [
            net.ready(0, 1).expect("ready"),
            net.ready(1, 0).expect("ready"),
        ];
        traffic(&mut net);
        net.doom();
        net.links(|| Link::new().loss(1.0));
        net.stall = 400 * SECOND;
        net.run_until("both have given up", 400 * SECOND, |net| {
            (0..2).all(|i| {
                net.connection(i, ids[i])
                    .is_some_and(|c| c.closed.is_some())
            })
        });
        for (index, id) in ids.into_iter().enumerate() {
            let (_, reason) = net
                .connection(index, id)
                .and_then(|c| c.closed)
                .expect("closed");
            assert_eq!(reason, CloseReason::Timeout);
            let state = net.hosts[index].endpoint.connection_state(id);
            assert_eq!(state, ConnectionState::Closed);
        }
        net.complete(SECOND);
        net.assert_clean();
    });
}
