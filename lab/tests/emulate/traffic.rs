//! What passes over the links.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream, UdpSocket};
use std::thread;

use utcp_lab::emulate::link::Counters;
use utcp_lab::emulate::record::Wanted;
use utcp_lab::emulate::{LinkSettings, Load, Running};

use crate::{WATCHDOG, possible, start, wait_until};

fn address(running: &Running, host: &str) -> Ipv4Addr {
    running.address(host).expect("there is such a host")
}

/// A socket inside of a host.
fn udp(running: &Running, host: &str) -> UdpSocket {
    let at = address(running, host);
    let host = running.host(host).expect("there is such a host");
    let socket = host
        .spawn(move || UdpSocket::bind((at, 0)))
        .join()
        .expect("no panic");
    let socket = socket.expect("the address is there");
    socket.set_nonblocking(true).expect("a socket");
    socket
}

fn counters(running: &Running, from: &str, to: &str) -> Counters {
    running.link_counters(from, to).expect("it runs")
}

/// Sends so many datagrams, each numbered, and waits until all have come to their end.
fn send(running: &Running, from: (&str, &UdpSocket), to: (&str, &UdpSocket), count: u32) {
    let before = counters(running, from.0, to.0);
    for number in 0..count {
        let to = to.1.local_addr().expect("it is bound");
        from.1
            .send_to(&number.to_be_bytes(), to)
            .expect("the device has a long queue");
    }
    wait_until("the end of all datagrams", || {
        let now = counters(running, from.0, to.0);
        let ended = now.delivered + now.lost + now.overflowed + now.access;
        let all = before.entered + u64::from(count);
        (now.entered == all && ended == all + now.duplicated).then_some(())
    });
}

fn receive(socket: &UdpSocket) -> Vec<u32> {
    let mut buffer = [0; 4];
    let mut all = Vec::new();
    while let Ok(n) = socket.recv(&mut buffer) {
        assert_eq!(n, 4);
        all.push(u32::from_be_bytes(buffer));
    }
    all
}

#[test]
fn each_pair_loses_what_it_is_told_to_and_no_other_does() {
    if !possible() {
        return;
    }
    let running = start("[defaults]\ndelay_ms = 5\n[[links]]\nfrom = 'a'\nto = 'c'\nloss = 0.3\n");
    let [a, b, c] = ["a", "b", "c"].map(|host| udp(&running, host));
    send(&running, ("a", &a), ("b", &b), 200);
    send(&running, ("b", &b), ("c", &c), 200);
    assert_eq!(receive(&b), (0..200).collect::<Vec<_>>());
    assert_eq!(receive(&c), (0..200).collect::<Vec<_>>());
    send(&running, ("a", &a), ("c", &c), 200);
    let lost = counters(&running, "a", "c").lost;
    assert!((20..100).contains(&lost), "{lost}");
    assert_eq!(receive(&c).len() as u64, 200 - lost);
    let links = running.counters().expect("it runs").links;
    let names: Vec<(&str, &str)> = links.iter().map(|link| (&*link.from, &*link.to)).collect();
    assert_eq!(names, [("a", "b"), ("a", "c"), ("b", "c")]);
    assert_eq!(links[0].counters.entered_octets, 200 * 32);
    assert!(running.verdict().expect("it runs").packets >= 500);
}

#[test]
fn the_same_seed_loses_the_same_datagrams() {
    if !possible() {
        return;
    }
    let run = |seed: u32| {
        let mut running = start(&format!(
            "[defaults]\nloss = 0.2\n[limits]\nseconds = {seed}\n"
        ));
        let [a, b] = ["a", "b"].map(|host| udp(&running, host));
        send(&running, ("a", &a), ("b", &b), 200);
        let first = receive(&b);
        running.restart().expect("it runs");
        send(&running, ("a", &a), ("b", &b), 200);
        assert_eq!(first, receive(&b), "after a restart");
        first
    };
    let first = run(1);
    assert!(first.len() < 200);
    assert_eq!(first, run(2), "the seed is what counts");
}

#[test]
fn a_link_can_be_changed_while_it_is_in_use() {
    if !possible() {
        return;
    }
    let mut running = start("[defaults]\ndelay_ms = 1\n");
    let [a, b] = ["a", "b"].map(|host| udp(&running, host));
    send(&running, ("a", &a), ("b", &b), 10);
    let with_loss = |loss| LinkSettings {
        loss: Some(loss),
        ..LinkSettings::default()
    };
    running
        .set_link("a", "b", &with_loss(1.0))
        .expect("it runs");
    send(&running, ("a", &a), ("b", &b), 10);
    assert_eq!(receive(&b), (0..10).collect::<Vec<_>>());
    running
        .set_link("a", "b", &with_loss(0.0))
        .expect("it runs");
    send(&running, ("a", &a), ("b", &b), 10);
    assert_eq!(receive(&b).len(), 10);
    let refused = running
        .set_link("a", "b", &with_loss(2.0))
        .expect_err("not a probability");
    assert!(refused.to_string().contains("loss = 2"), "{refused}");
    assert!(running.set_link("a", "x", &with_loss(0.0)).is_err());
}

/// Sends octets over a connection from `a` to `b`; what arrived, and what was sent.
fn transfer(running: &Running, octets: usize) -> (Vec<u8>, Vec<u8>) {
    let to = address(running, "b");
    let server = running.host("b").expect("there is such a host");
    let listener = server
        .spawn(move || TcpListener::bind((to, 0)))
        .join()
        .expect("no panic");
    let listener = listener.expect("the address is there");
    let to = listener.local_addr().expect("it is bound");
    let receiving = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("somebody connects");
        stream.set_read_timeout(Some(WATCHDOG)).expect("a socket");
        let mut all = Vec::new();
        stream.read_to_end(&mut all).expect("it ends");
        all
    });
    let sent: Vec<u8> = (0..octets)
        .map(|n| (n / 7) as u8 ^ (n / 1_999) as u8)
        .collect();
    let client = running.host("a").expect("there is such a host");
    let stream = client
        .spawn(move || TcpStream::connect_timeout(&to, WATCHDOG))
        .join();
    let mut stream = stream.expect("no panic").expect("it is there");
    stream.set_write_timeout(Some(WATCHDOG)).expect("a socket");
    stream.write_all(&sent).expect("it takes all");
    stream.shutdown(Shutdown::Write).expect("it is connected");
    (receiving.join().expect("no panic"), sent)
}

#[test]
fn the_kernels_tcp_gets_everything_over_a_bad_link() {
    if !possible() {
        return;
    }
    let running = start(
        "[defaults]\ndelay_ms = 2\n[[links]]\nfrom = 'a'\nto = 'b'\nboth = true\nrate_mbit = 50\n\
         reorder = 0.02\nreorder_ms = 3\nduplicate = 0.02\ncorrupt = 0.02\nloss = 0.005\n\
         burst = { enter = 0.002, leave = 0.5 }\n",
    );
    let (received, sent) = transfer(&running, 2 << 20);
    assert!(
        received == sent,
        "{} of {} octets, or others",
        received.len(),
        sent.len()
    );
    let there = counters(&running, "a", "b");
    let all = [
        there.lost,
        there.reordered,
        there.duplicated,
        there.corrupted,
    ];
    assert!(all.iter().all(|&count| count > 0), "{there:?}");
    // Each damaged segment was thrown away by the kernel, or the stream would not be right.
    assert!(there.entered_octets > sent.len() as u64);
}

#[test]
fn marks_are_answered_by_a_sender_that_is_ecn_capable() {
    if !possible() {
        return;
    }
    let running = start(
        "[[hosts]]\nname = 'd'\n[defaults]\ndelay_ms = 5\nrate_mbit = 30\nqueue_bytes = 2_000_000\nmark_bytes = 30_000\n",
    );
    for host in ["a", "b"] {
        let host = running.host(host).expect("there is such a host");
        let set = host
            .spawn(|| fs::write("/proc/sys/net/ipv4/tcp_ecn", "1"))
            .join();
        set.expect("no panic")
            .expect("it is a setting of the namespace");
    }
    let (received, sent) = transfer(&running, 2 << 20);
    assert!(received == sent);
    let there = counters(&running, "a", "b");
    assert!(there.marked > 0 && there.overflowed == 0, "{there:?}");
}

#[test]
fn the_table_of_packets_agrees_with_the_counters() {
    if !possible() {
        return;
    }
    let directory = std::env::temp_dir().join(format!("utcp-lab-emulate-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("a place for files");
    let mut running = start("[defaults]\nloss = 0.3\ndelay_ms = 3\nduplicate = 0.1\n");
    let wanted = Wanted {
        trace: Some(directory.join("trace.csv")),
        captures: Some(directory.clone()),
    };
    running.record(&wanted).expect("files can be made");
    assert!(running.record(&wanted).is_err(), "once only");
    let [a, b] = ["a", "b"].map(|host| udp(&running, host));
    send(&running, ("a", &a), ("b", &b), 300);
    assert_eq!(running.end_record().expect("files can be written"), 0);
    let trace = fs::read_to_string(directory.join("trace.csv")).expect("it was written");
    let ends = |outcome: &str| {
        trace
            .lines()
            .filter(|line| line.split(',').nth(14) == Some(outcome))
            .count() as u64
    };
    let there = counters(&running, "a", "b");
    assert_eq!(
        (ends("delivered"), ends("lost")),
        (there.delivered, there.lost)
    );
    assert!(there.lost > 0 && there.duplicated > 0);
    let packets = |name: &str| {
        let octets = fs::metadata(directory.join(name))
            .expect("it was written")
            .len();
        (octets - 24) / (16 + 32)
    };
    assert_eq!(packets("a.pcap"), 300);
    assert_eq!(packets("b.pcap"), there.delivered);
    assert_eq!(packets("dropped.pcap"), there.lost);
    fs::remove_dir_all(&directory).expect("it is ours");
}

#[test]
fn exactness_is_measured_without_the_disturbances_and_leaves_no_trace() {
    if !possible() {
        return;
    }
    let mut running = start("[defaults]\nloss = 1\ndelay_ms = 5\nrate_mbit = 20\n");
    let load = Load {
        mbit: 5.0,
        seconds: 0.3,
    };
    let accuracy = running.accuracy(load).expect("it runs");
    assert!(accuracy.pings > accuracy.unanswered, "{accuracy}");
    assert_eq!((accuracy.pairs.len(), accuracy.rate_set_mbit), (3, 20.0));
    assert!(
        accuracy.rate_carried_mbit > 0.0 && accuracy.carried_load_mbit > 0.0,
        "{accuracy}"
    );
    assert!(accuracy.to_string().contains("emulated RTT error p99"));
    assert!(running.counters().expect("it runs").links.is_empty());
    let [a, b] = ["a", "b"].map(|host| udp(&running, host));
    send(&running, ("a", &a), ("b", &b), 20);
    assert_eq!(
        (receive(&b).len(), counters(&running, "a", "b").lost),
        (0, 20)
    );
}

#[test]
fn a_host_without_room_in_its_access_loses_from_all_its_links() {
    if !possible() {
        return;
    }
    let running = start(
        "[[hosts]]\nname = 'slow'\nup_mbit = 0.1\naccess_queue_bytes = 320\n[defaults]\ndelay_ms = 1\n",
    );
    let [slow, a, b] = ["slow", "a", "b"].map(|host| udp(&running, host));
    // 32 octets take 2.56 ms: most of these find the queue full.
    send(&running, ("slow", &slow), ("a", &a), 60);
    send(&running, ("slow", &slow), ("b", &b), 60);
    for (host, socket) in [("a", &a), ("b", &b)] {
        let there = counters(&running, "slow", host);
        assert!(there.access > 0 && there.delivered > 0, "{there:?}");
        assert_eq!(receive(socket).len() as u64, there.delivered);
    }
}
