//! The cell pool (§6.2): fixed blocks, one pool per endpoint, so that memory follows the data held and not the number
//! of circuits.
//!
//! ```text
//! account.rs   what a connection holds, and how much more it may
//! arrivals.rs  what was received and is not in a block yet
//! pressure.rs  what the relay hears of how full the pool is
//! ```
//!
//! A block belongs to one queue from the moment it is taken until it is given back: what was sent stays where it was
//! written until it is acknowledged, and what filled a hole stays where it arrived. Each step costs the same however
//! many blocks, queues and connections there are.

mod account;
mod arrivals;
mod pressure;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

pub use account::{AccountId, NOBODY, Use};
pub use arrivals::{Arrivals, Pieces};
pub use pressure::Pressure;

use crate::time::{Micros, SECOND, Time};
use account::Account;
use pressure::Gauge;

/// Octets in a block: three relay cells of 514 octets and a bit, so that a lone cell wastes little.
pub const BLOCK_SIZE: usize = 2048;

/// A list that has been emptied keeps its room if it is no more than for this many entries: what comes in bursts is to
/// allocate nothing, and what was once much is to leave little behind until the circuit sleeps.
pub const KEPT: usize = 256;

/// Free blocks kept for reuse, or as many as are in use if those are more; the others go back to the allocator.
const RESERVE: u64 = 256;

/// As many are kept as were in use at once a little while ago, but no more than this: what is handed out and comes back
/// with every batch is to allocate nothing.
const KEPT_WHILE_BUSY: u64 = 2_048;

/// A little while.
const WHILE: Micros = SECOND;

/// A block for queued data.
pub type Block = Box<[u8; BLOCK_SIZE]>;

/// What was refused and dropped for lack of memory, and the most that was ever held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Blocks, the most that were in use at once.
    pub most: u64,
    /// Writes that were cut short or refused.
    pub writes: u64,
    /// Times that a receive window would have grown.
    pub windows: u64,
    /// Octets out of order that were held and thrown away.
    pub reneged: u64,
    /// Segments out of order that were dropped as they came.
    pub out_of_order: u64,
    /// Segments in order that were dropped as they came.
    pub in_order: u64,
}

/// Hands out blocks as long as the budget, and the share of who asks, allow.
pub struct Pool {
    /// What was received and is not in a block yet, though it is counted.
    pub arrivals: Arrivals,
    free: Vec<Block>,
    in_use: u64,
    /// The most that were in use at once in this while and in the one before, up to a bound.
    busy: [u64; 2],
    /// When this while ends.
    while_until: Time,
    budget: u64,
    /// Percent of what the others leave that a connection may hold.
    share: u64,
    /// As long as no more are in use, nobody is short of anything, and at least four times as many can be taken in by
    /// each.
    plenty: u64,
    /// The first is that of nobody.
    accounts: Vec<Account>,
    vacant: Vec<u32>,
    /// Accounts whose writers wait, the longest waiting first.
    waiting: VecDeque<AccountId>,
    /// Those at the head of the line that may have room since.
    unchecked: usize,
    /// Data out of order should be thrown away wherever there is some.
    wants_out_of_order: bool,
    /// Of the last two, or the gauge, something may be new to the endpoint.
    attention: bool,
    gauge: Gauge,
    counters: Counters,
}

fn blocks(octets: u64) -> u64 {
    octets / BLOCK_SIZE as u64
}

fn octets(blocks: u64) -> u64 {
    blocks.saturating_mul(BLOCK_SIZE as u64)
}

impl Pool {
    /// A pool that hands out at most `budget` octets in blocks, without shares.
    pub fn new(budget: u64) -> Pool {
        Pool::with_shares(budget, 100)
    }

    /// A pool that hands out at most `budget` octets in blocks, and to each connection at most `share` percent of what
    /// the others leave.
    pub fn with_shares(budget: u64, share: u32) -> Pool {
        let mut pool = Pool {
            arrivals: Arrivals::default(),
            free: Vec::new(),
            in_use: 0,
            busy: [0; 2],
            while_until: Time(0),
            budget: 0,
            share: u64::from(share),
            plenty: 0,
            accounts: vec![Account::default()],
            vacant: Vec::new(),
            waiting: VecDeque::new(),
            unchecked: 0,
            wants_out_of_order: false,
            attention: false,
            gauge: Gauge::new(0),
            counters: Counters::default(),
        };
        pool.set_budget(budget);
        pool
    }

    /// Changes the budget, in octets. Nothing is taken away from who holds more.
    pub fn set_budget(&mut self, budget: u64) {
        self.budget = blocks(budget);
        // With an eighth of a lone share in use, every limit is at least seven eighths of that share (account.rs), three
        // quarters of which are 21/32. Less than half of that is used up.
        self.plenty = self.budget / 800 * self.share;
        self.gauge.set_budget(self.budget, self.in_use);
        self.unchecked = self.waiting.len();
        self.settle();
    }

    // ---- accounts ----

    /// Opens an account for a connection.
    pub fn open(&mut self, owner: u32) -> AccountId {
        let account = Account {
            owner,
            ..Account::default()
        };
        match self.vacant.pop() {
            Some(index) => {
                self.accounts[index as usize] = account;
                AccountId(index)
            }
            None => {
                self.accounts.push(account);
                AccountId(self.accounts.len() as u32 - 1)
            }
        }
    }

    /// Closes an account, all blocks of which were given back.
    pub fn close(&mut self, account: AccountId) {
        if account != NOBODY {
            debug_assert_eq!(self.account(account).held(), 0, "blocks left");
            self.accounts[account.0 as usize].waits = false;
            self.unchecked = self.waiting.len();
            self.attention |= self.unchecked > 0;
            self.vacant.push(account.0);
        }
    }

    fn account(&self, account: AccountId) -> &Account {
        &self.accounts[account.0 as usize]
    }

    fn unused(&self) -> u64 {
        self.budget.saturating_sub(self.in_use)
    }

    /// Blocks that can be handed out for this use.
    fn blocks_for(&self, account: AccountId, usage: Use) -> u64 {
        let free = self.unused();
        if account == NOBODY {
            return free;
        }
        self.account(account).room(usage, free, self.share)
    }

    /// Octets that can be handed out in either direction: when there is plenty, not all of them.
    #[inline]
    pub fn offer(&self, account: AccountId, usage: Use) -> u64 {
        if self.in_use <= self.plenty && self.plenty > 0 {
            return octets(4 * self.plenty);
        }
        self.room(account, usage)
    }

    /// Octets that can be handed out for this use.
    pub fn room(&self, account: AccountId, usage: Use) -> u64 {
        octets(self.blocks_for(account, usage))
    }

    /// Whether receive windows may grow.
    pub fn lets_windows_grow(&mut self, account: AccountId) -> bool {
        let grow = self.in_use <= self.plenty
            || account == NOBODY
            || self
                .account(account)
                .lets_windows_grow(self.unused(), self.share);
        self.counters.windows += u64::from(!grow);
        grow
    }

    /// Whether so little is left for received data that what is held out of order should go.
    pub fn is_tight(&self, account: AccountId) -> bool {
        self.in_use > self.plenty && self.blocks_for(account, Use::OutOfOrder) == 0
    }

    /// Whether data out of order should be thrown away wherever there is some: asked once each time.
    pub fn wants_out_of_order(&mut self) -> bool {
        std::mem::take(&mut self.wants_out_of_order)
    }

    // ---- blocks ----

    /// Whether `n` blocks can be handed out for this use; if not, that counts as a refusal.
    #[inline]
    pub fn has_room(&mut self, account: AccountId, usage: Use, n: usize) -> bool {
        self.in_use + n as u64 <= self.plenty || self.finds_room(account, usage, n as u64)
    }

    fn finds_room(&mut self, account: AccountId, usage: Use, n: u64) -> bool {
        let fits = n <= self.blocks_for(account, usage);
        let refused = u64::from(!fits);
        match usage {
            Use::Send => self.counters.writes += refused,
            Use::InOrder => self.counters.in_order += refused,
            Use::OutOfOrder => self.counters.out_of_order += refused,
        }
        // Not only of who asks now: of the whole budget little is left.
        if usage != Use::Send && self.unused() < self.budget / 8 {
            self.wants_out_of_order = true;
            self.attention = true;
        }
        fits
    }

    /// A block with arbitrary content, or `None` when there is no room.
    pub fn take(&mut self, account: AccountId, usage: Use) -> Option<Block> {
        self.has_room(account, usage, 1)
            .then(|| self.hand_out(account, usage))
    }

    /// A block with arbitrary content, for which [`Pool::has_room`] has found room.
    pub fn hand_out(&mut self, account: AccountId, usage: Use) -> Block {
        self.reserve(account, usage, 1);
        self.redeem()
    }

    /// Counts `n` blocks, for which [`Pool::has_room`] has found room, as handed out: [`Pool::redeem`] gives them.
    pub fn reserve(&mut self, account: AccountId, usage: Use, n: usize) {
        self.in_use += n as u64;
        *self.accounts[account.0 as usize].of(usage) += n as u64;
        self.counters.most = self.counters.most.max(self.in_use);
        self.busy[0] = self.busy[0].max(self.in_use);
        self.attention |= self.gauge.follow(self.in_use);
    }

    /// A block that was reserved.
    pub fn redeem(&mut self) -> Block {
        self.free.pop().unwrap_or_else(|| Box::new([0; BLOCK_SIZE]))
    }

    /// Reserved blocks that are not needed.
    pub fn release(&mut self, account: AccountId, usage: Use, n: usize) {
        self.in_use -= n as u64;
        *self.accounts[account.0 as usize].of(usage) -= n as u64;
        self.attention |= self.gauge.follow(self.in_use);
        self.unchecked = self.waiting.len();
        self.attention |= self.unchecked > 0;
    }

    /// Takes a block back that was handed out to this account for this use.
    pub fn give(&mut self, account: AccountId, usage: Use, block: Block) {
        self.release(account, usage, 1);
        self.free.push(block);
        // One more than are given back may have to go: the fewer are in use, the fewer are kept.
        for _ in 0..2 {
            if self.free.len() as u64 > self.kept() {
                self.free.pop();
            }
        }
    }

    /// Free blocks that are kept.
    fn kept(&self) -> u64 {
        let [now, before] = self.busy;
        RESERVE
            .max(self.in_use)
            .max(now.max(before).min(KEPT_WHILE_BUSY))
    }

    /// Takes note of the time: what was kept for a crowd goes when it has gone.
    #[inline]
    pub fn on_time(&mut self, now: Time) {
        if self.while_until <= now {
            self.while_until = now + WHILE;
            self.busy = [self.in_use, self.busy[0]];
            self.free.truncate(self.kept() as usize);
        }
    }

    /// Memory is short elsewhere: gives back what is kept for a crowd.
    pub fn trim(&mut self) {
        self.busy = [self.in_use; 2];
        self.free.truncate(self.kept() as usize);
    }

    /// Data out of order was thrown away.
    pub fn note_reneged(&mut self, octets: usize) {
        self.counters.reneged += octets as u64;
    }

    // ---- writers ----

    /// Whether a writer who was cut short can go on.
    pub fn admits_writers(&self, account: AccountId) -> bool {
        self.in_use <= self.plenty
            || self
                .account(account)
                .admits_writers(self.unused(), self.share)
    }

    /// A writer of this account waits for room.
    pub fn wait(&mut self, account: AccountId) {
        let waits = &mut self.accounts[account.0 as usize].waits;
        if !std::mem::replace(waits, true) {
            self.waiting.push_back(account);
        }
    }

    /// There was room for more writers than were told: the account is looked at again.
    pub fn wait_in_front(&mut self, account: AccountId) {
        let waits = &mut self.accounts[account.0 as usize].waits;
        if !std::mem::replace(waits, true) {
            self.waiting.push_front(account);
            self.unchecked += 1;
            self.attention = true;
        }
    }

    /// Accounts for whose writers there may be room since they were last looked at.
    pub fn unchecked(&self) -> usize {
        self.unchecked
    }

    /// Looks at the next of them; returns whose it is if there is room for its writers.
    pub fn check_next(&mut self) -> Option<u32> {
        self.unchecked = self.unchecked.saturating_sub(1);
        let account = self.waiting.pop_front()?;
        if !self.account(account).waits {
            // It was closed meanwhile.
            return None;
        }
        if !self.admits_writers(account) {
            self.waiting.push_back(account);
            return None;
        }
        self.accounts[account.0 as usize].waits = false;
        Some(self.account(account).owner)
    }

    // ---- figures ----

    /// Octets handed out.
    pub fn in_use(&self) -> u64 {
        octets(self.in_use)
    }

    /// Octets that nobody holds.
    pub fn available(&self) -> u64 {
        octets(self.unused())
    }

    /// Octets that this account holds.
    pub fn held(&self, account: AccountId) -> u64 {
        octets(self.account(account).held())
    }

    /// Octets that the budget allows, in whole blocks.
    pub fn budget(&self) -> u64 {
        octets(self.budget)
    }

    /// Octets, the most that were handed out at once.
    pub fn peak(&self) -> u64 {
        octets(self.counters.most)
    }

    /// Counters.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Whether anything waits for the endpoint to look at it: writers for whom there may be room, news for the relay, or
    /// data out of order that should go.
    #[inline]
    pub fn wants_attention(&self) -> bool {
        self.attention
    }

    /// The endpoint has looked: what is left is all that waits for it.
    pub fn settle(&mut self) {
        self.attention = self.unchecked > 0 || self.wants_out_of_order || self.gauge.has_notice();
    }

    /// How full the pool is, if the relay was told otherwise.
    pub fn take_notice(&mut self) -> Option<Pressure> {
        if !self.attention {
            return None;
        }
        let notice = self.gauge.take_notice();
        self.settle();
        notice
    }
}
