//! docs/tortp.md is right: its test vectors and its sizes are held against the implementation.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use utcp::endpoint::Role;
use utcp::tcp::segment::{Flags, Options, PathProbe, Segment};
use utcp::tcp::seq::Seq;
use utcp::tortp::translate::{Flow, circuit_of, flow, from_packet, to_packet};
use utcp::tortp::{self, Malformed, RawSegment, raw};

const DOCUMENT: &str = include_str!("../docs/tortp.md");

/// A fenced block: its lines of key and value, in order.
struct Vector {
    lines: Vec<(String, String)>,
}

impl Vector {
    /// The value of the only line with this key.
    fn get(&self, key: &str) -> &str {
        let mut values = self.lines.iter().filter(|(k, _)| k == key);
        let (Some((_, value)), None) = (values.next(), values.next()) else {
            panic!("vector {:?} has not one {key}", self.lines[0])
        };
        value
    }

    fn name(&self) -> &str {
        self.get("vector")
    }

    fn octets(&self, key: &str) -> Vec<u8> {
        hex(self.get(key))
    }
}

fn hex(text: &str) -> Vec<u8> {
    let octet = |octet| {
        assert_eq!(str::len(octet), 2, "octets are two digits: {octet}");
        u8::from_str_radix(octet, 16).unwrap()
    };
    text.split_whitespace().map(octet).collect()
}

/// All fenced blocks of one kind.
fn vectors(kind: &str) -> Vec<Vector> {
    let mut vectors = Vec::new();
    let mut lines = DOCUMENT.lines();
    while let Some(line) = lines.next() {
        if line.strip_prefix("```") != Some(kind) {
            continue;
        }
        let mut vector = Vector { lines: Vec::new() };
        for line in lines.by_ref().take_while(|line| *line != "```") {
            if line.starts_with(' ') {
                let (_, value) = vector.lines.last_mut().expect("a line to continue");
                value.push(' ');
                value.push_str(line.trim());
            } else {
                let (key, value) = line.split_once(':').expect("key: value");
                vector.lines.push((key.to_owned(), value.trim().to_owned()));
            }
        }
        vectors.push(vector);
    }
    vectors
}

/// A segment of a vector.
#[derive(Default)]
struct Described {
    fields: RawSegment<'static>,
    options: Vec<u8>,
    meaning: Options,
    payload: Vec<u8>,
}

impl Described {
    fn raw(&self) -> RawSegment<'_> {
        RawSegment {
            options: &self.options,
            payload: &self.payload,
            ..self.fields
        }
    }

    fn parsed(&self) -> Segment<'_> {
        Segment {
            flags: self.fields.flags,
            seq: self.fields.seq,
            ack: self.fields.ack,
            window: self.fields.window,
            options: self.meaning,
            payload: &self.payload,
            ce: false,
        }
    }
}

fn described(vector: &Vector) -> Vec<Described> {
    let mut segments: Vec<Described> = Vec::new();
    for (key, value) in &vector.lines {
        match key.as_str() {
            "vector" | "datagram" | "exact" => continue,
            "segment" => {
                let fields = fields(value);
                segments.push(Described {
                    fields,
                    ..Described::default()
                });
                continue;
            }
            _ => {}
        }
        let segment = segments.last_mut().expect("a segment line first");
        match key.as_str() {
            "options" => segment.options = hex(value),
            "meaning" => segment.meaning = meaning(value),
            "payload" => segment.payload = hex(value),
            _ => panic!("unknown key {key}"),
        }
    }
    segments
}

fn fields(text: &str) -> RawSegment<'static> {
    let map: BTreeMap<&str, &str> = text
        .split_whitespace()
        .map(|field| field.split_once('=').unwrap())
        .collect();
    assert_eq!(map.len(), 7, "{text}");
    let number = |key| map[key].parse::<u32>().unwrap();
    RawSegment {
        circuit: number("circuit"),
        flags: flags(map["flags"]),
        reserved: u8::try_from(number("reserved")).unwrap(),
        seq: Seq(number("seq")),
        ack: Seq(number("ack")),
        window: u16::try_from(number("window")).unwrap(),
        urgent: u16::try_from(number("urgent")).unwrap(),
        ..RawSegment::default()
    }
}

fn flags(text: &str) -> Flags {
    text.split('|').fold(Flags::default(), |flags, name| {
        flags.with(match name {
            "FIN" => Flags::FIN,
            "SYN" => Flags::SYN,
            "RST" => Flags::RST,
            "PSH" => Flags::PSH,
            "ACK" => Flags::ACK,
            "URG" => Flags::URG,
            "ECE" => Flags::ECE,
            "CWR" => Flags::CWR,
            "none" => Flags::default(),
            _ => panic!("unknown flag {name}"),
        })
    })
}

fn meaning(text: &str) -> Options {
    let mut options = Options::default();
    for option in text.split_whitespace().filter(|option| *option != "none") {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        match name {
            "mss" => options.mss = Some(value.parse().unwrap()),
            "window-scale" => options.window_scale = Some(value.parse().unwrap()),
            "sack-permitted" => options.sack_permitted = true,
            "path-probe" => {
                options.path_probe = Some(PathProbe::Request(value.parse().unwrap()));
            }
            "path-answer" => {
                options.path_probe = Some(PathProbe::Answer(value.parse().unwrap()));
            }
            "ce-count" => options.ce_count = Some(value.parse().unwrap()),
            "circuit-number" => options.circuit_number = Some(value.parse().unwrap()),
            "sack" => {
                for block in value.split(',') {
                    let (start, end) = block.split_once('-').unwrap();
                    let (start, end) = (start.parse().unwrap(), end.parse().unwrap());
                    assert!(options.sack.push(Seq(start), Seq(end)));
                }
            }
            _ => panic!("unknown option {name}"),
        }
    }
    options
}

fn role(text: &str) -> Role {
    match text {
        "client" => Role::Client,
        "server" => Role::Server,
        _ => panic!("unknown role {text}"),
    }
}

/// As many vectors as the document says, each with a name of its own.
#[test]
fn none_is_missing() {
    let prose = DOCUMENT.split_whitespace().collect::<Vec<_>>().join(" ");
    let stated = |before: &str, after: &str| -> usize {
        let end = prose
            .find(after)
            .unwrap_or_else(|| panic!("the document states no {after:?}"));
        let (_, number) = prose[..end].trim_end().rsplit_once(' ').unwrap();
        assert!(
            prose[..end]
                .trim_end()
                .ends_with(&format!("{before} {number}"))
        );
        number.parse().unwrap()
    };
    let kinds = [
        (
            "tortp-datagram",
            stated("vectors:", "well-formed datagrams, "),
        ),
        (
            "tortp-invalid",
            stated("well-formed datagrams,", "malformed ones, "),
        ),
        (
            "tortp-packet",
            stated("malformed ones,", "pairs of datagram and packet, "),
        ),
        (
            "tortp-packet-invalid",
            stated("datagram and packet,", "packets that are rejected."),
        ),
    ];
    let mut names = BTreeSet::new();
    let mut total = 0;
    for (kind, number) in kinds {
        let vectors = vectors(kind);
        assert_eq!(vectors.len(), number, "{kind}");
        assert!(number > 0, "{kind}");
        for vector in &vectors {
            assert!(
                names.insert(vector.name().to_owned()),
                "{} twice",
                vector.name()
            );
        }
        total += number;
    }
    assert_eq!(stated("There are", "vectors: "), total);
    // And no block that is none of these kinds by a slip of the pen.
    assert_eq!(DOCUMENT.matches("```tortp").count(), total);
}

#[test]
fn well_formed_datagrams() {
    for vector in vectors("tortp-datagram") {
        let name = vector.name();
        let octets = vector.octets("datagram");
        let expected = described(&vector);
        assert!(!expected.is_empty(), "{name}");
        assert_eq!(tortp::check(&octets), Ok(()), "{name}");

        let raw: Vec<_> = raw::segments(&octets).collect();
        assert_eq!(
            raw,
            expected.iter().map(Described::raw).collect::<Vec<_>>(),
            "{name}"
        );
        let parsed: Vec<_> = tortp::segments(&octets).collect();
        let meant: Vec<_> = expected
            .iter()
            .map(|s| (s.fields.circuit, s.parsed()))
            .collect();
        assert_eq!(parsed, meant, "{name}");

        let mut encoded = vec![octets[0]];
        for segment in &expected {
            assert!(segment.raw().encode(&mut encoded), "{name}");
        }
        assert_eq!(encoded, octets, "{name}");

        let mut encoded = Vec::new();
        tortp::begin(&mut encoded);
        for segment in &expected {
            tortp::encode(segment.fields.circuit, &segment.parsed(), &mut encoded);
        }
        match vector.get("exact") {
            "yes" => assert_eq!(encoded, octets, "{name}"),
            "no" => assert_ne!(encoded, octets, "{name}"),
            other => panic!("{name}: exact: {other}"),
        }
    }
}

#[test]
fn malformed_datagrams() {
    let mut reasons = BTreeSet::new();
    for vector in vectors("tortp-invalid") {
        let error = tortp::check(&vector.octets("datagram")).expect_err(vector.name());
        assert_eq!(error.name(), vector.get("reason"), "{}", vector.name());
        reasons.insert(error.name());
    }
    assert_eq!(
        reasons,
        Malformed::ALL.iter().map(|m| m.name()).collect(),
        "a vector for each"
    );
    for reason in reasons {
        assert!(
            DOCUMENT.contains(&format!("| `{reason}` |")),
            "{reason} is explained"
        );
    }
}

#[test]
fn pairs() {
    for vector in vectors("tortp-packet") {
        let name = vector.name();
        let sender = role(vector.get("sender"));
        let address = |key| vector.get(key).parse::<SocketAddr>().unwrap();
        let there = Flow {
            local: address("source"),
            remote: address("destination"),
        };
        let (datagram, packet) = (vector.octets("datagram"), vector.octets("packet"));

        assert_eq!(tortp::check(&datagram), Ok(()), "{name}");
        let segments: Vec<_> = raw::segments(&datagram).collect();
        let [segment] = segments[..] else {
            panic!("{name}: not one segment")
        };
        assert_eq!(circuit_of(&there, sender), segment.circuit, "{name}");
        let made = flow(segment.circuit, there.local.ip(), there.remote.ip(), sender);
        assert_eq!(made, there, "{name}");

        let mut translated = Vec::new();
        assert_eq!(
            to_packet(&segment, &there, &mut translated),
            Ok(()),
            "{name}"
        );
        assert_eq!(translated, packet, "{name}");
        assert_eq!(from_packet(&packet, sender), Ok((there, segment)), "{name}");
        let mut encoded = Vec::new();
        tortp::begin(&mut encoded);
        assert!(segment.encode(&mut encoded), "{name}");
        assert_eq!(encoded, datagram, "{name}");
    }
}

#[test]
fn rejected_packets() {
    let mut reasons = BTreeSet::new();
    for vector in vectors("tortp-packet-invalid") {
        let error = from_packet(&vector.octets("packet"), Role::Client).expect_err(vector.name());
        assert_eq!(error.name(), vector.get("reason"), "{}", vector.name());
        reasons.insert(error.name());
    }
    // Every reason of the document's table, but for the two of options, which are one row.
    let table = DOCUMENT.split("A packet is rejected if").nth(1).unwrap();
    let table = table.split("A segment whose packet").next().unwrap();
    for row in table.lines().filter_map(|line| line.strip_prefix("| `")) {
        let reason = row.split('`').next().unwrap();
        assert!(reasons.contains(reason), "no vector for {reason}");
    }
    for reason in reasons {
        assert!(
            table.contains(&format!("`{reason}`")),
            "{reason} is not explained"
        );
    }
}

/// The table of sizes follows from the formula above it.
#[test]
fn sizes() {
    let mut rows = 0;
    for line in DOCUMENT.lines() {
        let cells: Vec<_> = line
            .split('|')
            .map(str::trim)
            .filter(|c| !c.is_empty())
            .collect();
        let [mtu, ip @ ("IPv4" | "IPv6"), udp, plaintext, gcm, chacha] = cells[..] else {
            continue;
        };
        let number = |cell: &str| cell.parse::<usize>().unwrap();
        let ip = if ip == "IPv4" { 20 } else { 40 };
        let ack = Segment {
            flags: Flags::ACK,
            seq: Seq(0),
            ack: Seq(0),
            window: 0,
            options: Options::default(),
            payload: &[],
            ce: false,
        };
        let overhead = tortp::DATAGRAM_HEADER + tortp::encoded_len(&ack);
        assert_eq!(number(udp), number(mtu) - ip - 8);
        assert_eq!(number(plaintext), number(udp) - 37);
        assert_eq!(number(gcm), number(plaintext) - overhead);
        assert_eq!(number(chacha), number(udp) - 29 - overhead);
        rows += 1;
    }
    assert_eq!(rows, 3);
}
