//! When memory runs short: shares of connections, the order in which data gives way, and a budget that changes.

use utcp::pool::Pressure;
use utcp::time::SECOND;

use super::{broadband, fast};
use crate::link::Link;
use crate::net::{Net, seeds};
use crate::plan;

const BUDGET: u64 = 1_000_000;

/// A relay, 0, with a budget of its own and `peers` that connect to it.
fn relay(name: &str, seed: u64, peers: usize, link: impl Fn() -> Link) -> Net {
    relay_with_share(name, seed, peers, 50, link)
}

fn relay_with_share(
    name: &str,
    seed: u64,
    peers: usize,
    share: u32,
    link: impl Fn() -> Link,
) -> Net {
    let mut net = Net::new(name, seed);
    let mut config = net.config(0);
    config.memory_budget = BUDGET;
    config.connection_share = share;
    net.add_host(config);
    for peer in 1..=peers {
        net.add_host(net.config(peer));
        net.link(0, peer, link());
        net.link(peer, 0, link());
        net.connect(peer, 0);
    }
    net.run_until("all are ready", 60 * SECOND, |net| {
        (1..=peers).all(|peer| net.ready(0, peer).is_some() && net.ready(peer, 0).is_some())
    });
    net
}

/// Octets that the relay holds for a peer.
fn held(net: &Net, peer: usize) -> u64 {
    let id = net.ready(0, peer).expect("a connection");
    let info = net.hosts[0].endpoint.connection_info(id);
    info.expect("information").memory
}

/// Traffic of every kind with a peer that behaves; must be done within `bound`, while the others hold what they hold.
fn serve_another(net: &mut Net, peer: usize, bound: u64) {
    let plans: Vec<usize> = vec![
        net.open(peer, 0, 900, 0, plan::upload(2_000_000)),
        net.open(peer, 0, 901, 0, plan::download(2_000_000)),
        net.open(peer, 0, 902, 0, plan::both_ways(500_000, 500_000)),
        net.open(peer, 0, 903, 0, plan::requests(20, 514, 50_000)),
    ];
    net.run_until("the other peer is served", bound, |net| {
        plans
            .iter()
            .all(|&plan| net.shared.plans[plan].pending == [false; 2])
    });
}

#[test]
fn a_peer_that_is_not_read_does_not_starve_another() {
    seeds("greedy sender", 3, |name, seed| {
        let mut net = relay(name, seed, 2, fast);
        for number in 1..=40 {
            net.open(1, 0, number, 0, plan::slow_reader(100_000, 300 * SECOND));
        }
        net.pass(20 * SECOND);
        let greedy = held(&net, 1);
        assert!(greedy > BUDGET / 4, "it was put to the test: {greedy}");
        serve_another(&mut net, 2, 60 * SECOND);
        assert!(held(&net, 1) <= BUDGET / 2);
        let stats = net.hosts[0].endpoint.stats();
        assert!(stats.memory_peak <= BUDGET, "{}", stats.memory_peak);
        net.stall = 400 * SECOND;
        net.complete(600 * SECOND);
        net.assert_clean();
    });
}

#[test]
fn a_peer_that_does_not_read_does_not_starve_another() {
    seeds("greedy receiver", 3, |name, seed| {
        let mut net = relay(name, seed, 2, fast);
        for number in 1..=16 {
            // The relay writes, and the peer does not read.
            let stuck = plan::slow_reader(800_000, 300 * SECOND);
            net.open(0, 1, number, 0, stuck);
        }
        let end = net.now() + 20 * SECOND;
        let mut most = 0;
        while net.now() < end {
            net.pass(SECOND / 20);
            most = most.max(held(&net, 1));
        }
        assert!(most > BUDGET / 3, "it was put to the test: {most}");
        assert!(most <= BUDGET / 2, "{most}");
        serve_another(&mut net, 2, 60 * SECOND);
        let stats = net.hosts[0].endpoint.stats();
        assert!(stats.writes_refused > 0);
        net.stall = 400 * SECOND;
        net.complete(600 * SECOND);
        net.assert_clean();
    });
}

#[test]
fn however_many_are_not_read_another_is_served() {
    seeds("greedy senders", 2, |name, seed| {
        let mut net = relay(name, seed, 6, fast);
        for peer in 1..=5 {
            for number in 1..=20 {
                net.open(peer, 0, number, 0, plan::slow_reader(100_000, 300 * SECOND));
            }
        }
        net.pass(20 * SECOND);
        let all = net.hosts[0].endpoint.memory();
        assert!(all > BUDGET / 2 && all < BUDGET, "{all}");
        serve_another(&mut net, 6, 120 * SECOND);
        net.stall = 400 * SECOND;
        net.complete(600 * SECOND);
        net.assert_clean();
    });
}

#[test]
fn data_out_of_order_goes_before_data_in_order_is_refused() {
    seeds("order of shedding", 2, |name, seed| {
        let mut net = relay(name, seed, 1, || fast().loss(0.03));
        for number in 1..=40 {
            net.open(1, 0, number, 0, plan::slow_reader(100_000, 20 * SECOND));
        }
        let end = net.now() + 15 * SECOND;
        let mut refused = 0;
        while net.now() < end {
            net.pass(SECOND / 1_000);
            let host = &net.hosts[0];
            let stats = host.endpoint.stats();
            let infos = host.flows.keys();
            let infos = infos.filter_map(|&id| host.endpoint.circuit_info(id));
            let out_of_order: u64 = infos.map(|info| info.out_of_order).sum();
            // A datagram or two may have come since.
            if stats.dropped_in_order > refused && out_of_order > 10_000 {
                net.fail(&format!("{out_of_order} octets are kept out of order"));
            }
            refused = stats.dropped_in_order;
        }
        let stats = net.hosts[0].endpoint.stats();
        assert!(refused > 0 && stats.dropped_out_of_order + stats.bytes_reneged > 0);
        net.complete(600 * SECOND);
        net.assert_clean();
    });
}

#[test]
fn short_of_all_data_out_of_order_goes_wherever_it_is() {
    seeds("reneging", 3, |name, seed| {
        let mut net = relay_with_share(name, seed, 3, 100, fast);
        for number in 1..=10 {
            net.open(1, 0, number, 0, plan::upload(100_000));
        }
        let out_of_order = |net: &Net| -> u64 {
            let host = &net.hosts[0];
            let infos = host.flows.keys();
            let infos = infos.filter_map(|&id| host.endpoint.circuit_info(id));
            infos.map(|info| info.out_of_order).sum()
        };
        // Half of what the first peer sends is lost, and then all of it.
        net.pass(SECOND / 10);
        net.link(1, 0, fast().loss(0.5));
        net.pass(SECOND / 10);
        net.link(1, 0, fast().loss(1.0));
        net.pass(SECOND / 10);
        let before = out_of_order(&net);
        assert!(before > 0, "it was put to the test");
        for peer in 2..=3 {
            for number in 1..=40 {
                net.open(peer, 0, number, 0, plan::slow_reader(100_000, 20 * SECOND));
            }
            net.pass(5 * SECOND);
        }
        assert_eq!(out_of_order(&net), 0);
        assert!(net.hosts[0].endpoint.stats().bytes_reneged >= before);
        net.link(1, 0, fast());
        net.complete(600 * SECOND);
        net.assert_clean();
    });
}

#[test]
fn a_budget_that_shrinks_and_grows_loses_nothing() {
    seeds("changing budget", 3, |name, seed| {
        let mut net = relay(name, seed, 2, || broadband().loss(0.001));
        let endpoint = &mut net.hosts[0].endpoint;
        assert_eq!(endpoint.set_memory_budget(64 * BUDGET), Ok(()));
        for peer in 1..=2 {
            for number in 1..=20 {
                net.open(peer, 0, number, 0, plan::slow_reader(100_000, 30 * SECOND));
                net.open(0, peer, 100 + number, 0, plan::upload(100_000));
                net.open(peer, 0, 200 + number, 0, plan::both_ways(100_000, 100_000));
            }
        }
        // All have begun when it becomes little.
        net.pass(SECOND / 2);
        let budgets = [BUDGET / 8, 4 * BUDGET, BUDGET / 2, 65_536, BUDGET];
        for budget in budgets {
            let endpoint = &mut net.hosts[0].endpoint;
            assert_eq!(endpoint.set_memory_budget(budget), Ok(()));
            let held = endpoint.memory();
            let end = net.now() + 5 * SECOND;
            let mut before = held;
            while net.now() < end {
                net.pass(SECOND / 50);
                let held = net.hosts[0].endpoint.memory();
                if held > budget.max(before) {
                    net.fail(&format!("{before} and then {held} octets of {budget}"));
                }
                before = held;
            }
        }
        net.complete(600 * SECOND);
        net.assert_clean();
    });
}

#[test]
fn the_relay_hears_of_pressure_once_on_the_way_up_and_once_well_below() {
    seeds("pressure", 2, |name, seed| {
        let mut net = Net::pair(name, seed, fast);
        let mut config = net.config(1);
        config.memory_budget = BUDGET;
        config.connection_share = 100;
        net.reconfigure(1, config);
        net.establish();
        for number in 1..=40 {
            net.open(0, 1, number, 0, plan::slow_reader(100_000, 30 * SECOND));
        }
        net.complete(600 * SECOND);
        net.assert_clean();
        // Received data may not take so much that it were critical. What the readers make room for comes in again.
        let told = &net.hosts[1].pressure;
        let expected = [Pressure::High, Pressure::Normal].repeat(told.len() / 2);
        assert!((1..=5).contains(&(told.len() / 2)), "{told:?}");
        assert_eq!(*told, expected);
        assert_eq!(net.hosts[0].pressure, []);
    });
}
