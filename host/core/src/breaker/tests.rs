//! Each step of a breaker, and invariants over random sequences of steps.

use proptest::prelude::*;

use super::*;

const PAUSE: u64 = 1_000;
const MAX_PAUSE: u64 = 4_000;
const WINDOW: u64 = 10_000;

fn breaker(min_attempts: u32, failure_rate: f64) -> Breaker {
    let ms = Duration::from_millis;
    let pauses = (ms(PAUSE), ms(MAX_PAUSE));
    Breaker::new(BreakerPolicy::try_new(ms(WINDOW), min_attempts, failure_rate, pauses).unwrap())
}

fn at(ms: u64) -> Timestamp {
    Timestamp::from_millis(1_000_000 + ms)
}

fn id(n: u128) -> DeliveryId {
    DeliveryId::from_bits(n)
}

/// Makes one attempt while closed.
fn sent(breaker: &mut Breaker, signal: HealthSignal, now: u64) -> Option<BreakerChange> {
    let ticket = breaker.acquire().unwrap();
    breaker.record(ticket, signal, at(now))
}

fn open() -> Breaker {
    let mut breaker = breaker(10, 0.5);
    sent(&mut breaker, HealthSignal::TargetBroken, 0).unwrap();
    breaker
}

/// Makes a probe, which must be allowed.
fn probe(
    breaker: &mut Breaker,
    among: &[DeliveryId],
    signal: HealthSignal,
    now: u64,
) -> (usize, BreakerChange) {
    assert_eq!(breaker.allowance(at(now)), BreakerAllowance::Probe);
    let (chosen, ticket) = breaker.probe(among).unwrap();
    (chosen, breaker.record(ticket, signal, at(now)).unwrap())
}

#[test]
fn broken_target_opens_at_once() {
    let mut breaker = breaker(10, 0.5);
    let opened = sent(&mut breaker, HealthSignal::TargetBroken, 0);
    assert_eq!(opened, Some(BreakerChange::Opened(TripCause::TargetBroken)));
    assert_eq!((breaker.state(), breaker.acquire()), (BreakerState::Open, None));
    assert_eq!(breaker.allowance(at(PAUSE - 1)), BreakerAllowance::Nothing);
    assert_eq!(breaker.allowance(at(PAUSE)), BreakerAllowance::Probe);
}

#[test]
fn failure_rate_opens_once_enough_attempts_were_made() {
    use HealthSignal::{Busy, Failed, Healthy, MessageRejected, RepeatedFailure};
    let cases: [(&[HealthSignal], bool); 7] = [
        (&[RepeatedFailure, RepeatedFailure, RepeatedFailure, RepeatedFailure, Failed], false),
        (&[Failed; 3], false),
        (&[Failed; 4], true),
        (&[Healthy, Healthy, Failed, Failed], true),
        (&[Healthy, Healthy, Healthy, Failed, Failed], false),
        (&[Busy, Busy, MessageRejected, Failed], false),
        (&[Healthy, Healthy, MessageRejected, MessageRejected, Failed, Failed], true),
    ];
    for (signals, opens) in cases {
        let mut breaker = breaker(4, 0.5);
        let mut last = None;
        for signal in signals {
            last = sent(&mut breaker, *signal, 0);
        }
        assert_eq!(
            matches!(last, Some(BreakerChange::Opened(TripCause::Rate { .. }))),
            opens,
            "{signals:?}"
        );
        assert_eq!(breaker.state() == BreakerState::Open, opens, "{signals:?}");
    }
}

#[test]
fn failure_expires_with_the_window() {
    let mut breaker = breaker(4, 0.5);
    for _ in 0..3 {
        assert_eq!(sent(&mut breaker, HealthSignal::Failed, 0), None);
    }
    assert_eq!(sent(&mut breaker, HealthSignal::Failed, WINDOW), None);
    let opened = (0..3).find_map(|_| sent(&mut breaker, HealthSignal::Failed, WINDOW + 1));
    assert_eq!(opened, Some(BreakerChange::Opened(TripCause::Rate { failed: 4, of: 4 })));
}

#[test]
fn successful_probe_closes_and_clears_the_counts() {
    for signal in [HealthSignal::Healthy, HealthSignal::MessageRejected] {
        let mut breaker = open();
        let (_, change) = probe(&mut breaker, &[id(1)], signal, PAUSE);
        assert_eq!(change, BreakerChange::Closed { opened_at: at(0) });
        assert_eq!(
            (breaker.allowance(at(PAUSE)), breaker.open_breaker()),
            (BreakerAllowance::Everything, None)
        );
        assert_eq!(sent(&mut breaker, HealthSignal::Failed, PAUSE), None);
    }
}

#[test]
fn each_failed_probe_doubles_the_pause_up_to_the_longest() {
    let mut breaker = open();
    let mut now = PAUSE;
    for (signal, pause) in [
        (HealthSignal::Failed, 2_000),
        (HealthSignal::TargetBroken, 4_000),
        (HealthSignal::Busy, 4_000),
        (HealthSignal::RepeatedFailure, 4_000),
    ] {
        let (_, change) = probe(&mut breaker, &[id(1)], signal, now);
        assert_eq!(change, BreakerChange::Reopened, "{signal:?}");
        assert_eq!(breaker.allowance(at(now + pause - 1)), BreakerAllowance::Nothing, "{signal:?}");
        now += pause;
    }
    assert_eq!(breaker.open_breaker().unwrap().opened_at, at(0));
}

#[test]
fn probes_alternate_between_deliveries_if_there_are_several() {
    let mut breaker = open();
    let (chosen, _) = probe(&mut breaker, &[id(1), id(2)], HealthSignal::Failed, PAUSE);
    assert_eq!(chosen, 0);
    let (chosen, _) = probe(&mut breaker, &[id(1), id(2)], HealthSignal::Failed, 10 * PAUSE);
    assert_eq!(chosen, 1);
    let (chosen, _) = probe(&mut breaker, &[id(2)], HealthSignal::Failed, 20 * PAUSE);
    assert_eq!(chosen, 0);
    assert_eq!(breaker.allowance(at(30 * PAUSE)), BreakerAllowance::Probe);
    assert_eq!(breaker.probe(&[]), None);
}

#[test]
fn probe_that_was_given_back_allows_another() {
    let mut breaker = open();
    assert_eq!(breaker.allowance(at(PAUSE)), BreakerAllowance::Probe);
    let (_, ticket) = breaker.probe(&[id(1)]).unwrap();
    assert_eq!(breaker.allowance(at(PAUSE)), BreakerAllowance::Nothing);
    breaker.give_back(ticket);
    assert_eq!(breaker.allowance(at(PAUSE)), BreakerAllowance::Probe);
}

#[test]
fn outcome_of_an_earlier_state_changes_nothing() {
    let mut breaker = breaker(10, 0.5);
    let (first, second) = (breaker.acquire().unwrap(), breaker.acquire().unwrap());
    assert!(breaker.record(first, HealthSignal::TargetBroken, at(0)).is_some());
    assert!(!breaker.is_valid(second));
    assert_eq!(breaker.record(second, HealthSignal::Healthy, at(1)), None);
    assert_eq!(breaker.state(), BreakerState::Open);
    assert_eq!(breaker.allowance(at(PAUSE)), BreakerAllowance::Probe);
    breaker.probe(&[id(1)]).unwrap();
    assert_eq!(breaker.record(second, HealthSignal::Healthy, at(PAUSE)), None);
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
}

#[test]
fn release_allows_a_probe_at_once() {
    let mut breaker = open();
    breaker.release(at(1));
    assert_eq!(breaker.allowance(at(1)), BreakerAllowance::Probe);
    let (_, change) = probe(&mut breaker, &[id(1)], HealthSignal::Healthy, 1);
    assert_eq!(change, BreakerChange::Closed { opened_at: at(0) });
}

#[test]
fn reset_closes_and_ignores_earlier_attempts() {
    let mut breaker = breaker(2, 0.5);
    let before = breaker.acquire().unwrap();
    sent(&mut breaker, HealthSignal::TargetBroken, 0).unwrap();
    breaker.reset(breaker.policy.clone());
    assert_eq!((breaker.state(), breaker.open_breaker()), (BreakerState::Closed, None));
    assert_eq!(breaker.record(before, HealthSignal::TargetBroken, at(1)), None);
    assert_eq!(sent(&mut breaker, HealthSignal::Failed, 1), None);
}

#[test]
fn clock_set_back_does_not_keep_it_open() {
    let mut breaker = open();
    let long_before = Timestamp::from_millis(1_000_000 - 2 * MAX_PAUSE);
    assert_eq!(breaker.allowance(long_before), BreakerAllowance::Probe);
}

#[test]
fn invalid_policies_are_refused() {
    let s = Duration::from_secs;
    let tried = |window, attempts, rate, pauses| {
        BreakerPolicy::try_new(window, attempts, rate, pauses).unwrap_err()
    };
    let pauses = (s(1), s(2));
    assert_eq!(tried(Duration::ZERO, 1, 0.5, pauses), InvalidBreakerPolicy::Window);
    assert_eq!(tried(s(1), 0, 0.5, pauses), InvalidBreakerPolicy::NoAttempts);
    assert_eq!(tried(s(1), 1, 0.0, pauses), InvalidBreakerPolicy::Rate(0.0));
    assert!(matches!(tried(s(1), 1, f64::NAN, pauses), InvalidBreakerPolicy::Rate(_)));
    assert!(tried(s(1), 1, 0.5, (s(2), s(1))).to_string().contains("shorter than pause"));
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Wait(u64),
    Send,
    Probe(u128, u128),
    /// The attempt in flight that ends, and its outcome.
    End(usize, HealthSignal),
    Abandon(usize),
    Release,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    use HealthSignal::{Busy, Failed, Healthy, MessageRejected, RepeatedFailure, TargetBroken};
    let signals =
        vec![Healthy, Failed, Failed, TargetBroken, Busy, RepeatedFailure, MessageRejected];
    let signal = prop::sample::select(signals);
    prop_oneof![
        (0_u64..3_000).prop_map(Step::Wait),
        Just(Step::Send),
        (0_u128..3, 0_u128..3).prop_map(|(a, b)| Step::Probe(a, b)),
        (any::<usize>(), signal).prop_map(|(which, signal)| Step::End(which, signal)),
        any::<usize>().prop_map(Step::Abandon),
        Just(Step::Release),
        Just(Step::Crash),
    ]
}

proptest! {
    #[test]
    fn at_most_one_probe_and_never_the_same_twice_running(
        steps in prop::collection::vec(step(), 0..200),
    ) {
        let mut breaker = breaker(3, 0.5);
        let (mut now, mut in_flight, mut last_probe) = (0, Vec::<(BreakerTicket, bool)>::new(), None);
        for step in steps {
            match step {
                Step::Wait(ms) => now += ms,
                Step::Send => if let Some(ticket) = breaker.acquire() {
                    prop_assert_eq!(breaker.state(), BreakerState::Closed);
                    in_flight.push((ticket, false));
                },
                Step::Probe(a, b) => {
                    let allowed = breaker.allowance(at(now));
                    let chosen = breaker.probe(&[id(a), id(b)]);
                    prop_assert_eq!(chosen.is_some(), allowed == BreakerAllowance::Probe);
                    let Some((index, ticket)) = chosen else { continue };
                    let probing = |(p, probe): &&(BreakerTicket, bool)| *probe && breaker.is_valid(*p);
                    prop_assert_eq!(in_flight.iter().filter(probing).count(), 0);
                    let delivery = [a, b][index];
                    prop_assert!(Some(delivery) != last_probe || a == b);
                    last_probe = Some(delivery);
                    in_flight.push((ticket, true));
                }
                Step::End(which, signal) if !in_flight.is_empty() => {
                    let (ticket, _) = in_flight.swap_remove(which % in_flight.len());
                    let before = breaker.state();
                    let valid = breaker.is_valid(ticket);
                    let change = breaker.record(ticket, signal, at(now));
                    prop_assert!(valid || change.is_none());
                    prop_assert_eq!(change.is_some(), before != breaker.state());
                    if breaker.state() == BreakerState::Closed {
                        last_probe = None;
                    }
                }
                Step::Abandon(which) if !in_flight.is_empty() => {
                    let (ticket, _) = in_flight.swap_remove(which % in_flight.len());
                    breaker.give_back(ticket);
                }
                Step::End(..) | Step::Abandon(_) => {}
                Step::Release => breaker.release(at(now)),
                Step::Crash => {
                    let kept = breaker.open_breaker();
                    breaker = self::breaker(3, 0.5);
                    in_flight.clear();
                    if let Some(kept) = kept {
                        let text = serde_json::to_string(&kept).unwrap();
                        breaker.restore(serde_json::from_str(&text).unwrap());
                        prop_assert_eq!(breaker.open_breaker(), Some(kept));
                    }
                }
            }
            if breaker.state() == BreakerState::Open {
                prop_assert!(breaker.acquire().is_none());
                let kept = breaker.open_breaker().unwrap();
                prop_assert!(kept.probe_at.since(at(now)) <= Duration::from_millis(MAX_PAUSE));
            }
        }
        // It never stays open forever: once the attempts in flight ended, a pause is enough.
        for (ticket, _) in in_flight {
            breaker.give_back(ticket);
        }
        prop_assert!(breaker.allowance(at(now + MAX_PAUSE)) != BreakerAllowance::Nothing);
    }

    #[test]
    fn window_counts_all_within_it_or_at_most_a_tenth_less(
        times in prop::collection::vec(0_u64..50_000, 0..100),
    ) {
        let mut times = times;
        times.sort_unstable();
        let mut window = SlidingWindow::new(Duration::from_millis(WINDOW));
        for (n, time) in times.iter().enumerate() {
            window.add(at(*time), true);
            let within = |length| times[..=n].iter().filter(|t| *time - **t < length).count();
            let (failed, of) = window.sum(at(*time));
            prop_assert_eq!(failed, of);
            let of = of as usize;
            prop_assert!(within(WINDOW - WINDOW / SLICES as u64) <= of && of <= within(WINDOW));
        }
    }
}
