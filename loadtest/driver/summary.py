"""From rows of rounds to what a report says: medians, ratios within rounds, histograms merged, targets met or not."""
from . import figures, scale
from .scenarios import SCENARIOS


def summarise(rows, scenarios, workers):
    """rows: {(scenario, workers): {peer: {round: row}}}. A list of one entry for each scenario and number of workers."""
    out = []
    for count in workers:
        for scenario in scenarios:
            measured = rows.get((scenario.id, count), {})
            if measured:
                out.append(entry(scenario, count, measured))
    return out


def entry(scenario, workers, measured):
    ours = {n: row["cpu_us"] for n, row in measured.get("ringway", {}).items()}
    peers = {}
    for peer, rounds in measured.items():
        of = lambda name: [row[name] for row in rounds.values()]
        opened = [row["open"] for row in rounds.values() if row.get("open")]
        histogram = figures.merged(one["latency_us"] for one in opened)
        theirs = {n: row["cpu_us"] for n, row in rounds.items()}
        peers[peer] = {
            "rounds": len(rounds),
            "cpu_us": figures.spread(of("cpu_us")),
            "user_us": figures.median(of("user_us")),
            "system_us": figures.median(of("system_us")),
            "memory_mib": figures.spread(of("memory_mib")),
            "rate": figures.spread(of("good_rate")),
            "core_used": figures.median(of("core_used")),
            "failed": sum(of("failed")),
            "failures": sorted({example for row in rounds.values() for example in row["examples"]})[:3],
            "ours_to_theirs": figures.spread(figures.ratios(ours, theirs)) if peer != "ringway" else None,
            "open": open_loop(opened, histogram),
        }
    return {"scenario": scenario.id, "title": scenario.title, "workers": workers, "peers": peers,
            "target": target(scenario, peers) if workers == 1 else None}


def open_loop(opened, histogram):
    if not opened:
        return None
    asked = sum(one["asked_rate"] for one in opened)
    return {
        "asked_rate": asked / len(opened),
        "answered_share": min(1.0, sum(one["good_rate"] for one in opened) / asked),
        "unsent": sum(one["unsent"] for one in opened),
        "failed": sum(one["failed"] for one in opened),
        "lag_p99_us": figures.median([(one["lag_us"] or {}).get("p99") for one in opened]),
        "quantiles_us": figures.quantiles(histogram),
    }


def target(scenario, peers):
    """What was promised, and whether it was kept; None where nothing was or the peer is missing."""
    if not scenario.target:
        return None
    peer, most = scenario.target
    found = peers.get(peer, {}).get("ours_to_theirs")
    if not found:
        return {"peer": peer, "ratio_max": most, "ratio": None, "met": None}
    met = found[0] <= most
    out = {"peer": peer, "ratio_max": most, "ratio": found[0], "least": found[1], "most": found[2], "met": met}
    if scenario.memory_mib:
        memory = peers["ringway"]["memory_mib"][0]
        out |= {"memory_mib_max": scenario.memory_mib, "memory_mib": memory, "met": met and memory <= scenario.memory_mib}
    return out


def table(entries):
    """The terminal's table: one line a program, scenarios apart."""
    out = []
    for one in entries:
        many = f", {one['workers']} workers" if one["workers"] > 1 else ""
        out += ["", f"{one['scenario']}: {one['title']}{many}"]
        out.append(f"  {'':<20}{'CPU µs/request':>22}{'user':>8}{'system':>8}{'ours/theirs':>20}{'p50 µs':>9}{'p99 µs':>9}"
                   f"{'MiB':>8}{'answers/s':>11}{'failed':>8}")
        order = sorted(one["peers"].items(), key=lambda item: item[1]["cpu_us"][0])
        for name, p in order:
            cpu, ratio = p["cpu_us"], p["ours_to_theirs"]
            quantiles = dict(map(tuple, (p["open"] or {}).get("quantiles_us", [])))
            latency = lambda share: f"{quantiles[share]:.0f}" if quantiles.get(share) else "–"
            shown = f"{ratio[0]:.2f} ({ratio[1]:.2f}–{ratio[2]:.2f})" if ratio and name != "direct" else ""
            over = "*" if p["open"] and p["open"]["answered_share"] < 0.98 else ""
            out.append(f"  {name:<20}{f'{cpu[0]:.1f} ({cpu[1]:.1f}–{cpu[2]:.1f})':>22}{p['user_us']:>8.1f}{p['system_us']:>8.1f}"
                       f"{shown:>20}{latency(0.5):>9}{latency(0.99) + over:>9}{p['memory_mib'][0]:>8.0f}{p['rate'][0]:>11,.0f}"
                       f"{p['failed']:>8}")
        out += [f"  {verdict(one['target'])}"] if one["target"] else []
    out += ["", "p50 and p99: at half of our own capacity, from the intended start. *: it could not answer that many."]
    return "\n".join(out)


def verdict(t):
    if t["ratio"] is None:
        return f"promise: at most {t['ratio_max']} of {t['peer']}: there is no figure of {t['peer']}"
    memory = f", {t['memory_mib']:.0f} of {t['memory_mib_max']} MiB" if "memory_mib" in t else ""
    return (f"promise: at most {t['ratio_max']} of {t['peer']}: {t['ratio']:.2f} ({t['least']:.2f}–{t['most']:.2f}){memory}: "
            f"{'met' if t['met'] else 'NOT met'}")


def markdown(entries):
    """The README's comparison table."""
    out = ["| | Ringway | peer | ratio | target | |", "|---|---|---|---|---|---|"]
    for one in entries:
        t, ours = one["target"], one["peers"].get("ringway")
        if not t or not ours or t["ratio"] is None:
            continue
        memory = f", {ours['memory_mib'][0]:.0f} MiB" if SCENARIOS[one["scenario"]].memory_mib else ""
        theirs = one["peers"][t["peer"]]
        limit = f", {t['memory_mib_max']} MiB" if "memory_mib_max" in t else ""
        out.append(f"| {one['scenario']}: {one['title']} | {ours['cpu_us'][0]:.1f} µs{memory} | {t['peer']}: "
                   f"{theirs['cpu_us'][0]:.1f} µs | {t['ratio']:.2f} ({t['least']:.2f}–{t['most']:.2f}) | ≤ {t['ratio_max']}{limit} "
                   f"| {'met' if t['met'] else 'not met'} |")
    return "\n".join(out)


def special(report):
    """Lines on scaling, reloads and overload."""
    out = scale.lines(report.get("scale", {}))
    for words, r in report.get("reload", {}).items():
        took = f", in force after {r['took_ms']:.0f} ms, {r['control_ms']:.0f} ms of CPU time each" if r.get("took_ms") else ""
        out.append(f"reload, {words}: {r['reloads']} reloads, {r['answers']} answers, {r['failed']} failed, p50 {r['p50']:.0f}, "
                   f"p99 {r['p99']:.0f}, p99.9 {r['p99.9']:.0f}, longest {r['max']:.0f} µs{took}")
    for words, r in report.get("overload", {}).items():
        out.append(f"overload, {words}: best {r['best_rate']:,.0f}/s, asked {r['asked_rate']:,.0f}/s, answered {r['good_rate']:,.0f}/s "
                   f"({r['goodput']:.2f} of the best), {r['shed']} shed at {r['shed_us']:.1f} µs each (an admitted one costs {r['good_us']:.0f}), "
                   f"p99 of admitted {r['p99']:.0f} µs (at best {r['best_p99']:.0f}), of shed {r['shed_p99'] or 0:.0f}, {r['other']} otherwise")
    return out
