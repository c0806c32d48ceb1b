//! The cell pool (§6.2): fixed blocks, one pool per endpoint, so that memory follows the data held and not the number
//! of circuits.

/// Octets in a block: three relay cells of 514 octets and a bit, so that a lone cell wastes little.
pub const BLOCK_SIZE: usize = 2048;

/// A list that has been emptied keeps its room if it is no more than for this many entries: what comes in bursts is to
/// allocate nothing, and what was once much is to leave little behind until the circuit sleeps.
pub const KEPT: usize = 256;

/// Free blocks kept for reuse, or as many as are in use if those are more; the others go back to the allocator.
const RESERVE: usize = 256;

/// A block of queued data.
pub type Block = Box<[u8; BLOCK_SIZE]>;

/// Hands out blocks as long as the budget allows.
pub struct Pool {
    free: Vec<Block>,
    in_use: usize,
    budget: usize,
}

impl Pool {
    /// A pool that hands out at most `budget` octets in blocks.
    pub fn new(budget: u64) -> Pool {
        let budget = usize::try_from(budget / BLOCK_SIZE as u64).unwrap_or(usize::MAX);
        Pool {
            free: Vec::new(),
            in_use: 0,
            budget,
        }
    }

    /// A block with arbitrary content, or `None` when the budget is used up.
    pub fn take(&mut self) -> Option<Block> {
        if self.in_use >= self.budget {
            return None;
        }
        self.in_use += 1;
        Some(self.free.pop().unwrap_or_else(|| Box::new([0; BLOCK_SIZE])))
    }

    /// Takes a block back.
    pub fn give(&mut self, block: Block) {
        self.in_use -= 1;
        self.free.push(block);
        // One more than are given back may have to go: the fewer are in use, the fewer are kept.
        for _ in 0..2 {
            if self.free.len() > RESERVE.max(self.in_use) {
                self.free.pop();
            }
        }
    }

    /// Octets handed out.
    pub fn in_use(&self) -> u64 {
        (self.in_use * BLOCK_SIZE) as u64
    }

    /// Octets that can still be handed out.
    pub fn available(&self) -> u64 {
        (self.budget.saturating_sub(self.in_use) as u64).saturating_mul(BLOCK_SIZE as u64)
    }
}
