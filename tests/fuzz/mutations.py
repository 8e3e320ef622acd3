"""Ways to damage the files of a directory, drawn by hypothesis.

A mutation is a kind, and three numbers whose meaning depends on the kind: which file, where in it, and what
to put there. Numbers are taken modulo what there is, so every mutation is possible with every directory.
"""

import json
import math
import os
import shutil
import struct
import tomllib
from collections.abc import Callable
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import tomli_w
from hypothesis import strategies as st

NUMBERS = (
    *(0, 1, -1, 2, 255, 2**16, 2**31 - 1, 2**31, -(2**31), 2**53, 2**63 - 1, 2**63, -(2**63), 2**64, 10**400),
    *(0.5, -0.0, 1e-45, 1e30, -1e308, math.inf, -math.inf, math.nan),
)
VALUES = (
    *NUMBERS,
    "",
    "a",
    "words",
    "\0",
    "x" * 100_000,
    "é\u2028",
    True,
    False,
    None,
    [],
    {},
    [[[]]],
    [1],
    {"a": 1},
)
DTYPES = {"F16": 2, "BF16": 2, "F64": 8, "F32": 4, "I8": 1, "I32": 4, "I64": 8, "U8": 1, "BOOL": 1, "U16": 2}
CHUNKS = (b"\0", b"\xff" * 8, b"\n", b"\n\n", b"nan", b"-", b"[" * 5000, b"\xc3", b"1" * 5000, b"\0" * 10_000)


@dataclass(frozen=True)
class Mutation:
    kind: str
    file: int
    place: int
    value: int


def cut(path: Path, place: int, value: int) -> None:
    os.truncate(path, place % (path.stat().st_size + 1))


def append(path: Path, place: int, value: int) -> None:
    with open(path, "ab") as file:
        file.write(CHUNKS[value % len(CHUNKS)])


def insert(path: Path, place: int, value: int) -> None:
    content = path.read_bytes()
    at = place % (len(content) + 1)
    path.write_bytes(content[:at] + CHUNKS[value % len(CHUNKS)] + content[at:])


def flip(path: Path, place: int, value: int) -> None:
    content = bytearray(path.read_bytes())
    if content:
        content[place % len(content)] ^= 1 << value % 8
        path.write_bytes(content)


def exchange(path: Path, place: int, value: int) -> None:
    files = files_of(path.parent)
    other = files[place % len(files)]
    ours = path.read_bytes()
    shutil.copyfile(other, path) if other != path else None
    other.write_bytes(ours)


def remove(path: Path, place: int, value: int) -> None:
    path.unlink()


def empty(path: Path, place: int, value: int) -> None:
    path.write_bytes(b"")


def become(path: Path, place: int, value: int) -> None:
    """Replace a file by something that is none, or by a link."""
    content = path.read_bytes()
    path.unlink()
    kind = value % 6
    if kind == 0:
        os.mkfifo(path)
    elif kind == 1:
        path.mkdir()
    elif kind == 2:
        path.symlink_to("/dev/zero")
    elif kind == 3:
        path.symlink_to(path.name)  # a loop
    elif kind == 4:
        path.symlink_to("/proc/self/maps")
    else:
        copy = path.with_name(f".{path.name}-copy")
        copy.write_bytes(content)
        path.symlink_to(copy.name)  # harmless


def change_line(path: Path, place: int, value: int) -> None:
    """Exchange, repeat, remove or change a line, or its letters' case."""
    lines = path.read_bytes().split(b"\n")
    at, other = place % len(lines), value % len(lines)
    match value % 7:
        case 0:
            lines[at], lines[other] = lines[other], lines[at]
        case 1:
            lines.insert(other, lines[at])
        case 2:
            del lines[at]
        case 3:
            lines[at] = lines[at].upper()
        case 4:
            lines[at] += b" "
        case 5:
            lines[at] = b"w" * 100
        case 6:
            lines[at] = CHUNKS[value % len(CHUNKS)]
    path.write_bytes(b"\n".join(lines))


def nest(path: Path, place: int, value: int) -> None:
    """Nest arrays or keys deeply."""
    text, depth = path.read_text(), (10, 100, 1000, 20_000)[value % 4]
    if path.suffix == ".toml":
        path.write_text(
            (f"deep = {'[' * depth}{']' * depth}\n" if place % 2 else f"{'a.' * depth}a = 1\n") + text
        )
    else:
        opened, closed = ("[", "]") if place % 2 else ('{"a":', "1}")
        path.write_text(text.replace("{", f'{{"deep": {opened * depth}{closed * depth}, ', 1))


def repeat_key(path: Path, place: int, value: int) -> None:
    """Give a key twice, with another value."""
    text = path.read_text()
    keys = [line.split("=" if path.suffix == ".toml" else ":")[0].strip() for line in text.splitlines()]
    key = keys[place % len(keys)] if keys else ""
    if path.suffix == ".toml":
        path.write_text(f"{key} = {value % 9}\n{text}")
    else:
        path.write_text(text.replace("{", f"{{{key}: {value % 9}, ", 1))


def change_value(path: Path, place: int, value: int) -> None:
    """Change, remove or add a value of a TOML or JSON file."""
    document = tomllib.loads(path.read_text()) if path.suffix == ".toml" else json.loads(path.read_text())
    places = list(_places(document))
    if not places:
        return
    holder, key = places[place % len(places)]
    if value % 10 == 0:
        del holder[key]
    elif value % 10 == 1 and isinstance(holder, dict):
        holder[f"{key}x"] = holder[key]
    else:
        holder[key] = VALUES[value % len(VALUES)]
    path.write_text(tomli_w.dumps(document) if path.suffix == ".toml" else json.dumps(document))


def _places(value: Any) -> Any:
    """Every place in nested values, as (container, key)."""
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])


def change_number(path: Path, place: int, value: int) -> None:
    """Change one number of an array file: token, offset or label."""
    size = {"offsets": 8, "labels": 1}.get(path.stem, 2)
    content = bytearray(path.read_bytes())
    if len(content) >= size:
        at = place % (len(content) // size) * size
        old = int.from_bytes(content[at : at + size], "little")
        new = (old + 1, old - 1, 0, 1, 2, 2 ** (8 * size) - 1, 2 ** (8 * size - 1), 2 ** (4 * size))[
            value % 8
        ]
        content[at : at + size] = (new % 2 ** (8 * size)).to_bytes(size, "little")
        path.write_bytes(content)


def change_header(path: Path, place: int, value: int) -> None:
    """Change a value in the header of a file of tensors, or its length."""
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    places = list(_places(header))
    holder, key = places[place % len(places)]
    holder[key] = VALUES[value % len(VALUES)]
    text = json.dumps(header).encode()
    stated = len(text) if value % 5 else NUMBERS[value % 15] % 2**64
    path.write_bytes(int(stated).to_bytes(8, "little") + text + content[8 + size :])


def change_tensor(path: Path, place: int, value: int) -> None:
    """Give a tensor other numbers, another shape, type or name, in a file of the right format."""
    tensors = _read_tensors(path)
    name = sorted(tensors)[place % len(tensors)]
    dtype, shape, data = tensors.pop(name)
    count = len(data) // DTYPES[dtype]
    match value % 8:
        case 0:  # another number, anywhere
            number = struct.pack("<f", _float32(NUMBERS[value % len(NUMBERS)]))
            at = (place + value) % count * 4 if count else 0
            data = data[:at] + number + data[at + 4 :]
        case 1:
            data = struct.pack("<f", _float32(NUMBERS[value % len(NUMBERS)])) * count
        case 2:
            rows = (0, 1, shape[0] // 2, shape[0] - 1, shape[0] + 1, 2 * shape[0])[value % 6] if shape else 1
            row = len(data) // shape[0] if shape and shape[0] else 4
            shape, data = [rows, *shape[1:]], (data * 2 + bytes(row))[: rows * row]
        case 3:
            dtype = sorted(DTYPES)[value % len(DTYPES)]
            data = bytes(count * DTYPES[dtype])
        case 4:
            shape = [[count], [1, *shape], [*shape, 1], shape[::-1], [0, *shape]][value % 5]
            data = data[: 0 if 0 in shape else None]
        case 5:
            name = ("", "net.extra", name + "x", name.upper(), "wide.weights")[value % 5]
        case 6:
            tensors["extra"] = dtype, shape, data
        case 7:
            return _write_tensors(path, tensors)
    return _write_tensors(path, tensors | {name: (dtype, shape, data)})


def _float32(number: float) -> float:
    return max(-3.4e38, min(3.4e38, number)) if math.isfinite(number) else number


def _read_tensors(path: Path) -> dict[str, tuple[str, list[int], bytes]]:
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    header.pop("__metadata__", None)
    return {
        name: (entry["dtype"], entry["shape"], content[8 + size :][slice(*entry["data_offsets"])])
        for name, entry in header.items()
    }


def _write_tensors(path: Path, tensors: dict[str, tuple[str, list[int], bytes]]) -> None:
    header, size = {}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [size, size + len(data)]}
        size += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(
        len(text).to_bytes(8, "little") + text + b"".join(data for _, _, data in tensors.values())
    )


ANY, TABLES, TENSORS = (), (".toml", ".json"), (".safetensors",)
KINDS: dict[str, tuple[Callable[[Path, int, int], None], tuple[str, ...]]] = {
    "cut": (cut, ANY),
    "append": (append, ANY),
    "insert": (insert, ANY),
    "flip": (flip, ANY),
    "exchange": (exchange, ANY),
    "remove": (remove, ANY),
    "empty": (empty, ANY),
    "become": (become, ANY),
    "line": (change_line, (".txt", *TABLES)),
    "nest": (nest, TABLES),
    "repeat key": (repeat_key, TABLES),
    "value": (change_value, TABLES),
    "number": (change_number, (".bin",)),
    "header": (change_header, TENSORS),
    "tensor": (change_tensor, TENSORS),
}
"""Name, function and suffixes of the files it applies to."""


def mutations_of(*suffixes: str) -> st.SearchStrategy[Mutation]:
    """Mutations of a directory with files of these suffixes, mostly those that know the files' format."""
    kinds = [
        kind
        for kind, (_, own) in KINDS.items()
        for _ in range(3 if own else 1)
        if not own or set(own) & set(suffixes)
    ]
    number = st.integers(0, 2**20)
    return st.builds(Mutation, st.sampled_from(kinds), number, number, number)


def files_of(folder: Path) -> list[Path]:
    """All regular files in a folder and in those inside it, in order."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def damage(folder: Path, mutation: Mutation) -> None:
    """Apply a mutation to a file of its kind; a file that an earlier one made unreadable stays as it is."""
    function, suffixes = KINDS[mutation.kind]
    files = [path for path in files_of(folder) if path.suffix in suffixes or not suffixes]
    if files:
        _, file, place, value = astuple(mutation)
        try:
            function(files[file % len(files)], place, value)
        except (ValueError, TypeError, LookupError, OverflowError, RecursionError, AttributeError):
            return
