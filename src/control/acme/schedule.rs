//! When a certificate is obtained, renewed and asked for again: numbers in, numbers out.
//!
//! It never asks for the time and throws no dice: both are parameters. All times are seconds since 1970, for they
//! outlive the process and are shared by replicas.

use crate::base::limits::{
    ACME_AWAY_PAUSE_SECS, ACME_LIMITED_PAUSE_SECS, ACME_PAUSE_SECS_MAX, ACME_REFUSED_PAUSE_SECS,
};

/// How long a certificate holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// From when.
    pub not_before: u64,
    /// Until when.
    pub not_after: u64,
    /// A number of its own, the same for every replica: not all certificates of an hour are renewed in one hour.
    pub dice: u64,
}

/// Why an attempt failed, as far as it decides when the next one may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The authority cannot be reached, or has an error of its own; or our own storage has.
    Away,
    /// It said no: what it looked for was not there, or it gives nothing for this host.
    Refused,
    /// One of its bounds was met.
    Limited,
}

/// When a certificate is to be renewed: `before` its end, or after two thirds of its lifetime, and up to a
/// thirtieth of that sooner. Never in the first half, whatever `before` says: that would be a new order each time.
pub fn renew_at(held: Held, before: Option<u64>) -> u64 {
    let Held { not_before, not_after, dice } = held;
    let lifetime = not_after.saturating_sub(not_before);
    let before = before.unwrap_or(lifetime / 3) + share(dice, lifetime / 30);
    not_after.saturating_sub(before.min(lifetime / 2))
}

/// When the next attempt is due: when the certificate wants it, and not before `again_at`, which an earlier failure
/// set. A time further away than any pause is a clock that was wrong, and holds nobody up.
pub fn due_at(held: Option<Held>, before: Option<u64>, again_at: u64, now: u64) -> u64 {
    let wanted = held.map_or(0, |held| renew_at(held, before));
    let again_at = if again_at > now + 2 * ACME_PAUSE_SECS_MAX { 0 } else { again_at };
    wanted.max(again_at)
}

/// How long to wait after `failures` failures in a row, of which this is the last; `asked` is what the authority asked
/// for. It is never less than the authority asked for, up to a week.
pub fn pause(cause: Cause, failures: u32, asked: Option<u64>, dice: u64) -> u64 {
    let doubled = |(first, most): (u64, u64)| {
        let times = 1_u64.checked_shl(failures.saturating_sub(1)).unwrap_or(u64::MAX);
        first.saturating_mul(times).min(most)
    };
    let own = match cause {
        Cause::Away => doubled(ACME_AWAY_PAUSE_SECS),
        Cause::Refused => doubled(ACME_REFUSED_PAUSE_SECS),
        Cause::Limited if asked.is_some() => 0,
        Cause::Limited => ACME_LIMITED_PAUSE_SECS.max(doubled(ACME_REFUSED_PAUSE_SECS)),
    };
    let wait = own.max(asked.unwrap_or(0)).min(ACME_PAUSE_SECS_MAX);
    wait + share(dice, wait / 4)
}

/// A part of `whole` as the dice fall.
fn share(dice: u64, whole: u64) -> u64 {
    ((u128::from(dice) * (u128::from(whole) + 1)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    fn held(dice: u64) -> Held {
        Held { not_before: 1_000 * DAY, not_after: 1_090 * DAY, dice }
    }

    #[test]
    fn it_is_renewed_after_two_thirds_and_a_little_sooner_as_the_dice_fall() {
        assert_eq!(renew_at(held(0), None), 1_060 * DAY);
        assert_eq!(renew_at(held(u64::MAX), None), 1_057 * DAY);
        assert_eq!(renew_at(held(0), Some(10 * DAY)), 1_080 * DAY);
    }

    #[test]
    fn it_is_never_renewed_in_its_first_half() {
        assert_eq!(renew_at(held(u64::MAX), Some(365 * DAY)), 1_045 * DAY);
        // One that makes no sense is renewed, and does not overflow.
        let odd = Held { not_before: 10, not_after: 5, dice: u64::MAX };
        assert_eq!(renew_at(odd, None), 5);
    }

    #[test]
    fn what_is_not_there_is_due_at_once_unless_it_failed_before() {
        let now = 1_000 * DAY;
        assert_eq!(due_at(None, None, 0, now), 0);
        assert_eq!(due_at(None, None, now + 60, now), now + 60);
        assert_eq!(due_at(Some(held(0)), None, 0, now), 1_060 * DAY);
        assert_eq!(due_at(Some(held(0)), None, 1_070 * DAY, 1_061 * DAY), 1_070 * DAY);
        assert_eq!(due_at(None, None, now + 365 * DAY, now), 0, "a clock that was wrong");
    }

    #[test]
    fn pauses_double_to_a_bound_and_are_never_shorter_than_asked_for() {
        let away: Vec<u64> = (1..4).map(|n| pause(Cause::Away, n, None, 0)).collect();
        assert_eq!(away, [5, 10, 20]);
        assert_eq!(pause(Cause::Away, 4_000, None, 0), 3600);
        assert_eq!(pause(Cause::Refused, 60, None, 0), 6 * 3600);
        assert_eq!(pause(Cause::Refused, 1, Some(400), 0), 400);
        assert_eq!(pause(Cause::Limited, 1, None, 0), 3600);
        assert_eq!(pause(Cause::Limited, 9, Some(30), 0), 30);
        assert_eq!(pause(Cause::Limited, 1, Some(u64::MAX), 0), ACME_PAUSE_SECS_MAX);
        assert_eq!(pause(Cause::Refused, 1, None, u64::MAX), 150 + 37);
    }

    #[test]
    fn five_refusals_take_more_than_half_an_hour_and_no_sixth_comes_within_one() {
        let mut at = 0;
        for failures in 1..=5 {
            at += pause(Cause::Refused, failures, None, 0);
        }
        assert!(at > 3600, "{at}");
    }
}
