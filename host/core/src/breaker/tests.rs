//! Every step of a breaker, and what holds whatever the steps.

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

/// Sends one in the closed state.
fn sent(breaker: &mut Breaker, mark: HealthSignal, now: u64) -> Option<BreakerChange> {
    let pass = breaker.enter().unwrap();
    breaker.ended(pass, mark, at(now))
}

fn open() -> Breaker {
    let mut breaker = breaker(10, 0.5);
    sent(&mut breaker, HealthSignal::TargetBroken, 0).unwrap();
    breaker
}

/// Sends a probe, which must be allowed.
fn probe(
    breaker: &mut Breaker,
    among: &[DeliveryId],
    mark: HealthSignal,
    now: u64,
) -> (usize, BreakerChange) {
    assert_eq!(breaker.allowance(at(now)), BreakerAllowance::Probe);
    let (chosen, pass) = breaker.probe(among).unwrap();
    (chosen, breaker.ended(pass, mark, at(now)).unwrap())
}

#[test]
fn one_answer_that_the_endpoint_is_wrong_opens_at_once() {
    let mut breaker = breaker(10, 0.5);
    let opened = sent(&mut breaker, HealthSignal::TargetBroken, 0);
    assert_eq!(opened, Some(BreakerChange::Opened(TripCause::TargetBroken)));
    assert_eq!((breaker.phase(), breaker.enter()), (BreakerState::Open, None));
    assert_eq!(breaker.allowance(at(PAUSE - 1)), BreakerAllowance::Nothing);
    assert_eq!(breaker.allowance(at(PAUSE)), BreakerAllowance::Probe);
}

#[test]
fn failures_open_by_their_rate_and_not_before_there_are_enough() {
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
    for (marks, opens) in cases {
        let mut breaker = breaker(4, 0.5);
        let mut last = None;
        for mark in marks {
            last = sent(&mut breaker, *mark, 0);
        }
        assert_eq!(
            matches!(last, Some(BreakerChange::Opened(TripCause::Rate { .. }))),
            opens,
            "{marks:?}"
        );
        assert_eq!(breaker.phase() == BreakerState::Open, opens, "{marks:?}");
    }
}

#[test]
fn a_failure_is_forgotten_with_the_window() {
    let mut breaker = breaker(4, 0.5);
    for _ in 0..3 {
        assert_eq!(sent(&mut breaker, HealthSignal::Failed, 0), None);
    }
    assert_eq!(sent(&mut breaker, HealthSignal::Failed, WINDOW), None);
    let opened = (0..3).find_map(|_| sent(&mut breaker, HealthSignal::Failed, WINDOW + 1));
    assert_eq!(opened, Some(BreakerChange::Opened(TripCause::Rate { failed: 4, of: 4 })));
}

#[test]
fn a_probe_that_goes_well_closes_and_the_past_is_forgotten() {
    for mark in [HealthSignal::Healthy, HealthSignal::MessageRejected] {
        let mut breaker = open();
        let (_, change) = probe(&mut breaker, &[id(1)], mark, PAUSE);
        assert_eq!(change, BreakerChange::Closed { opened_at: at(0) });
        assert_eq!(
            (breaker.allowance(at(PAUSE)), breaker.kept()),
            (BreakerAllowance::Everything, None)
        );
        assert_eq!(sent(&mut breaker, HealthSignal::Failed, PAUSE), None);
    }
}

#[test]
fn each_probe_that_fails_doubles_the_pause_up_to_the_longest() {
    let mut breaker = open();
    let mut now = PAUSE;
    for (mark, pause) in [
        (HealthSignal::Failed, 2_000),
        (HealthSignal::TargetBroken, 4_000),
        (HealthSignal::Busy, 4_000),
        (HealthSignal::RepeatedFailure, 4_000),
    ] {
        let (_, change) = probe(&mut breaker, &[id(1)], mark, now);
        assert_eq!(change, BreakerChange::Reopened, "{mark:?}");
        assert_eq!(breaker.allowance(at(now + pause - 1)), BreakerAllowance::Nothing, "{mark:?}");
        now += pause;
    }
    assert_eq!(breaker.kept().unwrap().opened_at, at(0));
}

#[test]
fn the_same_delivery_is_no_probe_twice_running_unless_it_is_all_there_is() {
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
fn a_probe_that_was_not_sent_makes_room_for_another() {
    let mut breaker = open();
    assert_eq!(breaker.allowance(at(PAUSE)), BreakerAllowance::Probe);
    let (_, pass) = breaker.probe(&[id(1)]).unwrap();
    assert_eq!(breaker.allowance(at(PAUSE)), BreakerAllowance::Nothing);
    breaker.abandoned(pass);
    assert_eq!(breaker.allowance(at(PAUSE)), BreakerAllowance::Probe);
}

#[test]
fn what_was_under_way_when_it_opened_says_nothing_any_more() {
    let mut breaker = breaker(10, 0.5);
    let (first, second) = (breaker.enter().unwrap(), breaker.enter().unwrap());
    assert!(breaker.ended(first, HealthSignal::TargetBroken, at(0)).is_some());
    assert!(!breaker.stands(second));
    assert_eq!(breaker.ended(second, HealthSignal::Healthy, at(1)), None);
    assert_eq!(breaker.phase(), BreakerState::Open);
    assert_eq!(breaker.allowance(at(PAUSE)), BreakerAllowance::Probe);
    breaker.probe(&[id(1)]).unwrap();
    assert_eq!(breaker.ended(second, HealthSignal::Healthy, at(PAUSE)), None);
    assert_eq!(breaker.phase(), BreakerState::HalfOpen);
}

#[test]
fn a_person_may_have_it_probed_at_once() {
    let mut breaker = open();
    breaker.released(at(1));
    assert_eq!(breaker.allowance(at(1)), BreakerAllowance::Probe);
    let (_, change) = probe(&mut breaker, &[id(1)], HealthSignal::Healthy, 1);
    assert_eq!(change, BreakerChange::Closed { opened_at: at(0) });
}

#[test]
fn what_is_about_something_else_now_begins_closed_and_hears_nothing_of_what_went_before() {
    let mut breaker = breaker(2, 0.5);
    let before = breaker.enter().unwrap();
    sent(&mut breaker, HealthSignal::TargetBroken, 0).unwrap();
    breaker.reset(breaker.policy.clone());
    assert_eq!((breaker.phase(), breaker.kept()), (BreakerState::Closed, None));
    assert_eq!(breaker.ended(before, HealthSignal::TargetBroken, at(1)), None);
    assert_eq!(sent(&mut breaker, HealthSignal::Failed, 1), None);
}

#[test]
fn a_clock_that_was_set_back_does_not_hold_it_open() {
    let mut breaker = open();
    let long_before = Timestamp::from_millis(1_000_000 - 2 * MAX_PAUSE);
    assert_eq!(breaker.allowance(long_before), BreakerAllowance::Probe);
}

#[test]
fn policies_that_make_no_sense_are_refused() {
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

/// What may happen to a breaker.
#[derive(Debug, Clone, Copy)]
enum Step {
    Wait(u64),
    Send,
    Probe(u128, u128),
    /// Which of what is under way ends, and how.
    End(usize, HealthSignal),
    Abandon(usize),
    Release,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    use HealthSignal::{Busy, Failed, Healthy, MessageRejected, RepeatedFailure, TargetBroken};
    let marks = vec![Healthy, Failed, Failed, TargetBroken, Busy, RepeatedFailure, MessageRejected];
    let mark = prop::sample::select(marks);
    prop_oneof![
        (0_u64..3_000).prop_map(Step::Wait),
        Just(Step::Send),
        (0_u128..3, 0_u128..3).prop_map(|(a, b)| Step::Probe(a, b)),
        (any::<usize>(), mark).prop_map(|(which, mark)| Step::End(which, mark)),
        any::<usize>().prop_map(Step::Abandon),
        Just(Step::Release),
        Just(Step::Crash),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_there_is_one_probe_and_never_the_same_twice_running(
        steps in prop::collection::vec(step(), 0..200),
    ) {
        let mut breaker = breaker(3, 0.5);
        let (mut now, mut under_way, mut last_probe) = (0, Vec::<(BreakerTicket, bool)>::new(), None);
        for step in steps {
            match step {
                Step::Wait(ms) => now += ms,
                Step::Send => if let Some(pass) = breaker.enter() {
                    prop_assert_eq!(breaker.phase(), BreakerState::Closed);
                    under_way.push((pass, false));
                },
                Step::Probe(a, b) => {
                    let allowed = breaker.allowance(at(now));
                    let chosen = breaker.probe(&[id(a), id(b)]);
                    prop_assert_eq!(chosen.is_some(), allowed == BreakerAllowance::Probe);
                    let Some((index, pass)) = chosen else { continue };
                    let probing = |(p, probe): &&(BreakerTicket, bool)| *probe && breaker.stands(*p);
                    prop_assert_eq!(under_way.iter().filter(probing).count(), 0);
                    let delivery = [a, b][index];
                    prop_assert!(Some(delivery) != last_probe || a == b);
                    last_probe = Some(delivery);
                    under_way.push((pass, true));
                }
                Step::End(which, mark) if !under_way.is_empty() => {
                    let (pass, _) = under_way.swap_remove(which % under_way.len());
                    let before = breaker.phase();
                    let stands = breaker.stands(pass);
                    let change = breaker.ended(pass, mark, at(now));
                    prop_assert!(stands || change.is_none());
                    prop_assert_eq!(change.is_some(), before != breaker.phase());
                    if breaker.phase() == BreakerState::Closed {
                        last_probe = None;
                    }
                }
                Step::Abandon(which) if !under_way.is_empty() => {
                    let (pass, _) = under_way.swap_remove(which % under_way.len());
                    breaker.abandoned(pass);
                }
                Step::End(..) | Step::Abandon(_) => {}
                Step::Release => breaker.released(at(now)),
                Step::Crash => {
                    let kept = breaker.kept();
                    breaker = self::breaker(3, 0.5);
                    under_way.clear();
                    if let Some(kept) = kept {
                        let text = serde_json::to_string(&kept).unwrap();
                        breaker.restore(serde_json::from_str(&text).unwrap());
                        prop_assert_eq!(breaker.kept(), Some(kept));
                    }
                }
            }
            if breaker.phase() == BreakerState::Open {
                prop_assert!(breaker.enter().is_none());
                let kept = breaker.kept().unwrap();
                prop_assert!(kept.probe_at.since(at(now)) <= Duration::from_millis(MAX_PAUSE));
            }
        }
        // It never stays shut for good: once what is under way has ended, a pause is all it takes.
        for (pass, _) in under_way {
            breaker.abandoned(pass);
        }
        prop_assert!(breaker.allowance(at(now + MAX_PAUSE)) != BreakerAllowance::Nothing);
    }

    #[test]
    fn the_window_counts_what_lies_within_it_and_a_tenth_less_at_most(
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
