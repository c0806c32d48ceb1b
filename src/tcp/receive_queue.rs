//! Octets received and not yet read: in order, then out of order with holes. One chunked store for both, so that filling
//! a hole moves nothing. The latest in order may be where they were decrypted, as long as there are no holes.

use std::collections::VecDeque;

use super::segment::{MAX_SACK_BLOCKS, SackBlocks};
use super::seq::Seq;
use crate::pool::{AccountId, BLOCK_SIZE, Block, KEPT, Pieces, Pool, Use};

/// Ranges of out-of-order data that are remembered; a peer that makes more holes has its segments dropped. A path with 3 %
/// of loss at 1 Gbit/s and 200 ms makes a thousand.
pub const MAX_RANGES: usize = 4_096;

/// What became of a segment's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// RCV.NXT has advanced.
    InOrder,
    /// Kept for later.
    OutOfOrder,
    /// All of it was here before.
    Duplicate,
    /// No memory, or too many ranges: as if it had been lost.
    Dropped,
}

/// The receive queue of a circuit.
pub struct ReceiveQueue {
    /// Blocks from the first unread octet on; `None` where nothing was received.
    blocks: VecDeque<Option<Block>>,
    head: usize,
    /// Octets readable now.
    readable: usize,
    /// The last of them, which are in no block: then there are no holes, and as many blocks are reserved as they would fill.
    pieces: Pieces,
    reserved: usize,
    /// RCV.NXT as far as data goes: the octet after the readable ones.
    next: Seq,
    /// Out-of-order ranges, in the order of sequence numbers, apart from each other.
    ranges: Vec<(Seq, Seq)>,
    /// Where those start that changed last, the latest first (RFC 2018 section 4). May name ranges that are gone.
    recent: [Option<Seq>; MAX_SACK_BLOCKS],
    /// Octets in all ranges.
    out_of_order: usize,
    /// To which its blocks are counted.
    account: AccountId,
}

impl ReceiveQueue {
    /// An empty queue that expects `next`, and whose blocks are counted to `account`.
    pub fn new(next: Seq, account: AccountId) -> ReceiveQueue {
        ReceiveQueue {
            blocks: VecDeque::new(),
            head: 0,
            readable: 0,
            pieces: Pieces::default(),
            reserved: 0,
            next,
            ranges: Vec::new(),
            recent: [None; MAX_SACK_BLOCKS],
            out_of_order: 0,
            account,
        }
    }

    /// To which its blocks are counted.
    pub fn account(&self) -> AccountId {
        self.account
    }

    /// The next octet expected in order.
    pub fn next(&self) -> Seq {
        self.next
    }

    /// Octets that can be read.
    pub fn readable(&self) -> usize {
        self.readable
    }

    /// Octets held out of order.
    pub fn out_of_order(&self) -> usize {
        self.out_of_order
    }

    /// Whether there are holes.
    pub fn has_holes(&self) -> bool {
        !self.ranges.is_empty()
    }

    /// The ranges to report, the most recently changed first.
    pub fn sack_blocks(&self) -> SackBlocks {
        let mut blocks = SackBlocks::default();
        if self.ranges.is_empty() {
            return blocks;
        }
        for seq in self.recent.iter().flatten() {
            if let Some((start, end)) = self.range_around(*seq, *seq + 1)
                && !blocks.as_slice().contains(&(start, end))
            {
                blocks.push(start, end);
            }
        }
        blocks
    }

    /// The range of out-of-order data that `start..end` lies in.
    pub fn range_around(&self, start: Seq, end: Seq) -> Option<(Seq, Seq)> {
        let at = self.ranges.partition_point(|&(_, e)| e <= start);
        let &(s, e) = self.ranges.get(at)?;
        (s <= start && end <= e).then_some((s, e))
    }

    /// Whether some octets are where they were decrypted.
    pub fn has_pieces(&self) -> bool {
        self.pieces.octets() > 0
    }

    /// Stores `data`, which starts at `seq` and lies in the window. `plain`: the plaintext of which it is part, if it can
    /// stay there.
    pub fn store(
        &mut self,
        pool: &mut Pool,
        seq: Seq,
        data: &[u8],
        plain: Option<&[u8]>,
    ) -> Stored {
        let end = seq + data.len() as u32;
        if data.is_empty() || end <= self.next {
            return Stored::Duplicate;
        }
        let (seq, data) = if seq < self.next {
            (self.next, &data[(self.next - seq) as usize..])
        } else {
            (seq, data)
        };
        let holes = !self.ranges.is_empty();
        if let Some(plain) = plain
            && seq == self.next
            && !holes
        {
            if !self.reserve(pool, data.len()) {
                return Stored::Dropped;
            }
            if pool.arrivals.push(&mut self.pieces, plain, data) {
                self.readable += data.len();
                self.next = end;
                return Stored::InOrder;
            }
        }
        self.settle(pool, plain);
        if holes && self.range_around(seq, end).is_some() {
            return Stored::Duplicate;
        }
        if holes
            && seq > self.next
            && self.ranges.len() >= MAX_RANGES
            && self.touched(seq, end).is_empty()
        {
            return Stored::Dropped;
        }
        let offset = self.readable + (seq - self.next) as usize;
        let usage = if seq > self.next {
            Use::OutOfOrder
        } else {
            Use::InOrder
        };
        if !self.write(pool, usage, offset, data) {
            return Stored::Dropped;
        }
        if seq == self.next && (!holes || self.touched(seq, end).is_empty()) {
            // In order, and no hole is filled: the usual case.
            self.readable += data.len();
            self.next = end;
            return Stored::InOrder;
        }
        self.merge(seq, end);
        if seq > self.next {
            return Stored::OutOfOrder;
        }
        // The merged range now starts at RCV.NXT: it becomes readable.
        let (_, end) = self.ranges.remove(0);
        let more = (end - self.next) as usize;
        self.out_of_order -= more;
        self.readable += more;
        self.next = end;
        if self.ranges.is_empty() {
            self.clear_ranges();
        }
        Stored::InOrder
    }

    /// Reserves blocks for `n` more octets in order; false when the pool has no room for them.
    fn reserve(&mut self, pool: &mut Pool, n: usize) -> bool {
        let wanted = (self.head + self.readable + n).div_ceil(BLOCK_SIZE);
        let missing = wanted - self.blocks.len() - self.reserved;
        if missing > 0 {
            if !pool.has_room(self.account, Use::InOrder, missing) {
                return false;
            }
            pool.reserve(self.account, Use::InOrder, missing);
            self.reserved += missing;
        }
        true
    }

    /// Moves what is where it was decrypted into blocks. `plain` as in [`ReceiveQueue::store`].
    pub fn settle(&mut self, pool: &mut Pool, plain: Option<&[u8]>) {
        for _ in 0..std::mem::take(&mut self.reserved) {
            self.blocks.push_back(Some(pool.redeem()));
        }
        let mut at = self.head + self.readable - self.pieces.octets();
        while self.has_pieces() {
            let from = at % BLOCK_SIZE;
            let Some(Some(block)) = self.blocks.get_mut(at / BLOCK_SIZE) else {
                debug_assert!(false, "a block that was not reserved");
                return;
            };
            at += pool
                .arrivals
                .pull(&mut self.pieces, plain, BLOCK_SIZE - from, |data| {
                    block[from..from + data.len()].copy_from_slice(data);
                });
        }
    }

    /// The ranges that `[start, end)` overlaps or adjoins, by their places.
    fn touched(&self, start: Seq, end: Seq) -> std::ops::Range<usize> {
        let from = self.ranges.partition_point(|&(_, e)| e < start);
        let to = self.ranges.partition_point(|&(s, _)| s <= end);
        from..to.max(from)
    }

    fn merge(&mut self, mut start: Seq, mut end: Seq) {
        let touched = self.touched(start, end);
        for &(s, e) in &self.ranges[touched.clone()] {
            start = start.min(s);
            end = end.max(e);
            self.out_of_order -= (e - s) as usize;
        }
        self.out_of_order += (end - start) as usize;
        self.ranges.splice(touched, [(start, end)]);
        // A range that was merged into this one is named once: by where it now starts.
        let mut recent = [None; MAX_SACK_BLOCKS];
        recent[0] = Some(start);
        let others = self.recent.iter().flatten();
        let others = others.filter(|&&s| s < start || s >= end);
        for (slot, &seq) in recent[1..].iter_mut().zip(others) {
            *slot = Some(seq);
        }
        self.recent = recent;
    }

    /// Writes at `offset` from the first unread octet; false when the pool has no room for it, and nothing is changed.
    fn write(&mut self, pool: &mut Pool, usage: Use, offset: usize, data: &[u8]) -> bool {
        let mut at = self.head + offset;
        let (first, last) = (at / BLOCK_SIZE, (at + data.len() - 1) / BLOCK_SIZE);
        if first == last
            && let Some(Some(block)) = self.blocks.get_mut(first)
        {
            let from = at % BLOCK_SIZE;
            block[from..from + data.len()].copy_from_slice(data);
            return true;
        }
        let is_there = |at| matches!(self.blocks.get(at), Some(Some(_)));
        let missing = (first..=last).filter(|&at| !is_there(at)).count();
        if missing > 0 && !self.make_room(pool, usage, first, last, missing) {
            return false;
        }
        let mut rest = data;
        while !rest.is_empty() {
            let from = at % BLOCK_SIZE;
            let n = (BLOCK_SIZE - from).min(rest.len());
            if let Some(block) = &mut self.blocks[at / BLOCK_SIZE] {
                block[from..from + n].copy_from_slice(&rest[..n]);
            }
            rest = &rest[n..];
            at += n;
        }
        true
    }

    /// Gets the blocks from `first` to `last` that are not there, if the pool has room for all.
    fn make_room(
        &mut self,
        pool: &mut Pool,
        usage: Use,
        first: usize,
        last: usize,
        missing: usize,
    ) -> bool {
        if !pool.has_room(self.account, usage, missing) {
            return false;
        }
        if self.blocks.len() <= last {
            self.blocks.resize_with(last + 1, || None);
        }
        for block in self.blocks.range_mut(first..=last) {
            block.get_or_insert_with(|| pool.hand_out(self.account, usage));
        }
        true
    }

    /// Moves readable octets into `buffer`; returns how many.
    pub fn read(&mut self, pool: &mut Pool, buffer: &mut [u8]) -> usize {
        let n = buffer.len().min(self.readable);
        let mut done = 0;
        while done < n {
            let in_blocks = self.readable - self.pieces.octets();
            let take = if in_blocks > 0 {
                let take = (BLOCK_SIZE - self.head).min(n - done).min(in_blocks);
                if let Some(Some(block)) = self.blocks.front() {
                    buffer[done..done + take].copy_from_slice(&block[self.head..self.head + take]);
                }
                take
            } else {
                let to = &mut buffer[done..n];
                let (pieces, most) = (&mut self.pieces, to.len());
                pool.arrivals.pull(pieces, None, most, |data| {
                    to[..data.len()].copy_from_slice(data)
                })
            };
            done += take;
            self.advance(pool, take);
        }
        n
    }

    /// Throws readable octets away.
    pub fn discard(&mut self, pool: &mut Pool) {
        pool.arrivals.drop_all(&mut self.pieces);
        while self.readable > 0 {
            let n = (BLOCK_SIZE - self.head).min(self.readable);
            self.advance(pool, n);
        }
    }

    fn advance(&mut self, pool: &mut Pool, n: usize) {
        self.readable -= n;
        self.head += n;
        while self.head >= BLOCK_SIZE {
            self.head -= BLOCK_SIZE;
            match self.blocks.pop_front() {
                Some(Some(block)) => pool.give(self.account, Use::InOrder, block),
                Some(None) => {}
                None => {
                    pool.release(self.account, Use::InOrder, 1);
                    self.reserved -= 1;
                }
            }
        }
        if self.readable == 0 && self.ranges.is_empty() {
            self.clear(pool);
        }
    }

    /// Forgets the out-of-order data, which the peer will have to send again (RFC 2018 section 8).
    pub fn renege(&mut self, pool: &mut Pool) {
        pool.note_reneged(self.out_of_order);
        self.forget_ranges();
        let keep = (self.head + self.readable).div_ceil(BLOCK_SIZE);
        for block in self.blocks.drain(keep.min(self.blocks.len())..).flatten() {
            pool.give(self.account, Use::OutOfOrder, block);
        }
        if self.readable == 0 {
            self.clear(pool);
        }
    }

    fn clear_ranges(&mut self) {
        self.ranges.clear();
        if self.ranges.capacity() > KEPT {
            self.ranges = Vec::new();
        }
    }

    fn forget_ranges(&mut self) {
        self.clear_ranges();
        self.recent = [None; MAX_SACK_BLOCKS];
        self.out_of_order = 0;
    }

    /// Gives everything back.
    pub fn clear(&mut self, pool: &mut Pool) {
        pool.arrivals.drop_all(&mut self.pieces);
        if self.reserved > 0 {
            pool.release(self.account, Use::InOrder, self.reserved);
            self.reserved = 0;
        }
        for block in self.blocks.drain(..).flatten() {
            pool.give(self.account, Use::InOrder, block);
        }
        if self.blocks.capacity() > KEPT {
            self.blocks = VecDeque::new();
        }
        self.forget_ranges();
        self.head = 0;
        self.readable = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::NOBODY;

    fn pattern(from: u32, n: usize) -> Vec<u8> {
        (from..from + n as u32).map(|i| (i % 253) as u8).collect()
    }

    #[test]
    fn holes_are_filled_in_any_order() {
        let mut pool = Pool::new(1 << 20);
        let start = Seq(u32::MAX - 2_000);
        let mut queue = ReceiveQueue::new(start, NOBODY);
        for at in [3_000u32, 1_000, 6_000, 0, 2_000, 5_000, 4_000, 7_000] {
            queue.store(&mut pool, start + at, &pattern(at, 1_000), None);
        }
        assert_eq!(queue.readable(), 8_000);
        assert!(!queue.has_holes());
        let mut out = vec![0; 9_000];
        assert_eq!(queue.read(&mut pool, &mut out), 8_000);
        assert_eq!(out[..8_000], pattern(0, 8_000));
        assert_eq!(pool.in_use(), 0);
        assert_eq!(queue.next(), start + 8_000);
    }

    #[test]
    fn sack_blocks_name_the_latest_first() {
        let mut pool = Pool::new(1 << 20);
        let mut queue = ReceiveQueue::new(Seq(0), NOBODY);
        queue.store(&mut pool, Seq(100), &[0; 10], None);
        queue.store(&mut pool, Seq(300), &[0; 10], None);
        queue.store(&mut pool, Seq(200), &[0; 10], None);
        assert_eq!(
            queue.sack_blocks().as_slice(),
            [
                (Seq(200), Seq(210)),
                (Seq(300), Seq(310)),
                (Seq(100), Seq(110))
            ]
        );
        assert_eq!(
            queue.store(&mut pool, Seq(302), &[0; 5], None),
            Stored::Duplicate
        );
        queue.store(&mut pool, Seq(110), &[0; 90], None);
        assert_eq!(
            queue.sack_blocks().as_slice(),
            [(Seq(100), Seq(210)), (Seq(300), Seq(310))]
        );
    }

    #[test]
    fn the_number_of_ranges_is_bounded() {
        let mut pool = Pool::new(1 << 30);
        let mut queue = ReceiveQueue::new(Seq(0), NOBODY);
        for i in 1..=MAX_RANGES as u32 {
            assert_eq!(
                queue.store(&mut pool, Seq(i * 10), &[0; 2], None),
                Stored::OutOfOrder
            );
        }
        assert_eq!(
            queue.store(&mut pool, Seq(90_000), &[0; 2], None),
            Stored::Dropped
        );
        assert_eq!(
            queue.store(&mut pool, Seq(0), &[0; 2], None),
            Stored::InOrder
        );
    }

    #[test]
    fn a_segment_without_room_leaves_no_block_behind() {
        let mut pool = Pool::new(2 * BLOCK_SIZE as u64);
        let mut queue = ReceiveQueue::new(Seq(0), NOBODY);
        assert_eq!(
            queue.store(&mut pool, Seq(0), &[1; 10], None),
            Stored::InOrder
        );
        let far = Seq(3 * BLOCK_SIZE as u32 - 10);
        assert_eq!(queue.store(&mut pool, far, &[1; 20], None), Stored::Dropped);
        assert_eq!(pool.in_use(), BLOCK_SIZE as u64);
        assert_eq!(
            queue.store(&mut pool, far, &[1; 10], None),
            Stored::OutOfOrder
        );
        assert_eq!(pool.in_use(), 2 * BLOCK_SIZE as u64);
        let counters = pool.counters();
        assert_eq!((counters.out_of_order, counters.in_order), (1, 0));
        queue.clear(&mut pool);
        assert_eq!(pool.in_use(), 0);
    }

    #[test]
    fn reneging_keeps_what_is_in_order() {
        let mut pool = Pool::new(1 << 20);
        let mut queue = ReceiveQueue::new(Seq(0), NOBODY);
        queue.store(&mut pool, Seq(0), &pattern(0, 100), None);
        queue.store(&mut pool, Seq(50_000), &[1; 5_000], None);
        queue.renege(&mut pool);
        assert_eq!(pool.in_use(), BLOCK_SIZE as u64);
        queue.store(&mut pool, Seq(100), &pattern(100, 100), None);
        let mut out = [0; 200];
        assert_eq!(queue.read(&mut pool, &mut out), 200);
        assert_eq!(out[..], pattern(0, 200));
    }

    /// Stores part of a stream as if it had just been decrypted, so that it can stay where it is.
    fn arrive(queue: &mut ReceiveQueue, pool: &mut Pool, at: u32, n: usize) -> Stored {
        let (mut plain, stays) = pool.arrivals.begin();
        plain.extend_from_slice(b"header");
        plain.extend(pattern(at, n));
        let stored = queue.store(pool, Seq(at), &plain[6..], stays.then_some(&plain));
        pool.arrivals.end(plain);
        stored
    }

    #[test]
    fn what_stays_is_counted_and_moves_when_something_comes_out_of_order() {
        let mut pool = Pool::new(4 * BLOCK_SIZE as u64);
        let mut queue = ReceiveQueue::new(Seq(0), NOBODY);
        assert_eq!(arrive(&mut queue, &mut pool, 0, 1_500), Stored::InOrder);
        assert_eq!(arrive(&mut queue, &mut pool, 1_500, 1_500), Stored::InOrder);
        assert!(queue.has_pieces());
        assert_eq!(pool.in_use(), 2 * BLOCK_SIZE as u64);
        // Room for two more, and no more than that.
        assert_eq!(arrive(&mut queue, &mut pool, 3_000, 6_000), Stored::Dropped);
        assert_eq!(
            arrive(&mut queue, &mut pool, 4_500, 1_500),
            Stored::OutOfOrder
        );
        assert!(!queue.has_pieces());
        assert_eq!(arrive(&mut queue, &mut pool, 3_000, 1_500), Stored::InOrder);
        let mut out = vec![0; 6_000];
        assert_eq!(queue.read(&mut pool, &mut out), 6_000);
        assert_eq!(out, pattern(0, 6_000));
        assert_eq!(pool.in_use(), 0);
    }

    #[test]
    fn two_segments_of_a_datagram_may_stay_and_then_not() {
        let mut pool = Pool::new(1 << 20);
        let mut queue = ReceiveQueue::new(Seq(0), NOBODY);
        let (mut plain, _) = pool.arrivals.begin();
        plain.extend(pattern(0, 400));
        let whole = Some(&plain[..]);
        let mut store =
            |at: usize| queue.store(&mut pool, Seq(at as u32), &plain[at..at + 100], whole);
        assert_eq!(store(0), Stored::InOrder);
        assert_eq!(store(200), Stored::OutOfOrder);
        assert_eq!(store(100), Stored::InOrder);
        assert_eq!(store(300), Stored::InOrder);
        pool.arrivals.end(plain);
        let mut out = vec![0; 400];
        assert_eq!(queue.read(&mut pool, &mut out), 400);
        assert_eq!(out, pattern(0, 400));
        assert_eq!(pool.in_use(), 0);
    }

    proptest::proptest! {
        #[test]
        fn all_is_read_once_and_in_order(
            steps in proptest::collection::vec((0u8..8, 0u32..6_000, 1usize..3_000), 1..150)
        ) {
            const END: u32 = 100_000;
            let mut pool = Pool::new(1 << 20);
            let mut queue = ReceiveQueue::new(Seq(0), NOBODY);
            let mut read = 0;
            let take = |queue: &mut ReceiveQueue, pool: &mut Pool, n: usize, read: &mut u32| {
                let mut out = vec![0; n];
                let n = queue.read(pool, &mut out);
                assert_eq!(out[..n], pattern(*read, n));
                *read += n as u32;
            };
            for (kind, ahead, n) in steps {
                let next = queue.next().0;
                match kind {
                    0 => take(&mut queue, &mut pool, n, &mut read),
                    1 => queue.settle(&mut pool, None),
                    2 => queue.renege(&mut pool),
                    _ => {
                        // In order more often than not; some was received before.
                        let from = if kind < 6 { next } else { next.saturating_sub(500) + ahead };
                        let n = n.min((END - from.min(END)) as usize);
                        arrive(&mut queue, &mut pool, from, n);
                    }
                }
                assert_eq!(queue.next().0, read + queue.readable() as u32);
                let held = queue.readable() + queue.out_of_order();
                assert!(pool.in_use() >= held as u64);
            }
            while read < END {
                let next = queue.next().0;
                arrive(&mut queue, &mut pool, next, 1_400.min((END - next) as usize));
                take(&mut queue, &mut pool, 3_000, &mut read);
            }
            assert_eq!(pool.in_use(), 0);
            assert!(!pool.arrivals.is_full());
        }
    }
}
