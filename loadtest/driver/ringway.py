"""Our own configuration of a scenario, in the language that users write."""
import json
from dataclasses import dataclass


@dataclass(frozen=True)
class Extra:
    """What a measurement adds to the scenario's configuration; @WORK@ stands for its folder."""
    route: str = ""        # lines of every route
    tables: str = ""       # tables beside them
    access_log: str = ""   # in place of the scenario's
    observe: str = ""      # further lines of [observe]


def build(c, extra=Extra(), program="ringway"):
    s = c.scenario
    here = lambda text: text.replace("@WORK@", str(c.work))
    out = [f"workers = {c.workers}", "", "[[listen]]", f'address = "127.0.0.1:{c.port}"']
    if s.tls:
        out.append(f'tls = {{ certificates = [{{ cert = "{c.keys.cert}", key = "{c.keys.key}" }}] }}')
    log = here(extra.access_log) or (f'"{c.work}/access.log"' if s.log else '"off"')
    out += ["", "[observe]", f"access_log = {log}", *extra.observe.splitlines(), "", "[admin]", 'address = "off"']
    for name, port in zip(("user", "order", "notif"), c.origins):
        out += ["", f"[upstream.{name}]", f'endpoints = ["127.0.0.1:{port}"]']
    out += here(extra.tables).splitlines()
    policies = extra.route.splitlines()
    if s.jwt:
        (c.work / "jwks.json").write_text(json.dumps({"keys": [c.keys.jwks[s.jwt]]}))
        out += ["", "[jwt.idp]", f'jwks = "{c.work}/jwks.json"', 'issuer = "loadtest"']
        policies.append('jwt = "idp"')
    if s.limit:
        key = "{path.key}" if s.keys else "{client.address}"
        out += ["", "[limit.each]", 'rate = "1000000/s"', "burst = 100000", f'key = "{key}"']
        policies.append('limit = "each"')
    if s.cache:
        policies.append('cache = { ttl = "1h" }')
    route = lambda match, *lines: ["", "[[route]]", f'match = "{match}"', *lines, *policies]
    if s.merge:
        out += route(f"GET {s.path}", 'pass = { headers = "x-n" }')
        out += ["[route.merge]", 'user = { get = "user /user" }', f'orders = {{ get = "order {s.merge}" }}',
                'unread = { get = "notif /notifications", pick = "unread" }']
    elif s.routes:
        for n in range(s.upstreams):
            out += ["", f"[upstream.u{n}]", f'endpoints = ["127.0.0.1:{c.origins[0]}"]']
        for n in range(s.routes):
            upstream = f"u{n % s.upstreams}" if s.upstreams else "user"
            out += route(f"/api/r{n}/{{*rest}}", f'forward = "{upstream}"')
    elif s.keys:
        out += route("/{key}/x", 'forward = "user"')
    else:
        out += route("/{*rest}", 'forward = "user"')
    (c.work / "ringway.toml").write_text("\n".join(out) + "\n")
    return [c.tool(program), "run", "-c", c.work / "ringway.toml"], {}


def build_by_profile(c):
    """The same for the program that loadtest/pgo made."""
    return build(c, program="ringway-pgo")
