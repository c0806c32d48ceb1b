//! A handshake flight (RFC 6347, section 4.2.4): its records, packed into datagrams each time it is sent.
//!
//! Records of epoch 0 are plaintext and their headers are under no MAC, so each transmission gives them fresh
//! numbers, which the peer's replay window accepts. (It also keeps clear of the numbering mistake of OpenSSL 3.2 to
//! 4.0 after a repeated ClientHello.) An epoch-1 record, which can only be Finished, is repeated as it is: if the
//! peer has processed it, its replay window drops the copy; if not, the copy is as good as the first.

use std::collections::VecDeque;

use super::record::{CHANGE_CIPHER_SPEC, HANDSHAKE, HANDSHAKE_HEADER, HEADER, Record, renumber};
use crate::time::{MILLISECOND, Micros};

const FIRST_TIMEOUT: Micros = 400 * MILLISECOND;
const LAST_TIMEOUT: Micros = 3_200 * MILLISECOND;

/// How often a final flight is repeated at most.
const MAX_REPEATS: u32 = 32;

/// Numbers of epoch-0 records.
#[derive(Debug)]
pub(super) struct Numbers(pub u64);

impl Numbers {
    pub fn take(&mut self) -> u64 {
        let number = self.0;
        self.0 = (number + 1) & 0xffff_ffff_ffff;
        number
    }
}

/// The records that OpenSSL wrote in one go.
#[derive(Debug)]
pub(super) struct Flight {
    /// Whole handshake and ChangeCipherSpec records, one after the other.
    records: Vec<u8>,
    sent: u32,
    /// Octets that came in and were not yet answered by a repetition.
    credit: usize,
    repeats: u32,
}

impl Flight {
    pub fn new(records: Vec<u8>) -> Flight {
        Flight {
            records,
            sent: 0,
            credit: 0,
            repeats: 0,
        }
    }

    /// Appends the flight's datagrams to `out`, none larger than `limit`.
    pub fn send(&mut self, numbers: &mut Numbers, limit: usize, out: &mut VecDeque<Vec<u8>>) {
        // If the first copies are not answered, the path may be narrower than was thought (RFC 6347, 4.1.1.1).
        let limit = match self.sent {
            0 | 1 => limit,
            2 | 3 => limit.min(1_200),
            _ => limit.min(548),
        };
        self.sent = self.sent.saturating_add(1);
        let mut packer = Packer {
            limit,
            numbers,
            datagram: Vec::new(),
            out,
        };
        let mut rest = &self.records[..];
        while let Some(record) = Record::parse(rest) {
            rest = &rest[record.bytes.len()..];
            // ChangeCipherSpec stays with the Finished behind it: a peer that has the one and not the other would
            // move its replay window on with the data that follows, and then take a repeated Finished for too old.
            if record.content == CHANGE_CIPHER_SPEC
                && let Some(next) = Record::parse(rest)
            {
                rest = &rest[next.bytes.len()..];
                packer.reserve(record.bytes.len() + next.bytes.len());
                packer.whole(&record);
                packer.whole(&next);
            } else {
                packer.record(&record);
            }
        }
        packer.flush();
    }

    /// How long to wait for an answer to the latest transmission.
    pub fn timeout(&self) -> Micros {
        let doublings = self.sent.saturating_sub(1).min(16);
        (FIRST_TIMEOUT << doublings).min(LAST_TIMEOUT)
    }

    /// For a final flight: `octets` came in from the peer's address.
    pub fn came_in(&mut self, octets: usize) {
        self.credit = self.credit.saturating_add(octets).min(65_536);
    }

    /// For a final flight, when the peer repeats its own: sends it again. Anyone can forge the cause of it, so never
    /// more than came in since the last time, and not for ever.
    pub fn repeat(&mut self, numbers: &mut Numbers, limit: usize, out: &mut VecDeque<Vec<u8>>) {
        if self.credit >= self.records.len() && self.repeats < MAX_REPEATS {
            self.credit = 0;
            self.repeats += 1;
            self.sent = 0;
            self.send(numbers, limit, out);
        }
    }
}

struct Packer<'a> {
    limit: usize,
    numbers: &'a mut Numbers,
    datagram: Vec<u8>,
    out: &'a mut VecDeque<Vec<u8>>,
}

impl Packer<'_> {
    fn flush(&mut self) {
        if !self.datagram.is_empty() {
            self.out.push_back(std::mem::take(&mut self.datagram));
        }
    }

    /// Begins a new datagram unless `octets` fit this one.
    fn reserve(&mut self, octets: usize) {
        if self.datagram.len() + octets > self.limit {
            self.flush();
        }
    }

    /// Adds a record as it is, but for the number.
    fn whole(&mut self, record: &Record<'_>) {
        let start = self.datagram.len();
        self.datagram.extend_from_slice(record.bytes);
        if record.epoch == 0 {
            renumber(&mut self.datagram[start..], self.numbers.take());
        }
    }

    /// Adds a record, in fragments if it is too long for a datagram.
    fn record(&mut self, record: &Record<'_>) {
        self.reserve(record.bytes.len());
        let splittable = record.content == HANDSHAKE && record.epoch == 0;
        let room = self.limit.saturating_sub(HEADER + HANDSHAKE_HEADER);
        let Some((header, body)) = record
            .body
            .split_first_chunk::<HANDSHAKE_HEADER>()
            .filter(|_| splittable && record.bytes.len() > self.limit && room > 0)
        else {
            return self.whole(record);
        };
        let first = u32::from_be_bytes([0, header[6], header[7], header[8]]);
        for (i, part) in body.chunks(room).enumerate() {
            self.reserve(HEADER + HANDSHAKE_HEADER + part.len());
            let start = self.datagram.len();
            let length = (HANDSHAKE_HEADER + part.len()) as u16;
            self.datagram.extend_from_slice(&record.bytes[..HEADER - 2]);
            self.datagram.extend(length.to_be_bytes());
            self.datagram.extend_from_slice(&header[..6]);
            self.datagram
                .extend(&(first + (i * room) as u32).to_be_bytes()[1..]);
            self.datagram
                .extend(&(part.len() as u32).to_be_bytes()[1..]);
            self.datagram.extend_from_slice(part);
            renumber(&mut self.datagram[start..], self.numbers.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(content: u8, epoch: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![content, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 0, 0];
        bytes.extend((body.len() as u16).to_be_bytes());
        bytes.extend(body);
        bytes
    }

    fn message(length: usize) -> Vec<u8> {
        let n = &(length as u32).to_be_bytes()[1..];
        let mut body = [&[11][..], n, &[0, 2, 0, 0, 0], n].concat();
        body.extend((0..length).map(|i| i as u8));
        record(HANDSHAKE, 0, &body)
    }

    fn send(flight: &mut Flight, numbers: &mut Numbers, limit: usize) -> Vec<Vec<u8>> {
        let mut out = VecDeque::new();
        flight.send(numbers, limit, &mut out);
        out.into()
    }

    fn records(datagrams: &[Vec<u8>]) -> Vec<Record<'_>> {
        let mut all = Vec::new();
        for mut rest in datagrams.iter().map(Vec::as_slice) {
            while let Some(record) = Record::parse(rest) {
                all.push(record);
                rest = &rest[record.bytes.len()..];
            }
            assert!(rest.is_empty());
        }
        all
    }

    #[test]
    fn repeated_records_of_epoch_0_get_fresh_numbers_and_those_of_epoch_1_stay() {
        let finished = record(HANDSHAKE, 1, &[7; 48]);
        let mut flight = Flight::new(
            [
                message(40),
                record(CHANGE_CIPHER_SPEC, 0, &[1]),
                finished.clone(),
            ]
            .concat(),
        );
        let mut numbers = Numbers(3);
        for expected in [[3, 4], [5, 6]] {
            let datagrams = send(&mut flight, &mut numbers, 1_432);
            let records = records(&datagrams);
            assert_eq!([records[0].sequence, records[1].sequence], expected);
            assert_eq!(records[2].bytes, finished);
        }
    }

    #[test]
    fn change_cipher_spec_and_finished_share_a_datagram() {
        let finished = record(HANDSHAKE, 1, &[7; 48]);
        for first in 1_250..1_432 {
            let mut flight = Flight::new(
                [
                    message(first - 25),
                    record(CHANGE_CIPHER_SPEC, 0, &[1]),
                    finished.clone(),
                ]
                .concat(),
            );
            let datagrams = send(&mut flight, &mut Numbers(0), 1_432);
            let last = datagrams.last().expect("a datagram");
            assert!(last.len() <= 1_432);
            let tail = &last[last.len() - 75..];
            assert_eq!((tail[0], &tail[14..]), (CHANGE_CIPHER_SPEC, &finished[..]));
        }
    }

    #[test]
    fn fragments_cover_the_message_once_and_fit_the_limit() {
        let original = message(1_407);
        for limit in [548, 1_200, 1_431] {
            let mut flight = Flight::new(original.clone());
            let datagrams = send(&mut flight, &mut Numbers(0), limit);
            assert!(datagrams.iter().all(|datagram| datagram.len() <= limit));
            let mut body: Vec<u8> = Vec::new();
            for (i, record) in records(&datagrams).iter().enumerate() {
                assert_eq!(record.sequence, i as u64);
                assert_eq!(record.body[..6], original[HEADER..HEADER + 6]);
                let field = |at: usize| {
                    record.body[at..at + 3]
                        .iter()
                        .fold(0, |n, o| n << 8 | usize::from(*o))
                };
                assert_eq!((field(6), field(9)), (body.len(), record.body.len() - 12));
                body.extend(&record.body[12..]);
            }
            assert_eq!(body, original[HEADER + 12..], "limit {limit}");
        }
    }

    #[test]
    fn unanswered_flights_shrink_and_back_off() {
        let mut flight = Flight::new(message(1_407));
        let mut sizes = Vec::new();
        let mut waits = Vec::new();
        for _ in 0..6 {
            let datagrams = send(&mut flight, &mut Numbers(0), 1_432);
            sizes.push(datagrams.iter().map(Vec::len).max());
            waits.push(flight.timeout() / MILLISECOND);
        }
        assert_eq!(sizes, [1_432, 1_432, 1_200, 1_200, 548, 548].map(Some));
        assert_eq!(waits, [400, 800, 1_600, 3_200, 3_200, 3_200]);
    }

    #[test]
    fn a_final_flight_is_repeated_only_for_as_much_as_came_in() {
        let mut flight = Flight::new(record(HANDSHAKE, 1, &[7; 62]));
        let mut out = VecDeque::new();
        let mut received = 0;
        for _ in 0..10_000 {
            flight.came_in(20);
            received += 20;
            flight.repeat(&mut Numbers(0), 1_432, &mut out);
            assert!(out.iter().map(Vec::len).sum::<usize>() <= received);
        }
        assert_eq!(out.len(), MAX_REPEATS as usize);
    }
}
