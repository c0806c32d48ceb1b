use std::collections::BTreeSet;

use super::config::{BOOTSTRAP, Role, Shadow, Use, graph, hosts, torrc};
use super::*;

const SMALL: Scale = Scale {
    relays: 3,
    clients: 10,
    seconds: 60,
};

const AUTHORITY: &str = "DirAuthority authority orport=5000 v3ident=AA 100.64.0.1:7000 BB";

fn folder(name: &str) -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!("utcp-lab-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn what_is_written_says_what_shadow_needs() {
    let folder = folder("shadow-config");
    let all = hosts(&SMALL, 1);
    let simulation = Simulation {
        scale: &SMALL,
        hosts: &all,
        tor: "/opt/tor",
        lab: "/opt/lab",
        seed: 1,
    };
    write_files(&folder, &simulation, Program::Patched, AUTHORITY, 0.5).unwrap();
    let text = fs::read_to_string(folder.join("shadow.yaml")).unwrap();
    let back: Shadow = serde_norway::from_str(&text).unwrap();
    assert_eq!(back, simulation.yaml());
    assert_eq!(back.general.stop_time, format!("{} s", BOOTSTRAP + 60));
    assert_eq!(back.hosts.len(), 1 + 3 + 1 + 10);
    // Every host has a node and an address of its own.
    let nodes: BTreeSet<usize> = back.hosts.values().map(|h| h.network_node_id).collect();
    let addresses: BTreeSet<_> = back.hosts.values().map(|h| h.ip_addr).collect();
    assert_eq!((nodes.len(), addresses.len()), (15, 15));
    let client = &back.hosts["client1"].processes;
    assert_eq!(client[0].path, "/opt/tor");
    assert_eq!(client[1].path, "/opt/lab");
    let server = back.hosts["server"].ip_addr;
    assert!(
        client[1].args.contains(&format!("{server}:8080")),
        "{:?}",
        client[1].args
    );
    // Anything else than a mapping of names that Shadow knows would be refused by it.
    let value: serde_norway::Value = serde_norway::from_str(&text).unwrap();
    let keys = |value: &serde_norway::Value| -> Vec<String> {
        let keys = value.as_mapping().unwrap().keys();
        keys.map(|k| k.as_str().unwrap().to_string()).collect()
    };
    assert_eq!(keys(&value), ["general", "network", "hosts"]);
    assert_eq!(value["network"]["graph"]["type"].as_str(), Some("gml"));
    for (host, expected) in [("relay1", true), ("client1", true), ("server", false)] {
        let own = folder.join(TEMPLATE).join("hosts").join(host);
        assert_eq!(own.join("torrc").exists(), expected, "{host}");
    }
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn the_graph_is_complete_with_one_edge_for_each_pair() {
    let all = hosts(&SMALL, 1);
    let text = graph(&all, 0.5);
    let count = |word: &str| text.matches(word).count();
    assert_eq!(count("node ["), 15);
    assert_eq!(count("edge ["), 15 * 16 / 2);
    assert_eq!(count("packet_loss 0.005"), 15 * 14 / 2);
    assert_eq!(count("["), count("]"));
    let edge = |a: usize, b: usize| {
        let at = text.find(&format!("source {a}\n    target {b}\n")).unwrap();
        text[at..].lines().nth(2).unwrap().trim().to_string()
    };
    let delay = all[2].position.delay(all[7].position);
    assert_eq!(edge(2, 7), format!("latency \"{delay} us\""));
}

#[test]
fn only_patched_relays_offer_the_transport_and_clients_are_of_all_kinds() {
    let all = hosts(&SMALL, 1);
    let lines = |host: &config::Host, program| torrc(host, program, AUTHORITY);
    let of = |name: &str| all.iter().find(|h| h.name == name).unwrap();
    let offers = |name, program| lines(of(name), program).unwrap().contains("ORUDPPort");
    assert!(offers("relay1", Program::Patched));
    assert!(!offers("relay1", Program::Vanilla));
    assert!(!offers("client1", Program::Patched));
    assert_eq!(lines(of("server"), Program::Patched), None);
    for host in all.iter().filter(|h| h.role != Role::Server) {
        assert!(lines(host, Program::Vanilla).unwrap().contains(AUTHORITY));
    }
    for using in [Use::Bulk, Use::Web, Use::Quiet] {
        assert!(
            all.iter().any(|h| h.role == Role::Client(using)),
            "{using:?}"
        );
    }
}

/// Lines as clients print them, made up: no simulation is behind them.
#[test]
fn a_data_directory_is_read() {
    let folder = folder("shadow-data");
    let begin = 946_684_800.0 + BOOTSTRAP as f64 + 30.0;
    let file = |host: &str, name: &str, lines: &[String]| {
        let own = folder.join("hosts").join(host);
        fs::create_dir_all(&own).unwrap();
        fs::write(own.join(name), lines.join("\n")).unwrap();
    };
    let line = |measured| serde_json::to_string(&measured).unwrap();
    use traffic::Measured::{Bulk, Download, Echo};
    let bulk = |at, octets| {
        line(Bulk {
            at,
            octets,
            seconds: 1.0,
        })
    };
    file(
        "client1",
        "lab.1001.stdout",
        // The first is from before anything counts.
        &[
            bulk(begin - 20.0, 9_000_000),
            bulk(begin, 1_000_000),
            bulk(begin + 1.0, 3_000_000),
        ],
    );
    file(
        "client1",
        "tor.1000.stdout",
        &["Jan 01 00:00:01.000 [notice] Tor 0.4.9".into()],
    );
    let echo = |took| line(Echo { at: begin, took });
    file(
        "client2",
        "client2.lab.1001.stdout",
        &[echo(0.2), echo(0.3), echo(0.4)],
    );
    let download = Download {
        size: 50_000,
        at: begin,
        first: 0.5,
        last: 1.5,
    };
    file("client3", "lab.1001.stdout", &[line(download)]);
    file("client4", "lab.1001.stdout", &[]);
    file("relay1", "lab.1001.stdout", &[echo(99.0)]);
    let lines = read::read(&folder).unwrap();
    assert_eq!((lines.spoke, lines.clients), (3, 4));
    let figures = lines.figures();
    let get = |name: &str| figures.iter().find(|f| f.0 == name).map(|f| f.1);
    assert_eq!(get("throughput_bulk_mbit"), Some(16.0));
    assert_eq!(get("quiet_delay_p50_ms"), Some(300.0));
    assert_eq!(get("web_first_p50_ms"), Some(500.0));
    assert_eq!(get("web_last_50kB_p50_s"), Some(1.5));
    assert_eq!(
        get("web_last_5MB_p50_s"),
        None,
        "nothing of the kind was measured"
    );
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn vanilla_says_whose_tcp_it_has() {
    assert!(variant(Program::Vanilla).contains("Shadow's own kernel TCP"));
    assert!(!variant(Program::Patched).contains("kernel"));
}
