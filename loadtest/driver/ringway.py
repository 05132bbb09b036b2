"""Our own configuration of a scenario, in the language that users write."""
import json


def build(c):
    s = c.scenario
    out = [f"workers = {c.workers}", "", "[[listen]]", f'address = "127.0.0.1:{c.port}"']
    if s.tls:
        out.append(f'tls = {{ certificates = [{{ cert = "{c.keys.cert}", key = "{c.keys.key}" }}] }}')
    log = f'"{c.work}/access.log"' if s.log else '"off"'
    out += ["", "[observe]", f"access_log = {log}", "", "[admin]", 'address = "off"']
    for name, port in zip(("user", "order", "notif"), c.origins):
        out += ["", f"[upstream.{name}]", f'endpoints = ["127.0.0.1:{port}"]']
    policies = []
    if s.jwt:
        (c.work / "jwks.json").write_text(json.dumps({"keys": [c.keys.jwks[s.jwt]]}))
        out += ["", "[jwt.idp]", f'jwks = "{c.work}/jwks.json"', 'issuer = "loadtest"']
        policies.append('jwt = "idp"')
    if s.limit:
        out += ["", "[limit.each]", 'rate = "1000000/s"', "burst = 100000", 'key = "{client.address}"']
        policies.append('limit = "each"')
    if s.cache:
        policies.append('cache = { ttl = "1h" }')
    route = lambda match, *lines: ["", "[[route]]", f'match = "{match}"', *lines, *policies]
    if s.merge:
        out += route(f"GET {s.path}", 'pass = { headers = "x-n" }')
        out += ["[route.merge]", 'user = { get = "user /user" }', f'orders = {{ get = "order {s.merge}" }}',
                'unread = { get = "notif /notifications", pick = "unread" }']
    elif s.routes:
        for n in range(s.routes):
            out += route(f"/api/r{n}/{{*rest}}", 'forward = "user"')
    else:
        out += route("/{*rest}", 'forward = "user"')
    out += c.more
    (c.work / "ringway.toml").write_text("\n".join(out) + "\n")
    return [c.tool("ringway"), "run", "-c", c.work / "ringway.toml"], {}
