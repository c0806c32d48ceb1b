//! A peer that lies: our own TCP whose packets are falsified on their way out, with checksums that are right.

use smoltcp::wire::{Ipv4Packet, TcpPacket, TcpSeqNumber};
use utcp::error::CloseReason;
use utcp::tcp::Settings;
use utcp::time::Time;

use super::ours::Ours;
use super::{Read, Tcp, address};
use crate::rng::Rng;

pub struct Liar {
    inner: Box<Ours>,
    index: usize,
    rng: Rng,
    /// The share of packets that are falsified.
    share: f64,
    /// Some of what was sent, to be sent again.
    old: Vec<Vec<u8>>,
}

impl Liar {
    pub fn passive(index: usize, settings: Settings, seed: u64, share: f64) -> Box<Liar> {
        Box::new(Liar {
            inner: Ours::passive(index, settings, seed as u32),
            index,
            rng: Rng::new(seed, 5),
            share,
            old: Vec::new(),
        })
    }

    fn falsify(&mut self, packet: &mut [u8]) {
        let rng = &mut self.rng;
        let mut ip = Ipv4Packet::new_unchecked(packet);
        let mut tcp = TcpPacket::new_unchecked(ip.payload_mut());
        let near = |rng: &mut Rng, number: TcpSeqNumber| {
            let bound = [10, 3_000, 100_000, 1 << 31][rng.below(4) as usize];
            let offset = rng.below(bound) as u32;
            let number = number.0 as u32;
            TcpSeqNumber(if rng.chance(0.5) {
                number.wrapping_add(offset)
            } else {
                number.wrapping_sub(offset)
            } as i32)
        };
        match rng.below(7) {
            // Acknowledges what was never sent, or takes an acknowledgement back.
            0 => tcp.set_ack_number(near(rng, tcp.ack_number())),
            1 => tcp.set_seq_number(near(rng, tcp.seq_number())),
            2 => tcp.set_window_len(rng.next() as u16),
            3 => tcp.set_window_len(0),
            4 => match rng.below(4) {
                0 => tcp.set_fin(true),
                1 => tcp.set_syn(true),
                2 => tcp.set_urg(true),
                _ => tcp.set_psh(true),
            },
            5 => {
                let mut octets = vec![0; tcp.options_mut().len()];
                rng.fill(&mut octets);
                tcp.options_mut().copy_from_slice(&octets);
            }
            // Other data than before at the same place.
            _ => {
                let mut octets = vec![0; tcp.payload_mut().len()];
                rng.fill(&mut octets);
                tcp.payload_mut().copy_from_slice(&octets);
            }
        }
        let (from, to) = (address(self.index).ip(), address(1 - self.index).ip());
        tcp.fill_checksum(&from.into(), &to.into());
    }
}

impl Tcp for Liar {
    fn inject(&mut self, now: Time, packet: &[u8], ce: bool) {
        self.inner.inject(now, packet, ce);
    }

    fn poll(&mut self, now: Time) -> Vec<Vec<u8>> {
        let mut packets = self.inner.poll(now);
        for index in 0..packets.len() {
            if self.rng.chance(0.05) {
                self.old.push(packets[index].clone());
            }
            if self.rng.chance(self.share) {
                self.falsify(&mut packets[index]);
            }
            if !self.old.is_empty() && self.rng.chance(self.share / 4.0) {
                let pick = self.rng.below(self.old.len() as u64) as usize;
                packets.push(self.old[pick].clone());
            }
        }
        packets
    }

    fn deadline(&mut self, now: Time) -> Time {
        self.inner.deadline(now)
    }

    fn write(&mut self, data: &[u8]) -> usize {
        self.inner.write(data)
    }

    fn read(&mut self, buffer: &mut [u8]) -> Read {
        self.inner.read(buffer)
    }

    fn finish(&mut self) {
        self.inner.finish();
    }

    fn abort(&mut self) {
        self.inner.abort();
    }

    fn is_over(&self) -> bool {
        self.inner.is_over()
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn reason(&self) -> Option<CloseReason> {
        self.inner.reason()
    }

    fn held(&self) -> u64 {
        self.inner.held()
    }
}
