"""Scaling: what a request costs with one worker and with one on each core, by CPU time, so that the load may share the cores.

As many requests a second as workers could answer if nothing else ran on their cores are `workers / CPU time for each`. So two
workers do `2 × cost(1) / cost(2)` of one. The load and the origin have to run somewhere, and beside the workers they take caches and
turns from them, which is no fault of the second worker: so there is a third measurement, of as many processes of one worker
each on the same port (the kernel deals out connections, as it does among workers). They share nothing; what one process with as
many workers costs above them is what its workers share.
"""
import os
from dataclasses import replace
from types import SimpleNamespace

from . import figures, machine, ringway
from .measure import Running
from .peers import PEERS
from .scenarios import SCENARIOS

# A forward; a limit whose slot all cores share; the cache; a merge.
WANTED = ("S1", "S8", "S9", "S10")


APART, PROCESSES, ALL = "one, load apart", "as many processes", "all"


def placements():
    """{words: (workers, cpus of the program, cpus of origin and load)}; empty where there is one core only."""
    apart = machine.places(1)
    cores = ",".join(apart).split(",")
    if len(set(cores)) < 2:
        return {}
    every = ",".join(cores)
    return {APART: (1, *apart), PROCESSES: (len(cores), every, every), ALL: (len(cores), every, every)}


def processes_of_one(c):
    """A process of one worker for each core, all listening on the same port."""
    argv, env = ringway.build(SimpleNamespace(**{**vars(c), "workers": 1}))
    one = " ".join(map(str, argv))
    each = " ".join(f"taskset -c {cpu} {one} &" for cpu in sorted(os.sched_getaffinity(0)))
    return ["sh", "-c", f"{each} wait"], env


def run(bench, secs, rounds, progress):
    """{scenario: figures}, placements taking turns round by round."""
    out, places = {}, placements()
    for name in WANTED if places else ():
        cost, user = {words: {} for words in places}, {words: [] for words in places}
        for at in range(rounds):
            for words in turned(list(places), at):
                progress.show(f"scale {name}, {words}")
                peer = replace(PEERS["ringway"], build=processes_of_one) if words == PROCESSES else PEERS["ringway"]
                seen = measured(bench, secs, peer, SCENARIOS[name], *places[words])
                if seen["failed"]:
                    raise RuntimeError(f"scale {name}: {seen['failed']} answers were wrong: {seen['examples']}")
                cost[words][at] = seen["cpu_us"]
                user[words].append(seen["user_us"])
                progress.step()
        workers = places[ALL][0]
        factor = lambda words: figures.spread([workers * ratio for ratio in figures.ratios(cost[words], cost[ALL])])
        out[name] = {"workers": workers, "title": SCENARIOS[name].title,
                     "cpu_us": {words: figures.spread(list(values.values())) for words, values in cost.items()},
                     "user_us": {words: figures.median(values) for words, values in user.items()},
                     "factor": factor(APART), "of_processes": factor(PROCESSES)}
    return out


def turned(words, at):
    return words[at % len(words):] + words[:at % len(words)]


def measured(bench, secs, peer, scenario, workers, cpus, load_cpus):
    """As many connections for each worker, whatever their number."""
    with Running(bench, peer, scenario, workers, places=(cpus, load_cpus)) as running:
        many = scenario.connections * workers
        running.load(bench.warm, connections=many)
        return running.measured(secs, connections=many)


def steps(rounds):
    return len(WANTED) * len(placements()) * rounds


def lines(scale):
    """For the terminal."""
    spread = lambda v: f"{v[0]:.2f} ({v[1]:.2f}–{v[2]:.2f})"
    return [f"scale, {name}: {v['workers']} workers do {spread(v['factor'])} of one whose core has nothing else, and {spread(v['of_processes'])} where "
            f"{v['workers']} processes of one worker do {v['workers']}; CPU µs a request: "
            + ", ".join(f"{words} {cost[0]:.1f}" for words, cost in v["cpu_us"].items()) for name, v in scale.items()]
