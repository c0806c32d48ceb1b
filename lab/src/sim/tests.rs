use utcp::time::{MILLISECOND, SECOND};

use super::layout::{Circuit, Layout, Load};
use super::net::{Net, START};
use super::transport::{ALL, Transport};
use super::whole::{self, Size};

const SMALL: Size = Size {
    relays: 6,
    circuits: 20,
    rates: (5.0, 10.0),
    warm: 1,
    seconds: 4,
};

/// Three relays, and clients that share them all.
fn shared(loads: &[Load], loss: f64) -> Layout {
    let mut layout = Layout::relays(1, 3, 20.0, 20.0, loss);
    for load in loads {
        let position = layout.nodes[0].position;
        let client = layout.client(position, 100.0);
        layout.circuits.push(Circuit {
            path: [client, 0, 1, 2],
            load: *load,
            begins: 0,
            server: 0,
        });
    }
    layout
}

fn ran(layout: &Layout, transport: Transport, seconds: u64) -> Net {
    let mut net = Net::new(layout, transport);
    net.run_until(START + seconds * SECOND);
    net
}

#[test]
fn every_transport_delivers_every_cell_in_order_also_under_loss() {
    let quiet = Load::Quiet(100 * MILLISECOND);
    let layout = shared(&[Load::Bulk, Load::Web(SECOND / 10), quiet], 1.0);
    for &transport in ALL {
        // Order and number are asserted where cells arrive.
        let net = ran(&layout, transport, 6);
        let name = transport.name;
        assert!(
            net.clients[0].received > 500,
            "{name}: {}",
            net.clients[0].received
        );
        assert!(
            net.clients[1].received > 100,
            "{name}: {}",
            net.clients[1].received
        );
        assert!(
            net.clients[2].delays.len() > 45,
            "{name}: {}",
            net.clients[2].delays.len()
        );
        assert!(net.fabric.lost > 0);
    }
}

#[test]
fn runs_with_the_same_seed_are_the_same_to_the_packet() {
    for name in ["multiplexed, cubic", "utcp coupled, bbr", "udp-or, cubic"] {
        let transport = Transport::named(name).unwrap();
        let run = |seed| whole::run(SMALL, transport, 0.5, seed);
        assert_eq!(run(5), run(5), "{name}");
        assert_ne!(run(5), run(6), "{name}");
    }
}

#[test]
fn a_lone_quiet_circuit_has_the_delay_of_its_path() {
    let layout = shared(&[Load::Quiet(500 * MILLISECOND)], 0.0);
    let base = layout.base(&layout.circuits[0]);
    for &transport in ALL {
        let net = ran(&layout, transport, 5);
        for (_, took) in &net.clients[0].delays {
            // Six cells of 600 octets at 20 Mbit/s or more, twice a link each.
            let serial = 12 * 300;
            assert!(
                (base..base + serial).contains(took),
                "{}: {took}, {base}",
                transport.name
            );
        }
    }
}

#[test]
fn bulk_delays_a_quiet_circuit_of_the_same_connection_but_not_one_with_its_own() {
    let quiet = Load::Quiet(100 * MILLISECOND);
    let layout = shared(&[Load::Bulk, Load::Bulk, Load::Bulk, quiet], 0.5);
    let mean = |name: &str| {
        let net = ran(&layout, Transport::named(name).unwrap(), 20);
        let delays = net.clients[3].delays.iter().filter(|d| d.0 > 2 * SECOND);
        let delays: Vec<u64> = delays.map(|d| d.1).collect();
        delays.iter().sum::<u64>() as f64 / delays.len() as f64
    };
    let (multiplexed, utcp) = (mean("multiplexed, cubic"), mean("utcp, cubic"));
    assert!(multiplexed > 1.15 * utcp, "{multiplexed} and {utcp}");
}

#[test]
fn no_circuit_has_more_under_way_than_its_window() {
    // A client that is far slower than the relays: what waits for it is bounded.
    let mut layout = shared(&[Load::Bulk], 0.0);
    layout.nodes[3].rate = 50_000;
    for name in ["multiplexed, cubic", "utcp, cubic"] {
        let net = ran(&layout, Transport::named(name).unwrap(), 10);
        let client = &net.clients[0];
        assert!(client.received > 700, "{name}: {}", client.received);
        let ahead = net.sent_by_exit(0) - client.received;
        assert!(ahead <= super::net::WINDOW, "{name}: {ahead}");
    }
}
