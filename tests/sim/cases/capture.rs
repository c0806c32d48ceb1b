//! What an endpoint captures is a pcap file of TCP/IP packets that tshark finds nothing wrong with.

use std::process::Command;

use utcp::time::{MILLISECOND, SECOND};

use super::{broadband, scripts};
use crate::net::{Net, seeds};
use crate::rng::Rng;

/// Runs tshark over a capture and returns what it prints.
fn tshark(file: &std::path::Path, arguments: &[&str]) -> String {
    let output = Command::new("tshark")
        .arg("-r")
        .arg(file)
        .args([
            "-o",
            "tcp.check_checksum:TRUE",
            "-o",
            "ip.check_checksum:TRUE",
        ])
        .args(["-d", "tcp.port==0-65535,data"])
        .args(arguments)
        .output()
        .expect("tshark runs (Debian package tshark)");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn a_capture_holds_every_segment_and_no_malformed_packet() {
    seeds("capture", 1, |name, seed| {
        let mut net = Net::pair(name, seed, || {
            broadband().loss(0.02).reorder(0.02, 10 * MILLISECOND)
        });
        net.hosts[0].endpoint.set_capture(true);
        net.establish();
        let mut rng = Rng::new(seed, 1);
        for number in 1..=10 {
            net.open(0, 1, number, 0, scripts::orderly(&mut rng, 30_000));
            net.open(1, 0, 100 + number, 0, scripts::orderly(&mut rng, 30_000));
        }
        net.complete(60 * SECOND);
        net.pass(SECOND);

        let capture = net.hosts[0].endpoint.take_capture();
        let id = net.ready(0, 1).expect("ready");
        let stats = net.hosts[0]
            .endpoint
            .connection_info(id)
            .expect("known")
            .stats;
        let path = std::env::temp_dir().join(format!("utcp-capture-{}.pcap", std::process::id()));
        std::fs::write(&path, &capture).expect("written");

        let lengths = tshark(&path, &["-T", "fields", "-e", "tcp.len"]);
        let packets = lengths.lines().count() as u64;
        assert_eq!(packets, stats.segments_sent + stats.segments_received);
        let octets: u64 = lengths.lines().filter_map(|l| l.parse::<u64>().ok()).sum();
        assert!(octets >= stats.payload_sent + stats.payload_received);
        let faults =
            "_ws.malformed || tcp.checksum.status == \"Bad\" || ip.checksum.status == \"Bad\"";
        assert_eq!(tshark(&path, &["-Y", faults]), "");
        let sack = tshark(&path, &["-Y", "tcp.options.sack"]);
        assert!(!sack.is_empty(), "losses leave SACK blocks");
        std::fs::remove_file(&path).expect("removed");
    });
}
