"""Charts as inline SVG: no script, no font, no file beside the page. Colours come from the page's style, so that both of a
reader's themes work; every mark has its figures in a tooltip, and nothing is told by colour alone.
"""
import math
from html import escape

WIDTH, LEFT, RIGHT = 560, 128, 74


def number(value):
    if value is None:
        return "–"
    if value == 0:
        return "0"
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def micros(value):
    """A latency with the unit that reads best."""
    if value is None:
        return "–"
    return f"{value / 1e6:.3g} s" if value >= 1e6 else f"{value / 1e3:.3g} ms" if value >= 1e3 else f"{value:.0f} µs"


def thousands(value):
    return f"{value:g}k" if value else "0"


def text(x, y, words, anchor="start", kind=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{escape(str(words))}</text>'


def svg(height, body, label):
    return (f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label)}">{"".join(body)}</svg>')


def steps(most, count=4):
    """Round numbers from 0 to at least `most`."""
    raw = most / count or 1
    size = 10 ** math.floor(math.log10(raw))
    step = next(size * k for k in (1, 2, 2.5, 5, 10) if size * k >= raw)
    return [step * n for n in range(math.ceil(most / step) + 1)]


def bars(rows, unit, label):
    """Horizontal bars. Rows: (name, kind, [(part's name, value), …], least, most); parts are stacked."""
    most = max((row[4] or sum(v for _, v in row[2])) for row in rows)
    ticks = steps(most)
    scale = (WIDTH - LEFT - RIGHT) / ticks[-1]
    row_height, top = 26, 6
    bottom = top + row_height * len(rows)
    body = []
    for tick in ticks:
        x = LEFT + tick * scale
        body.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}" class="grid"/>')
        body.append(text(x, bottom + 14, f"{tick:,.10g}", "middle", "small"))
    for at, (name, kind, parts, least, upper) in enumerate(rows):
        y, x = top + at * row_height, LEFT
        total = sum(value for _, value in parts)
        body.append(text(LEFT - 8, y + 17, name, "end", "ours" if kind == "ours" else ""))
        told = ", ".join(f"{part} {number(value)}" for part, value in parts if part)
        span = f" ({number(least)} to {number(upper)})" if least is not None else ""
        body.append(f"<g><title>{escape(f'{name}: {number(total)} {unit}{span} {told}')}</title>")
        for index, (_, value) in enumerate(parts):
            body.append(f'<rect x="{x:.1f}" y="{y + 5}" width="{max(value * scale, 0.5):.1f}" height="16" '
                        f'class="bar {kind} part{index}"/>')
            x += value * scale
        if least is not None and upper > least:
            a, b, middle = LEFT + least * scale, LEFT + upper * scale, y + 13
            body.append(f'<path d="M{a:.1f} {middle}H{b:.1f}M{a:.1f} {middle - 4}v8M{b:.1f} {middle - 4}v8" class="range"/>')
            x = max(x, b)
        body.append(text(x + 6, y + 17, number(total), "start", "value"))
        body.append("</g>")
    return svg(bottom + 20, body, label)


# A program keeps its colour and its dashes in all charts of a report.
HUES = {"no gateway": 0, "ringway": 1, "nginx": 2, "haproxy": 3, "envoy": 4, "caddy": 5, "h2o": 6, "nginx-lua-pasting": 3,
        "nginx-lua": 2, "pingora": 7, "krakend": 8, "node": 5, "varnish": 7, "floor-relay": 9, "floor-answer": 9}
DASHES = ("2 3", "", "6 3", "9 3 2 3", "1 2", "12 4", "4 2 1 2", "3 3", "8 2 2 2 2 2", "1 4")


def hue(name):
    return HUES.get(name, len(DASHES) - 1)


def lines(series, x_ticks, y_ticks, x_at, y_at, label, x_word, y_word):
    """Lines with points. Series: (name, kind, [(x, y, tooltip), …]); `x_at` and `y_at` give shares of the frame."""
    height, top, left, right = 250, 10, 62, 118
    bottom = height - 34
    px = lambda value: left + x_at(value) * (WIDTH - left - right)
    py = lambda value: bottom - y_at(value) * (bottom - top)
    body = []
    for value, words in x_ticks:
        body.append(f'<line x1="{px(value):.1f}" x2="{px(value):.1f}" y1="{top}" y2="{bottom}" class="grid"/>')
        body.append(text(px(value), bottom + 14, words, "middle", "small"))
    for value, words in y_ticks:
        body.append(f'<line x1="{left}" x2="{WIDTH - right}" y1="{py(value):.1f}" y2="{py(value):.1f}" class="grid"/>')
        body.append(text(left - 6, py(value) + 4, words, "end", "small"))
    ends = []
    for name, kind, points in series:
        at = hue(name)
        place = [(px(x), py(y), tip) for x, y, tip in points if y]
        if not place:
            continue
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y, _ in place)
        dash = DASHES[at]
        body.append(f'<path d="{path}" class="line {kind} c{at}" stroke-dasharray="{dash}"/>')
        for x, y, tip in place:
            body.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" class="point {kind} c{at}">'
                        f"<title>{escape(f'{name}: {tip}')}</title></circle>")
        ends.append([place[-1][1], place[-1][0], name, kind, at])
    # Names stand at the ends of their lines, pushed apart where they would meet.
    ends.sort()
    for before, after in zip(ends, ends[1:]):
        after[0] = max(after[0], before[0] + 13)
    over = max(0, ends[-1][0] - bottom - 4) if ends else 0
    for y, _, name, kind, at in ends:
        body.append(text(WIDTH - right + 8, y - over + 4, name, "start", f"name {kind} c{at}"))
    body.append(text(left, height - 4, x_word, "start", "small"))
    body.append(text(WIDTH - right, height - 4, y_word, "end", "small"))
    return svg(height, body, label)


def latency(series, label):
    """Percentiles on a scale that gives each nine the same room; latency logarithmic. Series: (name, kind, [[share, us]])."""
    values = [us for _, _, points in series for _, us in points if us]
    if not values:
        return ""
    nines = lambda share: -math.log10(max(1 - share, 1e-5))
    least, most = math.floor(math.log10(min(values)) * 2) / 2, math.ceil(math.log10(max(values)) * 2) / 2
    most = max(most, least + 0.5)
    top = max(nines(share) for _, _, points in series for share, _ in points)
    low = nines(0.5)
    words = {0.5: "p50", 0.9: "p90", 0.99: "p99", 0.999: "p99.9", 0.9999: "p99.99"}
    x_ticks = [(share, word) for share, word in words.items() if nines(share) <= top + 0.01]
    ticks = [base * 10 ** power for power in range(-1, 8) for base in (1, 2, 5)]
    y_ticks = [(v, micros(v)) for v in ticks if least <= math.log10(v) <= most]
    if len(y_ticks) > 8:
        y_ticks = [(v, word) for v, word in y_ticks if f"{v:.0e}"[0] == "1"]
    drawn = [(name, kind, [(share, us, f"p{share * 100:g} {micros(us)}") for share, us in points])
             for name, kind, points in series]
    return lines(drawn, x_ticks, y_ticks, lambda share: (nines(share) - low) / max(top - low, 0.1),
                 lambda us: (math.log10(us) - least) / (most - least), label, "share of requests", "")


def offered(series, label):
    """Requests answered against requests asked. Series: (name, kind, [point])."""
    most = max(point["asked"] for _, _, points in series for point in points)
    ticks = steps(most / 1000)
    x_ticks = [(tick * 1000, thousands(tick)) for tick in ticks if tick * 1000 <= most * 1.001]
    drawn = [(name, kind, [(p["asked"], p["answered"], f"asked {number(p['asked'])}, answered {number(p['answered'])} a second, "
                            f"p99 {micros(p['p99'])}") for p in points]) for name, kind, points in series]
    frame = lambda value: value / most
    return lines(drawn, x_ticks, x_ticks, frame, frame, label, "requests asked for a second (thousands); upwards: answered", "")


def offered_p99(series, label):
    """The p99 against requests asked."""
    values = [p["p99"] for _, _, points in series for p in points if p["p99"]]
    if not values:
        return ""
    most = max(point["asked"] for _, _, points in series for point in points)
    ticks = steps(most / 1000)
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    high = max(high, low + 1)
    drawn = [(name, kind, [(p["asked"], p["p99"], f"asked {number(p['asked'])} a second: p99 {micros(p['p99'])}") for p in points])
             for name, kind, points in series]
    return lines(drawn, [(t * 1000, thousands(t)) for t in ticks if t * 1000 <= most * 1.001],
                 [(10 ** n, micros(10 ** n)) for n in range(low, high + 1)], lambda v: v / most,
                 lambda us: (math.log10(us) - low) / (high - low), label, "requests asked for a second (thousands)", "")
