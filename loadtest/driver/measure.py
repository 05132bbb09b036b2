"""One measurement: origin, program and load started, one answer checked, CPU time and memory read, everything ended."""
import http.client
import json
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from types import SimpleNamespace

from . import keys as made
from . import machine, processes, standing

PORT, ORIGINS = 18_680, (18_681, 18_682, 18_683)


@dataclass
class Bench:
    """What all measurements of a run share."""
    work: object
    tools: dict
    keys: object
    secs: float = 4
    warm: float = 0.5
    rates: dict = field(default_factory=dict)     # scenario and workers: requests a second that ours answered, closed loop

    @staticmethod
    def make(work, tools, secs):
        work.mkdir(parents=True, exist_ok=True)
        return Bench(work, {name: str(path) for name, path in tools.items()}, made.make(work), secs)


class Running:
    """A program under measurement, with its origin; used by `with`."""

    def __init__(self, bench, peer, scenario, workers, places=None):
        self.bench, self.peer, self.scenario, self.workers = bench, peer, scenario, workers
        self.work = bench.work / "run" / peer.name
        self.cpus, self.load_cpus = places or machine.places(workers)
        self.started = []
        self.token = bench.keys.token(scenario.jwt) if scenario.jwt else None

    def __enter__(self):
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        tool = lambda name: self.bench.tools.get(name, name)
        context = SimpleNamespace(scenario=self.scenario, port=PORT, origins=ORIGINS, workers=self.workers, work=self.work,
                                  keys=self.bench.keys, tool=tool)
        argv, env = self.peer.build(context)
        for port in (PORT, *ORIGINS):
            processes.must_be_free(port)
        try:
            self.origin = self.start([tool("origin"), *ORIGINS], self.load_cpus, "origin.log")
            processes.wait_for_port(ORIGINS[0], self.origin)
            self.process = self.start(argv, self.cpus, "program.log", env)
            processes.wait_for_port(PORT, self.process)
            self.check()
        except BaseException as error:
            # Only who has ended by itself has said why.
            ended = any(process.poll() is not None for process in self.started)
            words = self.last_words() if ended else ""
            self.__exit__()
            if isinstance(error, RuntimeError) and words:
                raise RuntimeError(f"{error}; its last words: {words}") from None
            raise
        return self

    def __exit__(self, *_):
        for process in reversed(self.started):
            processes.stop(process)

    def start(self, argv, cpus, log, env=None):
        process = processes.start(argv, cpus, self.work / log, env, cwd=self.work)
        self.started.append(process)
        return process

    @property
    def is_direct(self):
        return self.peer.name == "direct"

    def arguments(self, secs, rate=None, requests=None, connections=None, like=None):
        """The generator's command line for this scenario. The direct path has neither TLS nor HTTP/2 in front."""
        s, direct = self.scenario, self.is_direct
        secure = s.tls and not direct
        argv = ["taskset", "-c", self.load_cpus, self.bench.tools["load"], "--json", "--secs", f"{secs:.3f}",
                "--connections", connections or s.connections, "--churn", s.churn,
                f"{'https' if secure else 'http'}://127.0.0.1:{PORT}{s.path}"]
        argv += ["--ca", self.bench.keys.ca] if secure else []
        argv += ["--http2", "--streams", s.streams] if s.http2 and not direct else []
        argv += [] if s.resumption else ["--no-resumption"]
        argv += [] if self.peer.same_body else ["--any-body"]
        argv += ["--rate", f"{rate:.3f}"] if rate else []
        argv += ["--requests", requests] if requests else []
        if like:
            # What an earlier run learnt from its first answer: where many are refused, the first may be one of those.
            argv += ["--expect-status", like["status"], "--expect-length", like["length"], "--expect-hash", like["hash"]]
        for line in self.mix():
            argv += ["--mix", line]
        fields = list(s.headers) + ([f"Authorization: Bearer {self.token}"] if self.token else [])
        for line in fields:
            argv += ["--header", line]
        return argv

    def mix(self):
        s = self.scenario
        if s.merge and self.is_direct:
            return ["GET /user", f"GET {s.merge}", "GET /notifications"]
        if s.keys:
            return [f"GET /k{{0..{s.keys}}}/x"]
        if s.routes:
            return [f"GET /api/r{{0..{s.routes}}}/x"]
        if s.body:
            return [f"POST {s.path} {s.body}"]
        return list(s.mix)

    def load(self, secs, **more):
        argv = self.arguments(secs, **more)
        done = subprocess.run([str(word) for word in argv], capture_output=True, text=True, timeout=secs + 90,
                              preexec_fn=processes.descriptors)
        self.must_run()
        if not done.stdout.startswith("{"):
            raise RuntimeError(f"the load generator: {done.stderr.strip()[-300:]}")
        return json.loads(done.stdout)

    def check(self):
        """One answer must be what the scenario means, and a forged token must be refused."""
        s = self.scenario
        seen = self.load(10, requests=max(1, len(self.mix())), connections=1)
        statuses = seen["statuses"]
        if set(statuses) != {"200"}:
            raise RuntimeError(f"it answers {statuses} ({seen['examples']})")
        if s.merge and not self.is_direct:
            connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=10)
            connection.request("GET", s.path, headers={"X-N": "0"})
            document = json.loads(connection.getresponse().read())
            connection.close()
            right = (set(document) == {"user", "orders", "unread"} and document["unread"] == 7
                     and document["user"]["id"] == "u-1029384" and len(document["orders"]) > 20)
            if not right:
                raise RuntimeError(f"its document is not the dashboard: {sorted(document)}")
        if self.token and not self.is_direct:
            good, self.token = self.token, made.forged(self.token)
            refused = self.load(10, requests=1, connections=1)["statuses"]
            self.token = good
            if not set(refused) <= {"401", "403"}:
                raise RuntimeError(f"a forged token is answered {refused}")

    def must_run(self):
        """A figure of a program that died meanwhile is none."""
        for process, which in ((self.process, "it"), (self.origin, "the origin")):
            if process.poll() is not None:
                code = process.returncode
                raise RuntimeError(f"{which} " + (f"was ended by signal {-code}" if code < 0 else f"ended with code {code}") + " under load")

    def measured(self, secs, **more):
        """The generator's report with CPU time of program and origin for each answer."""
        before, origin_before = processes.cpu(self.process.pid), processes.cpu(self.origin.pid)
        started = time.monotonic()
        seen = self.load(secs, **more)
        elapsed = time.monotonic() - started
        after, origin_after = processes.cpu(self.process.pid), processes.cpu(self.origin.pid)
        answers = max(1, seen["answers"])
        seen["user_us"] = (after[0] - before[0]) / answers * 1e6
        seen["system_us"] = (after[1] - before[1]) / answers * 1e6
        seen["cpu_us"] = seen["user_us"] + seen["system_us"]
        seen["origin_us"] = (sum(origin_after) - sum(origin_before)) / answers * 1e6
        seen["core_used"] = (sum(after) - sum(before)) / elapsed
        seen["memory_mib"] = processes.memory_mib(self.process.pid)
        return seen

    def last_words(self):
        try:
            return "\n".join((self.work / "program.log").read_text().strip().splitlines()[-3:])[-500:]
        except OSError:
            return ""


class IdleClients:
    """Clients that only stand, for as long as the block lasts."""

    def __init__(self, running):
        self.running, self.process = running, None

    def __enter__(self):
        s = self.running.scenario
        if not s.idle:
            return
        self.process = standing.start(self.running.load_cpus, PORT, s.idle)
        self.running.started.append(self.process)

    def __exit__(self, *_):
        if self.process:
            processes.stop(self.process)


def closed(bench, peer, scenario, workers, open_too=True):
    """CPU time at saturation, then latency at half of what ours answered: one row of a round."""
    with Running(bench, peer, scenario, workers) as running, IdleClients(running):
        running.load(bench.warm)
        row = running.measured(bench.secs)
        key = f"{scenario.id}/{workers}"
        if peer.name == "ringway" and key not in bench.rates:
            bench.rates[key] = row["good_rate"]
        if open_too and key in bench.rates:
            at = bench.rates[key] / 2
            seen = running.load(max(1.0, bench.secs / 2), rate=at)
            row["open"] = {name: seen[name] for name in ("asked_rate", "good_rate", "unsent", "failed", "latency_us", "lag_us")}
        row["service_us"].pop("counts", None) if row["service_us"] else None
        row["latency_us"].pop("counts", None) if row["latency_us"] else None
        return row


def sweep(bench, peer, scenario, workers, shares=(0.25, 0.5, 0.75, 0.9, 1.0, 1.25)):
    """What is answered when more and more is asked: one point for each share of what ours can do."""
    best = bench.rates.get(f"{scenario.id}/{workers}")
    points = []
    if not best:
        return points
    with Running(bench, peer, scenario, workers) as running:
        running.load(bench.warm)
        for share in shares:
            seen = running.load(max(1.0, bench.secs / 2), rate=best * share)
            latency = seen["latency_us"] or {}
            points.append({"asked": best * share, "answered": seen["good_rate"], "p50": latency.get("p50"),
                           "p99": latency.get("p99"), "unsent": seen["unsent"], "failed": seen["failed"]})
    return points
