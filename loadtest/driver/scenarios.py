"""The scenarios: what is asked, and what the gateway promises for it.

A scenario is one row here. Its flags say what every peer's configuration has to do (peers.py reads them); `target` is the
share of a peer's CPU time that we may take, and whose.
"""
import difflib
import sys
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Scenario:
    id: str
    title: str
    path: str = "/small"
    connections: int = 64
    tls: bool = False
    http2: bool = False
    streams: int = 1
    jwt: str = ""            # HS256, RS256 or ES256
    limit: bool = False
    cache: bool = False
    merge: str = ""          # path of the orders part: an aggregation of three parts
    log: bool = False
    routes: int = 0
    upstreams: int = 0       # so many besides, the routes spread over them
    keys: int = 0            # the limit counts so many apart
    idle: int = 0
    churn: int = 0           # a new connection after so many requests
    resumption: bool = True
    body: int = 0
    mix: tuple = ()
    target: tuple = ()       # (peer, ratio): at most so much of that peer's CPU time
    memory_mib: int = 0      # at most so much memory
    sweep: bool = False      # throughput against offered load is worth a chart
    headers: tuple = field(default_factory=tuple)

    @property
    def method(self):
        return "POST" if self.body else "GET"


# Every request of an aggregation has a number of its own that goes to each part: identical calls in flight are made once by
# some gateways, and then cost a fraction of what is measured here.
UNIQUE = ("X-N: {unique}",)

SCENARIOS = {s.id: s for s in [
    Scenario("S1", "forward, GET of 1 KiB, kept alive on both sides", target=("nginx", 0.75), sweep=True),
    Scenario("S2", "forward, GET of 64 KiB", path="/64k", target=("nginx", 0.9)),
    Scenario("S3", "forward, GET of 1 MiB, 16 connections", path="/1m", connections=16, target=("nginx", 0.9)),
    Scenario("S4", "S1 beside 10,000 idle clients", idle=10_000, target=("nginx", 0.8), memory_mib=20),
    Scenario("S5", "S1 over TLS 1.3 (ECDSA P-256)", tls=True, target=("nginx", 0.8), sweep=True),
    Scenario("S5b", "a full TLS handshake for each request, 32 at a time", tls=True, connections=32, churn=1,
             resumption=False, target=("nginx", 0.8)),
    Scenario("S6", "HTTP/2 without TLS, 16 connections of 16 streams", http2=True, connections=16, streams=16,
             target=("haproxy", 1.0), sweep=True),
    Scenario("S6t", "HTTP/2 over TLS, 16 connections of 16 streams", http2=True, tls=True, connections=16, streams=16,
             target=("haproxy", 1.0)),
    Scenario("S7", "S1 with an HS256 token, one and the same", jwt="HS256", target=("haproxy", 0.6)),
    Scenario("S7r", "S1 with an RS256 token, one and the same", jwt="RS256", target=("haproxy", 0.3)),
    Scenario("S7e", "S1 with an ES256 token, one and the same", jwt="ES256", target=("haproxy", 0.15)),
    Scenario("S8", "S1 with a rate limit far above the load", limit=True, target=("haproxy", 0.75)),
    Scenario("S9", "answered from the cache, 1 KiB", cache=True, target=("haproxy", 0.7)),
    Scenario("S10", "aggregate 0.5 + 8 + 1 KiB of three origins", path="/dashboard", merge="/orders", headers=UNIQUE,
             target=("nginx-lua-pasting", 0.7), sweep=True),
    Scenario("S10b", "the same with 100 KiB of orders", path="/dashboard", merge="/orders100", headers=UNIQUE,
             target=("nginx-lua-pasting", 1.0)),
    Scenario("S10c", "S10 with one origin that takes 5 ms", path="/dashboard", merge="/d5ms/orders", headers=UNIQUE),
    Scenario("S11", "TLS, RS256 token, limit, access log, 1,000 routes", tls=True, jwt="RS256", limit=True, log=True,
             routes=1000, target=("haproxy", 0.4)),
    Scenario("S11n", "S11 without the token", tls=True, limit=True, log=True, routes=1000),
    Scenario("S12a", "S1 over 10 routes", routes=10),
    Scenario("S12b", "S1 over 1,000 routes", routes=1000),
    Scenario("S12c", "S1 over 10,000 routes", routes=10_000),
    Scenario("S12d", "S1 over 10,000 routes to 1,000 upstreams", routes=10_000, upstreams=1000),
    Scenario("S12e", "S8 with 100,000 keys counted apart", limit=True, keys=100_000),
    Scenario("S13", "a new connection for each request", churn=1, target=("nginx", 0.9)),
    Scenario("S14", "forward, POST of 16 KiB", body=16 << 10),
    Scenario("S15", "a mix: 70 % 1 KiB, 20 % 64 KiB, 10 % POST of 4 KiB",
             mix=("7 GET /small", "2 GET /64k", "1 POST /small 4096")),
]}

# What a share of the words on the command line stands for.
GROUPS = {
    "all": list(SCENARIOS),
    "default": ["S1", "S10"],
}


def unknown(what, word, known):
    """Wrong usage: what was probably meant, and everything that there is."""
    near = difflib.get_close_matches(word.lower(), [one.lower() for one in known], 1)
    meant = [one for one in known if near and one.lower() == near[0]]
    print(f"loadtest: no {what} {word}" + (f"; {meant[0]} is one. All: " if meant else ". There are: ") + ", ".join(dict.fromkeys(known)),
          file=sys.stderr)
    return SystemExit(2)


def chosen(words):
    """Scenarios by the words of the command line, in the table's order; an unknown word is an error."""
    ids = []
    for word in ",".join(words or ["default"]).split(","):
        if word in GROUPS:
            ids += GROUPS[word]
        elif word in SCENARIOS:
            ids.append(word)
        else:
            raise unknown("scenario", word, [*SCENARIOS, *GROUPS, "attack", "reload", "overload", "scale"])
    return [s for key, s in SCENARIOS.items() if key in ids]
