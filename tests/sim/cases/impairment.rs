//! Every kind of impairment, at every degree, in each direction and in both.

use utcp::time::{MILLISECOND, SECOND};

use super::broadband;
use crate::link::Link;
use crate::net::{Net, seeds};
use crate::plan;

const DEGREES: [f64; 5] = [0.0, 0.001, 0.01, 0.03, 0.1];

/// Moves data both ways, over a link that is impaired on the way there, on the way back, or on both.
fn grid(kind: &str, impaired: impl Fn(f64) -> Link, also_handshake: bool) {
    for degree in DEGREES {
        for (direction, there, back) in [
            ("there", true, false),
            ("back", false, true),
            ("both", true, true),
        ] {
            let name = format!("{kind} {} % {direction}", degree * 100.0);
            seeds(&name, 1, |name, seed| {
                let mut net = Net::pair(name, seed, broadband);
                for index in 0..2 {
                    let mut config = net.config(index);
                    config.handshake_timeout = 60 * SECOND;
                    net.reconfigure(index, config);
                }
                let impair = |net: &mut Net| {
                    if there {
                        net.link(0, 1, impaired(degree));
                    }
                    if back {
                        net.link(1, 0, impaired(degree));
                    }
                };
                if also_handshake {
                    impair(&mut net);
                }
                net.establish();
                impair(&mut net);
                net.open(0, 1, 1, 0, plan::upload(150_000));
                net.open(0, 1, 2, 0, plan::download(150_000));
                net.open(1, 0, 3, 0, plan::both_ways(50_000, 50_000));
                net.open(1, 0, 4, 0, plan::requests(10, 514, 514));
                net.complete(600 * SECOND);
            });
        }
    }
}

#[test]
fn random_loss() {
    grid("loss", |p| broadband().loss(p), true);
}

#[test]
fn burst_loss() {
    grid("burst loss", |p| broadband().burst_loss(p, 5.0), true);
}

#[test]
fn reordering() {
    grid(
        "reordering",
        |p| broadband().reorder(p, 30 * MILLISECOND),
        true,
    );
}

#[test]
fn duplication() {
    grid(
        "duplication",
        |p| broadband().duplicate(p, 50 * MILLISECOND),
        true,
    );
}

/// Only once the handshake is complete: a flipped bit in the clear part of it fails it, as it must.
#[test]
fn corruption() {
    grid("corruption", |p| broadband().corrupt(p), false);
}

#[test]
fn all_at_once() {
    grid(
        "all",
        |p| {
            broadband()
                .loss(p / 2.0)
                .burst_loss(p / 2.0, 3.0)
                .reorder(p, 30 * MILLISECOND)
                .duplicate(p, 50 * MILLISECOND)
                .corrupt(p / 2.0)
                .jitter(5 * MILLISECOND)
        },
        false,
    );
}

/// The anti-replay window of DTLS ends 64 records back: what is overtaken by more is lost, and recovered.
#[test]
fn reordering_deeper_than_the_replay_window_is_only_loss() {
    seeds("deep reordering", 2, |name, seed| {
        let deep = || {
            Link::new()
                .rate(12_500_000, 200_000)
                .delay(10 * MILLISECOND)
                .reorder(0.01, 100 * MILLISECOND)
        };
        let mut net = Net::pair(name, seed, deep);
        net.establish();
        net.open(0, 1, 1, 0, plan::both_ways(1_000_000, 1_000_000));
        net.complete(120 * SECOND);
    });
}

/// A handshake over a link that damages datagrams may fail, but never hangs, and a later one succeeds.
#[test]
fn a_corrupted_handshake_completes_or_fails_in_time() {
    seeds("corrupted handshake", 6, |name, seed| {
        let mut net = Net::pair(name, seed, || broadband().corrupt(0.2));
        let mut ready = false;
        for _ in 0..20 {
            let id = net.connect(0, 1);
            net.run_until("the attempt has ended", 30 * SECOND, |net| {
                let conn = net.connection(0, id).expect("known");
                conn.ready.is_some() || conn.closed.is_some()
            });
            ready = net.connection(0, id).is_some_and(|c| c.closed.is_none());
            if ready {
                break;
            }
            // The other side's part may live on until its own time is up.
            net.pass(25 * SECOND);
        }
        assert!(ready, "no handshake in twenty succeeded");
        net.open(0, 1, 1, 0, plan::requests(3, 100, 1_000));
        net.complete(200 * SECOND);
    });
}
