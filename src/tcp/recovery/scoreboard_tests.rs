use super::*;

fn blocks(sack: &[(u32, u32)]) -> SackBlocks {
    let mut blocks = SackBlocks::default();
    for &(start, end) in sack {
        blocks.push(Seq(start), Seq(end));
    }
    blocks
}

fn board(n: u32) -> Scoreboard {
    let mut board = Scoreboard::default();
    for i in 0..n {
        board.push(Time(u64::from(i)), Seq(i * 10), 10, (false, false), None);
    }
    board
}

fn ack(board: &mut Scoreboard, now: u64, una: u32, sack: &[(u32, u32)]) -> Delivery {
    board.acknowledge(Time(now), Seq(una), &blocks(sack), 1)
}

#[test]
fn sums_follow_every_change() {
    let mut board = board(10);
    assert_eq!(board.in_flight(), 100);
    let delivery = ack(&mut board, 100, 20, &[(50, 70), (40, 50)]);
    assert_eq!(delivery.delivered, 50);
    assert_eq!(delivery.measured, Some(Time(6)));
    assert_eq!((board.in_flight(), board.sacked()), (50, 30));
    assert_eq!(board.mark_lost_until(Time(3), |_, _| ()), 20);
    assert_eq!(board.first_lost().map(|s| s.seq), Some(Seq(20)));
    board.retransmitted(Time(101), Seq(20), 10, None);
    assert_eq!(board.first_lost().map(|s| s.seq), Some(Seq(30)));
    assert_eq!(board.in_flight(), 40);
    let delivery = ack(&mut board, 200, 70, &[]);
    assert_eq!(delivery.delivered, 20);
    assert_eq!(
        delivery.measured, None,
        "retransmitted segments give no sample"
    );
    ack(&mut board, 201, 100, &[]);
    assert_eq!((board.in_flight(), board.sacked()), (0, 0));
    assert!(board.is_empty() && !board.has_lost());
    assert_eq!((board.rate().delivered(), board.rate().lost()), (100, 20));
}

#[test]
fn a_segment_is_split_when_only_part_is_sent_again() {
    let mut board = board(2);
    board.mark_lost_until(Time(9), |_, _| ());
    board.retransmitted(Time(9), Seq(0), 4, None);
    assert_eq!(
        board.first_lost().map(|s| (s.seq, s.len)),
        Some((Seq(4), 6))
    );
    assert_eq!(board.in_flight(), 4);
}

#[test]
fn part_of_a_segment_can_be_acknowledged() {
    let mut board = Scoreboard::default();
    board.push(Time(0), Seq(0), 11, (true, false), None);
    let delivery = ack(&mut board, 5, 1, &[]);
    assert_eq!((delivery.delivered, board.in_flight()), (1, 10));
    assert!(!board.first().is_some_and(|s| s.syn));
    assert_eq!(board.detect(|_| Verdict::Lost, |_, _| ()).0, 10);
}

#[test]
fn late_delivery_of_a_segment_sent_once_is_reordering() {
    let mut board = board(4);
    assert!(!ack(&mut board, 9, 0, &[(20, 30)]).reordered);
    assert!(ack(&mut board, 9, 20, &[]).reordered);
}

#[test]
fn a_block_that_grows_counts_only_what_is_new() {
    let mut board = board(100);
    assert_eq!(ack(&mut board, 200, 0, &[(10, 25)]).delivered, 10);
    // The segment that the first block cut through is whole now.
    assert_eq!(ack(&mut board, 201, 0, &[(10, 40)]).delivered, 20);
    assert_eq!(
        ack(&mut board, 202, 0, &[(600, 700), (10, 50)]).delivered,
        110
    );
    assert_eq!(
        ack(&mut board, 203, 0, &[(10, 710), (600, 700)]).delivered,
        560
    );
    assert_eq!(board.sacked(), 700);
}

#[test]
fn losses_are_found_in_the_order_of_sending() {
    let mut board = board(5);
    let first_two = |s: &Sent| match s.sent_at() {
        Time(0..=1) => Verdict::Lost,
        at => Verdict::Wait(at + 100),
    };
    let mut told = Vec::new();
    let outcome = board.detect(first_two, |s, _| told.push(s.seq));
    assert_eq!(outcome, (20, Some(Time(102))));
    assert_eq!(told, [Seq(0), Seq(10)]);
    board.retransmitted(Time(50), Seq(0), 10, None);
    // It now comes last.
    let mut told = Vec::new();
    board.detect(
        |s| {
            if s.sent_at() < Time(50) {
                Verdict::Lost
            } else {
                Verdict::Undecided
            }
        },
        |s, _| told.push(s.seq),
    );
    assert_eq!(told, [Seq(20), Seq(30), Seq(40)]);
    assert_eq!(board.in_flight(), 10);
}

#[test]
fn a_wrong_verdict_can_be_taken_back() {
    let mut board = board(5);
    board.mark_lost_until(Time(4), |_, _| ());
    board.retransmitted(Time(60), Seq(0), 10, None);
    let delivery = ack(&mut board, 70, 20, &[]);
    assert_eq!(delivery.revived, 10, "the second was not sent again");
    board.revive();
    assert_eq!((board.in_flight(), board.has_lost()), (30, false));
    assert_eq!(board.detect(|_| Verdict::Lost, |_, _| ()).0, 30);
}

#[test]
fn probes_are_the_first_and_the_last() {
    let mut board = board(6);
    assert_eq!(board.probe(Time(5), 2), 3);
    let mut probed = Vec::new();
    while let Some(lost) = board.first_lost() {
        probed.push(lost.seq);
        board.retransmitted(Time(90), lost.seq, lost.len, None);
    }
    assert_eq!(probed, [Seq(0), Seq(10), Seq(50)]);
    assert_eq!(board.rate().lost(), 0, "nothing was found lost");
}

#[test]
fn what_could_not_be_answered_yet_is_not_probed() {
    let mut board = board(6);
    assert_eq!(board.oldest().map(|s| s.seq), Some(Seq(0)));
    assert_eq!(board.probe(Time(1), 3), 2);
    assert_eq!(board.in_flight(), 40);
    assert_eq!(board.oldest().map(|s| s.seq), Some(Seq(20)));
}

#[test]
fn a_hole_filled_late_gives_no_round_trip_time() {
    let mut board = board(3);
    board.mark_first_lost(|_, _| ());
    board.retransmitted(Time(50), Seq(0), 10, None);
    assert_eq!(ack(&mut board, 90, 30, &[]).measured, None);
}

#[test]
fn what_the_peer_reneges_on_is_sent_again() {
    let mut board = board(3);
    ack(&mut board, 9, 0, &[(10, 30)]);
    ack(&mut board, 10, 10, &[]);
    board.forget_sacks();
    assert_eq!(board.first_lost().map(|s| s.seq), Some(Seq(10)));
    assert_eq!((board.sacked(), board.in_flight()), (0, 0));
}
