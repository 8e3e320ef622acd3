"""Check rules that ruff has no rule for, over every file of the project.

Usage: python scripts/check_source.py   Prints a line for each fault; exits with 1 if there is one.

In src: functions of at most 60 lines without the docstring, half of them at most 15; no `# fmt: skip`; no
NumPy file that may hold pickles; no class name twice; a docstring under every field of a record or settings
class and of a class whose fields the reference lists, because the reference is generated from them.
In every committed file: no path of one machine, no address of a package index, and no fault that
check_files.py finds.
"""

import ast
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median

from check_files import faults as file_faults

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "sentiscale"
REFERENCE = ROOT / "docs" / "reference"

MAX_FUNCTION_LINES, MAX_MEDIAN_LINES = 60, 15
LONG_FUNCTIONS = {"split_csv"}
"""May be longer: a compiled state machine, which calls of functions would slow down."""
RECORD_CLASSES = {"Record", "Section"}

# Written with brackets so that this file does not match itself.
FOREIGN = re.compile(
    r"/w[o]rk/|/r[o]ot/|/h[o]me/\w+/|/U[s]ers/\w+/|C:\\U[s]ers"
    r"|pypi\.o[r]g|pythonh[o]sted|registry\.n[p]mjs|deb\.d[e]bian|download\.pyt[o]rch"
)
SHOWN = re.compile(
    r"\{(?:fields|sections)\} sentiscale\.([\w.]+):(\w+)|autoclass:: sentiscale\.([\w.]+)\.(\w+)"
)

Function = ast.FunctionDef | ast.AsyncFunctionDef
Trees = Mapping[Path, ast.Module]


def tracked_files() -> list[Path]:
    """Raises: CalledProcessError outside of a git checkout."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


def docstring_lines(node: Function) -> int:
    first = node.body[0]
    return (first.end_lineno or first.lineno) - first.lineno + 1 if ast.get_docstring(node) else 0


def function_faults(trees: Trees) -> Iterator[str]:
    """A verb's parameters are its flags, so functions named like their file in cli may be longer."""
    lengths = []
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, Function):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1 - docstring_lines(node)
                lengths.append(lines)
                is_verb = path.parent.name == "cli" and node.name == path.stem
                if lines > MAX_FUNCTION_LINES and not is_verb and node.name not in LONG_FUNCTIONS:
                    yield f"{path}:{node.lineno}: {node.name} has {lines} lines, above {MAX_FUNCTION_LINES}."
    if lengths and median(lengths) > MAX_MEDIAN_LINES:
        yield f"the median function has {median(lengths):g} lines; at most {MAX_MEDIAN_LINES}."


def pickle_faults(trees: Trees) -> Iterator[str]:
    """ruff bans the modules that unpickle; NumPy does so behind an argument."""
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                yield f"{path}:{node.value.lineno}: allow_pickle may run code from a file."


def formatter_faults(text: str, path: Path) -> Iterator[str]:
    for number, line in enumerate(text.splitlines(), 1):
        if re.search(r"#\s*fmt:\s*(skip|off)", line):
            yield f"{path}:{number}: the formatter is switched off."


def duplicate_classes(trees: Trees) -> Iterator[str]:
    found = defaultdict(list)
    for path, tree in trees.items():
        for name in classes(tree):
            found[name].append(str(path))
    for name, paths in sorted(found.items()):
        if len(paths) > 1:
            yield f"{paths[0]}: the class name {name} is also in {', '.join(paths[1:])}."


def record_faults(trees: Trees) -> Iterator[str]:
    """Fields without a docstring in classes derived from a record class."""
    records = set(RECORD_CLASSES)
    found = [(path, node) for path, tree in trees.items() for node in classes(tree).values()]
    while more := {node.name for _, node in found if bases(node) & records} - records:
        records |= more
    for path, node in found:
        if bases(node) & records:
            yield from undocumented_fields(path, node)


def reference_faults(trees: Trees, pages: str) -> Iterator[str]:
    """Fields without a docstring in classes that pages of the reference list."""
    shown = sorted({(a or c, b or d) for a, b, c, d in SHOWN.findall(pages)})
    for module, name in shown:
        path = SOURCE / f"{module.replace('.', '/')}.py"
        node = classes(trees[path]).get(name) if path in trees else None
        if node is None:
            yield f"the reference lists sentiscale.{module}.{name}, which does not exist."
        else:
            yield from undocumented_fields(path, node)


def undocumented_fields(path: Path, node: ast.ClassDef) -> Iterator[str]:
    for field, below in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            text = below.value if isinstance(below, ast.Expr) else None
            if not (isinstance(text, ast.Constant) and isinstance(text.value, str)):
                yield f"{path}:{field.lineno}: {node.name}.{field.target.id} has no docstring."


def foreign_faults(text: str, path: Path) -> Iterator[str]:
    for number, line in enumerate(text.splitlines(), 1):
        if FOREIGN.search(line):
            yield f"{path}:{number}: names a machine or a package index: {line.strip()[:90]}"


def classes(tree: ast.Module) -> dict[str, ast.ClassDef]:
    return {node.name: node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}


def bases(node: ast.ClassDef) -> set[str]:
    return {ast.unparse(base) for base in node.bases}


def report(faults: list[str]) -> str:
    """Lines with paths relative to the project."""
    return "".join(f"{fault}\n" for fault in faults).replace(f"{ROOT}/", "")


def main() -> int:
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(SOURCE.rglob("*.py"))}
    trees = {path: ast.parse(text) for path, text in texts.items()}
    pages = "\n".join(page.read_text(encoding="utf-8") for page in sorted(REFERENCE.glob("*.md")))
    faults = [
        *function_faults(trees),
        *pickle_faults(trees),
        *record_faults(trees),
        *reference_faults(trees, pages),
        *duplicate_classes(trees),
        *(fault for path, text in texts.items() for fault in formatter_faults(text, path)),
    ]
    for path in tracked_files():
        faults += file_faults(path)
        faults += foreign_faults(path.read_text(errors="replace"), path)
    sys.stdout.write(report(faults))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
