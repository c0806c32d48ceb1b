//! Octets from SND.UNA on: sent and unacknowledged, then unsent. Chunked; grows and shrinks with the data.

use std::collections::VecDeque;

use crate::pool::{AccountId, BLOCK_SIZE, Block, KEPT, Pool, Use};

/// The send queue of a circuit.
#[derive(Default)]
pub struct SendQueue {
    blocks: VecDeque<Block>,
    /// Where the first octet stands in the first block.
    head: usize,
    len: usize,
    /// To which its blocks are counted.
    account: AccountId,
}

impl SendQueue {
    /// An empty queue, whose blocks are counted to this account.
    pub fn new(account: AccountId) -> SendQueue {
        SendQueue {
            account,
            ..SendQueue::default()
        }
    }

    /// Octets queued.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Appends as much of `data` as the pool has blocks for; returns how much.
    pub fn push(&mut self, pool: &mut Pool, data: &[u8]) -> usize {
        let mut taken = 0;
        while taken < data.len() {
            let end = self.head + self.len;
            let at = end % BLOCK_SIZE;
            if end == self.blocks.len() * BLOCK_SIZE {
                let Some(block) = pool.take(self.account, Use::Send) else {
                    break;
                };
                self.blocks.push_back(block);
            }
            let n = (BLOCK_SIZE - at).min(data.len() - taken);
            let block = &mut self.blocks[end / BLOCK_SIZE];
            block[at..at + n].copy_from_slice(&data[taken..taken + n]);
            taken += n;
            self.len += n;
        }
        taken
    }

    /// Drops the first `n` octets: they were acknowledged.
    pub fn consume(&mut self, pool: &mut Pool, n: usize) {
        let n = n.min(self.len);
        self.len -= n;
        self.head += n;
        while self.head >= BLOCK_SIZE {
            self.head -= BLOCK_SIZE;
            if let Some(block) = self.blocks.pop_front() {
                pool.give(self.account, Use::Send, block);
            }
        }
        if self.len == 0 {
            self.clear(pool);
        }
    }

    /// Appends `n` octets from `offset` on to `out`.
    pub fn copy_to(&self, offset: usize, n: usize, out: &mut Vec<u8>) {
        debug_assert!(offset + n <= self.len);
        let mut at = self.head + offset;
        let end = at + n;
        while at < end {
            let from = at % BLOCK_SIZE;
            let to = BLOCK_SIZE.min(from + end - at);
            out.extend_from_slice(&self.blocks[at / BLOCK_SIZE][from..to]);
            at += to - from;
        }
    }

    /// Gives everything back.
    pub fn clear(&mut self, pool: &mut Pool) {
        for block in self.blocks.drain(..) {
            pool.give(self.account, Use::Send, block);
        }
        if self.blocks.capacity() > KEPT {
            self.blocks = VecDeque::new();
        }
        self.head = 0;
        self.len = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out_and_blocks_return() {
        let mut pool = Pool::new(1 << 20);
        let mut queue = SendQueue::default();
        let data: Vec<u8> = (0..20_000u32).map(|i| (i % 251) as u8).collect();
        let (mut pushed, mut popped) = (0, 0);
        let mut step = 1;
        while popped < data.len() {
            let n = (step * 37 % 5_000).min(data.len() - pushed);
            assert_eq!(queue.push(&mut pool, &data[pushed..pushed + n]), n);
            pushed += n;
            let n = (step * 53 % 4_000).min(queue.len());
            let mut out = Vec::new();
            queue.copy_to(0, n, &mut out);
            assert_eq!(out, data[popped..popped + n]);
            if queue.len() > 10 {
                out.clear();
                queue.copy_to(7, queue.len() - 7, &mut out);
                assert_eq!(out, data[popped + 7..pushed]);
            }
            queue.consume(&mut pool, n);
            popped += n;
            step += 1;
        }
        assert_eq!(queue.len(), 0);
        assert_eq!(pool.in_use(), 0);
    }

    #[test]
    fn an_exhausted_pool_limits_the_queue() {
        let mut pool = Pool::new(2 * BLOCK_SIZE as u64);
        let mut queue = SendQueue::default();
        assert_eq!(queue.push(&mut pool, &[1; 10_000]), 2 * BLOCK_SIZE);
        queue.consume(&mut pool, BLOCK_SIZE);
        assert_eq!(queue.push(&mut pool, &[2; 10_000]), BLOCK_SIZE);
    }
}
