//! What happened to every packet, as a table and as packet captures.
//!
//! The thread that carries packets only collects; another one writes. `trace.csv` has a line for every packet that came
//! to its end, in the order of the ends; `HOST.pcap` has what a host sent and received, `dropped.pcap` what nobody
//! received.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};

use super::link::{Cause, Marks, Nanos, SECONDS};
use super::network::Ends;

/// Octets kept of a packet, as `tcpdump` of old did: all headers, and what tells packets apart.
const SNAP: usize = 128;

/// Packets handed over at once, at most.
const BATCH: usize = 256;

/// Batches that may wait for the disk; then packets are left out, and counted.
const WAITING: usize = 512;

/// How a packet ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// At its port.
    Delivered,
    /// Before.
    Dropped(Cause),
}

impl Outcome {
    /// For the table.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Delivered => "delivered",
            Outcome::Dropped(Cause::Lost) => "lost",
            Outcome::Dropped(Cause::Overflowed) => "queue",
            Outcome::Dropped(Cause::Access) => "access",
            Outcome::Dropped(Cause::Chosen) => "chosen",
        }
    }
}

/// The end of a packet.
pub struct Event<'a> {
    /// When it entered.
    pub entered: Nanos,
    /// When it was delivered or dropped.
    pub ended: Nanos,
    /// Its link.
    pub ends: Ends,
    /// How.
    pub outcome: Outcome,
    /// What else happened to it.
    pub marks: Marks,
    /// What is left of it.
    pub packet: &'a [u8],
}

struct Note {
    entered: Nanos,
    /// Nothing yet: it only entered.
    ended: Option<(Nanos, Outcome, Marks)>,
    ends: Ends,
    length: usize,
    head: Vec<u8>,
}

/// What is to be written.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The table goes to this file.
    pub trace: Option<PathBuf>,
    /// Captures go to this directory.
    pub captures: Option<PathBuf>,
}

impl Wanted {
    /// Whether there is nothing to write.
    pub fn is_nothing(&self) -> bool {
        self.trace.is_none() && self.captures.is_none()
    }
}

/// Collects what the writer writes.
pub struct Recorder {
    batch: Vec<Note>,
    out: SyncSender<Vec<Note>>,
    captures: bool,
    /// Notes that the writer could not take in time.
    pub left_out: u64,
}

impl Recorder {
    /// A recorder, and the thread that writes; it ends when the recorder does. `epoch` is the moment zero of all times, in
    /// nanoseconds since 1970.
    ///
    /// # Errors
    /// If a file cannot be made.
    pub fn start(
        wanted: &Wanted,
        names: &[String],
        epoch: u64,
    ) -> io::Result<(Recorder, JoinHandle<io::Result<()>>)> {
        let (out, notes) = sync_channel(WAITING);
        let recorder = Recorder {
            batch: Vec::with_capacity(BATCH),
            out,
            captures: wanted.captures.is_some(),
            left_out: 0,
        };
        let mut files = Files::make(wanted, names, epoch)?;
        let thread = thread::Builder::new()
            .name("recorder".into())
            .spawn(move || files.write(&notes))?;
        Ok((recorder, thread))
    }

    /// A packet begins.
    pub fn entered(&mut self, now: Nanos, ends: Ends, packet: &[u8]) {
        if self.captures {
            self.push(Note {
                entered: now,
                ended: None,
                ends,
                length: packet.len(),
                head: packet[..packet.len().min(SNAP)].to_vec(),
            });
        }
    }

    /// A packet ends.
    pub fn ended(&mut self, event: Event<'_>) {
        let packet = event.packet;
        self.push(Note {
            entered: event.entered,
            ended: Some((event.ended, event.outcome, event.marks)),
            ends: event.ends,
            length: packet.len(),
            head: packet[..packet.len().min(SNAP)].to_vec(),
        });
    }

    fn push(&mut self, note: Note) {
        self.batch.push(note);
        if self.batch.len() >= BATCH {
            self.flush();
        }
    }

    /// Hands over what there is; never waits.
    pub fn flush(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let batch = std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH));
        if let Err(TrySendError::Full(batch) | TrySendError::Disconnected(batch)) =
            self.out.try_send(batch)
        {
            self.left_out += batch.len() as u64;
        }
    }
}

/// The columns of the table. Times are seconds since 1970; `left` is empty for what was dropped, `marks` has a letter
/// for each of reordered, duplicated, corrupted and ECN-marked.
pub const COLUMNS: &str =
    "entered,left,from,to,src,sport,dst,dport,proto,length,seq,ack,flags,payload,outcome,marks";

struct Files {
    names: Vec<String>,
    epoch: u64,
    trace: Option<BufWriter<File>>,
    /// One for each host, and one for what was dropped.
    captures: Option<(Vec<Capture>, Capture)>,
}

impl Files {
    fn make(wanted: &Wanted, names: &[String], epoch: u64) -> io::Result<Files> {
        let trace = match &wanted.trace {
            None => None,
            Some(path) => {
                let mut file = create(path)?;
                writeln!(file, "{COLUMNS}")?;
                Some(file)
            }
        };
        let captures = match &wanted.captures {
            None => None,
            Some(directory) => {
                fs::create_dir_all(directory).map_err(|error| named(directory, &error))?;
                let of = |name: &str| Capture::make(&directory.join(format!("{name}.pcap")));
                let hosts: io::Result<Vec<Capture>> = names.iter().map(|name| of(name)).collect();
                Some((hosts?, of("dropped")?))
            }
        };
        Ok(Files {
            names: names.to_vec(),
            epoch,
            trace,
            captures,
        })
    }

    fn write(&mut self, notes: &Receiver<Vec<Note>>) -> io::Result<()> {
        while let Ok(batch) = notes.recv() {
            for note in &batch {
                self.note(note)?;
            }
        }
        if let Some(trace) = &mut self.trace {
            trace.flush()?;
        }
        if let Some((hosts, dropped)) = &mut self.captures {
            for capture in hosts {
                capture.0.flush()?;
            }
            dropped.0.flush()?;
        }
        Ok(())
    }

    fn note(&mut self, note: &Note) -> io::Result<()> {
        if let Some((hosts, dropped)) = &mut self.captures {
            let (at, capture) = match note.ended {
                None => (note.entered, &mut hosts[note.ends.from]),
                Some((at, Outcome::Delivered, _)) => (at, &mut hosts[note.ends.to]),
                Some((at, Outcome::Dropped(_), _)) => (at, dropped),
            };
            capture.packet(self.epoch + at, note.length, &note.head)?;
        }
        if let (Some(trace), Some((ended, outcome, marks))) = (&mut self.trace, note.ended) {
            let left = match outcome {
                Outcome::Delivered => seconds(self.epoch + ended),
                Outcome::Dropped(_) => String::new(),
            };
            let letter = |is: bool, letter: &'static str| if is { letter } else { "" };
            writeln!(
                trace,
                "{},{left},{},{},{}{},{}{}{}{}",
                seconds(self.epoch + note.entered),
                self.names[note.ends.from],
                self.names[note.ends.to],
                headers(&note.head, note.length),
                outcome.name(),
                letter(marks.reordered, "r"),
                letter(marks.duplicated, "d"),
                letter(marks.corrupted, "c"),
                letter(marks.marked, "e"),
            )?;
        }
        Ok(())
    }
}

fn seconds(nanos: Nanos) -> String {
    format!("{}.{:09}", nanos / SECONDS, nanos % SECONDS)
}

/// The columns src to payload, each with its comma, of a packet whose first octets these are; what it does not have is empty.
fn headers(head: &[u8], length: usize) -> String {
    if head.len() < 20 || head[0] >> 4 != 4 {
        return format!(",,,,,{length},,,,,");
    }
    let half = |at: usize| {
        head.get(at..at + 2)
            .map(|b| u16::from_be_bytes([b[0], b[1]]))
    };
    let word = |at: usize| {
        head.get(at..at + 4)
            .map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
    };
    let address = |at: usize| Ipv4Addr::new(head[at], head[at + 1], head[at + 2], head[at + 3]);
    let (source, destination) = (address(12), address(16));
    let begin = usize::from(head[0] & 15) * 4;
    let (proto, is_tcp) = match head[9] {
        1 => ("icmp".to_string(), false),
        6 => ("tcp".to_string(), true),
        17 => ("udp".to_string(), false),
        other => (other.to_string(), false),
    };
    let is_fragment = half(6).is_some_and(|field| field & 0x1fff != 0);
    let text = |value: Option<u64>| value.map(|v| v.to_string()).unwrap_or_default();
    let if_tcp = |value: Option<u32>| text(value.filter(|_| is_tcp && !is_fragment).map(u64::from));
    let port = |at: usize| {
        let has_ports = matches!(head[9], 6 | 17) && !is_fragment;
        text(half(at).filter(|_| has_ports).map(u64::from))
    };
    let after = match head[9] {
        _ if is_fragment => Some(0),
        6 => head
            .get(begin + 12)
            .map(|octet| usize::from(octet >> 4) * 4),
        17 | 1 => Some(8),
        _ => Some(0),
    };
    let payload = after.map(|header| length.saturating_sub(begin + header) as u64);
    format!(
        "{source},{},{destination},{},{proto},{length},{},{},{},{},",
        port(begin),
        port(begin + 2),
        if_tcp(word(begin + 4)),
        if_tcp(word(begin + 8)),
        if_tcp(head.get(begin + 13).map(|&flags| u32::from(flags))),
        text(payload),
    )
}

/// A file in the format of libpcap with nanoseconds, of IP packets without a link layer.
struct Capture(BufWriter<File>);

impl Capture {
    const MAGIC: u32 = 0xa1b2_3c4d;
    const LINKTYPE_RAW: u32 = 101;

    fn make(path: &Path) -> io::Result<Capture> {
        let mut file = create(path)?;
        file.write_all(&Self::MAGIC.to_le_bytes())?;
        for half in [2u16, 4] {
            file.write_all(&half.to_le_bytes())?;
        }
        for word in [0, 0, SNAP as u32, Self::LINKTYPE_RAW] {
            file.write_all(&word.to_le_bytes())?;
        }
        Ok(Capture(file))
    }

    fn packet(&mut self, at: Nanos, length: usize, head: &[u8]) -> io::Result<()> {
        let words = [at / SECONDS, at % SECONDS, head.len() as u64, length as u64];
        for word in words {
            self.0.write_all(&(word as u32).to_le_bytes())?;
        }
        self.0.write_all(head)
    }
}

fn create(path: &Path) -> io::Result<BufWriter<File>> {
    let file = File::create(path).map_err(|error| named(path, &error))?;
    Ok(BufWriter::with_capacity(256 * 1024, file))
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// TCP from 10.0.0.1:1000 to 10.0.0.2:80, sequence number 7, 5 octets of data.
    fn packet() -> Vec<u8> {
        let mut packet = vec![0; 45];
        packet[0] = 0x45;
        packet[9] = 6;
        packet[12..16].copy_from_slice(&[10, 0, 0, 1]);
        packet[16..20].copy_from_slice(&[10, 0, 0, 2]);
        packet[20..24].copy_from_slice(&[3, 232, 0, 80]);
        packet[27] = 7;
        packet[31] = 9;
        packet[32] = 0x50;
        packet[33] = 0x18;
        packet
    }

    #[test]
    fn a_line_has_a_value_for_every_column() {
        assert_eq!(
            headers(&packet(), 45),
            "10.0.0.1,1000,10.0.0.2,80,tcp,45,7,9,24,5,"
        );
        let mut udp = packet();
        udp[9] = 17;
        assert_eq!(headers(&udp, 45), "10.0.0.1,1000,10.0.0.2,80,udp,45,,,,17,");
        for wrong in [&packet()[..10], &packet()[..20], &[0x60; 60], &[]] {
            let line = format!("1,2,a,b,{}lost,", headers(wrong, 1_500));
            assert_eq!(
                line.split(',').count(),
                COLUMNS.split(',').count(),
                "{line}"
            );
        }
    }

    #[test]
    fn a_table_and_captures_are_written_with_what_was_dropped_apart() {
        let directory =
            std::env::temp_dir().join(format!("utcp-lab-record-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a place for files");
        let wanted = Wanted {
            trace: Some(directory.join("trace.csv")),
            captures: Some(directory.clone()),
        };
        let names = ["a".to_string(), "b".to_string()];
        let (mut recorder, thread) = Recorder::start(&wanted, &names, 5 * SECONDS).expect("files");
        let ends = Ends { from: 0, to: 1 };
        for (number, outcome) in [Outcome::Delivered, Outcome::Dropped(Cause::Lost)]
            .into_iter()
            .enumerate()
        {
            let entered = number as u64 * 1_000;
            recorder.entered(entered, ends, &packet());
            recorder.ended(Event {
                entered,
                ended: entered + 50,
                ends,
                outcome,
                marks: Marks {
                    marked: true,
                    ..Marks::default()
                },
                packet: &packet(),
            });
        }
        recorder.flush();
        assert_eq!(recorder.left_out, 0);
        drop(recorder);
        thread.join().expect("no panic").expect("written");
        let trace = fs::read_to_string(directory.join("trace.csv")).expect("written");
        let lines: Vec<&str> = trace.lines().collect();
        assert_eq!(
            lines,
            [
                COLUMNS,
                "5.000000000,5.000000050,a,b,10.0.0.1,1000,10.0.0.2,80,tcp,45,7,9,24,5,delivered,e",
                "5.000001000,,a,b,10.0.0.1,1000,10.0.0.2,80,tcp,45,7,9,24,5,lost,e",
            ]
        );
        let size = |name: &str| fs::metadata(directory.join(name)).expect("written").len();
        // 24 octets for the file, 16 for each packet.
        assert_eq!(
            [size("a.pcap"), size("b.pcap"), size("dropped.pcap")],
            [24 + 2 * 61, 24 + 61, 24 + 61]
        );
        fs::remove_dir_all(&directory).expect("it is ours");
    }
}
