//! Whatever is called with whatever numbers, in whatever order.

use super::super::Bbr;
use crate::tcp::congestion::{Ack, Loss};
use crate::tcp::recovery::rate::RateSample;
use crate::time::Time;

use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Call {
    Sent(u64, u64, u64, bool, u64),
    Lost(u64, Loss),
    Ack(Ack),
    Recovery(u64, u64, u64),
    Recovered(u64),
    Timeout(u64, u64),
    Spurious,
    Mss(u64),
}

/// Mostly sensible numbers, now and then extreme ones.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        8 => 0..3_000_000u64,
        2 => 0..200_000_000_000u64,
        1 => any::<u64>(),
        1 => Just(0),
        1 => Just(u64::MAX),
    ]
}

fn sample() -> impl Strategy<Value = RateSample> {
    (
        number(),
        number(),
        number(),
        any::<bool>(),
        number(),
        number(),
    )
        .prop_map(
            |(delivered, interval, prior_delivered, app_limited, tx_in_flight, lost)| RateSample {
                delivered,
                interval,
                prior_delivered,
                app_limited,
                tx_in_flight,
                lost,
            },
        )
}

fn ack() -> impl Strategy<Value = Ack> {
    (
        (number(), number(), number(), number(), number(), number()),
        prop::option::of(number()),
        (number(), number(), any::<bool>(), any::<bool>(), number()),
        prop::option::of(sample()),
    )
        .prop_map(
            |(
                (now, acked, lost, in_flight, prior_in_flight, delivered),
                rtt,
                (srtt, min_rtt, window_limited, in_recovery, ce),
                rate,
            )| Ack {
                now: Time(now),
                acked,
                lost,
                in_flight,
                prior_in_flight,
                delivered,
                rtt,
                srtt,
                min_rtt,
                window_limited,
                in_recovery,
                round: false,
                ce,
                rate,
            },
        )
}

fn loss() -> impl Strategy<Value = Loss> {
    (number(), number(), number(), number(), any::<bool>()).prop_map(
        |(len, tx_in_flight, lost_since_sent, delivered_at_send, app_limited)| Loss {
            len,
            tx_in_flight,
            lost_since_sent,
            delivered_at_send,
            app_limited,
        },
    )
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        3 => (number(), number(), number(), any::<bool>(), number())
            .prop_map(|(now, len, before, limited, delivered)| Call::Sent(now, len, before, limited, delivered)),
        3 => (number(), loss()).prop_map(|(now, loss)| Call::Lost(now, loss)),
        8 => ack().prop_map(Call::Ack),
        1 => (number(), number(), number()).prop_map(|(now, flight, delivered)| Call::Recovery(now, flight, delivered)),
        1 => number().prop_map(Call::Recovered),
        1 => (number(), number()).prop_map(|(now, flight)| Call::Timeout(now, flight)),
        1 => Just(Call::Spurious),
        1 => number().prop_map(Call::Mss),
    ]
}

proptest! {
    #[test]
    fn the_window_holds_four_segments_and_the_rate_is_never_zero(
        (mss, initial, seed, hint, thresh) in (number(), number(), any::<u32>(), number(), any::<u16>()),
        calls in prop::collection::vec(call(), 1..120),
        // A clock that never runs back, or any.
        ordered in any::<bool>(),
    ) {
        let mut mss = mss;
        let mut bbr = Bbr::new(mss, initial, seed, hint).with_loss_thresh(thresh);
        let mut clock = 0u64;
        let mut delivered = 0u64;
        let mut at = |now: u64| {
            clock = clock.saturating_add(now % 1_000_000);
            Time(if ordered { clock } else { now })
        };
        for call in calls {
            match call {
                Call::Sent(now, len, before, limited, delivered) => bbr.on_sent(at(now), len, before, limited, delivered),
                Call::Lost(now, loss) => bbr.on_lost(at(now), &loss),
                Call::Ack(mut ack) => {
                    ack.now = at(ack.now.0);
                    if ordered {
                        let prior = delivered;
                        delivered = delivered.saturating_add(ack.acked);
                        ack.delivered = delivered;
                        if let Some(rate) = &mut ack.rate {
                            rate.prior_delivered = prior;
                        }
                    }
                    bbr.on_ack(&ack);
                }
                Call::Recovery(now, flight, delivered) => bbr.on_recovery(at(now), flight, delivered),
                Call::Recovered(now) => bbr.on_recovered(at(now)),
                Call::Timeout(now, flight) => bbr.on_timeout(at(now), flight),
                Call::Spurious => bbr.on_spurious(),
                Call::Mss(new) => {
                    mss = new;
                    bbr.set_mss(new);
                }
            }
            let four = 4 * mss.clamp(1, 1 << 32);
            prop_assert!(bbr.cwnd() >= four, "{} {four}", bbr.cwnd());
            prop_assert!(bbr.pacing_rate() > 0);
            prop_assert!(bbr.send_quantum() >= four / 2);
            prop_assert!(bbr.min_rtt() > 0);
        }
    }
}
