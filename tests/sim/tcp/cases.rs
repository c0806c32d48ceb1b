//! Our TCP against itself and against smoltcp's.

use utcp::error::CloseReason;
use utcp::tcp::Settings;
use utcp::tcp::congestion::Algorithm;
use utcp::time::{MILLISECOND, SECOND};

use super::liar::Liar;
use super::ours::{Ours, settings};
use super::smol::Smol;
use super::{Pair, Side, Tcp};
use crate::link::Link;
use crate::net::seeds;
use crate::rng::mix;

type Named = (&'static str, Box<dyn Fn() -> Link>);

fn line() -> Link {
    Link::new().rate(1_250_000, 64_000).delay(20 * MILLISECOND)
}

fn sends(octets: u64) -> Side {
    Side {
        send: octets,
        ..Side::default()
    }
}

/// Ours at both ends; initial sequence numbers anywhere, also just before the wrap.
fn ours(seed: u64, settings: Settings) -> [Box<dyn Tcp>; 2] {
    let near_wrap = u32::MAX - (mix(seed) % 100_000) as u32;
    [
        Ours::active(0, settings, near_wrap),
        Ours::passive(1, settings, mix(seed + 1) as u32),
    ]
}

/// Ours and smoltcp's, with ours opening or accepting. smoltcp, once established, leaves a repeated SYN with data
/// unanswered, so that it must not get one after its ACK was lost.
fn mixed(seed: u64, ours_opens: bool) -> [Box<dyn Tcp>; 2] {
    let iss = mix(seed) as u32;
    if ours_opens {
        [Ours::active(0, settings(), iss), Smol::passive(1, seed)]
    } else {
        [Ours::patient(0, settings(), iss), Smol::active(1, seed)]
    }
}

#[test]
fn ours_moves_data_both_ways_under_every_impairment() {
    for algorithm in [Algorithm::Cubic, Algorithm::NewReno] {
        for degree in [0.0, 0.001, 0.01, 0.03, 0.1, 0.3] {
            let settings = Settings {
                congestion: algorithm,
                ..settings()
            };
            // No corruption: TCP's checksum misses one in some hundred such packets, and DTLS none.
            let links: [Named; 5] = [
                ("loss", Box::new(move || line().loss(degree))),
                ("burst", Box::new(move || line().burst_loss(degree, 5.0))),
                (
                    "reorder",
                    Box::new(move || line().reorder(degree, 40 * MILLISECOND)),
                ),
                (
                    "duplicate",
                    Box::new(move || line().duplicate(degree, 90 * MILLISECOND)),
                ),
                (
                    "queue",
                    Box::new(move || {
                        Link::new()
                            .loss(degree)
                            .rate(1_250_000, 5_000)
                            .delay(20 * MILLISECOND)
                    }),
                ),
            ];
            for (kind, link) in links {
                let name = format!("tcp {algorithm:?} {kind} {degree}");
                seeds(&name, 2, |name, seed| {
                    let sides = [sends(200_000), sends(200_000)];
                    let mut pair = Pair::new(name, seed, ours(seed, settings), sides, &link);
                    pair.run(1_200 * SECOND, 150 * SECOND);
                    assert_eq!(pair.reason(0), Some(CloseReason::Done));
                    assert_eq!(pair.reason(1), Some(CloseReason::Done));
                });
            }
        }
    }
}

#[test]
fn ours_opens_from_both_ends_at_once() {
    seeds("tcp simultaneous open", 20, |name, seed| {
        let tcps: [Box<dyn Tcp>; 2] = [
            Ours::active(0, settings(), mix(seed) as u32),
            Ours::active(1, settings(), mix(seed + 1) as u32),
        ];
        let link = || line().loss(0.1).reorder(0.2, 60 * MILLISECOND);
        let sides = [sends(30_000), sends(30_000)];
        let mut pair = Pair::new(name, seed, tcps, sides, link);
        pair.run(300 * SECOND, 100 * SECOND);
        assert_eq!(pair.reason(0), Some(CloseReason::Done));
        assert_eq!(pair.reason(1), Some(CloseReason::Done));
    });
}

#[test]
fn ours_carries_more_than_the_sequence_space_wraps() {
    seeds("tcp wrap", 1, |name, seed| {
        let fast = || Link::new().rate(125_000_000, 1_000_000).delay(MILLISECOND);
        let sides = [sends(8_000_000), sends(8_000_000)];
        let mut pair = Pair::new(name, seed, ours(seed, settings()), sides, fast);
        pair.run(60 * SECOND, 10 * SECOND);
        assert_eq!((pair.received(0), pair.received(1)), (8_000_000, 8_000_000));
    });
}

#[test]
fn ours_waits_for_a_reader_that_sleeps() {
    seeds("tcp zero window", 4, |name, seed| {
        let small = Settings {
            receive_buffer: 16_384,
            ..settings()
        };
        let reader = Side {
            read_after: 400 * SECOND,
            ..sends(1_000)
        };
        let sides = [sends(150_000), reader];
        let link = || line().loss(0.1);
        let mut pair = Pair::new(name, seed, ours(seed, small), sides, link);
        pair.run(900 * SECOND, 500 * SECOND);
        assert_eq!(pair.received(1), 150_000);
    });
}

#[test]
fn smoltcp_receives_from_ours_under_loss() {
    for ours_opens in [true, false] {
        for degree in [0.0, 0.01, 0.05] {
            let name = format!("to smoltcp {ours_opens} {degree}");
            seeds(&name, 3, |name, seed| {
                let link = || line().loss(degree).reorder(degree, 30 * MILLISECOND);
                // smoltcp finishes only when it has heard the end, so that it never sends data both ways at once.
                let quiet = Side {
                    after_end: true,
                    ..sends(0)
                };
                let tcps = mixed(seed, ours_opens);
                let mut pair = Pair::new(name, seed, tcps, [sends(300_000), quiet], link);
                pair.run(300 * SECOND, 100 * SECOND);
                assert_eq!(pair.received(1), 300_000);
                assert_eq!(pair.reason(0), Some(CloseReason::Done));
            });
        }
    }
}

#[test]
fn smoltcp_sends_to_ours_under_loss() {
    for ours_opens in [true, false] {
        for degree in [0.0, 0.01, 0.05] {
            let name = format!("from smoltcp {ours_opens} {degree}");
            seeds(&name, 3, |name, seed| {
                let link = || line().loss(degree).duplicate(degree, 30 * MILLISECOND);
                let quiet = Side {
                    after_end: true,
                    ..sends(0)
                };
                let tcps = mixed(seed, ours_opens);
                let mut pair = Pair::new(name, seed, tcps, [quiet, sends(300_000)], link);
                pair.run(600 * SECOND, 150 * SECOND);
                assert_eq!(pair.received(0), 300_000);
                assert_eq!(pair.reason(0), Some(CloseReason::Done));
            });
        }
    }
}

#[test]
fn smoltcp_and_ours_half_close_in_turn() {
    for ours_first in [true, false] {
        let name = format!("smoltcp half-close {ours_first}");
        seeds(&name, 4, |name, seed| {
            let mut sides = [sends(100_000), sends(100_000)];
            sides[usize::from(ours_first)].after_end = true;
            let link = || line().loss(0.02);
            let mut pair = Pair::new(name, seed, mixed(seed, ours_first), sides, link);
            pair.run(400 * SECOND, 150 * SECOND);
            assert_eq!((pair.received(0), pair.received(1)), (100_000, 100_000));
            assert_eq!(pair.reason(0), Some(CloseReason::Done));
        });
    }
}

#[test]
fn smoltcp_with_a_closed_window_is_probed_by_ours() {
    seeds("smoltcp zero window", 3, |name, seed| {
        let reader = Side {
            read_after: 200 * SECOND,
            after_end: true,
            ..sends(0)
        };
        let link = || line().loss(0.05);
        let tcps = mixed(seed, true);
        let mut pair = Pair::new(name, seed, tcps, [sends(250_000), reader], link);
        pair.run(600 * SECOND, 300 * SECOND);
        assert_eq!(pair.received(1), 250_000);
    });
}

#[test]
fn smoltcp_and_ours_understand_each_others_resets() {
    seeds("smoltcp reset by ours", 3, |name, seed| {
        let aborting = Side {
            abort_at: Some(20_000),
            ..sends(0)
        };
        let sides = [
            Side {
                after_end: true,
                ..aborting
            },
            sends(200_000),
        ];
        let mut pair = Pair::new(name, seed, mixed(seed, true), sides, line);
        pair.run(60 * SECOND, 30 * SECOND);
    });
    seeds("smoltcp resets ours", 3, |name, seed| {
        let aborting = Side {
            abort_at: Some(20_000),
            after_end: true,
            ..sends(0)
        };
        let sides = [sends(200_000), aborting];
        let mut pair = Pair::new(name, seed, mixed(seed, true), sides, line);
        pair.run(60 * SECOND, 30 * SECOND);
        assert_eq!(pair.reason(0), Some(CloseReason::Reset));
    });
}

#[test]
fn nobody_answering_a_syn_is_given_up_in_time() {
    seeds("tcp nobody", 1, |name, seed| {
        let sides = [sends(100), sends(100)];
        let link = || Link::new().loss(1.0);
        let tcps: [Box<dyn Tcp>; 2] = [
            Ours::active(0, settings(), 1),
            Ours::active(1, settings(), 2),
        ];
        let mut pair = Pair::new(name, seed, tcps, sides, link);
        pair.run(400 * SECOND, 300 * SECOND);
        assert_eq!(pair.reason(0), Some(CloseReason::Timeout));
    });
}

/// An authenticated peer may spoil its own circuit, and nothing else: no panic, no memory beyond the buffers.
#[test]
fn a_peer_that_lies_spoils_its_own_connection_only() {
    for share in [0.01, 0.1, 0.5, 1.0] {
        let name = format!("liar {share}");
        seeds(&name, 30, |name, seed| {
            let small = Settings {
                send_buffer: 65_536,
                receive_buffer: 65_536,
                dead_timeout: 60 * SECOND,
                ..settings()
            };
            let tcps: [Box<dyn Tcp>; 2] = [
                Ours::active(0, small, mix(seed) as u32),
                Liar::passive(1, small, seed, share),
            ];
            let sides = [sends(150_000), sends(150_000)];
            let mut pair = Pair::new(name, seed, tcps, sides, || line().loss(0.01));
            pair.trusting = false;
            // Blocks are filled as segments come: no more than twice the data.
            pair.run_for(600 * SECOND, 2 * 2 * 65_536 + 8_192);
            assert_eq!(pair.abort(), 0);
        });
    }
}
