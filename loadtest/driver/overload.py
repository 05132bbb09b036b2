"""Overload: an open loop at three times of what can be answered, beside the best that can be.

`concurrency` is what sheds. Once the origin is the bottleneck (each request takes it 5 ms, and so many may be there at once), once
the gateway's own core is (it compresses 64 KiB). Who is admitted must be answered as before, and who is not must cost little.
"""
from dataclasses import replace
from functools import partial

from . import ringway
from .measure import Running
from .peers import PEERS
from .scenarios import Scenario

OVER = 3
CONNECTIONS = 1024
# Scenario, seats, and further lines of the route.
KINDS = {
    "a slow origin": (Scenario("overload", "", path="/d5ms/small"), 32, ""),
    "a busy core": (Scenario("overload", "", path="/64k", headers=("Accept-Encoding: gzip",)), 16, "compress = true"),
}


def run(bench, secs):
    """Rows of the report, one for each kind."""
    cost = shed_us(bench, secs)
    return {words: {**row(bench, secs, *kind), "shed_us": cost} for words, kind in KINDS.items()}


def running_with(bench, scenario, seats, more):
    extra = ringway.Extra(route=f"concurrency = {seats}\n{more}")
    return Running(bench, replace(PEERS["ringway"], build=partial(ringway.build, extra=extra)), scenario, 1)


def shed_us(bench, secs):
    """What a shed request costs a core that has nothing better to do: one seat, taken nearly always, and 64 who ask for it."""
    scenario, _, more = KINDS["a slow origin"]
    with running_with(bench, scenario, 1, more) as running:
        running.load(bench.warm)
        return running.measured(secs)["cpu_us"]


def row(bench, secs, scenario, seats, more):
    with running_with(bench, scenario, seats, more) as running:
        running.load(bench.warm, connections=seats)
        best = running.measured(secs, connections=seats)
        over = running.measured(secs, connections=CONNECTIONS, rate=OVER * best["good_rate"],
                                like=best["expected"][0])
    shed = over["answers"] - over["good"]
    wrong = {status: n for status, n in over["statuses"].items() if status not in ("200", "503")}
    return {
        "best_rate": best["good_rate"], "asked_rate": OVER * best["good_rate"], "good_rate": over["good_rate"],
        "goodput": over["good_rate"] / best["good_rate"], "shed": shed, "unsent": over["unsent"],
        "other": sum(wrong.values()), "good_us": best["cpu_us"],
        "best_p99": best["latency_us"]["p99"], "p50": over["service_us"]["p50"], "p99": over["service_us"]["p99"],
        "shed_p99": (over["refused_us"] or {}).get("p99"), "lag_p99": (over["lag_us"] or {}).get("p99"),
        "core_used": over["core_used"],
    }
