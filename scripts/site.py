#!/usr/bin/env python3
"""The parts of the documentation site that mdBook does not do.

    site.py                      mdBook's preprocessor: a book on stdin, the book on stdout
    site.py supports RENDERER    tells mdBook whether it works for RENDERER
    site.py sources FOLDER       copies the files that pages link to and that are no pages into FOLDER/sources
    site.py links FOLDER         checks every link and picture of the pages, as GitHub shows them, and of the site in
                                 FOLDER, and the runbooks and alerts
"""

import html.parser
import json
import pathlib
import re
import shutil
import sys
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
LINK = re.compile(r"(?<!!)(\[[^\]]*\])\(([^)\s]+)\)")
PICTURE = re.compile(r"!\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]*`")


def is_elsewhere(target):
    return bool(urllib.parse.urlsplit(target).scheme)


def outside(page, target):
    """The file or folder that `target` in `page` names, if it is outside of docs/."""
    path = target.partition("#")[0]
    if not path or is_elsewhere(target):
        return None
    file = (DOCS / page).parent.joinpath(path).resolve()
    return None if file.is_relative_to(DOCS) else file


def on_the_site(file):
    """The path on the site of a file that is no page; a folder has its README's."""
    if file.is_dir():
        file = file / "README.md"
    # mdBook treats every file with `.md` in its name as a page.
    return "sources/" + file.relative_to(ROOT).as_posix().removesuffix(".md") + (".txt" if file.suffix in ("", ".md") else "")


def rewritten(page, text):
    """The page's text, with links out of docs/ turned into links to `sources/`."""

    def link(found):
        file = outside(page, found[2])
        if file is None:
            # A folder's README is its index there; mdBook renames it without changing the links.
            return found[0] if is_elsewhere(found[2]) else found[0].replace("README.md", "index.md")
        return f"{found[1]}({'../' * page.count('/')}{on_the_site(file)})"

    return LINK.sub(link, text)


def chapters(items):
    for item in items:
        if isinstance(item, dict) and "Chapter" in item:
            yield item["Chapter"]
            yield from chapters(item["Chapter"]["sub_items"])


def preprocess():
    _, book = json.load(sys.stdin)
    for chapter in chapters(book.get("items", book.get("sections", []))):
        if chapter.get("source_path"):
            chapter["content"] = rewritten(chapter["source_path"], chapter["content"])
    json.dump(book, sys.stdout)


def pages():
    return sorted(DOCS.rglob("*.md"))


def prose(file):
    """The text of a page without its examples, which may look like links."""
    return CODE.sub("", FENCE.sub("", file.read_text()))


def copy_sources(site):
    for page in pages():
        for found in LINK.finditer(prose(page)):
            file = outside(page.relative_to(DOCS).as_posix(), found[2])
            if file is None:
                continue
            source = file / "README.md" if file.is_dir() else file
            target = site / on_the_site(file)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)


def slugs(file):
    """The anchors that GitHub gives a page's headings."""
    found = set()
    for heading in re.findall(r"^#{1,6} (.+)$", FENCE.sub("", file.read_text()), re.MULTILINE):
        text = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        number, slug = 0, text
        while slug in found:
            number += 1
            slug = f"{text}-{number}"
        found.add(slug)
    return found


def broken_on_github():
    for page in [*pages(), *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "k8s/README.md", "monitoring/README.md"))]:
        text = prose(page)
        for target in [found[2] for found in LINK.finditer(text)] + PICTURE.findall(text):
            if is_elsewhere(target):
                continue
            path, _, anchor = target.partition("#")
            file = (page.parent / path).resolve() if path else page
            if not file.exists():
                yield f"{page.relative_to(ROOT)}: {target}: there is no such file"
            elif anchor and file.suffix == ".md" and anchor not in slugs(file):
                yield f"{page.relative_to(ROOT)}: {target}: the page has no such heading"


class Page(html.parser.HTMLParser):
    """A built page's links and anchors."""

    def __init__(self, file):
        super().__init__()
        self.targets, self.anchors = [], set()
        self.feed(file.read_text())

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if attributes.get("id"):
            self.anchors.add(attributes["id"])
        name = {"a": "href", "link": "href", "img": "src", "script": "src"}.get(tag)
        if name and attributes.get(name):
            self.targets.append(attributes[name])


def broken_on_the_site(site):
    built = {file: Page(file) for file in sorted(site.rglob("*.html"))}
    # toc.html is the source of the table of contents, print.html repeats all pages, and 404.html is for any address.
    for file, page in built.items():
        if file.name in ("toc.html", "print.html", "404.html"):
            continue
        for target in page.targets:
            if is_elsewhere(target):
                continue
            path, _, anchor = target.partition("#")
            other = (file.parent / urllib.parse.unquote(path)).resolve() if path else file
            if not other.is_file():
                yield f"{file.relative_to(site)}: {target}: there is no such file"
            elif anchor and other in built and urllib.parse.unquote(anchor) not in built[other].anchors:
                yield f"{file.relative_to(site)}: {target}: the page has no such anchor"


def not_in_the_table_of_contents():
    listed = {(DOCS / found[2]).resolve() for found in LINK.finditer((DOCS / "SUMMARY.md").read_text())}
    for page in pages():
        if page.name != "SUMMARY.md" and page.resolve() not in listed:
            yield f"{page.relative_to(ROOT)}: not in docs/SUMMARY.md"


ALERT = re.compile(r"runbook_url: \S+/runbooks/(\w+)")
RUNBOOK = ["What it means", "Impact", "First look", "Fix", "Verify", "Escalate"]
PROMQL = re.compile(r"^```promql\n(.*?)^```", re.MULTILINE | re.DOTALL)
SERIES = re.compile(r"\b(?:pw_)?(?:tollgate|gateway|kong)[_:][\w:]+")


def wrong_runbooks():
    """Checks that alerts and runbooks name each other, and that a runbook has all its parts and asks for known series."""
    monitoring = "".join(file.read_text() for file in (ROOT / "monitoring").rglob("*") if file.suffix in (".yaml", ".json", ".md", ".txt"))
    alerts = set(ALERT.findall(monitoring))
    written = {file.stem: file for file in (DOCS / "runbooks").glob("*.md") if file.name != "README.md"}
    for name in sorted(alerts ^ set(written)):
        yield f"{name}: an alert without a runbook, or a runbook without an alert"
    known = monitoring + "".join((DOCS / page).read_text() for page in ("gateways.md", "store.md"))
    for name, file in sorted(written.items()):
        headings = re.findall(r"^## (.+)$", file.read_text(), re.MULTILINE)
        if headings != RUNBOOK:
            yield f"{name}: its parts are {headings}, and should be {RUNBOOK}"
        for query in PROMQL.findall(file.read_text()):
            for series in SERIES.findall(query):
                if re.search(rf"\b{series.removesuffix('_bucket')}", known) is None:
                    yield f"{name}: nobody knows {series}"


def main():
    match sys.argv[1:]:
        case []:
            preprocess()
        case ["supports", renderer]:
            sys.exit(0 if renderer == "html" else 1)
        case ["sources", folder]:
            copy_sources(pathlib.Path(folder).resolve())
        case ["links", folder]:
            site = pathlib.Path(folder).resolve()
            broken = [*broken_on_github(), *broken_on_the_site(site), *not_in_the_table_of_contents(), *wrong_runbooks()]
            print("\n".join(broken) or f"site: {len(pages())} pages, every link leads somewhere, every alert has its runbook")
            sys.exit(bool(broken))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
