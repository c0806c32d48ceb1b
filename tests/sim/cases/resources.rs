//! What the library holds and sends when there is little of it, or nothing to do.

use utcp::error::Error;
use utcp::time::SECOND;

use super::{broadband, fast};
use crate::net::{Net, seeds};
use crate::plan;

#[test]
fn an_idle_connection_is_quiet() {
    seeds("idle", 1, |name, seed| {
        let mut net = Net::pair(name, seed, broadband);
        net.establish();
        net.open(0, 1, 1, 0, plan::both_ways(100_000, 100_000));
        net.complete(30 * SECOND);
        net.pass(300 * SECOND);
        // A circuit that stays open says nothing either.
        let mut idle = plan::requests(1, 100, 100);
        idle[0].steps.insert(2, plan::Step::Pause(4_000 * SECOND));
        net.open(0, 1, 2, 0, idle);
        net.pass(300 * SECOND);
        let before = net.counters(0, 1).entered + net.counters(1, 0).entered;
        net.pass(3_600 * SECOND);
        let sent = net.counters(0, 1).entered + net.counters(1, 0).entered - before;
        if sent != 0 {
            net.fail(&format!("{sent} datagrams in an idle hour"));
        }
        net.stall = 400 * SECOND;
        net.complete(400 * SECOND);
    });
}

#[test]
fn an_endpoint_without_work_has_no_deadline() {
    seeds("no deadline", 1, |name, seed| {
        let mut net = Net::pair(name, seed, broadband);
        net.establish();
        net.open(0, 1, 1, 0, plan::upload(10_000));
        net.complete(30 * SECOND);
        net.pass(600 * SECOND);
        // Timers may remain, but not such as fire all the time.
        let now = net.now();
        for host in &net.hosts {
            assert!(host.next_deadline() > now + 10 * SECOND);
        }
    });
}

#[test]
fn a_receiver_short_of_memory_slows_its_senders_and_loses_nothing() {
    seeds("receiver's budget", 2, |name, seed| {
        const BUDGET: u64 = 1_000_000;
        let mut net = Net::pair(name, seed, || fast().loss(0.002));
        let mut config = net.config(1);
        config.memory_budget = BUDGET;
        net.reconfigure(1, config);
        net.establish();
        for number in 1..=20 {
            net.open(0, 1, number, 0, plan::slow_reader(300_000, 20 * SECOND));
        }
        let end = net.now() + 40 * SECOND;
        while net.now() < end {
            net.pass(SECOND / 20);
            let held = net.hosts[1].endpoint.memory();
            if held > BUDGET {
                net.fail(&format!("{held} octets held of {BUDGET}"));
            }
        }
        net.complete(300 * SECOND);
        net.assert_clean();
    });
}

#[test]
fn a_sender_short_of_memory_takes_less_and_loses_nothing() {
    seeds("sender's budget", 2, |name, seed| {
        const BUDGET: u64 = 1_000_000;
        let mut net = Net::pair(name, seed, fast);
        let mut config = net.config(0);
        config.memory_budget = BUDGET;
        net.reconfigure(0, config);
        net.establish();
        for number in 1..=40 {
            net.open(0, 1, number, 0, plan::upload(200_000));
        }
        for _ in 0..200 {
            let held = net.hosts[0].endpoint.memory();
            if held > BUDGET {
                net.fail(&format!("{held} octets held of {BUDGET}"));
            }
            net.pass(SECOND / 100);
        }
        net.complete(120 * SECOND);
        net.assert_clean();
    });
}

#[test]
fn circuits_beyond_the_limit_are_refused_and_others_live() {
    seeds("circuit limit", 1, |name, seed| {
        let mut net = Net::pair(name, seed, broadband);
        for index in 0..2 {
            let mut config = net.config(index);
            // Control is one of them.
            config.max_circuits = 11;
            net.reconfigure(index, config);
        }
        net.establish();
        for number in 1..=10 {
            net.open(0, 1, number, 0, plan::requests(20, 514, 514));
        }
        let connection = net.ready(0, 1).expect("ready");
        let refused = net.hosts[0].endpoint.open_circuit(connection, 11);
        assert_eq!(refused, Err(Error::Limit));
        net.complete(30 * SECOND);
        net.open(0, 1, 11, 0, plan::requests(1, 514, 514));
        net.complete(30 * SECOND);
    });
}

#[test]
fn shedding_frees_memory_and_ends_the_largest_holders() {
    seeds("shed", 1, |name, seed| {
        let mut net = Net::pair(name, seed, broadband);
        net.establish();
        for number in 1..=10 {
            net.open(0, 1, number, 0, plan::slow_reader(200_000, 1_000 * SECOND));
        }
        net.pass(20 * SECOND);
        let before = net.hosts[1].endpoint.memory();
        assert!(before > 1_000_000, "{before}");
        net.doom();
        let freed = net.hosts[1].endpoint.shed(500_000);
        let after = net.hosts[1].endpoint.memory();
        assert!(freed >= 500_000, "{freed}");
        assert!(before - after >= 500_000, "{before} {after}");
        net.serve(1);
        net.open(0, 1, 20, 0, plan::requests(3, 514, 514));
        net.pass(10 * SECOND);
        let last = net.shared.plans.last().expect("a plan");
        assert!(!last.pending.contains(&true), "others go on");
    });
}
