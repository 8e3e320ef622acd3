"""Run what a page shows: its bash and python blocks, in order, in one empty folder, as a reader would.

Python blocks go on where the one before stopped, unless there is bash between them. A block inside an
HTML comment is run and not shown: for what a page takes for granted. `console` marks what installs
something, never ends, or needs a network, a cluster or a graphics processor; it is not run. All other tags
are not code to run: `text` is what comes out, `toml` and the like are files.
"""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

SHELLS = {"bash": ["bash", "-euo", "pipefail"], "python": [sys.executable]}
BLOCK = re.compile(r"^( *)```([^\n]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block: its tag, its text without indentation, and the line where it begins."""

    tag: str
    text: str
    line: int


def blocks_of(page: str) -> list[Block]:
    """All fenced blocks of a Markdown page."""
    return [
        Block(found[2], re.sub(rf"^{found[1]}", "", found[3], flags=re.MULTILINE), line)
        for found in BLOCK.finditer(page)
        for line in [page.count("\n", 0, found.start()) + 1]
    ]


def runnable(page: str) -> list[Block]:
    """Those that are run, Python that goes on put together."""
    scripts: list[Block] = []
    for block in blocks_of(page):
        if block.tag == "python" and scripts and scripts[-1].tag == "python":
            scripts[-1] = Block("python", f"{scripts[-1].text}\n{block.text}", scripts[-1].line)
        elif block.tag in SHELLS:
            scripts.append(block)
    return scripts


def run_block(block: Block, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run one block in `folder`, with this interpreter's commands first on the path."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    script = folder / f".block-{block.line}.{block.tag}"
    script.write_text(block.text, encoding="utf-8")
    try:
        return subprocess.run(
            [*SHELLS[block.tag], script],
            cwd=folder,
            env=os.environ | {"PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        script.unlink()


def run_page(page: str, folder: Path) -> None:
    """Run all blocks of a page; the first that fails fails the test, with what it printed."""
    for block in runnable(page):
        done = run_block(block, folder)
        assert done.returncode == 0, f"line {block.line}:\n{block.text}\n{done.stdout}\n{done.stderr}"
