#!/usr/bin/env python3
"""chart-readme.py [--check]: writes the table of values in charts/tollgate/README.md, from values.yaml and its comments.

A value is a key with a comment right above it; all keys below it belong to it. With --check its exit code says whether the table is
up to date.
"""

import json
import pathlib
import re
import sys

import yaml

CHART = pathlib.Path(__file__).resolve().parent.parent / "charts" / "tollgate"
BEGIN, END = "<!-- made by scripts/chart-readme.py: begin -->", "<!-- end -->"


def values(text):
    """The path and comment of every value with a comment, in the file's order."""
    path, comment = [], []
    for line in text.splitlines():
        key = re.match(r"( *)([A-Za-z]+):", line)
        if line.lstrip().startswith("#"):
            comment.append(line.strip().removeprefix("#").strip())
        elif not line.strip():
            comment = []
        else:
            if key:
                path = path[: len(key[1]) // 2] + [key[2]]
                if comment:
                    yield list(path), " ".join(comment)
            comment = []


def default(tree, path):
    for key in path:
        tree = tree[key]
    if isinstance(tree, dict) and len(json.dumps(tree)) > 60:
        return "see values.yaml"
    return f"`{json.dumps(tree)}`"


def table(text):
    tree = yaml.safe_load(text)
    lines = ["| value | default | |", "| --- | --- | --- |"]
    lines += [f"| `{'.'.join(path)}` | {default(tree, path)} | {comment} |" for path, comment in values(text)]
    return "\n".join(lines)


def main():
    readme = CHART / "README.md"
    before = readme.read_text()
    head, _, rest = before.partition(BEGIN)
    after = f"{head}{BEGIN}\n{table((CHART / 'values.yaml').read_text())}\n{END}{rest.partition(END)[2]}"
    if "--check" in sys.argv:
        return 0 if after == before else "charts/tollgate/README.md is not what values.yaml says: scripts/chart-readme.py"
    readme.write_text(after)
    return 0


if __name__ == "__main__":
    sys.exit(main())
