//! A capture of a synthetic conversation, read by tshark.

use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Command;

use utcp::endpoint::Role;
use utcp::tcp::segment::{Flags, Options, SackBlocks, Segment};
use utcp::tcp::seq::Seq;
use utcp::time::{MILLISECOND, Time};
use utcp::tortp::{self, pcap};

/// What each packet is expected to look like in tshark's eyes.
struct Expected {
    ports: (u16, u16),
    len: usize,
    sack: Vec<(u32, u32)>,
}

struct Capture {
    file: Vec<u8>,
    time: Time,
    client: IpAddr,
    server: IpAddr,
    expected: Vec<Expected>,
}

impl Capture {
    fn new(client: &str, server: &str) -> Capture {
        let mut file = Vec::new();
        pcap::header(&mut file);
        Capture {
            file,
            time: Time(1_700_000_000_000_000),
            client: client.parse().unwrap(),
            server: server.parse().unwrap(),
            expected: Vec::new(),
        }
    }

    /// Captures a datagram with these segments.
    fn datagram(&mut self, role: Role, segments: &[(u32, Segment<'_>)]) {
        let mut plaintext = Vec::new();
        tortp::begin(&mut plaintext);
        for (circuit, segment) in segments {
            tortp::encode(*circuit, segment, &mut plaintext);
            let (server, client) = ((circuit >> 16) as u16, *circuit as u16);
            self.expected.push(Expected {
                ports: if role == Role::Client {
                    (client, server)
                } else {
                    (server, client)
                },
                len: segment.payload.len(),
                sack: segment
                    .options
                    .sack
                    .as_slice()
                    .iter()
                    .map(|(a, b)| (a.0, b.0))
                    .collect(),
            });
        }
        let (from, to) = match role {
            Role::Client => (self.client, self.server),
            Role::Server => (self.server, self.client),
        };
        self.time = self.time + 5 * MILLISECOND;
        assert_eq!(
            pcap::datagram(self.time, &plaintext, from, to, role, &mut self.file),
            0
        );
    }
}

fn segment(flags: Flags, seq: u32, ack: u32, payload: &[u8]) -> Segment<'_> {
    Segment {
        flags,
        seq: Seq(seq),
        ack: Seq(ack),
        window: 65_000,
        options: Options::default(),
        payload,
        ce: false,
    }
}

/// Control by simultaneous open; circuit 2 with data on the SYN, a loss, SACK and its repair, ECN, the end in
/// both directions; circuits 53 and 0x00b30002 refused, whose ports belong to DNS and BGP.
fn conversation(capture: &mut Capture) {
    use Role::{Client, Server};
    let (syn, ack, fin) = (Flags::SYN, Flags::ACK, Flags::FIN);
    let cells = [7; 1_300];
    let on_syn = |number| Options {
        mss: Some(1_350),
        window_scale: Some(8),
        sack_permitted: true,
        circuit_number: number,
        ..Options::default()
    };

    let open = |seq| Segment {
        options: on_syn(None),
        ..segment(syn, seq, 0, &[])
    };
    capture.datagram(Client, &[(0, open(10))]);
    capture.datagram(Server, &[(0, open(20))]);
    let crossed = |seq, a| Segment {
        options: on_syn(None),
        ..segment(syn.with(ack), seq, a, &[])
    };
    capture.datagram(Client, &[(0, crossed(10, 21))]);
    capture.datagram(Server, &[(0, crossed(20, 11))]);

    let first = Segment {
        options: on_syn(Some(0x8000_0001)),
        ..segment(syn, 1_000, 0, &cells)
    };
    capture.datagram(Client, &[(0, segment(ack, 11, 21, b"cell")), (2, first)]);
    let answer = Segment {
        options: on_syn(None),
        ..segment(syn.with(ack), 5_000, 2_301, b"x")
    };
    capture.datagram(Server, &[(2, answer), (0, segment(ack, 21, 15, &[]))]);
    // The segment at 2301 is lost, as is the one at 4901.
    for seq in [3_601, 6_201] {
        capture.datagram(Client, &[(2, segment(ack, seq, 5_002, &cells))]);
    }
    let mut sack = SackBlocks::default();
    assert!(sack.push(Seq(6_201), Seq(7_501)) && sack.push(Seq(3_601), Seq(4_901)));
    let options = Options {
        sack,
        ..Options::default()
    };
    let selective = Segment {
        options,
        ..segment(ack.with(Flags::ECE), 5_002, 2_301, &[])
    };
    capture.datagram(Server, &[(2, selective)]);
    let cwr = ack.with(Flags::CWR).with(Flags::PSH);
    capture.datagram(Client, &[(2, segment(cwr, 2_301, 5_002, &cells))]);
    capture.datagram(Client, &[(2, segment(ack, 4_901, 5_002, &cells))]);
    capture.datagram(Client, &[(2, segment(ack.with(fin), 7_501, 5_002, &[]))]);
    capture.datagram(Server, &[(2, segment(ack.with(fin), 5_002, 7_502, &[]))]);
    capture.datagram(Client, &[(2, segment(ack, 7_502, 5_003, &[]))]);

    for circuit in [53, 0x00b3_0002] {
        let refused = Segment {
            options: on_syn(Some(9)),
            ..segment(syn, 77, 0, &cells)
        };
        capture.datagram(Server, &[(circuit, refused)]);
        capture.datagram(
            Client,
            &[(circuit, segment(Flags::RST.with(ack), 0, 1_378, &[]))],
        );
    }
}

/// What tshark says of a capture: for each packet a line of fields separated by `|`.
fn tshark(name: &str, file: &[u8]) -> Vec<Vec<String>> {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, file).unwrap();
    let mut command = Command::new("tshark");
    command.arg("-r").arg(&path).arg("-n");
    for preference in ["tcp.check_checksum:TRUE", "ip.check_checksum:TRUE"] {
        command.args(["-o", preference]);
    }
    // Circuits are numbered through, so that a port says nothing of what is carried.
    command.args(["-d", "tcp.port==0-65535,data"]);
    command.args(["-T", "fields", "-E", "separator=|", "-E", "aggregator=,"]);
    for field in FIELDS {
        command.args(["-e", field]);
    }
    let output = match command.output() {
        Err(e) if e.kind() == ErrorKind::NotFound => {
            panic!("tshark is missing: install the Debian package tshark")
        }
        other => other.unwrap(),
    };
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "tshark failed on {}: {errors}",
        path.display()
    );
    let lines = String::from_utf8(output.stdout).unwrap();
    lines
        .lines()
        .map(|line| line.split('|').map(str::to_owned).collect())
        .collect()
}

const FIELDS: [&str; 9] = [
    "tcp.srcport",
    "tcp.dstport",
    "tcp.len",
    "tcp.checksum.status",
    "ip.checksum.status",
    "_ws.malformed",
    "_ws.expert.severity",
    "tcp.options.sack_le",
    "tcp.options.sack_re",
];

/// tshark's number of a checksum that was verified.
const GOOD: &str = "1";
/// And of one that is wrong.
const BAD: &str = "0";
/// tshark's expert information of severity "error".
const SEVERITY_ERROR: u32 = 0x0080_0000;

fn check(name: &str, capture: &Capture, ip_checksum: &str) {
    let packets = tshark(name, &capture.file);
    assert_eq!(packets.len(), capture.expected.len());
    let mut sack_blocks = 0;
    for (n, (packet, expected)) in packets.iter().zip(&capture.expected).enumerate() {
        let [
            sport,
            dport,
            len,
            tcp_sum,
            ip_sum,
            malformed,
            severity,
            left,
            right,
        ] = &packet[..]
        else {
            panic!("packet {n}: {packet:?}")
        };
        assert_eq!(*sport, expected.ports.0.to_string(), "packet {n}");
        assert_eq!(*dport, expected.ports.1.to_string(), "packet {n}");
        assert_eq!(*len, expected.len.to_string(), "packet {n}");
        assert_eq!(tcp_sum, GOOD, "packet {n}");
        assert_eq!(ip_sum, ip_checksum, "packet {n}");
        assert_eq!(malformed, "", "packet {n}");
        for severity in severity.split(',').filter(|s| !s.is_empty()) {
            assert!(
                severity.parse::<u32>().unwrap() < SEVERITY_ERROR,
                "packet {n}: {packet:?}"
            );
        }
        let join = |edges: Vec<u32>| {
            edges
                .iter()
                .map(u32::to_string)
                .collect::<Vec<_>>()
                .join(",")
        };
        // tshark shows edges relative to the first sequence number, which this side of circuit 2 chose as 1000.
        let relative = |edge: u32| edge - 1_000;
        assert_eq!(
            *left,
            join(expected.sack.iter().map(|b| relative(b.0)).collect()),
            "packet {n}"
        );
        assert_eq!(
            *right,
            join(expected.sack.iter().map(|b| relative(b.1)).collect()),
            "packet {n}"
        );
        sack_blocks += expected.sack.len();
    }
    assert_eq!(sack_blocks, 2);
}

#[test]
fn ipv4() {
    let mut capture = Capture::new("192.0.2.1", "192.0.2.2");
    conversation(&mut capture);
    check("tortp_ipv4.pcap", &capture, GOOD);
}

#[test]
fn ipv6() {
    let mut capture = Capture::new("2001:db8::1", "2001:db8::2");
    conversation(&mut capture);
    check("tortp_ipv6.pcap", &capture, "");
}

/// The two tests above would notice a damaged packet.
#[test]
fn tshark_verifies() {
    let mut capture = Capture::new("192.0.2.1", "192.0.2.2");
    conversation(&mut capture);
    let last = capture.file.len() - 1;
    capture.file[last] ^= 1;
    let packets = tshark("tortp_damaged.pcap", &capture.file);
    assert_eq!(packets[packets.len() - 1][3], BAD);
    assert_eq!(packets[packets.len() - 2][3], GOOD);
}

#[test]
fn file_layout() {
    let mut file = Vec::new();
    pcap::header(&mut file);
    pcap::record(Time(3_000_007), &[0x45, 0, 0], &mut file);
    let expected = [
        &[0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0][..],
        &[0; 8],
        &[0, 0, 4, 0, 101, 0, 0, 0],
        &[3, 0, 0, 0, 7, 0, 0, 0, 3, 0, 0, 0, 3, 0, 0, 0],
        &[0x45, 0, 0],
    ];
    assert_eq!(file, expected.concat());
    assert_eq!(file.len(), pcap::HEADER_LEN + pcap::RECORD_HEADER_LEN + 3);
}

#[test]
fn addresses_of_two_families_are_left_out() {
    let mut plaintext = Vec::new();
    tortp::begin(&mut plaintext);
    for circuit in [2, 4] {
        tortp::encode(circuit, &segment(Flags::ACK, 1, 2, b"x"), &mut plaintext);
    }
    let (v4, v6) = ("192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap());
    let mut file = Vec::new();
    assert_eq!(
        pcap::datagram(Time(1), &plaintext, v4, v6, Role::Client, &mut file),
        2
    );
    assert!(file.is_empty());
}
