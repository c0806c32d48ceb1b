//! Blocks, accounts and the line of writers.

use super::*;

const BUDGET: u64 = 8_000 * BLOCK_SIZE as u64;

/// Takes `n` blocks, or as many as there are.
fn take(pool: &mut Pool, account: AccountId, usage: Use, n: usize) -> Vec<Block> {
    std::iter::from_fn(|| pool.take(account, usage))
        .take(n)
        .collect()
}

fn give(pool: &mut Pool, account: AccountId, usage: Use, blocks: Vec<Block>) {
    for block in blocks {
        pool.give(account, usage, block);
    }
}

#[test]
fn what_comes_back_is_handed_out_again() {
    let mut pool = Pool::new(10 * BLOCK_SIZE as u64);
    let held = take(&mut pool, NOBODY, Use::Send, 100);
    assert_eq!(held.len(), 10);
    assert_eq!(pool.in_use(), pool.budget());
    give(&mut pool, NOBODY, Use::Send, held);
    assert_eq!(pool.in_use(), 0);
    assert_eq!(take(&mut pool, NOBODY, Use::InOrder, 100).len(), 10);
    assert_eq!(pool.counters().most, 10);
}

#[test]
fn few_blocks_are_kept_when_few_are_in_use() {
    let mut pool = Pool::new(BUDGET);
    let held = take(&mut pool, NOBODY, Use::Send, 8_000);
    give(&mut pool, NOBODY, Use::Send, held);
    let kept = pool.free.len() as u64;
    assert!((RESERVE + 1..=KEPT_WHILE_BUSY).contains(&kept), "{kept}");
    for at in 1..=2 {
        pool.on_time(Time(at * WHILE));
    }
    assert!(pool.free.len() as u64 <= RESERVE, "{}", pool.free.len());
    // Those that a smaller crowd takes and gives back again and again.
    let held = take(&mut pool, NOBODY, Use::Send, 1_000);
    give(&mut pool, NOBODY, Use::Send, held);
    assert_eq!(pool.free.len(), 1_000);
}

#[test]
fn connections_are_limited_apart_from_each_other() {
    let mut pool = Pool::with_shares(BUDGET, 50);
    let (greedy, other) = (pool.open(1), pool.open(2));
    let held = take(&mut pool, greedy, Use::InOrder, 8_000);
    assert!(pool.held(greedy) > BUDGET / 4);
    assert!(pool.held(greedy) <= BUDGET / 2);
    assert_eq!(pool.room(greedy, Use::InOrder), 0);
    assert!(pool.is_tight(greedy) && !pool.is_tight(other));
    assert!(pool.room(other, Use::InOrder) > BUDGET / 5);
    assert!(pool.room(greedy, Use::Send) > BUDGET / 20);
    assert_eq!(pool.counters().in_order, 1);
    give(&mut pool, greedy, Use::InOrder, held);
    assert_eq!((pool.held(greedy), pool.in_use()), (0, 0));
}

#[test]
fn a_budget_below_what_is_in_use_takes_nothing_and_gives_nothing() {
    let mut pool = Pool::with_shares(BUDGET, 50);
    let account = pool.open(1);
    let mut held = take(&mut pool, account, Use::Send, 1_000);
    pool.set_budget(100 * BLOCK_SIZE as u64);
    assert_eq!(pool.in_use(), 1_000 * BLOCK_SIZE as u64);
    while pool.take(account, Use::Send).is_none() {
        assert!(pool.held(account) > 0);
        let block = held.pop().expect("one that is held");
        pool.give(account, Use::Send, block);
    }
    // Half of what nobody else holds, and three quarters of that for one direction.
    assert_eq!(held.len(), 37);
    pool.set_budget(BUDGET);
    assert!(take(&mut pool, account, Use::Send, 8_000).len() > 2_000);
}

#[test]
fn short_of_all_data_out_of_order_is_wanted_back() {
    let mut pool = Pool::with_shares(BUDGET, 100);
    let (writer, reader) = (pool.open(1), pool.open(2));
    let _sent = take(&mut pool, writer, Use::Send, 6_000);
    assert!(!pool.wants_out_of_order());
    let _held = take(&mut pool, reader, Use::InOrder, 1_100);
    assert!(pool.wants_out_of_order());
    assert!(!pool.wants_out_of_order());
}

#[test]
fn writers_are_told_when_there_is_room_for_them() {
    let mut pool = Pool::with_shares(BUDGET, 50);
    let (one, two) = (pool.open(1), pool.open(2));
    let mut of_one = take(&mut pool, one, Use::Send, 8_000);
    let mut of_two = take(&mut pool, two, Use::Send, 8_000);
    for account in [one, two, one] {
        assert!(!pool.admits_writers(account));
        pool.wait(account);
    }
    assert_eq!(pool.unchecked(), 0);
    pool.give(two, Use::Send, of_two.pop().expect("a block"));
    assert_eq!(pool.unchecked(), 2);
    assert_eq!((pool.check_next(), pool.check_next()), (None, None));
    assert_eq!(pool.unchecked(), 0);
    // The first has more than its share of what the second leaves by now.
    for _ in 0..40 {
        pool.give(two, Use::Send, of_two.pop().expect("a block"));
    }
    let told: Vec<Option<u32>> = (0..2).map(|_| pool.check_next()).collect();
    assert_eq!(told, [None, Some(2)]);
    // Its writers wrote.
    of_two.extend(take(&mut pool, two, Use::Send, 8_000));
    pool.wait(two);
    give(&mut pool, two, Use::Send, of_two);
    pool.close(two);
    give(
        &mut pool,
        one,
        Use::Send,
        of_one.split_off(of_one.len() - 20),
    );
    let told: Vec<Option<u32>> = (0..2).map(|_| pool.check_next()).collect();
    assert_eq!(told, [Some(1), None]);
    assert_eq!(pool.waiting.len(), 0);
    give(&mut pool, one, Use::Send, of_one);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn an_account_that_was_closed_is_used_again() {
    let mut pool = Pool::with_shares(BUDGET, 50);
    let first = pool.open(1);
    pool.open(2);
    pool.close(first);
    assert_eq!(pool.open(3), first);
    assert_eq!(pool.accounts.len(), 3);
    assert_eq!(pool.held(first), 0);
    pool.close(NOBODY);
    assert_ne!(pool.open(4), NOBODY);
}

#[test]
fn a_larger_budget_lets_writers_go_on() {
    let mut pool = Pool::with_shares(BUDGET, 50);
    let account = pool.open(7);
    let _held = take(&mut pool, account, Use::Send, 8_000);
    pool.wait(account);
    pool.set_budget(2 * BUDGET);
    assert_eq!(pool.unchecked(), 1);
    assert_eq!(pool.check_next(), Some(7));
}

#[test]
fn the_endpoint_is_called_for_when_there_is_something_to_look_at() {
    let mut pool = Pool::with_shares(BUDGET, 100);
    assert!(!pool.wants_attention());
    let account = pool.open(1);
    let mut held = take(&mut pool, account, Use::Send, 8_000);
    assert_eq!(pool.take_notice(), Some(Pressure::High));
    assert!(!pool.wants_attention());
    pool.wait(account);
    pool.give(account, Use::Send, held.pop().expect("a block"));
    assert!(pool.wants_attention());
    assert_eq!(pool.check_next(), None);
    pool.settle();
    assert!(!pool.wants_attention());
    pool.set_budget(2 * BUDGET);
    assert!(pool.wants_attention());
    give(&mut pool, account, Use::Send, held);
    assert_eq!(pool.check_next(), Some(1));
    assert_eq!(pool.take_notice(), Some(Pressure::Normal));
    pool.close(account);
    assert!(!pool.wants_attention());
}
