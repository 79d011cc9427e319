"""Makes HTML of Markdown: headings, paragraphs and links, no more than this example needs."""

import html
import re
import sys
from pathlib import Path

source, target = Path(sys.argv[1]), Path(sys.argv[2])
target.mkdir(parents=True, exist_ok=True)
for page in sorted(source.glob("*.md")):
    blocks = []
    for block in page.read_text().strip().split("\n\n"):
        text = html.escape(block)
        text = re.sub(r"\[([^\]]+)\]\(([^)]+)\.md\)", r'<a href="\2.html">\1</a>', text)
        heading = re.match(r"# (.*)", text)
        blocks.append(f"<h1>{heading[1]}</h1>" if heading else f"<p>{text}</p>")
    body = "\n".join(blocks)
    (target / page.with_suffix(".html").name).write_text(f"<!doctype html>\n{body}\n")
    print("made", page.name)
