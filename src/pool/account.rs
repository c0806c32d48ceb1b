//! What one connection holds of the pool, and how much more it may.

/// Blocks that a connection may hold whatever its share comes to, as long as there are any: with less, no window
/// would take a record.
const FLOOR: u64 = 16;

/// Blocks that must be free before a writer that was held back is told, unless a quarter of the limit is less.
const FOR_WRITERS: u64 = 16;

/// What a block is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Data to be sent.
    Send,
    /// Received data that comes next.
    InOrder,
    /// Received data with a hole before it, which the peer can be made to send again.
    OutOfOrder,
}

/// Names the account of a connection in its pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountId(pub(super) u32);

/// The account of no connection: nothing but the budget limits it.
pub const NOBODY: AccountId = AccountId(0);

/// What a connection holds, in blocks.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Account {
    /// Whose it is.
    pub owner: u32,
    /// Data to be sent.
    pub sending: u64,
    /// Received data.
    pub received: u64,
    /// It stands in the line of those whose writers wait.
    pub waits: bool,
}

impl Account {
    /// Blocks held.
    pub fn held(&self) -> u64 {
        self.sending + self.received
    }

    /// The blocks that it counts a use among.
    pub fn of(&mut self, usage: Use) -> &mut u64 {
        match usage {
            Use::Send => &mut self.sending,
            Use::InOrder | Use::OutOfOrder => &mut self.received,
        }
    }

    /// What it may hold: its share, in percent, of what the others leave. So a number of connections that take all
    /// they can never leave nothing for one more.
    fn limit(&self, free: u64, share: u64) -> u64 {
        ((free + self.held()) * share / 100).max(FLOOR)
    }

    /// What it may hold for one direction. Three quarters: if data to be sent could take all, two peers that have
    /// written much could not take in what each waits for the other to take; and a relay that reads only what it can
    /// write could do neither.
    fn direction(limit: u64) -> u64 {
        limit - limit / 4
    }

    /// Blocks that it may take for this use, with `free` left in the pool.
    pub fn room(&self, usage: Use, free: u64, share: u64) -> u64 {
        let limit = self.limit(free, share);
        let direction = Account::direction(limit);
        let (used, reserve) = match usage {
            Use::Send => (self.sending, 0),
            Use::InOrder => (self.received, 0),
            // The last quarter is for what comes next.
            Use::OutOfOrder => (self.received, direction / 4),
        };
        direction
            .saturating_sub(used)
            .min(limit.saturating_sub(self.held()))
            .min(free)
            .saturating_sub(reserve)
    }

    /// Whether its receive windows may grow: half of what it may receive is free.
    pub fn lets_windows_grow(&self, free: u64, share: u64) -> bool {
        let direction = Account::direction(self.limit(free, share));
        self.room(Use::InOrder, free, share) >= direction / 2
    }

    /// Whether there is so much room for data to be sent that writers who wait should be told.
    pub fn admits_writers(&self, free: u64, share: u64) -> bool {
        let direction = Account::direction(self.limit(free, share));
        self.room(Use::Send, free, share) >= FOR_WRITERS.min(direction / 4).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: u64 = 100_000;

    /// Takes all that each of `count` accounts may have for data received, in turn, until none gets more.
    fn greedy(count: usize, share: u64) -> (Vec<Account>, u64) {
        let mut accounts = vec![Account::default(); count];
        let mut free = BUDGET;
        loop {
            let before = free;
            for account in &mut accounts {
                let n = account.room(Use::InOrder, free, share).min(100);
                account.received += n;
                free -= n;
            }
            if free == before {
                return (accounts, free);
            }
        }
    }

    #[test]
    fn one_alone_gets_its_share_and_no_more() {
        for share in [1, 10, 50, 99, 100] {
            let mut account = greedy(1, share).0[0];
            let free = BUDGET - account.received;
            account.sending = account.room(Use::Send, free, share);
            assert!(account.held() <= BUDGET * share / 100, "{share}");
            assert!(account.held() >= BUDGET * share / 100 * 95 / 100, "{share}");
        }
    }

    #[test]
    fn however_many_take_all_they_can_something_is_left() {
        for count in [1, 2, 5, 50, 500] {
            let (accounts, free) = greedy(count, 50);
            let newcomer = Account::default();
            let room = newcomer.room(Use::InOrder, free, 50);
            let least = accounts.iter().map(|a| a.received).min().unwrap_or(0);
            assert!(room * 4 >= least, "{count}: {room} of {least}");
            assert!(room >= 10, "{count}: {room}");
        }
    }

    #[test]
    fn neither_direction_takes_the_others_room() {
        let (accounts, free) = greedy(1, 50);
        let room = accounts[0].room(Use::Send, free, 50);
        assert!(room >= BUDGET / 10, "{room}");
        let mut sender = Account::default();
        sender.sending = sender.room(Use::Send, BUDGET, 50);
        let room = sender.room(Use::InOrder, BUDGET - sender.sending, 50);
        assert!(room >= BUDGET / 10, "{room}");
    }

    #[test]
    fn windows_stop_before_data_out_of_order_goes_before_all_is_refused() {
        let mut account = Account::default();
        let (mut windows, mut out_of_order, mut in_order) = (None, None, None);
        for held in 0..BUDGET {
            account.received = held;
            let free = BUDGET - held;
            if !account.lets_windows_grow(free, 50) {
                windows.get_or_insert(held);
            }
            if account.room(Use::OutOfOrder, free, 50) == 0 {
                out_of_order.get_or_insert(held);
            }
            if account.room(Use::InOrder, free, 50) == 0 {
                in_order.get_or_insert(held);
            }
        }
        assert!(windows < out_of_order && out_of_order < in_order);
        assert!(windows > Some(BUDGET / 10) && in_order < Some(BUDGET / 2));
    }

    #[test]
    fn a_small_share_is_enough_to_work_with() {
        let account = Account::default();
        assert_eq!(account.room(Use::Send, 32, 1), 12);
        assert_eq!(account.room(Use::InOrder, 32, 1), 12);
        assert_eq!(account.room(Use::InOrder, 3, 1), 3);
        assert_eq!(account.room(Use::InOrder, 0, 1), 0);
        assert!(account.admits_writers(32, 1));
        assert!(!account.admits_writers(0, 1));
    }
}
