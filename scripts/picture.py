#!/usr/bin/env python3
"""picture.py: draws the output of `make run CHECK=1`, read from standard input, as docs/pictures/make-run.svg.

    make --silent run CHECK=1 | scripts/picture.py

The picture is a terminal with the demo's table. It follows the reader's light or dark theme and needs no font of its own:
every cell has its own position, so the columns line up in any monospace font.
"""

import html
import pathlib
import re
import sys

PICTURE = pathlib.Path(__file__).resolve().parent.parent / "docs/pictures/make-run.svg"
# The table has to be narrow enough for the page: `status` is 200 in every row, and `Remaining` hardly differs from `Limit`.
LEFT_OUT = ("status", "Remaining")
COLUMNS = ("X-Quota-Tier", "consumer", "request", "status", "Limit", "Remaining", "Monthly", "used", "at the limit")
COMMAND = "make run CHECK=1"
FONT, LINE, MARGIN, BAR = 12, 19, 20, 34
ADVANCE = 0.605 * FONT  # of the widest fonts in the list below

STYLE = """
    text { font: 12px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: #1f2328; white-space: pre }
    .ground { fill: #f6f8fa; stroke: #d1d9e0 }
    .line { stroke: #d1d9e0 }
    .dot { fill: #d1d9e0 }
    .quiet { fill: #59636e }
    .tier { fill: #0550ae }
    .passed { fill: #116329 }
    .refused { fill: #a40e26; font-weight: bold }
    .head { font-weight: bold }
    @media (prefers-color-scheme: dark) {
      text { fill: #f0f6fc }
      .ground { fill: #0d1117; stroke: #3d444d }
      .line { stroke: #3d444d }
      .dot { fill: #3d444d }
      .quiet { fill: #9198a1 }
      .tier { fill: #79c0ff }
      .passed { fill: #56d364 }
      .refused { fill: #ff7b72 }
    }
"""


def table_of(said):
    """The rows of the table as dictionaries, keyed by the columns' names."""
    lines = said.splitlines()
    start = next((number for number, line in enumerate(lines) if line.startswith(COLUMNS[0])), None)
    if start is None:
        sys.exit(f"picture.py: there is no line that starts with {COLUMNS[0]} in:\n{said}")
    heads = list(re.finditer(r"\S+(?: \S+)*", lines[start]))
    if tuple(head[0] for head in heads) != COLUMNS:
        sys.exit(f"picture.py: the table's columns are {[head[0] for head in heads]}; it expects {list(COLUMNS)}")
    ends = [*(head.start() for head in heads[1:]), None]
    rows = []
    for line in lines[start + 1 :]:
        if not line.strip():
            break
        cells = (line[head.start() : end].strip() for head, end in zip(heads, ends))
        rows.append(dict(zip(COLUMNS, cells)))
    return rows


def span(text, kind="", place=None):
    attributes = (f' x="{place:g}"' if place is not None else "") + (f' class="{kind}"' if kind else "")
    return f"<tspan{attributes}>{html.escape(text)}</tspan>"


def outcome(text, place):
    """The last cell: what passed and what was refused, each in its own color."""
    parts = re.split(r"(.*?passed|429)", text, maxsplit=2)
    kinds = {"429": "refused"}
    spans = [span(part, kinds.get(part, "passed" if part.endswith("passed") else "")) for part in parts if part]
    return spans[0].replace("<tspan", f'<tspan x="{place:g}"', 1) + "".join(spans[1:])


def drawn(name, text, place):
    if name == COLUMNS[-1]:
        return outcome(text, place)
    return span(text, "quiet" if text == "·" else "tier" if name == COLUMNS[0] else "", place)


def picture(said):
    rows = table_of(said)
    title = re.search(r"^(Tollgate on .*):$", said, re.MULTILINE)
    checked = re.search(r"^checked: .*$", said, re.MULTILINE)
    if title is None or checked is None:
        sys.exit(f"picture.py: this is no whole run with CHECK=1:\n{said}")
    places, place = {}, 0
    for name in (name for name in COLUMNS if name not in LEFT_OUT):
        places[name] = round(MARGIN + place * ADVANCE, 1)
        place += max(len(name), *(len(row[name]) for row in rows)) + 2
    width = round(2 * MARGIN + (place - 2) * ADVANCE)
    lines = [
        span("$ ", "quiet", MARGIN) + span(COMMAND),
        "",
        "".join(span(name, "head", at) for name, at in places.items()),
        *("".join(drawn(name, row[name], at) for name, at in places.items()) for row in rows),
        "",
        span(checked[0], "passed", MARGIN),
    ]
    height = BAR + MARGIN + len(lines) * LINE + MARGIN // 2
    texts = [f'  <text y="{BAR + MARGIN + FONT // 2 + number * LINE}">{line}</text>' for number, line in enumerate(lines) if line]
    told = "; ".join(f"{row['consumer']} ({row[COLUMNS[0]]}, {row['request']}): {row[COLUMNS[-1]]}" for row in rows)
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" \
aria-labelledby="title description">
  <title id="title">What {COMMAND} prints: {html.escape(title[1])}</title>
  <desc id="description">Clients of every tier send requests up to their limit. {html.escape(told.replace("·", "no tier"))}. \
{html.escape(checked[0])}.</desc>
  <style>{STYLE}  </style>
  <rect class="ground" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="8"/>
  <path class="line" d="M0 {BAR}.5H{width}"/>
  <g class="dot"><circle cx="{MARGIN}" cy="17" r="5"/><circle cx="{MARGIN + 18}" cy="17" r="5"/><circle cx="{MARGIN + 36}" cy="17" r="5"/></g>
  <text class="quiet" x="{width // 2}" y="21" text-anchor="middle">{html.escape(title[1])}</text>
{chr(10).join(texts)}
</svg>
"""


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(__doc__)
    PICTURE.write_text(picture(sys.stdin.read()))
    print(f"picture.py: {PICTURE.relative_to(PICTURE.parents[2])}")
