"""Reloads under load: an open loop at half of capacity while SIGHUP comes again and again, beside the same load without."""
import os
import re
import signal
import statistics
import threading
from pathlib import Path

from . import processes
from .measure import Running
from .peers import PEERS
from .scenarios import SCENARIOS

# Scenario and seconds between two reloads.
SIZES = {"1,000 routes": ("S12b", 0.25), "10,000 routes, 1,000 upstreams": ("S12d", 0.5)}


def run(bench, secs):
    """Rows of the report. Every reload changes something, so that a new version is made and installed."""
    out = {}
    for words, (scenario, every) in SIZES.items():
        with Running(bench, PEERS["ringway"], SCENARIOS[scenario], 1) as running:
            best = running.load(max(1.0, secs / 2))["good_rate"]
            running.load(bench.warm, rate=best / 2)
            out[f"{words}, without"] = row(running, secs, best / 2)
            out[f"{words}, reloading"] = row(running, secs, best / 2, every)
    return out


def row(running, secs, rate, every=None):
    stop, count = threading.Event(), [0]
    thread = threading.Thread(target=reloading, args=(running, every, stop, count))
    before = control_secs(running)
    if every:
        thread.start()
    try:
        seen = running.load(secs, rate=rate)
    finally:
        stop.set()
        if every:
            thread.join()
    latency, installed = seen["latency_us"], took(running)
    return {"reloads": count[0], "answers": seen["answers"], "failed": seen["failed"] + seen["unsent"],
            # From the signal to the last core's word that it works by the new version.
            "took_ms": statistics.median(installed) if every and installed else None,
            "control_ms": (control_secs(running) - before) / count[0] * 1e3 if count[0] else None,
            "memory_mib": processes.memory_mib(running.process.pid),
            **{name: latency[name] for name in ("p50", "p99", "p99.9", "max")}}


def reloading(running, every, stop, count):
    path = Path(running.work) / "ringway.toml"
    text = path.read_text()
    while not stop.wait(every):
        count[0] += 1
        extra = f'\n[[route]]\nmatch = "/reload/{count[0]}"\nrespond = {{ status = 204 }}\n'
        path.write_text(text + extra)
        os.kill(running.process.pid, signal.SIGHUP)


def took(running):
    """Milliseconds of each reload, as the gateway tells them."""
    words = (Path(running.work) / "program.log").read_text()
    return [float(ms) for ms in re.findall(r"is in force: .*, after (\d+) ms", words)]


def control_secs(running):
    """CPU time of what is no core: the whole process, threads that have ended included, less its workers."""
    folder = Path(f"/proc/{running.process.pid}")
    spent = lambda stat: sum(map(int, stat.rsplit(")", 1)[1].split()[11:13]))
    threads = [(one / "stat").read_text() for one in (folder / "task").iterdir()]
    workers = sum(spent(stat) for stat in threads if "(worker-" in stat)
    return (spent((folder / "stat").read_text()) - workers) / processes.TICK
