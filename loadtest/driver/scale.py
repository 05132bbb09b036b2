"""Scaling: what a request costs with one worker and with one on each core, by CPU time, so that the load may share the cores.

As many requests a second as workers could answer if nothing else ran on their cores are `workers / CPU time for each`. So two
workers do `2 × cost(1) / cost(2)` of one. The load and the origin have to run somewhere: beside the workers they push each
other out of caches, which is no fault of the second worker. So one worker is measured twice, with the load on other cores and
with the load on its own core; against the latter both have the same company on every core.
"""
from . import figures, machine
from .measure import Running
from .peers import PEERS
from .scenarios import SCENARIOS

# A forward; a limit whose slot all cores share; the cache; a merge.
WANTED = ("S1", "S8", "S9", "S10")


def placements():
    """{words: (workers, cpus of the program, cpus of origin and load)}; empty where there is one core only."""
    apart = machine.places(1)
    cores = apart[0].split(",") + apart[1].split(",")
    if len(set(cores)) < 2:
        return {}
    every = ",".join(cores)
    return {"one, load apart": (1, *apart), "one, load beside": (1, apart[0], apart[0]), "all": (len(cores), every, every)}


def run(bench, secs, rounds, progress):
    """{scenario: figures}, placements taking turns round by round."""
    out, places = {}, placements()
    for name in WANTED if places else ():
        cost, user = {words: {} for words in places}, {words: [] for words in places}
        for at in range(rounds):
            for words in turned(list(places), at):
                progress.show(f"scale {name}, {words}")
                seen = measured(bench, secs, SCENARIOS[name], *places[words])
                if seen["failed"]:
                    raise RuntimeError(f"scale {name}: {seen['failed']} answers were wrong: {seen['examples']}")
                cost[words][at] = seen["cpu_us"]
                user[words].append(seen["user_us"])
                progress.step()
        workers = places["all"][0]
        factor = lambda words: [workers * ratio for ratio in figures.ratios(cost[words], cost["all"])]
        out[name] = {"workers": workers, "title": SCENARIOS[name].title,
                     "cpu_us": {words: figures.spread(list(values.values())) for words, values in cost.items()},
                     "user_us": {words: figures.median(values) for words, values in user.items()},
                     "factor": figures.spread(factor("one, load beside")),
                     "factor_apart": figures.spread(factor("one, load apart"))}
    return out


def turned(words, at):
    return words[at % len(words):] + words[:at % len(words)]


def measured(bench, secs, scenario, workers, cpus, load_cpus):
    """As many connections for each worker, whatever their number."""
    with Running(bench, PEERS["ringway"], scenario, workers, places=(cpus, load_cpus)) as running:
        many = scenario.connections * workers
        running.load(bench.warm, connections=many)
        return running.measured(secs, connections=many)


def steps(rounds):
    return len(WANTED) * len(placements()) * rounds


def lines(scale):
    """For the terminal."""
    return [f"scale, {name}: {v['workers']} workers do {v['factor'][0]:.2f} ({v['factor'][1]:.2f}–{v['factor'][2]:.2f}) of one with the load "
            f"on its core, {v['factor_apart'][0]:.2f} of one whose core has nothing else; CPU µs a request: "
            + ", ".join(f"{words} {cost[0]:.1f}" for words, cost in v["cpu_us"].items()) for name, v in scale.items()]
