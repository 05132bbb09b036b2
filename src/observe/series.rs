//! Duration histograms by label set: a bounded table of series that come to be when first recorded.
//!
//! A series is named by one packed word, so finding it costs one multiplication and, nearly always, one
//! comparison. The table never grows past its bound: what comes later is counted under the route
//! `_other`, so that sums stay right whatever clients and origins do. Buckets follow the advice of the
//! OpenTelemetry conventions (5 ms to 10 s) with finer ones below, because a gateway answers in less.

use std::time::Duration;

use crate::http::Method;
use crate::observe::metrics::{Chunks, Counter};
use crate::observe::names::value;
use crate::observe::plan::Label;

/// Upper bounds of the duration buckets. Unit: nanoseconds.
pub(crate) const DURATION_BUCKETS: [u64; 18] = [
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    75_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    750_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    7_500_000_000,
    10_000_000_000,
];

/// Upper bounds of the overhead buckets. Unit: nanoseconds.
pub(crate) const OVERHEAD_BUCKETS: [u64; 15] = [
    20_000,
    40_000,
    60_000,
    80_000,
    100_000,
    150_000,
    200_000,
    300_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    100_000_000,
    1_000_000_000,
];

/// A histogram of durations by labels.
pub(crate) type Durations = Histogram<{ DURATION_BUCKETS.len() + 1 }>;
/// The histogram of our own share.
pub(crate) type Overhead = Histogram<{ OVERHEAD_BUCKETS.len() + 1 }>;

/// Counts by bucket, the last one for what is above every bound, and the sum. One writer. The sum and the buckets up
/// to 25 ms stand in one line of the cache: that is all that most requests touch of their route's series.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Histogram<const N: usize> {
    sum_nanos: Counter,
    counts: [Counter; N],
}

impl<const N: usize> Default for Histogram<N> {
    fn default() -> Self {
        Self { counts: [const { Counter::new() }; N], sum_nanos: Counter::new() }
    }
}

impl<const N: usize> Histogram<N> {
    /// Counts a duration; `bounds` are the `N - 1` upper bounds.
    pub(crate) fn record(&self, bounds: &[u64], took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let bucket = bounds.iter().position(|bound| nanos <= *bound).unwrap_or(bounds.len());
        self.counts[bucket].add(1);
        self.sum_nanos.add(nanos);
    }

    /// Adds these counts to `sum`.
    pub(crate) fn add_to(&self, sum: &mut HistogramSum) {
        sum.counts.resize(N, 0);
        for (total, count) in sum.counts.iter_mut().zip(&self.counts) {
            *total += count.read();
        }
        sum.sum_nanos = sum.sum_nanos.wrapping_add(self.sum_nanos.read());
    }
}

/// A histogram summed over cores.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistogramSum {
    /// Counts by bucket, not cumulated.
    pub counts: Vec<u64>,
    /// Sum of all durations. Unit: nanoseconds.
    pub sum_nanos: u64,
}

impl HistogramSum {
    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// The labels of a series in one word: label (18 bits), method (4 bits), status (10 bits).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SeriesKey(u32);

const STATUS_BITS: u32 = 10;
const METHOD_BITS: u32 = 4;
const STATUS_LIMIT: u16 = 1 << STATUS_BITS;

impl SeriesKey {
    /// Of a request; status 0 when none was sent.
    pub(crate) fn request(route: Label, method: Method, status: u16) -> Self {
        let status = if status < STATUS_LIMIT { u32::from(status) } else { 0 };
        Self(route.0 << (METHOD_BITS + STATUS_BITS) | method_number(method) << STATUS_BITS | status)
    }

    /// Of an attempt at an origin.
    pub(crate) fn origin(upstream: Label, status: u16) -> Self {
        Self::request(upstream, Method::Other, status)
    }

    /// The route or upstream.
    pub(crate) fn label(self) -> Label {
        Label(self.0 >> (METHOD_BITS + STATUS_BITS))
    }

    /// The method's name.
    pub(crate) fn method(self) -> &'static str {
        let number = (self.0 >> STATUS_BITS) & ((1 << METHOD_BITS) - 1);
        METHODS.get(number as usize).copied().unwrap_or(value::METHOD_OTHER)
    }

    /// The status, or 0.
    pub(crate) fn status(self) -> u32 {
        self.0 & u32::from(STATUS_LIMIT - 1)
    }

    /// The same under the label `_other`.
    fn under_other(self) -> Self {
        Self(Label::OTHER.0 << (METHOD_BITS + STATUS_BITS) | (self.0 & ((1 << 14) - 1)))
    }
}

const METHODS: [&str; 10] = [
    value::METHOD_OTHER,
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "DELETE",
    "CONNECT",
    "OPTIONS",
    "TRACE",
    "PATCH",
];

fn method_number(method: Method) -> u32 {
    match method {
        Method::Other => 0,
        Method::Get => 1,
        Method::Head => 2,
        Method::Post => 3,
        Method::Put => 4,
        Method::Delete => 5,
        Method::Connect => 6,
        Method::Options => 7,
        Method::Trace => 8,
        Method::Patch => 9,
    }
}

/// Series by key. One writer; readers walk the index.
#[derive(Debug)]
pub(crate) struct SeriesTable {
    /// Open addressing, at most half full: key in the upper half of the word, place + 1 in the lower.
    index: Box<[Counter]>,
    series: Chunks<Durations>,
    used: Counter,
    series_max: usize,
}

impl SeriesTable {
    /// A table of at most `series_max` series.
    pub(crate) fn new(series_max: usize) -> Self {
        let slots = (series_max * 2).next_power_of_two();
        let index = (0..slots).map(|_| Counter::new()).collect();
        Self { index, series: Chunks::new(series_max), used: Counter::new(), series_max }
    }

    /// Counts a duration in its series.
    pub(crate) fn record(&self, key: SeriesKey, took: Duration) {
        let reserved = self.series_max / 8;
        // The last eighth is kept for `_other`, and the very last place for what not even fits there.
        let place = self
            .place(key, self.series_max - reserved)
            .or_else(|| self.place(key.under_other(), self.series_max - 1))
            .or_else(|| self.place(SeriesKey::origin(Label::OTHER, 0), self.series_max));
        if let Some(series) = place.and_then(|place| self.series.at(place)) {
            series.record(&DURATION_BUCKETS, took);
        }
    }

    /// Every series with its key, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (SeriesKey, &Durations)> {
        let entries = self.index.iter().map(Counter::read).filter(|entry| *entry != 0);
        entries.filter_map(|entry| {
            let place = (entry as u32 as usize).checked_sub(1)?;
            Some((SeriesKey((entry >> 32) as u32), self.series.at(place)?))
        })
    }

    /// Where the series of `key` is, made now unless `used_max` series are there already.
    fn place(&self, key: SeriesKey, used_max: usize) -> Option<usize> {
        let mask = self.index.len() - 1;
        // Fibonacci hashing: the upper bits of the product depend on all bits of the key.
        let mut slot = (u64::from(key.0).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize & mask;
        loop {
            // Ends, because at least half of the slots are empty.
            let entry = self.index[slot].read();
            if entry == 0 {
                break;
            }
            if entry >> 32 == u64::from(key.0) {
                return Some((entry as u32 - 1) as usize);
            }
            slot = (slot + 1) & mask;
        }
        let used = self.used.read();
        if used >= used_max as u64 {
            return None;
        }
        self.used.add(1);
        self.index[slot].store(u64::from(key.0) << 32 | (used + 1));
        Some(used as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(table: &SeriesTable) -> u64 {
        table
            .iter()
            .map(|(_, series)| {
                let mut sum = HistogramSum::default();
                series.add_to(&mut sum);
                sum.count()
            })
            .sum()
    }

    #[test]
    fn a_key_gives_its_labels_back() {
        let key = SeriesKey::request(Label(65_535), Method::Patch, 599);
        assert_eq!((key.label(), key.method(), key.status()), (Label(65_535), "PATCH", 599));
        let odd = SeriesKey::request(Label(2), Method::Other, 5000);
        assert_eq!((odd.label(), odd.method(), odd.status()), (Label(2), "_OTHER", 0));
    }

    #[test]
    fn bounds_belong_to_their_bucket() {
        let histogram = Durations::default();
        for nanos in [250_000, 250_001, 10_000_000_001] {
            histogram.record(&DURATION_BUCKETS, Duration::from_nanos(nanos));
        }
        let mut sum = HistogramSum::default();
        histogram.add_to(&mut sum);
        assert_eq!((sum.counts[0], sum.counts[1], sum.counts[18]), (1, 1, 1));
        assert_eq!((sum.count(), sum.sum_nanos), (3, 10_000_500_002));
    }

    #[test]
    fn a_full_table_loses_labels_but_no_counts() {
        let table = SeriesTable::new(64);
        for label in 0..1000 {
            for status in [200, 404, 502] {
                table.record(SeriesKey::request(Label(label), Method::Get, status), Duration::ZERO);
            }
        }
        assert_eq!(counted(&table), 3000);
        assert!(table.iter().count() <= 64);
        let other = table.iter().filter(|(key, _)| key.label() == Label::OTHER);
        assert_eq!(other.count(), 3);
    }

    #[test]
    fn not_even_every_status_at_once_loses_counts() {
        let table = SeriesTable::new(64);
        for status in 0..1024 {
            table.record(SeriesKey::request(Label(7), Method::Get, status), Duration::ZERO);
        }
        assert_eq!(counted(&table), 1024);
    }
}
