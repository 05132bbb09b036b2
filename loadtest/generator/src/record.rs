//! What a run was answered: histograms and counts of one thread, and their sum.
//!
//! Percentiles are read from one histogram of all threads (HdrHistogram: three significant digits, a microsecond to two
//! minutes). Never an average of percentiles: the mean of two p99 is no p99 of anything. What failed by waiting is in the
//! histogram with what it waited, so that no failure makes a percentile better.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use crate::answer::Seen;
use crate::bounds::{EXAMPLES_MAX, LATENCY_MAX};
use crate::plan::Expect;

/// How something went wrong; the words of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    Connect,
    Handshake,
    Closed,
    Timeout,
    Protocol,
    Status,
    Length,
    Content,
}

impl Failure {
    pub const ALL: [(Failure, &'static str); 8] = [
        (Failure::Connect, "connect"),
        (Failure::Handshake, "handshake"),
        (Failure::Closed, "closed"),
        (Failure::Timeout, "timeout"),
        (Failure::Protocol, "protocol"),
        (Failure::Status, "status"),
        (Failure::Length, "length"),
        (Failure::Content, "content"),
    ];
}

/// The times of one request, in nanoseconds since the start of the run.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// When it was meant to start.
    pub meant: u64,
    /// When its connection took it up.
    pub sent: u64,
}

pub struct Record {
    /// From the intended start; answers as expected, and what never came.
    latency: Histogram<u64>,
    /// From the moment that a connection took the request up: what a closed loop would call latency.
    service: Histogram<u64>,
    /// Of answers with another status than expected: a refusal must be quick, and must not look like service.
    refused: Histogram<u64>,
    /// How late this generator woke for a start when a connection was free.
    lag: Histogram<u64>,
    answers: u64,
    /// When the last answer came. A server that is behind goes on answering after the last start was meant, and its rate is
    /// counted over all of that time.
    last_answer_ns: u64,
    good: u64,
    bytes: u64,
    connections: u64,
    unsent: u64,
    statuses: BTreeMap<u16, u64>,
    failures: BTreeMap<Failure, u64>,
    examples: Vec<String>,
    /// What each request of the mix is answered, learnt from the first answer where the plan does not say.
    expect: Vec<Expect>,
    /// Answers to what was meant to start before this are not recorded (warming up).
    from_ns: u64,
}

fn histogram() -> Histogram<u64> {
    let mut histogram = Histogram::new_with_bounds(1_000, LATENCY_MAX.as_nanos() as u64, 3)
        .expect("the bounds are in order and three digits are allowed");
    histogram.auto(false);
    histogram
}

impl Record {
    pub fn new(expect: Vec<Expect>, from_ns: u64) -> Record {
        Record {
            latency: histogram(),
            service: histogram(),
            refused: histogram(),
            lag: histogram(),
            answers: 0,
            last_answer_ns: 0,
            good: 0,
            bytes: 0,
            connections: 0,
            unsent: 0,
            statuses: BTreeMap::new(),
            failures: BTreeMap::new(),
            examples: Vec::new(),
            expect,
            from_ns,
        }
    }

    pub fn connection(&mut self) {
        self.connections += 1;
    }

    pub fn lag(&mut self, meant: u64, now: u64) {
        if meant >= self.from_ns {
            self.lag.saturating_record(now.saturating_sub(meant));
        }
    }

    /// An answer came whole. `which` is its line of the mix.
    pub fn answer(&mut self, which: usize, times: Times, now: u64, seen: Seen) {
        let fault = self.expect[which].judge(seen);
        if times.meant < self.from_ns {
            return;
        }
        self.answers += 1;
        self.last_answer_ns = self.last_answer_ns.max(now);
        self.bytes += seen.length;
        *self.statuses.entry(seen.status).or_default() += 1;
        match fault {
            None => {
                self.good += 1;
                self.latency.saturating_record(now.saturating_sub(times.meant));
                self.service.saturating_record(now.saturating_sub(times.sent));
            }
            Some((kind, what)) => {
                self.refused.saturating_record(now.saturating_sub(times.sent));
                self.count(kind, || what);
            }
        }
    }

    /// No answer, or none that is one.
    pub fn failure(
        &mut self,
        kind: Failure,
        times: Option<Times>,
        now: u64,
        what: impl FnOnce() -> String,
    ) {
        if let Some(times) = times {
            if times.meant < self.from_ns {
                return;
            }
            self.latency.saturating_record(now.saturating_sub(times.meant));
        }
        self.count(kind, what);
    }

    /// Starts that no connection was free for until the end: at least this long would their clients have waited.
    pub fn unsent(&mut self, meant: u64, end: u64) {
        if meant >= self.from_ns {
            self.unsent += 1;
            self.latency.saturating_record(end.saturating_sub(meant));
        }
    }

    fn count(&mut self, kind: Failure, what: impl FnOnce() -> String) {
        let count = self.failures.entry(kind).or_default();
        *count += 1;
        if *count == 1 && self.examples.len() < EXAMPLES_MAX {
            self.examples.push(what());
        }
    }

    pub fn merge(&mut self, other: Record) {
        for (ours, theirs) in [
            (&mut self.latency, &other.latency),
            (&mut self.service, &other.service),
            (&mut self.refused, &other.refused),
            (&mut self.lag, &other.lag),
        ] {
            ours.add(theirs).expect("all have the same bounds");
        }
        self.answers += other.answers;
        self.last_answer_ns = self.last_answer_ns.max(other.last_answer_ns);
        self.good += other.good;
        self.bytes += other.bytes;
        self.connections += other.connections;
        self.unsent += other.unsent;
        other.statuses.into_iter().for_each(|(k, n)| *self.statuses.entry(k).or_default() += n);
        other.failures.into_iter().for_each(|(k, n)| *self.failures.entry(k).or_default() += n);
        self.examples.extend(other.examples);
        self.examples.truncate(EXAMPLES_MAX);
        for (ours, theirs) in self.expect.iter_mut().zip(other.expect) {
            ours.merge(theirs);
        }
    }

    pub fn answers(&self) -> u64 {
        self.answers
    }

    pub fn last_answer(&self) -> Duration {
        Duration::from_nanos(self.last_answer_ns)
    }

    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// Everything, for `--json`; latencies in microseconds.
    pub fn to_json(&self, secs: f64) -> Map<String, Value> {
        let failures = Failure::ALL.iter().filter_map(|(kind, word)| {
            self.failures.get(kind).map(|n| (word.to_string(), json!(n)))
        });
        let statuses = self.statuses.iter().map(|(status, n)| (status.to_string(), json!(n)));
        let expect = self.expect.iter().map(Expect::to_json);
        let all = json!({
            "secs": secs,
            "answers": self.answers,
            "good": self.good,
            "rate": self.answers as f64 / secs,
            "good_rate": self.good as f64 / secs,
            "bytes": self.bytes,
            "connections": self.connections,
            "unsent": self.unsent,
            "failed": self.failed(),
            "failures": failures.collect::<Map<_, _>>(),
            "statuses": statuses.collect::<Map<_, _>>(),
            "examples": self.examples,
            "expected": expect.collect::<Vec<_>>(),
            "latency_us": figures(&self.latency, true),
            "service_us": figures(&self.service, true),
            "refused_us": figures(&self.refused, false),
            "lag_us": figures(&self.lag, false),
        });
        let Value::Object(all) = all else { return Map::new() };
        all
    }

    /// The same for people.
    pub fn to_text(&self, secs: f64) -> String {
        let mut out = format!(
            "{} answers in {secs:.2} s, {:.0} a second, {:.1} MB/s; {} as expected, {} failed, {} never sent\n",
            self.answers,
            self.answers as f64 / secs,
            self.bytes as f64 / secs / 1e6,
            self.good,
            self.failed(),
            self.unsent,
        );
        for (name, histogram) in [
            ("latency", &self.latency),
            ("service", &self.service),
            ("refused", &self.refused),
            ("lag", &self.lag),
        ] {
            if histogram.is_empty() {
                continue;
            }
            out += &format!("{name:<8}");
            for (word, quantile) in
                [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)]
            {
                out += &format!(
                    "  {word} {:.1} us",
                    histogram.value_at_quantile(quantile) as f64 / 1e3
                );
            }
            out.push('\n');
        }
        for (kind, word) in Failure::ALL {
            if let Some(count) = self.failures.get(&kind) {
                out += &format!("{word}: {count}\n");
            }
        }
        for example in &self.examples {
            out += &format!("for example: {example}\n");
        }
        out
    }
}

/// Percentiles in microseconds; with `counts` also every bucket in use, so that runs can be merged as histograms.
fn figures(histogram: &Histogram<u64>, counts: bool) -> Value {
    if histogram.is_empty() {
        return Value::Null;
    }
    let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
    let mut out = json!({
        "count": histogram.len(),
        "mean": histogram.mean() / 1e3,
        "p50": at(0.5),
        "p90": at(0.9),
        "p99": at(0.99),
        "p99.9": at(0.999),
        "p99.99": at(0.9999),
        "max": histogram.max() as f64 / 1e3,
    });
    if counts {
        let buckets = histogram
            .iter_recorded()
            .map(|step| json!([step.value_iterated_to() as f64 / 1e3, step.count_at_value()]));
        out["counts"] = Value::Array(buckets.collect());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEN: Seen = Seen { status: 200, length: 5, hash: 7 };

    fn record() -> Record {
        Record::new(vec![Expect::default()], 0)
    }

    fn times(meant: u64) -> Times {
        Times { meant, sent: meant }
    }

    #[test]
    fn percentiles_are_those_of_all_threads_together() {
        let (mut fast, mut slow) = (record(), record());
        for _ in 0..99 {
            fast.answer(0, times(0), 1_000_000, SEEN);
        }
        slow.answer(0, times(0), 100_000_000, SEEN);
        fast.merge(slow);
        let json = Value::Object(fast.to_json(1.0));
        // An average of the two p50 would be 50 ms.
        assert!((json["latency_us"]["p50"].as_f64().unwrap() - 1_000.0).abs() < 2.0);
        assert!(json["latency_us"]["max"].as_f64().unwrap() > 99_000.0);
        assert_eq!(json["answers"], 100);
    }

    #[test]
    fn another_body_is_a_failure_and_no_latency() {
        let mut record = record();
        record.answer(0, times(0), 1_000, SEEN);
        record.answer(0, times(0), 1_000, Seen { hash: 8, ..SEEN });
        record.answer(0, times(0), 1_000, Seen { length: 6, ..SEEN });
        record.answer(0, times(0), 1_000, Seen { status: 503, ..SEEN });
        let json = Value::Object(record.to_json(1.0));
        assert_eq!(json["failures"], json!({"status": 1, "length": 1, "content": 1}));
        assert_eq!((json["good"].as_u64(), json["answers"].as_u64()), (Some(1), Some(4)));
        assert_eq!(json["latency_us"]["count"], 1);
        assert_eq!(json["refused_us"]["count"], 3);
    }

    #[test]
    fn what_is_never_answered_makes_percentiles_worse() {
        let mut record = record();
        record.answer(0, times(0), 1_000, SEEN);
        record.failure(Failure::Timeout, Some(times(0)), 10_000_000_000, || "late".into());
        record.unsent(0, 20_000_000_000);
        let json = Value::Object(record.to_json(1.0));
        assert_eq!(json["latency_us"]["count"], 3);
        assert!(json["latency_us"]["max"].as_f64().unwrap() > 19e6);
        assert_eq!((json["failed"].as_u64(), json["unsent"].as_u64()), (Some(1), Some(1)));
    }

    #[test]
    fn warming_up_is_not_recorded() {
        let mut record = Record::new(vec![Expect::default()], 1_000);
        record.answer(0, times(999), 2_000, SEEN);
        assert_eq!(record.answers(), 0);
        record.answer(0, times(1_000), 2_000, SEEN);
        assert_eq!(record.answers(), 1);
    }
}
