//! Which responses to let go: hit rates of LRU, S3-FIFO and W-TinyLFU on traces of the shape that gateways see.
//!
//! No clock is asked and nothing is timed: `cargo bench --bench eviction` prints a table, the same on every machine. W-TinyLFU
//! stands here only, as what was compared; the figures are in docs/decisions/0020-response-cache.md.

use std::collections::HashMap;

use ringway::base::lru::Lru;
use ringway::base::random::Rng;
use ringway::base::s3_fifo::S3Fifo;

const REQUESTS: usize = 2_000_000;
const KEYS: usize = 100_000;

fn main() {
    println!(
        "hit rate in per cent; {KEYS} keys, {REQUESTS} requests, room for a share of the keys\n"
    );
    println!("{:<44} {:>6} {:>8} {:>8} {:>10}", "trace", "room", "LRU", "S3-FIFO", "W-TinyLFU");
    for (name, trace) in traces() {
        for share in [100, 20, 5] {
            let room = KEYS / share;
            let mut lru = LruCache(Lru::new(room, usize::MAX, 1));
            let mut fifo = FifoCache(S3Fifo::new(room), room);
            let mut tiny = TinyLfu::new(room);
            let rates = [
                rate(&trace, |key| lru.ask(key)),
                rate(&trace, |key| fifo.ask(key)),
                rate(&trace, |key| tiny.ask(key)),
            ];
            let room = format!("{:.0} %", 100.0 / share as f64);
            println!("{name:<44} {room:>6} {:>8.1} {:>8.1} {:>10.1}", rates[0], rates[1], rates[2]);
        }
    }
}

fn rate(trace: &[u64], mut ask: impl FnMut(u64) -> bool) -> f64 {
    let hits = trace.iter().filter(|key| ask(**key)).count();
    100.0 * hits as f64 / trace.len() as f64
}

/// What is asked for, one after the other.
fn traces() -> Vec<(&'static str, Vec<u64>)> {
    let zipf = |skew: f64, seed: u64| Zipf::new(skew, seed);
    let mut traces = Vec::new();
    for (name, skew) in [("Zipf 0.8", 0.8), ("Zipf 1.0", 1.0)] {
        let mut keys = zipf(skew, 1);
        traces.push((name, (0..REQUESTS).map(|_| keys.next()).collect()));
    }
    let mut keys = zipf(0.9, 2);
    let mut rng = Rng::new(3);
    let mut once = 1 << 40;
    let wonders = (0..REQUESTS).map(|_| {
        if rng.below(10) < 3 {
            once += 1;
            once
        } else {
            keys.next()
        }
    });
    traces.push(("Zipf 0.9, three in ten are asked for once", wonders.collect()));
    let mut keys = zipf(0.9, 4);
    // Every so often somebody reads a catalogue from end to end.
    let scans = (0..REQUESTS as u64).map(|at| match at % 200_000 {
        place @ 0..50_000 => (1 << 41) + place,
        _ => keys.next(),
    });
    traces.push(("Zipf 0.9, a quarter is a scan", scans.collect()));
    let mut keys = zipf(0.9, 5);
    // What is popular changes.
    let drift = (0..REQUESTS as u64).map(|at| keys.next() + at / 200_000 * 1_000_000);
    traces.push(("Zipf 0.9, popularity changes ten times", drift.collect()));
    traces
}

struct Zipf {
    sums: Vec<f64>,
    rng: Rng,
}

impl Zipf {
    fn new(skew: f64, seed: u64) -> Self {
        let mut sum = 0.0;
        let sums = (1..=KEYS)
            .map(|rank| {
                sum += 1.0 / (rank as f64).powf(skew);
                sum
            })
            .collect();
        Self { sums, rng: Rng::new(seed) }
    }

    fn next(&mut self) -> u64 {
        let total = self.sums[KEYS - 1];
        let at = (self.rng.bits() >> 11) as f64 / (1_u64 << 53) as f64 * total;
        self.sums.partition_point(|sum| *sum < at) as u64
    }
}

fn hash(key: u64) -> u64 {
    let mixed = (key ^ key >> 31).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

struct LruCache(Lru<()>);

impl LruCache {
    fn ask(&mut self, key: u64) -> bool {
        let bytes = key.to_be_bytes();
        let hit = self.0.find(0, &bytes).is_some();
        if !hit {
            self.0.insert(0, &bytes, (), 1);
        }
        hit
    }
}

struct FifoCache(S3Fifo<u64>, usize);

impl FifoCache {
    fn ask(&mut self, key: u64) -> bool {
        let hit = self.0.find(hash(key), |other| *other == key).is_some();
        if !hit {
            if self.0.len() == self.1 {
                self.0.evict();
            }
            self.0.insert(hash(key), key, 1);
        }
        hit
    }
}

/// W-TinyLFU (Einziger et al., 2017): a window of a hundredth, then a segmented LRU that is entered only by
/// who was asked for more often than who would have to leave.
struct TinyLfu {
    probation: Order,
    protected: Order,
    protected_max: usize,
    main_max: usize,
    sketch: Vec<u8>,
    counted: usize,
    room: usize,
    window: Order,
    window_max: usize,
}

/// A list in the order of use.
#[derive(Default)]
struct Order {
    last_used: HashMap<u64, u64>,
    by_use: std::collections::BTreeMap<u64, u64>,
    turn: u64,
}

impl Order {
    fn touch(&mut self, key: u64) {
        self.turn += 1;
        if let Some(before) = self.last_used.insert(key, self.turn) {
            self.by_use.remove(&before);
        }
        self.by_use.insert(self.turn, key);
    }

    fn remove(&mut self, key: u64) -> bool {
        let before = self.last_used.remove(&key);
        before.is_some_and(|turn| self.by_use.remove(&turn).is_some())
    }

    fn oldest(&self) -> Option<u64> {
        self.by_use.values().next().copied()
    }

    fn len(&self) -> usize {
        self.last_used.len()
    }
}

impl TinyLfu {
    fn new(room: usize) -> Self {
        let window_max = (room / 100).max(1);
        let main_max = room - window_max;
        Self {
            probation: Order::default(),
            protected: Order::default(),
            protected_max: main_max * 4 / 5,
            main_max,
            sketch: vec![0; (room * 16).next_power_of_two()],
            counted: 0,
            room,
            window: Order::default(),
            window_max,
        }
    }

    fn places(&self, key: u64) -> [usize; 4] {
        let hash = hash(key);
        let mask = self.sketch.len() - 1;
        [0, 1, 2, 3].map(|row| {
            (hash.rotate_left(row * 16).wrapping_mul(2 * u64::from(row) + 1) >> 7) as usize & mask
        })
    }

    fn count(&mut self, key: u64) {
        for place in self.places(key) {
            self.sketch[place] = (self.sketch[place] + 1).min(15);
        }
        self.counted += 1;
        if self.counted == self.room * 10 {
            self.sketch.iter_mut().for_each(|count| *count /= 2);
            self.counted = 0;
        }
    }

    fn estimate(&self, key: u64) -> u8 {
        self.places(key).map(|place| self.sketch[place]).into_iter().min().unwrap_or(0)
    }

    fn ask(&mut self, key: u64) -> bool {
        self.count(key);
        if self.window.last_used.contains_key(&key) {
            self.window.touch(key);
            return true;
        }
        if self.protected.last_used.contains_key(&key) {
            self.protected.touch(key);
            return true;
        }
        if self.probation.remove(key) {
            self.protected.touch(key);
            if self.protected.len() > self.protected_max
                && let Some(demoted) = self.protected.oldest()
            {
                self.protected.remove(demoted);
                self.probation.touch(demoted);
            }
            return true;
        }
        self.window.touch(key);
        if self.window.len() > self.window_max
            && let Some(candidate) = self.window.oldest()
        {
            self.window.remove(candidate);
            self.admit(candidate);
        }
        false
    }

    fn admit(&mut self, candidate: u64) {
        if self.probation.len() + self.protected.len() < self.main_max {
            return self.probation.touch(candidate);
        }
        let victim = self.probation.oldest().or_else(|| self.protected.oldest());
        if let Some(victim) = victim
            && self.estimate(candidate) > self.estimate(victim)
        {
            let _ = self.probation.remove(victim) || self.protected.remove(victim);
            self.probation.touch(candidate);
        }
    }
}
