"""The arithmetic of reports: medians of rounds, histograms merged, intervals by bootstrap. Pure; told its dice."""
import random
import statistics


def merged(histograms):
    """Histograms of several rounds as one: {value in us: count}. Percentiles are read from the sum, never averaged."""
    out = {}
    for histogram in histograms:
        for value, count in (histogram or {}).get("counts", []):
            out[value] = out.get(value, 0) + count
    return out


def quantile(histogram, share):
    """The value that this share of all is at or below."""
    total = sum(histogram.values())
    if not total:
        return None
    seen = 0
    for value in sorted(histogram):
        seen += histogram[value]
        if seen >= share * total:
            return value
    return max(histogram)


QUANTILES = (0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9995, 0.9999)


def quantiles(histogram):
    """Points of the curve, as far as there are measurements for them: a quantile wants ten values above it."""
    total = sum(histogram.values())
    shares = [share for share in QUANTILES if total * (1 - share) >= 10]
    return [[share, quantile(histogram, share)] for share in shares]


def median(values):
    values = [value for value in values if value is not None]
    return statistics.median(values) if values else None


def spread(values):
    """(median, least, most)"""
    return (statistics.median(values), min(values), max(values)) if values else None


def ratios(ours, theirs):
    """Ratios within each round that both have: what the machine did in a round falls on both."""
    return [ours[key] / theirs[key] for key in sorted(ours) if key in theirs and theirs[key] > 0]


def bootstrap(values, level=0.95, draws=10_000, seed=7):
    """An interval for the median of these, by drawing from them with replacement; the same each time."""
    dice = random.Random(seed)
    medians = sorted(statistics.median(dice.choices(values, k=len(values))) for _ in range(draws))
    tail = (1 - level) / 2
    return medians[int(tail * draws)], medians[min(draws - 1, int((1 - tail) * draws))]


def verdict(values, noise):
    """Whether paired ratios (new to old) say that something changed: 'slower', 'faster' or 'no change beyond noise'.

    Two things must hold: the interval of the median does not contain 1, and the median is further from 1 than `noise`, the
    difference that two copies of one build show on this machine.
    """
    low, high = bootstrap(values)
    middle = statistics.median(values)
    if low > 1 and middle > 1 + noise:
        return "slower"
    if high < 1 and middle < 1 - noise:
        return "faster"
    return "no change beyond noise"
