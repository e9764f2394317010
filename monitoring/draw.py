#!/usr/bin/env python3
"""Draws the dashboards from a Prometheus: draw.py http://127.0.0.1:9090 FOLDER [MINUTES]

Writes FOLDER/dashboard-NAME.png as Grafana would show monitoring/dashboards/*.json for the last ten minutes: the same
panels in the same places with the same queries. `make pictures` runs it on real gateways.
"""

import json
import math
import re
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.dates as dates
import matplotlib.pyplot as plt
from matplotlib.ticker import FuncFormatter, MaxNLocator

STEP = 5  # seconds between two points
VARIABLES = {"$__rate_interval": "20s", "$node": ".*", "$route": ".*", "$tier": ".*", "$policy": ".*"}

COLUMN, UNIT = 0.68, 0.42  # inches of one cell of Grafana's grid
INK, PALE, LINE, PAPER = "#1f2933", "#6b7785", "#d9dee4", "#ffffff"
COLOURS = ["#2f6fb5", "#d9822b", "#3a9d5d", "#b5485d", "#7a5fb0", "#2a9d9d", "#8a6d3b", "#c05ca0", "#7f8c2d", "#5c6b7a"]
NAMED = {"green": "#2f9e58", "orange": "#d9822b", "red": "#c7384b", "transparent": "none"}


class Prometheus:
    def __init__(self, url, minutes):
        self.url, self.end = url.rstrip("/"), time.time()
        self.start = self.end - 60 * minutes
        self.variables = {**VARIABLES, "$__range": f"{minutes}m"}

    def ask(self, call, query, **more):
        for name, value in self.variables.items():
            query = query.replace(name, value)
        url = f"{self.url}/api/v1/{call}?" + urllib.parse.urlencode({"query": query, **more})
        with urllib.request.urlopen(url) as answer:
            return json.load(answer)["data"]["result"]

    def lines(self, query):
        found = self.ask("query_range", query, start=self.start, end=self.end, step=STEP)
        return [(line["metric"], [(float(at), float(value)) for at, value in line["values"]]) for line in found]

    def now(self, query):
        return [(line["metric"], float(line["value"][1])) for line in self.ask("query", query, time=self.end)]


def short(value, digits=3):
    """Writes 1234567 as 1.23 M."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "–"
    for factor, letter in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= factor:
            return f"{value / factor:.{digits}g}{letter}"
    return f"{value:.{digits}g}" if abs(value) < 100 else f"{value:.0f}"


def written(value, unit):
    """Writes a value as Grafana does in that unit."""
    if not math.isfinite(value):
        return "–"
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    if unit in ("bytes", "Bps"):
        return short(value) + ("B/s" if unit == "Bps" else "B") if value >= 1000 else f"{value:.3g} B" + ("/s" if unit == "Bps" else "")
    if unit == "s" and 0 < value < 1:
        return f"{value * 1000:.3g} ms" if value >= 0.001 else f"{value * 1e6:.3g} µs"
    if unit == "ms" and value >= 1000:
        return f"{value / 1000:.3g} s"
    suffix = {"none": "", "reqps": " req/s", "ops": " ops/s", "cps": "/s", "s": " s", "ms": " ms", "µs": " µs"}
    return short(value) + suffix.get(unit, unit.removeprefix("suffix:"))


def name_of(labels, legend):
    if legend in ("", "__auto"):
        return ", ".join(labels.values())
    return re.sub(r"{{\s*(\w+)\s*}}", lambda match: labels.get(match[1], ""), legend)


def colour_at(value, steps):
    reached = [step["color"] for step in steps if step["value"] is None or value >= step["value"]]
    return NAMED.get(reached[-1], INK)


def draw_lines(axes, panel, prometheus):
    defaults = panel["fieldConfig"]["defaults"]
    custom, unit = defaults["custom"], defaults["unit"]
    lines = []
    for target in panel["targets"]:
        for labels, points in prometheus.lines(target["expr"]):
            lines.append((name_of(labels, target.get("legendFormat", "")), points))
    # 50 % comes before 100 %.
    lines.sort(key=lambda line: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", line[0])])
    stacked = custom["stacking"]["mode"] == "normal"
    below, high = {}, 0
    for number, (name, points) in enumerate(lines):
        colour = COLOURS[number % len(COLOURS)]
        points = [(at, value) for at, value in points if math.isfinite(value)]
        if not points:
            continue
        moments = [at / 86400 for at, _ in points]  # days, as matplotlib counts
        values = [value for _, value in points]
        if stacked:
            base = [below.get(at, 0) for at, _ in points]
            top = [low + value for low, value in zip(base, values)]
            axes.fill_between(moments, base, top, color=colour, alpha=0.45, linewidth=0, label=name)
            axes.plot(moments, top, color=colour, linewidth=0.8)
            below.update({at: sum_ for (at, _), sum_ in zip(points, top)})
            high = max(high, max(top))
        else:
            style = "steps-post" if custom.get("lineInterpolation") == "stepAfter" else "default"
            axes.plot(moments, values, color=colour, linewidth=1.4, drawstyle=style, label=name)
            high = max(high, max(values))
    for step in defaults["thresholds"]["steps"] if custom.get("thresholdsStyle") else []:
        # A line far above everything else would only flatten it.
        if step["value"] is not None and step["value"] < 2 * high:
            axes.axhline(step["value"], color=NAMED[step["color"]], linewidth=1, linestyle=(0, (4, 3)))
            high = max(high, step["value"] * 1.08)
    axes.set_ylim(0, (defaults.get("max") or high or 1) * 1.05)
    axes.set_xlim(prometheus.start / 86400, prometheus.end / 86400)
    axes.xaxis.set_major_locator(dates.MinuteLocator(interval=2))
    axes.xaxis.set_major_formatter(dates.DateFormatter("%H:%M"))
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=defaults.get("decimals") == 0))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: written(value, unit)))
    axes.tick_params(colors=PALE, labelsize=7.5, length=0)
    axes.grid(True, color=LINE, linewidth=0.6)
    axes.set_axisbelow(True)
    for side in axes.spines.values():
        side.set_visible(False)
    shown = axes.get_legend_handles_labels()
    if shown[1]:
        # As many stand side by side as fit: ten letters per cell of the grid.
        letters = 10 * panel["gridPos"]["w"]
        columns = max(1, min(len(shown[1]), letters // (max(map(len, shown[1])) + 5)))
        axes.legend(*shown, loc="upper left", bbox_to_anchor=(-0.02, -0.1), ncols=columns, fontsize=7.5,
                    frameon=False, handlelength=1, columnspacing=1.2, labelcolor=INK, borderaxespad=0.2)


def draw_stat(axes, panel, prometheus):
    defaults, target = panel["fieldConfig"]["defaults"], panel["targets"][0]
    values = prometheus.now(target["expr"])
    value = values[0][1] if values else math.nan
    colour = colour_at(value, defaults["thresholds"]["steps"])
    axes.axis("off")
    if not target.get("instant"):
        for _, points in prometheus.lines(target["expr"])[:1]:
            known = [(at, value) for at, value in points if math.isfinite(value)]
            spark = axes.inset_axes([0, 0, 1, 0.34])
            spark.axis("off")
            spark.fill_between(*zip(*known), color=colour, alpha=0.15, linewidth=0)
            spark.plot(*zip(*known), color=colour, linewidth=1)
            spark.set_ylim(0, max(value for _, value in known) * 1.15 or 1)
            spark.margins(x=0)
    axes.text(0.5, 0.66, written(value, defaults["unit"]), transform=axes.transAxes, ha="center", va="center",
              fontsize=19, fontweight="bold", color=colour)


def draw_bars(axes, panel, prometheus):
    defaults, target = panel["fieldConfig"]["defaults"], panel["targets"][0]
    bars = sorted(((name_of(labels, target["legendFormat"]), value) for labels, value in prometheus.now(target["expr"])), reverse=True)
    top = defaults.get("max") or max((value for _, value in bars), default=1)
    for row, (name, value) in enumerate(bars):
        axes.barh(row, top, color=LINE, height=0.6, alpha=0.5)
        axes.barh(row, value, color=colour_at(value, defaults["thresholds"]["steps"]), height=0.6)
        axes.text(top * 1.02, row, written(value, defaults["unit"]), va="center", fontsize=9, color=INK)
    axes.set_yticks(range(len(bars)), [name for name, _ in bars])
    axes.set_xlim(0, top * 1.18)
    axes.set_ylim(-0.7, max(len(bars), 4) - 0.3)
    axes.set_xticks([])
    axes.tick_params(colors=INK, labelsize=8.5, length=0)
    for side in axes.spines.values():
        side.set_visible(False)


def draw(board, prometheus, file):
    panels = board["panels"]
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    head = 1.6  # cells
    wide, high = 24 * COLUMN, (height + head) * UNIT
    figure = plt.figure(figsize=(wide, high), facecolor="#f3f5f7")
    figure.text(0.008, 1 - 0.55 * UNIT / high, board["title"], fontsize=15, fontweight="bold", color=INK, va="center")
    figure.text(0.008, 1 - 1.2 * UNIT / high, board["description"], fontsize=9, color=PALE, va="center")
    for panel in panels:
        place = panel["gridPos"]
        left, bottom = place["x"] * COLUMN, high - (place["y"] + place["h"] + head) * UNIT
        across, down = place["w"] * COLUMN, place["h"] * UNIT
        if panel["type"] == "row":
            figure.text((left + 0.12) / wide, (bottom + down / 2) / high, panel["title"], fontsize=11, fontweight="bold", color=INK, va="center")
            continue
        gap = 0.05
        figure.add_artist(plt.Rectangle(((left + gap) / wide, (bottom + gap) / high), (across - 2 * gap) / wide, (down - 2 * gap) / high,
                                        facecolor=PAPER, edgecolor=LINE, linewidth=0.8, transform=figure.transFigure, zorder=-1))
        figure.text((left + 0.16) / wide, (bottom + down - 0.24) / high, panel["title"], fontsize=9.5, fontweight="bold", color=INK, va="center")
        kind = panel["type"]
        # These inches stay free for numbers at the left, the legend below and the title above.
        west, south = {"stat": (0.12, 0.1), "bargauge": (1.0, 0.2), "timeseries": (0.78, 0.85)}[kind]
        axes = figure.add_axes([(left + west) / wide, (bottom + south) / high, (across - west - 0.2) / wide, (down - south - 0.48) / high])
        axes.set_facecolor("none")
        {"stat": draw_stat, "bargauge": draw_bars, "timeseries": draw_lines}[kind](axes, panel, prometheus)
    figure.savefig(file, dpi=80, facecolor=figure.get_facecolor(), metadata={"Software": None})
    plt.close(figure)
    print(file)


def main():
    url, folder, *minutes = sys.argv[1:]
    prometheus = Prometheus(url, int(minutes[0]) if minutes else 10)
    plt.rcParams["font.family"] = "DejaVu Sans"
    plt.rcParams["timezone"] = "UTC"
    for path in sorted((Path(__file__).parent / "dashboards").glob("*.json")):
        draw(json.loads(path.read_text()), prometheus, Path(folder) / f"dashboard-{path.stem}.png")


if __name__ == "__main__":
    main()
