//! Limits alone and together: what is told, what is spent, and what a dry run never does.

use super::*;
use crate::base::gcra::Rule;
use crate::base::random::Rng;
use crate::base::time::Wall;
use crate::exchange::template::TemplateKind;
use crate::policy::Policy;
use crate::policy::slots::Slots;

fn limit(key: &str, count: u64, burst: u64) -> RateLimit {
    let rule = Rule::new(count, Duration::from_secs(1), burst).unwrap();
    let template = Template::parse(key, TemplateKind::Plain, &[]).unwrap();
    RateLimit::new(rules("per_client", template), Arc::new(Cells::new(rule, 1024, 3)))
}

fn rules(name: &str, key: Template) -> RateLimitRules {
    let (name, cost) = (Name::new(name), Cost::default());
    RateLimitRules { name, place: 0, key, cost, dry_run: false, fleet: None }
}

fn ask(limit: &RateLimit, x: &mut Exchange, millis: u64) -> Verdict {
    ask_all(&Limits::new(vec![limit.clone()]), x, millis)
}

fn ask_all(limit: &Limits, x: &mut Exchange, millis: u64) -> Verdict {
    x.reply_fields.clear();
    x.limits.clear();
    let (mut rng, mut slots) = (Rng::new(1), Slots::new(1));
    let now = Instant::from_nanos(millis * 1_000_000);
    let wall = Wall::from_micros(0);
    limit.on_request(x, &mut Env { now, wall, rng: &mut rng, slots: &mut slots })
}

fn fields(x: &Exchange) -> String {
    String::from_utf8(x.reply_fields.as_bytes().to_vec()).unwrap()
}

#[test]
fn a_spent_limit_is_429_and_says_when_to_come_back() {
    let limit = limit("{client.address}", 2, 3);
    let mut x = Exchange::default();
    assert_eq!(ask(&limit, &mut x, 1000), Verdict::Continue);
    let told = "ratelimit-policy: \"per_client\";q=3;w=2\r\nratelimit: \"per_client\";r=2;t=1\r\n";
    assert_eq!(fields(&x), told);
    ask(&limit, &mut x, 1000);
    assert_eq!(ask(&limit, &mut x, 1000), Verdict::Continue);
    let Verdict::Refuse(fault) = ask(&limit, &mut x, 1000) else { panic!("refused") };
    assert_eq!((fault.kind, x.reason), (FaultKind::RateLimited, "rate_limited"));
    assert!(fields(&x).starts_with("retry-after: 1\r\n"), "{}", fields(&x));
    assert!(fields(&x).ends_with("ratelimit: \"per_client\";r=0;t=2\r\n"), "{}", fields(&x));
    assert_eq!(ask(&limit, &mut x, 1500), Verdict::Continue);
}

#[test]
fn addresses_are_counted_apart() {
    let limit = limit("{client.address}", 1, 1);
    let mut x = Exchange::default();
    assert_eq!(ask(&limit, &mut x, 1), Verdict::Continue);
    assert_ne!(ask(&limit, &mut x, 1), Verdict::Continue);
    x.client.address = [192, 0, 2, 1].into();
    assert_eq!(ask(&limit, &mut x, 1), Verdict::Continue);
}

#[test]
fn a_key_with_a_claim_needs_a_proven_identity() {
    let limit = limit("{jwt.sub}", 1, 1);
    assert!(limit.needs_identity());
    let mut x = Exchange::default();
    let Verdict::Refuse(fault) = ask(&limit, &mut x, 1) else { panic!("refused") };
    assert_eq!(fault.kind, FaultKind::Unauthorized);
    assert!(matches!(Policy::limits(vec![limit]).as_slice(), [Policy::RateLimit(_)]));
}

#[test]
fn routes_that_share_cells_share_the_budget() {
    let one = limit("everybody", 1, 2);
    let other = RateLimit::new(rules("per_client", one.key.clone()), one.cells().clone());
    let mut x = Exchange::default();
    assert_eq!(ask(&one, &mut x, 1), Verdict::Continue);
    assert_eq!(ask(&other, &mut x, 1), Verdict::Continue);
    assert_ne!(ask(&one, &mut x, 1), Verdict::Continue);
    assert!(matches!(Policy::limits(vec![other]).as_slice(), [Policy::ClientLimit(_)]));
}

fn said(x: &Exchange) -> Vec<LimitSaid> {
    x.limits.iter().map(|mark| mark.said).collect()
}

#[test]
fn what_one_limit_refuses_spends_nothing_of_the_others() {
    let (wide, narrow) = (limit("wide", 1, 5), limit("narrow", 1, 1));
    let both = Limits::new(vec![wide.clone(), narrow]);
    let mut x = Exchange::default();
    assert_eq!(ask_all(&both, &mut x, 1), Verdict::Continue);
    assert_eq!(said(&x), [LimitSaid::Allowed, LimitSaid::Allowed]);
    for _ in 0..10 {
        assert_ne!(ask_all(&both, &mut x, 1), Verdict::Continue);
        assert_eq!(said(&x), [LimitSaid::Refused]);
    }
    let left = (0..10).filter(|_| ask(&wide, &mut x, 1) == Verdict::Continue).count();
    assert_eq!(left, 4, "one of five was spent");
}

#[test]
fn a_dry_run_counts_and_says_nothing_to_the_client() {
    let mut dry = limit("all", 1, 1);
    dry.dry_run = true;
    let limits = Limits::new(vec![dry]);
    let mut x = Exchange::default();
    assert_eq!(ask_all(&limits, &mut x, 1), Verdict::Continue);
    assert_eq!(said(&x), [LimitSaid::Allowed]);
    assert_eq!(ask_all(&limits, &mut x, 1), Verdict::Continue);
    assert_eq!((said(&x), fields(&x)), (vec![LimitSaid::WouldRefuse], String::new()));
}

#[test]
fn a_dry_run_never_holds_back_the_limits_beside_it() {
    let (mut dry, real) = (limit("dry", 1, 1), limit("real", 1, 2));
    dry.dry_run = true;
    let limits = Limits::new(vec![dry, real]);
    let mut x = Exchange::default();
    assert_eq!(ask_all(&limits, &mut x, 1), Verdict::Continue);
    assert_eq!(ask_all(&limits, &mut x, 1), Verdict::Continue);
    assert_eq!(said(&x), [LimitSaid::WouldRefuse, LimitSaid::Allowed]);
    assert_ne!(ask_all(&limits, &mut x, 1), Verdict::Continue);
}

#[test]
fn a_cost_is_bounded_and_one_that_is_no_number_is_the_default() {
    let mut x = Exchange::default();
    let spent = |text: &str, x: &Exchange| {
        let from = Some(Template::parse(text, TemplateKind::Plain, &[]).unwrap());
        Cost { from, default: 2, max: 7 }.of(x)
    };
    for (text, cost) in [("5", 5), ("0", 1), ("8", 7), ("99999999999999999999", 7)] {
        assert_eq!(spent(text, &x), cost, "{text}");
    }
    for text in ["1.5", "123456789012345678901234567890"] {
        assert_eq!(spent(text, &x), 7, "{text}");
    }
    for text in ["", "-1", "five"] {
        assert_eq!(spent(text, &x), 2, "{text}");
    }
    assert_eq!(spent("{header.x-cost}", &x), 2, "absent");
    x.client.address = [0, 0, 0, 3].into();
    assert_eq!(spent("{client.address}", &x), 7, "begins like a number");
}

#[test]
fn how_a_key_is_cut_does_not_matter() {
    let seed = SharedSeed::from_u64(1);
    let text: Vec<u8> = (0..1000u32).map(|n| n as u8).collect();
    let hash = |step: usize| {
        let mut key = KeyHash::new(&seed);
        text.chunks(step).for_each(|chunk| assert!(key.put(chunk)));
        key.finish()
    };
    let whole = hash(1000);
    for step in [1, 2, 7, 127, 128, 129, 500] {
        assert_eq!(hash(step), whole);
    }
}
