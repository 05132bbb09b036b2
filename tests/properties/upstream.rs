//! Balancing: weights are honoured, endpoints set aside are passed over, retries stay within the budget.
//! Never a socket and never a clock: time is a number here.

use std::time::Duration;

use proptest::prelude::*;

use ringway::base::ids::{EndpointId, UpstreamId};
use ringway::base::name::Name;
use ringway::base::random::Rng;
use ringway::base::time::Instant;
use ringway::upstream::hedge::{Hedging, Latencies};
use ringway::upstream::pool::Pools;
use ringway::upstream::retry::RetryBudget;
use ringway::upstream::{Balance, Endpoint, Rules, Upstream, UpstreamState};

fn upstream(weights: &[u16], balance: Balance) -> Upstream {
    let endpoint = |(index, weight): (usize, &u16)| Endpoint {
        id: EndpointId(index as u32),
        address: format!("127.0.0.1:{}", index + 1).parse().expect("an address"),
        host: format!("127.0.0.1:{}", index + 1).as_str().into(),
        weight: *weight,
    };
    Upstream {
        tls: None,
        id: UpstreamId(0),
        name: Name::new("app"),
        endpoints: weights.iter().enumerate().map(endpoint).collect(),
        balance,
        rules: Rules::default(),
    }
}

fn at(seconds: u64) -> Instant {
    Instant::ORIGIN + Duration::from_secs(1_000 + seconds)
}

proptest! {
    #[test]
    fn turns_give_each_endpoint_exactly_its_weight_in_every_round(
        weights in proptest::collection::vec(1_u16..=20, 1..8),
        seed in any::<u64>(),
        rounds in 1_usize..4,
    ) {
        let upstream = upstream(&weights, Balance::RoundRobin);
        let mut rng = Rng::new(seed);
        let mut state = UpstreamState::new(&upstream, &mut rng);
        let sum: usize = weights.iter().map(|weight| usize::from(*weight)).sum();
        let mut counts = vec![0; weights.len()];
        for turn in 1..=rounds * sum {
            let chosen = state.choose(&upstream, at(0), &mut rng, 0).expect("one is well");
            counts[chosen.index()] += 1;
            // On the way it is never far from its share: the order is interleaved.
            for (count, weight) in counts.iter().zip(&weights) {
                let share = turn * usize::from(*weight);
                prop_assert!((count * sum).abs_diff(share) <= 2 * weights.len() * sum);
            }
        }
        let due: Vec<_> = weights.iter().map(|weight| rounds * usize::from(*weight)).collect();
        prop_assert_eq!(counts, due);
    }

    #[test]
    fn two_draws_honour_weights_within_a_fifth_when_nobody_is_busy(
        weights in proptest::collection::vec(1_u16..=4, 2..5),
        seed in any::<u64>(),
    ) {
        // The first of two drawn wins a tie, so that counts follow the weights.
        let upstream = upstream(&weights, Balance::LeastRequest);
        let mut rng = Rng::new(seed);
        let mut state = UpstreamState::new(&upstream, &mut rng);
        let mut counts = vec![0_f64; weights.len()];
        for _ in 0..4_000 {
            let chosen = state.choose(&upstream, at(0), &mut rng, 0).expect("one is well");
            counts[chosen.index()] += 1.0;
        }
        let sum: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        for (count, weight) in counts.iter().zip(&weights) {
            let due = 4_000.0 * f64::from(*weight) / sum;
            prop_assert!((count - due).abs() < due / 5.0 + 60.0, "{counts:?} for {weights:?}");
        }
    }

    #[test]
    fn the_busier_of_two_is_never_chosen(seed in any::<u64>(), busy in 0_u32..2) {
        let upstream = upstream(&[1, 1], Balance::LeastRequest);
        let mut rng = Rng::new(seed);
        let mut state = UpstreamState::new(&upstream, &mut rng);
        state.begin(EndpointId(busy));
        for _ in 0..50 {
            prop_assert_eq!(state.choose(&upstream, at(0), &mut rng, 0), Some(EndpointId(1 - busy)));
        }
    }

    #[test]
    fn an_endpoint_set_aside_or_tried_is_chosen_only_when_none_is_left(
        count in 1_usize..8,
        aside in any::<u8>(),
        tried in any::<u8>(),
        least in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let balance = if least { Balance::LeastRequest } else { Balance::RoundRobin };
        let upstream = upstream(&vec![1; count], balance);
        let mut rng = Rng::new(seed);
        let mut state = UpstreamState::new(&upstream, &mut rng);
        let is = |bits: u8, index: usize| bits & (1 << index) != 0;
        for index in (0..count).filter(|index| is(aside, *index)) {
            state.connect_failed(EndpointId(index as u32), at(0));
        }
        let left = (0..count).any(|index| !is(aside | tried, index));
        for _ in 0..20 {
            let chosen = state.choose(&upstream, at(0), &mut rng, u64::from(tried));
            let index = chosen.expect("it is always tried").index();
            prop_assert!(!left || !is(aside | tried, index));
        }
        // The first pause is over after a second.
        prop_assert!((0..count).all(|index| !state.is_aside(EndpointId(index as u32), at(1))));
    }

    #[test]
    fn retries_never_pass_a_fifth_of_requests_beyond_the_floor(steps in proptest::collection::vec(any::<bool>(), 0..4_000)) {
        let mut budget = RetryBudget::default();
        let (mut requests, mut retries) = (0_usize, 0_usize);
        for retry in steps {
            if retry {
                retries += usize::from(budget.take());
            } else {
                budget.earn();
                requests += 1;
            }
            prop_assert!(retries <= 128 + requests / 5);
        }
    }

    #[test]
    fn second_tries_never_pass_their_share_of_calls(
        percent in 1_u32..=100,
        steps in proptest::collection::vec((any::<bool>(), 0_u64..200_000), 0..4_000),
    ) {
        let mut hedging = Hedging::new(percent);
        let (mut calls, mut hedges) = (0_u64, 0_u64);
        for (late, micros) in steps {
            if late {
                hedges += u64::from(hedging.take(Duration::from_secs(1)));
            } else {
                hedging.call_begun();
                calls += 1;
                hedging.record(Duration::from_micros(micros));
            }
            prop_assert!(hedges * 100 <= calls * u64::from(percent));
            prop_assert!(calls >= 100 || hedges == 0 && hedging.late_after().is_none());
        }
    }

    #[test]
    fn what_is_late_is_the_95th_percentile_to_an_eighth(
        mut micros in proptest::collection::vec(0_u64..10_000_000, 100..1_000),
    ) {
        let mut latencies = Latencies::default();
        // Found anew with every sixteenth: only whole sixteens are told.
        micros.truncate(100 + (micros.len() - 100) / 16 * 16);
        micros.iter().for_each(|micros| latencies.record(Duration::from_micros(*micros)));
        micros.sort_unstable();
        let known = latencies.known().expect("enough");
        for (percent, found) in [(50, known.p50), (95, known.p95)] {
            let exact = micros[(micros.len() * percent).div_ceil(100) - 1];
            prop_assert!(found > Duration::from_micros(exact), "{found:?} for {exact}");
            prop_assert!(found <= Duration::from_micros(exact + exact / 8 + 1), "{found:?} for {exact}");
        }
    }

    #[test]
    fn a_pool_gives_each_client_its_own_newest_connection(
        steps in proptest::collection::vec((0_u8..4, any::<bool>()), 1..200),
    ) {
        let mut upstream = upstream(&[1], Balance::RoundRobin);
        upstream.rules.pool_idle_max = 1_000;
        let mut pools = Pools::new(&upstream);
        let mut kept: Vec<(u8, usize)> = Vec::new();
        for (number, (client, put)) in steps.into_iter().enumerate() {
            if put {
                prop_assert!(pools.put(EndpointId(0), (client, number), at(0), at(0)).is_none());
                kept.push((client, number));
            } else {
                let newest = kept.iter().rposition(|(owner, _)| *owner == client);
                let expected = newest.map(|index| kept.remove(index));
                let taken = pools.take_if(EndpointId(0), at(0), |(owner, _)| *owner == client);
                prop_assert_eq!(taken.map(|taken| taken.connection), expected);
            }
        }
    }

    #[test]
    fn a_pool_is_bounded_and_gives_out_nothing_too_old(
        steps in proptest::collection::vec((0_u64..40, any::<bool>()), 1..300),
        idle_max in 0_usize..5,
    ) {
        let mut upstream = upstream(&[1], Balance::RoundRobin);
        upstream.rules.pool_idle_max = idle_max;
        let mut pools = Pools::new(&upstream);
        let (mut now, mut kept) = (0, 0_usize);
        for (pause, put) in steps {
            now += pause;
            if put {
                let refused = pools.put(EndpointId(0), now, at(now), at(now));
                kept += usize::from(refused.is_none());
            } else if let Some(taken) = pools.take(EndpointId(0), at(now)) {
                prop_assert!(now - taken.connection < upstream.rules.pool_idle_timeout.as_secs());
                kept -= 1;
            }
            let left = pools.sweep(at(now), |_, _| true);
            prop_assert!(left <= idle_max && left <= kept);
            kept = left;
        }
    }
}
