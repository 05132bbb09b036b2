//! Tests of choosing, setting aside, pooling and retrying. They never wait: time is a number.

use std::time::Duration;

use super::*;
use crate::exchange::fault::{Again, Fault, FaultKind, Side};
use crate::http::Method;
use crate::upstream::pool::Pools;
use crate::upstream::retry::{RetryBudget, may_retry};

fn upstream(weights: &[u16], balance: Balance) -> Upstream {
    let endpoint = |(index, weight): (usize, &u16)| Endpoint {
        id: EndpointId(index as u32),
        address: "127.0.0.1:1".parse().expect("an address"),
        host: "127.0.0.1:1".into(),
        weight: *weight,
    };
    Upstream {
        tls: None,
        id: UpstreamId(0),
        name: Name::new("order"),
        endpoints: weights.iter().enumerate().map(endpoint).collect(),
        balance,
        rules: Rules::default(),
    }
}

fn at(secs: u64) -> Instant {
    Instant::from_nanos(secs * 1_000_000_000)
}

fn counts(weights: &[u16], balance: Balance, draws: u32) -> Vec<u32> {
    let upstream = upstream(weights, balance);
    let mut rng = Rng::new(7);
    let mut state = UpstreamState::new(&upstream, &mut rng);
    let mut counts = vec![0; weights.len()];
    for _ in 0..draws {
        let chosen = state.choose(&upstream, at(1), &mut rng, 0).expect("all are well");
        counts[chosen.index()] += 1;
    }
    counts
}

#[test]
fn round_robin_honours_weights_exactly_over_whole_rounds() {
    assert_eq!(counts(&[5, 1, 1], Balance::RoundRobin, 70), [50, 10, 10]);
    assert_eq!(counts(&[1, 1, 1], Balance::RoundRobin, 30), [10, 10, 10]);
}

#[test]
fn least_request_draws_by_weight_when_nobody_is_busy() {
    let counts = counts(&[3, 1, 1, 1], Balance::LeastRequest, 6000);
    assert!(counts[0] > counts[1] && counts.iter().all(|count| *count > 500), "{counts:?}");
}

#[test]
fn least_request_prefers_the_one_with_fewer_in_flight() {
    let upstream = upstream(&[1, 1], Balance::LeastRequest);
    let mut rng = Rng::new(7);
    let mut state = UpstreamState::new(&upstream, &mut rng);
    state.begin(EndpointId(0));
    for _ in 0..50 {
        assert_eq!(state.choose(&upstream, at(1), &mut rng, 0), Some(EndpointId(1)));
    }
    state.end(EndpointId(0));
}

#[test]
fn an_endpoint_that_cannot_be_reached_is_set_aside_for_longer_each_time() {
    for balance in [Balance::RoundRobin, Balance::LeastRequest] {
        let upstream = upstream(&[1, 1], balance);
        let mut rng = Rng::new(7);
        let mut state = UpstreamState::new(&upstream, &mut rng);
        assert_eq!(state.connect_failed(EndpointId(0), at(10)), Duration::from_secs(1));
        for _ in 0..20 {
            assert_eq!(state.choose(&upstream, at(10), &mut rng, 0), Some(EndpointId(1)));
        }
        assert!(!state.is_aside(EndpointId(0), at(11)));
        assert_eq!(state.connect_failed(EndpointId(0), at(11)), Duration::from_secs(2));
        state.connect_succeeded(EndpointId(0));
        assert!(!state.is_aside(EndpointId(0), at(11)));
    }
}

#[test]
fn failures_of_one_moment_count_once_and_the_pause_is_bounded() {
    let upstream = upstream(&[1], Balance::RoundRobin);
    let mut state = UpstreamState::new(&upstream, &mut Rng::new(7));
    for _ in 0..100 {
        state.connect_failed(EndpointId(0), at(10));
    }
    assert!(!state.is_aside(EndpointId(0), at(11)));
    for minute in 1..100 {
        state.connect_failed(EndpointId(0), at(minute * 60));
    }
    assert!(!state.is_aside(EndpointId(0), at(99 * 60 + 30)));
}

#[test]
fn with_all_endpoints_aside_the_first_to_return_is_tried() {
    let upstream = upstream(&[1, 1], Balance::RoundRobin);
    let mut rng = Rng::new(7);
    let mut state = UpstreamState::new(&upstream, &mut rng);
    state.connect_failed(EndpointId(1), at(10));
    state.connect_failed(EndpointId(0), at(11));
    assert_eq!(state.choose(&upstream, at(10), &mut rng, 1), Some(EndpointId(1)));
}

#[test]
fn a_second_attempt_goes_elsewhere() {
    let upstream = upstream(&[9, 1], Balance::RoundRobin);
    let mut rng = Rng::new(7);
    let mut state = UpstreamState::new(&upstream, &mut rng);
    assert_eq!(state.choose(&upstream, at(1), &mut rng, 0b01), Some(EndpointId(1)));
}

#[test]
fn the_pool_gives_the_newest_and_never_one_that_is_too_old() {
    let upstream = upstream(&[1], Balance::RoundRobin);
    let mut pools = Pools::new(&upstream);
    let endpoint = EndpointId(0);
    assert!(pools.put(endpoint, "old", at(1), at(1)).is_none());
    assert!(pools.put(endpoint, "new", at(2), at(2)).is_none());
    assert_eq!(pools.take(endpoint, at(3)).expect("kept").connection, "new");
    assert!(pools.take(endpoint, at(1) + POOL_IDLE_TIMEOUT).is_none());
    let ancient = at(1) + POOL_AGE_MAX;
    assert_eq!(pools.put(endpoint, "ancient", at(1), ancient), Some("ancient"));
}

#[test]
fn a_full_pool_gives_up_its_oldest() {
    let mut upstream = upstream(&[1], Balance::RoundRobin);
    upstream.rules.pool_idle_max = 2;
    let mut pools = Pools::new(&upstream);
    let refused: Vec<_> =
        (0..3).filter_map(|n| pools.put(EndpointId(0), n, at(1), at(1))).collect();
    assert_eq!(refused, [0]);
    assert_eq!(pools.sweep(at(2), |_, n| *n != 1), 1);
}

#[test]
fn only_what_may_be_repeated_is_retried() {
    let fault =
        |again| Fault { kind: FaultKind::ConnectionTerminated, side: Side::Upstream, again };
    assert!(may_retry(&fault(Again::Always), Method::Post));
    assert!(may_retry(&fault(Again::IfIdempotent), Method::Put));
    assert!(!may_retry(&fault(Again::IfIdempotent), Method::Post));
    assert!(!may_retry(&fault(Again::Never), Method::Get));
}

#[test]
fn retries_are_at_most_a_fifth_of_requests_beyond_the_floor() {
    let mut budget = RetryBudget::default();
    let floor = (0..1000).filter(|_| budget.take()).count();
    assert_eq!(floor, 128);
    let mut retried = 0;
    for _ in 0..1000 {
        budget.earn();
        retried += u32::from(budget.take());
    }
    assert_eq!(retried, 200);
}
