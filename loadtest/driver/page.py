"""The report as one page: no script, nothing fetched, readable on a phone, on paper and in the dark."""
from html import escape

from . import charts

STYLE = """
:root { --ink: #1c2330; --soft: #5b6577; --paper: #fff; --card: #f6f7f9; --line: #dfe3ea; --ours: #0b6bcb; --ours2: #7db4ea;
  --theirs: #7a8497; --theirs2: #b9c0cc; --direct: #a8927a; --direct2: #d6c8b6; --good: #1a7f42; --bad: #b3261e;
  --c0: #a8927a; --c1: #0b6bcb; --c2: #2f8f5b; --c3: #c2571a; --c4: #8a4fbf; --c5: #b0892b; --c6: #c0416f;
  --c7: #007d86; --c8: #6b7d12; --c9: #555f70; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ef; --soft: #9aa4b5; --paper: #14171c; --card: #1c2027; --line: #313843;
  --ours: #5aa9f5; --ours2: #2c5f93; --theirs: #8b95a7; --theirs2: #4d5665; --direct: #b89f82; --direct2: #6a5b48;
  --good: #5cc784; --bad: #f2877f; --c0: #b89f82; --c1: #5aa9f5; --c2: #5cc784; --c3: #f08c4e; --c4: #bb8be8; --c5: #d9b455; --c6: #ee7ba5;
  --c7: #45c3cc; --c8: #b6c94a; --c9: #9aa4b5; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, "DejaVu Sans", sans-serif; }
main { max-width: 1240px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 27px; line-height: 1.2; margin: 0 0 6px; } h2 { font-size: 20px; margin: 44px 0 4px; }
h3 { font-size: 14px; margin: 0 0 6px; } p { max-width: 75ch; } .soft { color: var(--soft); } a { color: var(--ours); }
nav { margin: 14px 0; line-height: 2; } nav a { margin-right: 14px; text-decoration: none; white-space: nowrap; }
.grid2 { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 480px), 1fr)); gap: 16px; }
.column { display: flex; flex-direction: column; gap: 16px; min-width: 0; } .card { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 14px 16px; }
svg { width: 100%; min-width: 440px; height: auto; display: block; } svg text { fill: var(--ink); font-size: 12px; }
svg .small { fill: var(--soft); font-size: 10.5px; } svg .ours { font-weight: 700; } svg .value { font-variant-numeric: tabular-nums; }
.grid { stroke: var(--line); } .range { stroke: var(--ink); fill: none; opacity: .75; }
.bar.theirs.part0 { fill: var(--theirs); } .bar.theirs.part1 { fill: var(--theirs2); }
.bar.ours.part0 { fill: var(--ours); } .bar.ours.part1 { fill: var(--ours2); }
.bar.direct.part0 { fill: var(--direct); } .bar.direct.part1 { fill: var(--direct2); }
.line { fill: none; stroke-width: 1.8; } .line.ours { stroke-width: 3; }
""" + "".join(f".line.c{n} {{ stroke: var(--c{n}); }} .point.c{n} {{ fill: var(--c{n}); }} svg .name.c{n} {{ fill: var(--c{n}); }}\n"
              for n in range(len(charts.DASHES))) + """
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 10px; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child, th.words { text-align: left; } td.words { white-space: normal; text-align: left; min-width: 16em; }
th { color: var(--soft); font-weight: 600; font-size: 13px; } tr.ours td { font-weight: 700; }
.met { color: var(--good); font-weight: 700; } .missed { color: var(--bad); font-weight: 700; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 14px; margin: 8px 0; } dt { color: var(--soft); } dd { margin: 0; }
code { font: 13px ui-monospace, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; } details { margin-top: 10px; } summary { cursor: pointer; }
"""


def kind(peer):
    return {"ringway": "ours", "direct": "direct"}.get(peer, "theirs")


def named(peer):
    return {"direct": "no gateway"}.get(peer, peer)


def ordered(peers):
    """The direct path first, ours second, then the cheapest."""
    rank = {"direct": 0, "ringway": 1}
    return sorted(peers.items(), key=lambda item: (rank.get(item[0], 2), item[1]["cpu_us"][0]))


def row(cells, head=False, kind=""):
    tag = "th" if head else "td"
    cells = [cell if isinstance(cell, tuple) else (cell, "") for cell in cells]
    out = "".join(f'<{tag} class="{style}">{words}</{tag}>' for words, style in cells)
    return f'<tr class="{kind}">{out}</tr>'


def tabled(head, rows):
    return f'<div class="scroll"><table>{row(head, True)}{"".join(rows)}</table></div>'


def card(title, body, note=""):
    note = f'<p class="soft" style="margin:6px 0 0;font-size:13px">{note}</p>' if note else ""
    return f'<div class="card"><h3>{title}</h3>{body}{note}</div>' if body else ""


def overview(entries):
    rows = []
    for one in entries:
        t, ours = one["target"], one["peers"].get("ringway")
        if not ours or one["workers"] > 1:
            continue
        # A floor is no proxy and another build of ours no peer: neither is what somebody could run instead.
        rivals = [(name, p) for name, p in one["peers"].items() if kind(name) == "theirs" and not name.startswith(("floor-", "ringway-"))]
        best = min(rivals, key=lambda item: item[1]["cpu_us"][0], default=None)
        ratio, theirs = "", ""
        if best:
            r = best[1]["ours_to_theirs"]
            theirs = f"{escape(best[0])} {best[1]['cpu_us'][0]:.1f} µs"
            ratio = f"{r[0]:.2f} ({r[1]:.2f}–{r[2]:.2f})" if r else ""
        promise, kept = "", ("", "")
        if t and t["ratio"] is not None:
            promise = f"≤ {t['ratio_max']} × {escape(t['peer'])}"
            promise += f", {t['memory_mib_max']} MiB" if "memory_mib_max" in t else ""
            figure = f"{t['ratio']:.2f}" + (f", {t['memory_mib']:.0f} MiB" if "memory_mib" in t else "")
            kept = (f"{figure}: met", "met") if t["met"] else (f"{figure}: not met", "missed")
        anchor = f'<a href="#{one["scenario"]}-{one["workers"]}">{one["scenario"]}</a>'
        rows.append(row([anchor, (escape(one["title"]), "words"), f"{ours['cpu_us'][0]:.1f} µs", theirs, ratio, promise, kept]))
    head = ["", ("scenario", "words"), "Ringway", "cheapest peer", "ours to theirs", "promise", ""]
    return tabled(head, rows) if rows else ""


def cpu_chart(one):
    rows = [(named(name), kind(name), [("user", p["user_us"]), ("system", p["system_us"])], p["cpu_us"][1], p["cpu_us"][2])
            for name, p in ordered(one["peers"])]
    return charts.bars(rows, "µs", "CPU time for each request")


def latency_chart(one):
    series = [(named(name), kind(name), p["open"]["quantiles_us"]) for name, p in ordered(one["peers"]) if p["open"]]
    return charts.latency(series, "latency percentiles") if series else ""


def memory_chart(one):
    rows = [(named(name), kind(name), [("", p["memory_mib"][0])], p["memory_mib"][1], p["memory_mib"][2])
            for name, p in ordered(one["peers"])]
    return charts.bars(rows, "MiB", "memory")


def rate_chart(one):
    rows = [(named(name), kind(name), [("", p["rate"][0])], p["rate"][1], p["rate"][2]) for name, p in ordered(one["peers"])]
    return charts.bars(rows, "a second", "answers a second at saturation")


def section(one, sweep):
    many = f", {one['workers']} workers" if one["workers"] > 1 else ""
    anchor = f"{one['scenario']}-{one['workers']}"
    rates = [p["open"]["asked_rate"] for p in one["peers"].values() if p["open"]]
    asked = f"at {rates[0]:,.0f} requests a second, half of what Ringway can do here" if rates else ""
    late = [named(name) for name, p in one["peers"].items() if p["open"] and p["open"]["answered_share"] < 0.98]
    asked += f". Not able to answer so many: {', '.join(map(escape, late))}" if late else ""
    left = [
        card("CPU time for each request, µs", cpu_chart(one), "dark: user, light: system; the line from the least to the most of the rounds"),
        card("Answers a second at saturation", rate_chart(one), "the load's own core may be the limit"),
        card("Memory, MiB (Pss)", memory_chart(one)),
    ]
    right = [card("Latency from the intended start", latency_chart(one), asked)]
    if sweep:
        series = [(named(name), kind(name), points) for name, points in sweep.items() if points]
        right.append(card("Throughput against offered load", charts.offered(series, "answered against asked"),
                          "a straight line answers whatever it is asked"))
        right.append(card("p99 against offered load", charts.offered_p99(series, "p99 against asked"),
                          "from the intended start: what could not even be sent waits, and counts"))
    # Without open loops nothing stands at the right: then the first three share the width.
    columns = "".join(f'<div class="column">{"".join(part)}</div>' for part in (left, right)) if any(right) else "".join(left)
    rows = []
    for name, p in ordered(one["peers"]):
        quantiles = dict(map(tuple, p["open"]["quantiles_us"])) if p["open"] else {}
        ratio = p["ours_to_theirs"]
        rows.append(row([
            named(name), f"{p['cpu_us'][0]:.2f} ({p['cpu_us'][1]:.2f}–{p['cpu_us'][2]:.2f})", f"{p['user_us']:.2f}", f"{p['system_us']:.2f}",
            f"{ratio[0]:.2f} ({ratio[1]:.2f}–{ratio[2]:.2f})" if ratio and kind(name) == "theirs" else "",
            *[charts.micros(quantiles.get(share)) for share in (0.5, 0.9, 0.99, 0.999)],
            f"{p['memory_mib'][0]:.1f}", f"{p['rate'][0]:,.0f}", f"{p['core_used'] * 100:.0f} %", str(p["failed"])], kind=kind(name)))
    head = ["", "CPU µs a request", "user", "system", "ours to theirs", "p50", "p90", "p99", "p99.9", "MiB", "answers a second",
            "core used", "failed"]
    kept = one["target"]
    said = ""
    if kept and kept["ratio"] is not None:
        said = f'<p>Promise: at most {kept["ratio_max"]} of {escape(kept["peer"])}. ' + (
            '<span class="met">Met.</span></p>' if kept["met"] else '<span class="missed">Not met.</span></p>')
    return (f'<h2 id="{anchor}">{one["scenario"]}: {escape(one["title"])}{many}</h2>{said}<div class="grid2">{columns}</div>'
            f"<details><summary>All figures</summary>{tabled(head, rows)}</details>")


def machine_list(report):
    m = report["machine"]
    facts = {
        "When": report["date"], "Commit": report["commit"],
        "Command": f"<code>{escape(report['command'])}</code>",
        "Machine": f"{m['cpus']} CPUs, {escape(m['cpu_model'])}, {m['memory_gib']} GiB, {m['virtual']}",
        "System": f"{escape(m['system'])}, Linux {escape(m['kernel'])}, clock {escape(m['clocksource'])}, governor {escape(m['governor'])}",
        "Rounds": f"{report['rounds']} of {report['secs']} s each, programs taking turns; load average before: {m['load_before']}",
        "Programs": "; ".join(f"{escape(name)}: {escape(version)}" for name, version in report["versions"].items()),
    }
    if report.get("note"):
        facts["Note"] = escape(report["note"])
    return "<dl>" + "".join(f"<dt>{word}</dt><dd>{fact}</dd>" for word, fact in facts.items()) + "</dl>"


METHOD = """
<h2 id="method">How it is measured</h2>
<p><b>CPU time for each request</b> is user and system time of the program's whole process tree, divided by the requests it
answered while a closed loop kept it busy. It holds on a shared machine, where requests per second do not. Ratios are taken within
a round and their median is shown, so that what the machine does in a round falls on both.</p>
<p><b>Latency</b> comes from an open loop: requests start at a fixed rate, whatever the server does, and each latency counts from
the start that was meant. A generator that waits for an answer before it asks again stops asking just while the server stands
still, and reports one slow request where users would have met hundreds (coordinated omission). Percentiles are read from one
histogram of all rounds; they are never averaged.</p>
<p><b>No gateway</b> is the origin itself on the core of the program under measurement, asked by the same generator over plain
HTTP/1.1: what is left of a bar above it is what a gateway costs. For aggregations it answers one of the parts at a time.</p>
<p>While loading, status, length and a hash of the body of every answer are checked; a program that answers anything else has it
in the column <i>failed</i>. All traffic is on loopback: no network card, no distance. With one worker the program has a core of its own; origin
and load share the others. Absolute figures of two machines or two days are not comparable; ratios of one run are.</p>
"""


def scale_table(of):
    many = next(iter(of.values()))["workers"]
    spread = lambda v: f"{v[0]:.2f} ({v[1]:.2f}–{v[2]:.2f})"
    rows = [row([name, (escape(v["title"]), "words"), *[f"{cost[0]:.1f} ({cost[1]:.1f}–{cost[2]:.1f})" for cost in v["cpu_us"].values()],
                 f"<b>{spread(v['factor'])}</b>", spread(v["of_processes"])]) for name, v in of.items()]
    return (f'<h2 id="scale">One worker, and {many}</h2><p>CPU µs for each request. {many} workers do {many} × cost(1) / cost({many}) of one. Processes of '
            f"one worker each share nothing: where they do {many}, the last column is what one process with {many} workers does.</p>"
            + tabled(["", ("scenario", "words"), "one, load on another core", f"{many} processes of one", f"{many} workers",
                      "of one", f"where processes do {many}"], rows))


def extra_tables(report):
    out = ""
    if report.get("attacks"):
        a = report["attacks"]
        rows = [row([(escape(r["attack"]), ""), (escape(r["load"]), "words"), f"{r['quiet_p50']:.2f} / {r['quiet_p99']:.2f}",
                     f"{r['under_p50']:.2f} / {r['under_p99']:.2f}", f"{r['under_p99'] / r['quiet_p99']:.2f}", str(r["failed"]), f"{r['memory_mib']:.0f}",
                     ("held", "met") if r["held"] else ("not held", "missed")]) for r in a]
        out += ('<h2 id="attacks">Honest clients beside attackers</h2><p>Latencies in ms of 275 honest requests a second, quiet and under '
                "attack. Held: none failed, and the p99 is within twice the quiet one or within 2 ms of it.</p>"
                + tabled(["attack", ("load", "words"), "quiet p50 / p99", "under attack", "ratio of p99", "failed", "MiB", ""], rows))
    if report.get("scale"):
        out += scale_table(report["scale"])
    if report.get("reload"):
        r = report["reload"]
        ms = lambda value: f"{value:.0f} ms" if value else "–"
        rows = [row([words, str(v["reloads"]), f"{v['answers']:,}", str(v["failed"]), *[charts.micros(v[q]) for q in ("p50", "p99", "p99.9", "max")],
                     ms(v.get("took_ms")), ms(v.get("control_ms"))]) for words, v in r.items()]
        out += ('<h2 id="reload">Reloads under load</h2><p>An open loop at half of capacity while the configuration is installed '
                "again and again (SIGHUP), beside the same load without.</p>"
                + tabled(["", "reloads", "answers", "failed", "p50", "p99", "p99.9", "longest", "in force after", "CPU each"], rows))
    if report.get("overload"):
        rows = [row([words, f"{v['best_rate']:,.0f}/s", f"{v['asked_rate']:,.0f}/s", f"{v['good_rate']:,.0f}/s", f"{v['goodput']:.2f}",
                     f"{v['shed']:,}", f"{v['shed_us']:.1f} µs", f"{v['good_us']:.0f} µs", charts.micros(v["best_p99"]), charts.micros(v["p99"])])
                for words, v in report["overload"].items()]
        out += ('<h2 id="overload">Three times of what can be answered</h2><p>An open loop at three times of the best, while '
                "<code>concurrency</code> admits what can be served and sheds the rest.</p>"
                + tabled(["bottleneck", "best", "asked", "answered", "of the best", "shed", "a shed one costs", "an admitted one costs",
                          "p99 at best", "p99 of admitted"], rows))
    if report.get("left_out"):
        items = "".join(f"<li>{escape(line)}</li>" for line in report["left_out"])
        out += f'<h2 id="left-out">Left out</h2><ul>{items}</ul>'
    return out


def page(report):
    entries = report["results"]
    links = " ".join(f'<a href="#{e["scenario"]}-{e["workers"]}">{e["scenario"]}{" ×" + str(e["workers"]) if e["workers"] > 1 else ""}</a>'
                    for e in entries)
    for key, word in (("attacks", "attacks"), ("reload", "reload"), ("overload", "overload"), ("scale", "scale"), ("left_out", "left-out")):
        links += f' <a href="#{word}">{word.replace("-", " ")}</a>' if report.get(key) else ""
    links += ' <a href="#method">how it is measured</a>'
    sections = "".join(section(e, report["sweeps"].get(f"{e['scenario']}/{e['workers']}")) for e in entries)
    return (f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
            f"<title>Ringway under load, {escape(report['date'])}</title><style>{STYLE}</style></head><body><main>"
            f"<h1>Ringway under load</h1><p class=\"soft\">What a request costs, beside what others take for it, on one machine in the "
            f"same minutes.</p>{machine_list(report)}<nav>{links}</nav>{overview(entries)}{sections}{extra_tables(report)}{METHOD}</main></body></html>")
