//! How connections come to be, or do not.

use utcp::endpoint::Role;
use utcp::error::{CloseReason, Error};
use utcp::time::{MILLISECOND, SECOND};

use super::{broadband, pure_delay};
use crate::host::Conn;
use crate::identity::identity;
use crate::link::Link;
use crate::net::{Net, address, seeds};
use crate::plan;
use crate::rng::Rng;

/// Both relays connect within a round trip of each other: one connection comes of it, under both handles.
fn simultaneous(name: &str, seed: u64, link: impl Fn() -> Link, window: u64) {
    let mut net = Net::pair(name, seed, link);
    for index in 0..2 {
        let mut config = net.config(index);
        config.handshake_timeout = 60 * SECOND;
        net.reconfigure(index, config);
    }
    let mut rng = Rng::new(seed, 9);
    let first = rng.below(2) as usize;
    let ours = net.connect(first, 1 - first);
    net.pass(rng.between(0, window));
    let now = net.now();
    let theirs = net.hosts[1 - first]
        .endpoint
        .connect(now, address(first), None);
    match theirs {
        Ok(id) => {
            let conn = Conn {
                peer: address(first),
                ready: None,
                closed: None,
            };
            net.hosts[1 - first].connections.insert(id, conn);
        }
        // The other's handshake was there already.
        Err(error) => assert_eq!(error, Error::InUse),
    }
    net.serve(1 - first);
    net.run_until("both sides are ready", 60 * SECOND, |net| {
        net.ready(0, 1).is_some() && net.ready(1, 0).is_some()
    });
    net.open(0, 1, 1, 0, plan::requests(3, 514, 5_000));
    net.open(1, 0, 2, 0, plan::requests(3, 514, 5_000));
    net.complete(60 * SECOND);
    // Whatever attempts there were besides have had their time.
    net.pass(100 * SECOND);
    for host in 0..2 {
        let ready: Vec<_> = net.hosts[host]
            .connections
            .iter()
            .filter(|(_, c)| c.ready.is_some())
            .collect();
        if ready.len() != 1 || ready[0].1.closed.is_some() {
            net.fail(&format!("host {host} had {} connections", ready.len()));
        }
        if net.hosts[host].endpoint.stats().connections != 1 {
            net.fail(&format!("host {host} holds more than its connection"));
        }
    }
    let (a, b) = (
        net.ready(0, 1).expect("ready"),
        net.ready(1, 0).expect("ready"),
    );
    let ends = [(first, Ok(ours)), (1 - first, theirs)];
    for (host, id) in ends {
        if let Ok(id) = id
            && Some(id) != net.ready(host, 1 - host)
        {
            net.fail(&format!(
                "host {host}: the handle of connect() is not the one that is ready"
            ));
        }
    }
    let roles = (
        net.hosts[0].endpoint.connection_role(a),
        net.hosts[1].endpoint.connection_role(b),
    );
    let opposite = [
        (Ok(Role::Client), Ok(Role::Server)),
        (Ok(Role::Server), Ok(Role::Client)),
    ];
    if !opposite.contains(&roles) {
        net.fail(&format!("the roles are {roles:?}"));
    }
}

#[test]
fn both_ends_connecting_at_once_get_one_connection() {
    seeds("simultaneous open", 30, |name, seed| {
        simultaneous(name, seed, broadband, 90 * MILLISECOND);
    });
}

#[test]
fn both_ends_connecting_at_the_same_microsecond_get_one_connection() {
    seeds("same microsecond", 10, |name, seed| {
        simultaneous(name, seed, pure_delay, 0);
    });
}

#[test]
fn both_ends_connecting_at_once_under_loss_and_reordering_get_one_connection() {
    seeds("simultaneous open, bad network", 60, |name, seed| {
        let link = || {
            broadband()
                .loss(0.1)
                .reorder(0.2, 60 * MILLISECOND)
                .duplicate(0.1, 200 * MILLISECOND)
        };
        simultaneous(name, seed, link, 150 * MILLISECOND);
    });
}

/// Connects with a pin, and says how that ended.
fn pinned(net: &mut Net, pin: [u8; 32]) -> Result<(), CloseReason> {
    let now = net.now();
    let id = net.hosts[0].connect(now, address(1), Some(pin));
    net.serve(0);
    net.run_until("the attempt has ended", 30 * SECOND, |net| {
        let conn = net.connection(0, id).expect("known");
        conn.ready.is_some() || conn.closed.is_some()
    });
    match net.connection(0, id).and_then(|c| c.closed) {
        Some((_, reason)) => Err(reason),
        None => Ok(()),
    }
}

#[test]
fn a_pinned_certificate_is_accepted_without_being_asked_and_another_is_not() {
    seeds("pin", 2, |name, seed| {
        let mut net = Net::pair(name, seed, broadband);
        // The relay would refuse everyone it is asked about.
        net.hosts[0].policy.verify = false;
        assert_eq!(pinned(&mut net, identity(2).pin), Err(CloseReason::Verify));
        net.pass(30 * SECOND);
        let stats = net.hosts[1].endpoint.stats();
        assert_eq!((stats.connections, stats.half_open), (0, 0));
        assert_eq!(pinned(&mut net, identity(1).pin), Ok(()));
        net.open(0, 1, 1, 0, plan::requests(3, 100, 100));
        net.complete(20 * SECOND);
    });
}

#[test]
fn a_peer_that_verification_refuses_is_closed_on_both_sides() {
    for refusing in 0..2 {
        seeds("verify refused", 2, |name, seed| {
            let mut net = Net::pair(name, seed, broadband);
            net.hosts[refusing].policy.verify = false;
            let id = net.connect(0, 1);
            net.run_until("the attempt has ended", 30 * SECOND, |net| {
                net.connection(0, id).is_some_and(|c| c.closed.is_some())
            });
            let (_, reason) = net
                .connection(0, id)
                .and_then(|c| c.closed)
                .expect("closed");
            if refusing == 0 {
                assert_eq!(reason, CloseReason::Verify);
            }
            net.pass(30 * SECOND);
            for host in &net.hosts {
                let stats = host.endpoint.stats();
                assert_eq!((stats.connections, stats.half_open), (0, 0));
                assert!(host.connections.values().all(|c| c.closed.is_some()));
            }
        });
    }
}

#[test]
fn an_endpoint_that_refuses_peers_keeps_those_it_has_and_may_connect_itself() {
    seeds("refusing", 2, |name, seed| {
        let mut net = Net::pair(name, seed, broadband);
        let third = net.add_host(net.config(2));
        for host in 0..2 {
            net.link(host, third, broadband());
            net.link(third, host, broadband());
        }
        net.establish();
        net.open(0, 1, 1, 0, plan::both_ways(1_000_000, 1_000_000));
        net.hosts[1].endpoint.set_accepting(false);
        let id = net.connect(third, 1);
        net.run_until("the attempt has ended", 30 * SECOND, |net| {
            net.connection(third, id)
                .is_some_and(|c| c.closed.is_some())
        });
        assert!(net.hosts[1].endpoint.stats().dropped_refusing > 0);
        assert!(net.ready(1, third).is_none());
        net.open(0, 1, 2, 0, plan::requests(3, 100, 100));
        net.connect(1, third);
        net.open(1, third, 3, 0, plan::requests(3, 100, 100));
        net.complete(60 * SECOND);
        net.hosts[1].endpoint.set_accepting(true);
        assert!(net.ready(third, 1).is_some());
    });
}

#[test]
fn a_relay_that_declines_an_incoming_connection_hears_no_more_of_it() {
    seeds("declined", 2, |name, seed| {
        let mut net = Net::pair(name, seed, broadband);
        net.hosts[1].policy.accept = false;
        let id = net.connect(0, 1);
        net.run_until("the attempt has ended", 30 * SECOND, |net| {
            net.connection(0, id).is_some_and(|c| c.closed.is_some())
        });
        net.pass(30 * SECOND);
        let stats = net.hosts[1].endpoint.stats();
        assert_eq!((stats.connections, stats.half_open), (0, 0));
        net.hosts[1].policy.accept = true;
        net.establish();
    });
}

#[test]
fn nobody_there_ends_the_attempt_in_time() {
    seeds("nobody", 1, |name, seed| {
        let mut net = Net::pair(name, seed, || Link::new().loss(1.0));
        let id = net.connect(0, 1);
        let begin = net.now();
        net.run_until("the attempt has ended", 30 * SECOND, |net| {
            net.connection(0, id).is_some_and(|c| c.closed.is_some())
        });
        let (at, reason) = net
            .connection(0, id)
            .and_then(|c| c.closed)
            .expect("closed");
        assert!(
            matches!(reason, CloseReason::Handshake | CloseReason::Timeout),
            "{reason:?}"
        );
        assert!(at.since(begin) <= 20 * SECOND);
        assert!(at.since(begin) >= 15 * SECOND, "it tries to the end");
        // Retransmissions back off.
        let sent = net.counters(0, 1).entered;
        assert!((3..=12).contains(&sent), "{sent} datagrams");
        net.assert_clean();
    });
}

#[test]
fn a_path_smaller_than_the_handshakes_datagrams_fails_it_in_time() {
    seeds("small path", 1, |name, seed| {
        let mut net = Net::pair(name, seed, || broadband().mtu(400));
        let id = net.connect(0, 1);
        net.run_until("the attempt has ended", 30 * SECOND, |net| {
            net.connection(0, id).is_some_and(|c| c.closed.is_some())
        });
        assert!(net.counters(1, 0).dropped > 0);
        net.pass(30 * SECOND);
        net.assert_clean();
    });
}

#[test]
fn without_probing_no_datagram_is_larger_than_configured() {
    for size in [576, 700, 1_200, 1_432] {
        seeds("datagram size", 1, |name, seed| {
            let mut net = Net::pair(name, seed, || broadband().mtu(size));
            for index in 0..2 {
                let mut config = net.config(index);
                config.datagram_size = size;
                config.path_mtu_discovery = false;
                net.reconfigure(index, config);
            }
            net.establish();
            net.open(0, 1, 1, 0, plan::both_ways(50_000, 50_000));
            net.complete(30 * SECOND);
            let dropped = net.counters(0, 1).dropped + net.counters(1, 0).dropped;
            assert_eq!(dropped, 0, "datagrams larger than {size}");
        });
    }
}

/// The sides need not agree on the size of their datagrams.
#[test]
fn each_side_keeps_to_its_own_datagram_size() {
    seeds("datagram sizes", 1, |name, seed| {
        let mut net = Net::pair(name, seed, broadband);
        for (index, size) in [(0, 600), (1, 1_400)] {
            let mut config = net.config(index);
            config.datagram_size = size;
            config.path_mtu_discovery = false;
            net.reconfigure(index, config);
        }
        net.link(0, 1, broadband().mtu(600));
        net.link(1, 0, broadband().mtu(1_400));
        net.establish();
        net.open(0, 1, 1, 0, plan::both_ways(50_000, 50_000));
        net.complete(30 * SECOND);
        assert_eq!(net.counters(0, 1).dropped, 0);
        assert_eq!(net.counters(1, 0).dropped, 0);
    });
}

#[test]
fn one_endpoint_serves_many_peers() {
    seeds("star", 1, |name, seed| {
        let mut net = Net::new(name, seed);
        let hub = net.add_host(net.config(0));
        for index in 1..=12 {
            let peer = net.add_host(net.config(index));
            net.link(hub, peer, broadband().loss(0.01));
            net.link(peer, hub, broadband().loss(0.01));
            // Half of them connect to the hub, the hub to the others.
            if peer.is_multiple_of(2) {
                net.connect(hub, peer);
            } else {
                net.connect(peer, hub);
            }
            for number in 1..=4 {
                net.open(hub, peer, number, 0, plan::both_ways(20_000, 20_000));
                net.open(peer, hub, 100 + number, 0, plan::requests(3, 100, 3_000));
            }
        }
        net.complete(60 * SECOND);
        // One goes down without a word, and disturbs no other.
        net.restart(5);
        for peer in 1..=12 {
            if peer != 5 {
                net.open(hub, peer, 9, 0, plan::requests(3, 100, 3_000));
            }
        }
        net.complete(60 * SECOND);
    });
}

#[test]
fn half_open_handshakes_are_bounded_and_make_room_again() {
    seeds("half-open", 1, |name, seed| {
        let mut net = Net::new(name, seed);
        let mut config = net.config(0);
        config.max_half_open = 3;
        let server = net.add_host(config);
        for index in 1..=10 {
            let peer = net.add_host(net.config(index));
            // The cookie comes through, and what is larger does not: these stay half open.
            net.link(peer, server, broadband());
            net.link(server, peer, broadband().mtu(100));
            net.connect(peer, server);
        }
        for _ in 0..100 {
            net.pass(SECOND / 100);
            let stats = net.hosts[server].endpoint.stats();
            if stats.half_open > 3 || stats.connections > 3 {
                net.fail("more half-open handshakes than allowed");
            }
        }
        assert_eq!(net.hosts[server].endpoint.stats().half_open, 3);
        assert!(net.hosts[server].endpoint.stats().dropped_limit > 0);
        net.pass(60 * SECOND);
        assert_eq!(net.hosts[server].endpoint.stats().half_open, 0);
        net.link(server, 1, broadband());
        net.connect(1, server);
        net.open(1, server, 1, 0, plan::requests(3, 100, 3_000));
        net.complete(20 * SECOND);
    });
}

#[test]
fn a_client_without_the_required_certificate_is_not_served() {
    use utcp::config::ClientCertificate;
    for (asked, shown, served) in [
        (ClientCertificate::None, ClientCertificate::None, true),
        (ClientCertificate::Request, ClientCertificate::None, true),
        (ClientCertificate::Request, ClientCertificate::Request, true),
        (ClientCertificate::Require, ClientCertificate::Require, true),
        (ClientCertificate::Require, ClientCertificate::None, false),
    ] {
        let name = format!("client certificate {asked:?} {shown:?}");
        seeds(&name, 1, |name, seed| {
            let mut net = Net::pair(name, seed, || broadband().loss(0.02));
            for (index, setting) in [(0, shown), (1, asked)] {
                let mut config = net.config(index);
                config.client_certificate = setting;
                net.reconfigure(index, config);
            }
            let id = net.connect(0, 1);
            net.run_until("the attempt has ended", 30 * SECOND, |net| {
                let conn = net.connection(0, id).expect("known");
                conn.closed.is_some() || (conn.ready.is_some() && net.ready(1, 0).is_some())
            });
            assert_eq!(net.ready(1, 0).is_some(), served);
            if served {
                net.open(0, 1, 1, 0, plan::requests(3, 100, 3_000));
                net.complete(20 * SECOND);
            }
        });
    }
}

#[test]
fn a_new_certificate_serves_new_connections() {
    seeds("rotation", 1, |name, seed| {
        let mut net = Net::pair(name, seed, broadband);
        assert_eq!(pinned(&mut net, identity(1).pin), Ok(()));
        net.open(0, 1, 1, 0, plan::cells(100, 514, 100 * MILLISECOND));
        let next = identity(3);
        let endpoint = &mut net.hosts[1].endpoint;
        assert_eq!(endpoint.set_certificate(&next.chain, &next.key), Ok(()));
        // The key does not fit: refused, and nothing is changed.
        let wrong = endpoint.set_certificate(&identity(2).chain, &next.key);
        assert_eq!(wrong, Err(Error::Certificate));
        net.complete(30 * SECOND);
        let id = net.ready(0, 1).expect("ready");
        assert_eq!(net.hosts[0].endpoint.connection_close(id), Ok(()));
        net.serve(0);
        net.pass(SECOND);
        assert_eq!(pinned(&mut net, identity(1).pin), Err(CloseReason::Verify));
        net.pass(30 * SECOND);
        assert_eq!(pinned(&mut net, next.pin), Ok(()));
    });
}
