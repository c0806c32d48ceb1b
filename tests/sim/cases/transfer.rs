//! Circuits that carry data to the end.

use utcp::time::{MILLISECOND, SECOND, Time};

use super::{bad, broadband, fast, pure_delay, scripts};
use crate::link::Link;
use crate::net::{Net, seeds};
use crate::plan::{self, Step};
use crate::rng::Rng;

#[test]
fn bulk_one_way_arrives_from_either_end() {
    seeds("bulk", 2, |name, seed| {
        let mut net = Net::pair(name, seed, broadband);
        net.establish();
        net.open(0, 1, 1, 0, plan::upload(2_000_000));
        net.complete(15 * SECOND);
        net.open(0, 1, 2, 0, plan::download(2_000_000));
        net.complete(15 * SECOND);
        net.open(1, 0, 0x8000_0001, 0, plan::upload(500_000));
        net.complete(15 * SECOND);
        net.assert_clean();
    });
}

#[test]
fn bulk_both_ways_at_once_does_not_hang() {
    type Named = (&'static str, fn() -> Link);
    let links: [Named; 4] = [
        ("both ways, no loss", broadband),
        ("both ways, loss", || broadband().loss(0.01)),
        ("both ways, small queues", || {
            Link::new().rate(1_250_000, 8_000).delay(20 * MILLISECOND)
        }),
        ("both ways, small queues and loss", || {
            Link::new()
                .loss(0.02)
                .rate(1_250_000, 6_000)
                .delay(25 * MILLISECOND)
        }),
    ];
    for (name, link) in links {
        seeds(name, 4, |name, seed| {
            let mut net = Net::pair(name, seed, link);
            net.establish();
            net.open(0, 1, 5, 0, plan::both_ways(1_000_000, 1_000_000));
            net.complete(120 * SECOND);
            net.assert_clean();
        });
    }
}

#[test]
fn several_circuits_both_ways_share_a_small_queue() {
    seeds("several both ways", 3, |name, seed| {
        let mut net = Net::pair(name, seed, || {
            Link::new().rate(1_250_000, 12_000).delay(20 * MILLISECOND)
        });
        net.establish();
        for number in 1..=8 {
            net.open(0, 1, number, 0, plan::both_ways(200_000, 200_000));
        }
        net.complete(120 * SECOND);
    });
}

#[test]
fn requests_and_responses_alternate() {
    seeds("requests", 3, |name, seed| {
        let mut net = Net::pair(name, seed, broadband);
        net.establish();
        net.open(0, 1, 1, 0, plan::requests(200, 514, 514));
        net.open(1, 0, 2, 0, plan::requests(30, 100, 30_000));
        // 200 round trips of 40 ms, and what they wait for the bulk beside them.
        net.complete(40 * SECOND);
        net.assert_clean();
    });
}

#[test]
fn cells_at_intervals_arrive() {
    seeds("cells", 3, |name, seed| {
        let mut net = Net::pair(name, seed, || broadband().loss(0.01));
        net.establish();
        for number in 1..=10 {
            net.open(0, 1, number, 0, plan::cells(200, 514, 50 * MILLISECOND));
        }
        net.complete(40 * SECOND);
    });
}

#[test]
fn a_thousand_circuits_share_a_connection() {
    seeds("thousand", 1, |name, seed| {
        let mut net = Net::pair(name, seed, || fast().loss(0.002));
        net.establish();
        let mut rng = Rng::new(seed, 1);
        for number in 1..=1_000 {
            let (opener, acceptor) = if rng.chance(0.5) { (0, 1) } else { (1, 0) };
            let after = rng.below(SECOND);
            let ends = scripts::orderly(&mut rng, 30_000);
            net.open(opener, acceptor, number, after, ends);
        }
        net.complete(300 * SECOND);
        net.assert_clean();
    });
}

#[test]
fn every_orderly_script_survives_a_bad_network() {
    seeds("mixture", 4, |name, seed| {
        let mut net = Net::pair(name, seed, bad);
        net.establish();
        let mut rng = Rng::new(seed, 1);
        for number in 1..=40 {
            let (opener, acceptor) = if rng.chance(0.5) { (0, 1) } else { (1, 0) };
            let after = rng.below(5 * SECOND);
            let ends = scripts::orderly(&mut rng, 60_000);
            net.open(opener, acceptor, number, after, ends);
        }
        net.complete(400 * SECOND);
        net.assert_clean();
    });
}

#[test]
fn one_direction_goes_on_after_the_other_has_finished() {
    seeds("half-close", 4, |name, seed| {
        let mut net = Net::pair(name, seed, || broadband().loss(0.02));
        net.establish();
        net.open(0, 1, 1, 0, plan::half_close_by_opener(50_000, 300_000));
        net.open(0, 1, 2, 0, plan::half_close_by_acceptor(300_000, 50_000));
        net.open(1, 0, 3, 0, plan::half_close_by_opener(8, 1));
        net.open(1, 0, 4, 0, plan::half_close_by_acceptor(1, 0));
        net.complete(120 * SECOND);
        net.assert_clean();
    });
}

#[test]
fn a_reader_that_stops_for_minutes_stops_its_circuit_only() {
    seeds("slow reader", 3, |name, seed| {
        let mut net = Net::pair(name, seed, || broadband().loss(0.005));
        for index in 0..2 {
            let mut config = net.config(index);
            config.receive_buffer = 100_000;
            net.reconfigure(index, config);
        }
        net.establish();
        let slow = net.open(0, 1, 1, 0, plan::slow_reader(400_000, 300 * SECOND));
        let quick = net.open(0, 1, 2, 0, plan::upload(1_000_000));
        net.run_until("the quick circuit is done", 60 * SECOND, |net| {
            !net.shared.plans[quick].pending.contains(&true)
        });
        // The sender probes the closed window, and gives nothing up.
        net.stall = 400 * SECOND;
        net.run_until("the reader has begun", 320 * SECOND, |net| {
            net.shared.plans[slow].progress[1].received > 8
        });
        net.stall = 130 * SECOND;
        net.complete(200 * SECOND);
        net.assert_clean();
    });
}

/// It does not take a probe, which may be a minute away by then, to set a waiting sender going again.
#[test]
fn a_reader_that_resumes_sets_its_sender_going_at_once() {
    seeds("window update", 2, |name, seed| {
        let mut net = Net::pair(name, seed, broadband);
        let mut config = net.config(1);
        config.receive_buffer = 65_536;
        net.reconfigure(1, config);
        net.establish();
        net.stall = 400 * SECOND;
        net.open(0, 1, 1, 0, plan::slow_reader(400_000, 300 * SECOND));
        net.pass(300 * SECOND);
        // 8,192 octets every 50 ms at most.
        net.complete(4 * SECOND);
    });
}

#[test]
fn a_rate_cap_is_kept_and_used() {
    seeds("rate cap", 2, |name, seed| {
        let mut net = Net::pair(name, seed, fast);
        net.establish();
        let begin = net.now();
        let capped = net.open(0, 1, 1, SECOND, plan::upload(500_000));
        let free = net.open(0, 1, 2, SECOND, plan::upload(500_000));
        net.run_until("the circuits are open", 2 * SECOND, |net| {
            net.shared.plans[free].progress[0].started.is_some()
        });
        let id = net.hosts[0]
            .flows
            .values()
            .find(|f| f.plan == Some(capped))
            .map(|f| f.id)
            .expect("open");
        assert_eq!(net.hosts[0].endpoint.set_rate(id, 50_000), Ok(()));
        net.complete(30 * SECOND);
        let took = |plan: usize| {
            Time(net.shared.plans[plan].progress[1].done.expect("done")).since(begin + SECOND)
        };
        // 500,000 octets at 50,000 a second; the first window left before there was a cap.
        assert!(took(capped) >= 9 * SECOND, "{}", took(capped));
        assert!(took(capped) <= 11 * SECOND, "{}", took(capped));
        assert!(took(free) <= 2 * SECOND, "{}", took(free));
    });
}

#[test]
fn masked_events_wait_until_they_are_wanted() {
    seeds("event mask", 2, |name, seed| {
        let mut net = Net::pair(name, seed, broadband);
        net.establish();
        let plan = net.open(0, 1, 1, 0, plan::upload(100_000));
        let other = net.open(0, 1, 2, 0, plan::upload(100_000));
        net.run_until("the circuit is accepted", SECOND, |net| {
            net.shared.plans[plan].progress[1].started.is_some()
        });
        let id = net.hosts[1]
            .flows
            .values()
            .find(|f| f.plan == Some(plan))
            .map(|f| f.id)
            .expect("accepted");
        assert_eq!(net.hosts[1].endpoint.set_events(id, 0), Ok(()));
        let before = net.shared.plans[plan].progress[1].received;
        net.pass(10 * SECOND);
        assert_eq!(net.shared.plans[plan].progress[1].received, before);
        assert!(!net.shared.plans[other].pending.contains(&true));
        let mask = utcp::endpoint::EVENT_READABLE | utcp::endpoint::EVENT_WRITABLE;
        assert_eq!(net.hosts[1].endpoint.set_events(id, mask), Ok(()));
        net.serve(1);
        net.complete(10 * SECOND);
    });
}

#[test]
fn a_closed_window_holds_without_loss_of_data_when_probes_are_lost() {
    seeds("window probes", 3, |name, seed| {
        let mut net = Net::pair(name, seed, || broadband().loss(0.1));
        let mut config = net.config(1);
        config.receive_buffer = 16_384;
        net.reconfigure(1, config);
        net.establish();
        net.stall = 200 * SECOND;
        net.open(0, 1, 1, 0, plan::slow_reader(200_000, 60 * SECOND));
        net.complete(600 * SECOND);
        net.assert_clean();
    });
}

#[test]
fn the_first_octets_of_a_circuit_arrive_after_half_a_round_trip() {
    seeds("data on SYN", 2, |name, seed| {
        let mut net = Net::pair(name, seed, pure_delay);
        net.establish();
        net.pass(SECOND);
        let one = net.open(0, 1, 1, 0, plan::requests(1, 500, 500));
        let other = net.open(1, 0, 2, 0, plan::requests(1, 500, 500));
        net.complete(10 * SECOND);
        for plan in [one, other] {
            let progress = net.shared.plans[plan].progress;
            let opened = Time(progress[0].started.expect("opened"));
            let there = Time(progress[1].first_octet.expect("arrived"));
            let back = Time(progress[0].first_octet.expect("answered"));
            assert_eq!(there.since(opened), 50 * MILLISECOND);
            assert_eq!(back.since(opened), 100 * MILLISECOND);
        }
    });
}

#[test]
fn the_control_circuit_carries_data_beside_and_without_others() {
    seeds("control", 3, |name, seed| {
        let mut net = Net::pair(name, seed, || broadband().loss(0.01));
        net.establish();
        net.control(0, 1, plan::requests(50, 514, 514));
        net.open(0, 1, 1, 0, plan::both_ways(300_000, 300_000));
        net.complete(60 * SECOND);
        assert!(net.ready(0, 1).is_some() && net.ready(1, 0).is_some());
    });
}

#[test]
fn control_is_heard_while_the_others_are_held() {
    seeds("hold", 3, |name, seed| {
        let mut net = Net::pair(name, seed, broadband);
        net.establish();
        net.hold(1, 0, true);
        let control = net.control(0, 1, plan::requests(20, 514, 514));
        for number in 1..=20 {
            net.open(0, 1, number, 0, plan::upload(20_000));
        }
        // Also circuits that end before anyone was told that they are there.
        net.open(0, 1, 21, 0, plan::abort_by_opener(100));
        let mut waits = plan::requests(1, 100, 100);
        waits[0].steps.insert(0, Step::Pause(SECOND));
        net.open(0, 1, 22, 0, waits);
        net.run_until("the control circuit is done", 20 * SECOND, |net| {
            !net.shared.plans[control].pending.contains(&true)
        });
        net.pass(5 * SECOND);
        let others = net.hosts[1].flows.values().filter(|f| !f.control).count();
        assert_eq!(others, 0, "nothing was reported while held");
        net.hold(1, 0, false);
        net.complete(20 * SECOND);
        // Held again with circuits open: they keep still, and go on afterwards.
        for number in 30..=35 {
            net.open(0, 1, number, 0, plan::requests(100, 514, 2_000));
        }
        net.pass(500 * MILLISECOND);
        net.hold(1, 0, true);
        let before = net.shared.octets;
        net.pass(5 * SECOND);
        let meanwhile = net.shared.octets - before;
        assert!(meanwhile <= 6 * 2_000, "{meanwhile} octets read while held");
        net.hold(1, 0, false);
        net.complete(60 * SECOND);
        net.assert_clean();
    });
}

#[test]
fn circuits_are_usable_the_moment_the_connection_is_ready() {
    seeds("early circuits", 4, |name, seed| {
        let mut net = Net::pair(name, seed, || {
            broadband().loss(0.05).reorder(0.1, 30 * MILLISECOND)
        });
        net.connect(0, 1);
        // Opened by each host in the moment it learns that the connection is ready.
        for number in 1..=10 {
            net.open(0, 1, number, 0, plan::requests(2, 514, 3_000));
            net.open(1, 0, 100 + number, 0, plan::requests(2, 514, 3_000));
        }
        net.complete(90 * SECOND);
    });
}
