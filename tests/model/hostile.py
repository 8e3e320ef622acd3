"""Ways in which someone can change a model directory, for tests that must refuse every one of them."""

import json
import os
import struct
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import tomli_w
import torch
from safetensors.torch import load_file, save_file

from sentiscale.model.files import DIGESTS

WEIGHTS = "weights.safetensors"


@dataclass(frozen=True)
class Change:
    """A change of a model directory, and what the refusal says about it."""

    name: str
    apply: Callable[[Path], object]
    message: str
    """Regular expression."""


def setting(key: str, value: object, message: str) -> Change:
    """Change a setting of config.toml; a dot separates table and key."""

    def apply(model: Path) -> None:
        values = tomllib.loads((model / "config.toml").read_text())
        table, _, name = key.rpartition(".")
        (values[table] if table else values)[name] = value
        (model / "config.toml").write_text(tomli_w.dumps(values))

    where = key.replace(".", r"\.")
    return Change(f"{key} = {value}", apply, rf"config\.toml is damaged: {where} is .*: {message}")


def tensor(name: str, change: Callable[[torch.Tensor], torch.Tensor], message: str, title: str) -> Change:
    """Change a tensor of the weights."""

    def apply(model: Path) -> None:
        tensors = load_file(model / WEIGHTS)
        tensors[name] = change(tensors[name].clone()).contiguous()
        save_file(tensors, model / "new")
        os.replace(model / "new", model / WEIGHTS)

    return Change(f"{name} {title}", apply, rf"weights\.safetensors: {name} {message}")


def with_value(value: float) -> Callable[[torch.Tensor], torch.Tensor]:
    def change(values: torch.Tensor) -> torch.Tensor:
        values.view(-1)[values.numel() // 2] = value
        return values

    return change


def file(name: str, change: Callable[[bytes], bytes], message: str, title: str) -> Change:
    """Change the content of a file."""

    def apply(model: Path) -> None:
        (model / name).write_bytes(change((model / name).read_bytes()))

    return Change(f"{name} {title}", apply, message)


def header(change: Callable[[dict], object], message: str, title: str) -> Change:
    """Change the header of the weights."""

    def changed(content: bytes) -> bytes:
        (length,) = struct.unpack("<Q", content[:8])
        entries = json.loads(content[8 : 8 + length])
        change(entries)
        text = json.dumps(entries).encode()
        text += b" " * (-len(text) % 8)
        return struct.pack("<Q", len(text)) + text + content[8 + length :]

    return file(WEIGHTS, changed, message, f"header: {title}")


def special(name: str, make: Callable[[Path], object], kind: str) -> Change:
    """Put something else than a file in the place of a file."""

    def apply(model: Path) -> None:
        (model / name).unlink()
        make(model / name)

    return Change(f"{name} is {kind}", apply, rf"{name} is {kind}; only a regular file is allowed")


def cut_both(count: int) -> Change:
    def apply(model: Path) -> None:
        tensors = load_file(model / WEIGHTS)
        for name in ("wide.scales", "wide.weights"):
            tensors[name] = tensors[name][:count].clone()
        save_file(tensors, model / "new")
        os.replace(model / "new", model / WEIGHTS)

    message = rf"wide\.scales has shape \({count},\); only one dimension of 2\*\*8 to 2\*\*28 numbers"
    return Change(f"wide arrays of {count}", apply, message)


def lines(change: Callable[[list[str]], list[str]], message: str, title: str) -> Change:
    """Change the lines of the vocabulary."""
    return file(
        "vocab.txt",
        lambda content: ("\n".join(change(content.decode().splitlines())) + "\n").encode(),
        message,
        title,
    )


def nested(levels: int) -> bytes:
    return b"x = " + b"[" * levels + b"]" * levels + b"\n"


LSTM = "net.recurrent.cell.weight_hh_l0"
RANGE = r"contains {}; allowed is -1e\+09 to 1e\+09"

CHANGES = [
    cut_both(1),
    cut_both(0),
    cut_both(1000),
    cut_both(128),
    *(
        tensor(
            "wide.weights",
            lambda values, count=count: values[:count],
            rf"is 'F32' \({count},\); .* require 'F32' \(1024,\)",
            f"alone cut to {count}",
        )
        for count in (16, 0)
    ),
    *(setting("wide_gaps", value, ".*greater than or equal to 0") for value in (-1, -(2**40))),
    setting("wide_gaps", 10**9, ".*less than or equal to 4"),
    *(setting("wide_longest", value, ".*greater than or equal to 1") for value in (0, -1)),
    setting("wide_longest", 10**9, ".*less than or equal to 3"),
    setting("model.layers", 1_000_000, ".*less than or equal to 32"),
    *(setting("model.hidden_dim", value, ".*less than or equal to 8192") for value in (10**9, 2**62)),
    setting("model.embedding_dim", 10**9, ".*less than or equal to 8192"),
    setting("model.dropout", float("nan"), ".*finite number"),
    setting("model.width", 3, "Extra inputs are not permitted"),
    *(setting("max_tokens", value, ".*greater than or equal to 2") for value in (0, -1, 1)),
    setting("max_tokens", 1e30, ".*integer"),
    file("config.toml", lambda c: c.replace(b"400", b"0x" + b"f" * 8000), "thousands of digits", "0xfff…"),
    setting("cleaning_version", 10**9, ".*less than or equal to 1000"),
    replace(setting("cleaning_version", 999, ""), message=r"config\.toml: version 999 of .* is unknown"),
    replace(
        setting("format_version", 2, ""), message="has model format 2; this version of sentiscale reads 1"
    ),
    replace(setting("cleaning", "letters", ""), message=r"cleaning is 'letters': .*'alpha' or 'words'"),
    setting("max_tokens", 2**40, ".*less than or equal to 2147483647"),
    setting("stored_tokens", -1, ".*greater than or equal to 1"),
    *(
        setting("wide_intercept", float(value), ".*(greater|less) than or equal to")
        for value in ("nan", "inf", "-inf", "1e300")
    ),
    setting("combination.net", float("nan"), ".*less than or equal to"),
    setting("combination.scale", 1.0, "Extra inputs are not permitted"),
    replace(setting("one\nmore", 1, ""), message=r"config\.toml is damaged: 'one\\nmore' is 1: Extra inputs"),
    file("config.toml", lambda _: nested(1000), r"config\.toml is not valid TOML: it is nested", "nested"),
    file("config.toml", lambda _: nested(40), r"config\.toml is nested too deep", "nested a little"),
    file(
        "config.toml", lambda _: b"a." * 5000 + b"a = 1", r"config\.toml:1 has more than 100 dots", "dotted"
    ),
    file("config.toml", lambda c: c + b"#" * 70_000, r"config\.toml has .* at most 65,536", "long"),
    file("config.toml", lambda c: c[:50], r"config\.toml is (damaged|not valid TOML)", "cut"),
    *(
        special(name, make, kind)
        for name in ("config.toml", "vocab.txt", WEIGHTS)
        for make, kind in (
            (os.mkfifo, "a FIFO"),
            (lambda path: path.symlink_to("/dev/zero"), "a device"),
            (Path.mkdir, "a directory"),
        )
    ),
    *(
        tensor(name, with_value(float(value)), RANGE.format(shown), f"with {value}")
        for name in ("net.embedding.weight", LSTM, "net.head.linear.bias", "wide.scales", "wide.weights")
        for value, shown in (("nan", "nan"), ("inf", "inf"), ("-inf", "-inf"), ("1e30", r".*e\+30"))
    ),
    *(
        tensor(name, lambda values, kind=kind: values.to(kind), rf"is '{shown}' .* require 'F32'", shown)
        for name in (LSTM, "net.embedding.weight", "wide.weights")
        for kind, shown in ((torch.float16, "F16"), (torch.bfloat16, "BF16"), (torch.float64, "F64"))
    ),
    tensor(
        "wide.scales", lambda values: values[:, None], r"has shape \(1024, 1\); only one", "two dimensions"
    ),
    tensor(
        "net.embedding.weight", lambda values: values[:-1], r"is 'F32' .* require 'F32' \(15, 16\)", "cut"
    ),
    tensor(LSTM, lambda values: values.T, r"is 'F32' \(16, 64\); .* require 'F32' \(64, 16\)", "transposed"),
    header(lambda entries: entries.pop("wide.weights"), "has no tensor wide.weights", "a tensor less"),
    header(
        lambda entries: entries.update({"more\n": dict(entries["wide.weights"])}),
        r"has a tensor 'more\\n', which config\.toml does not allow",
        "a tensor more",
    ),
    header(
        lambda entries: entries["wide.weights"].update(data_offsets=[0, 4096]),
        r"data_offsets \(0, 4096\); only",
        "overlapping tensors",
    ),
    header(
        lambda entries: entries["wide.weights"].update(data_offsets=[-1, 2**70]), "data_offsets", "offsets"
    ),
    header(lambda entries: entries["wide.weights"].update(shape="a"), "its header is not valid", "a shape"),
    file(WEIGHTS, lambda c: struct.pack("<Q", 2**63) + c[8:], "states a header of", "header of 2**63"),
    file(WEIGHTS, lambda c: struct.pack("<Q", 99_999) + b"[" * 99_999 + c, "header", "nested header"),
    *(
        file(WEIGHTS, lambda c, keep=keep: c[: int(keep * len(c))], r"bytes", f"cut to {keep}")
        for keep in (0, 0.01, 0.5, 0.999)
    ),
    file(WEIGHTS, lambda c: c + bytes(4), r"are required", "longer"),
    lines(
        lambda words: [words[0], words[1], "Great", *words[3:]],
        r"vocab\.txt:3 is 'Great', .*'great'",
        "capital",
    ),
    lines(lambda words: [*words[:-1], "a b"], r"vocab\.txt:15 is 'a b'", "with a space"),
    lines(lambda words: [*words[:-1], "bad\r"], r"vocab\.txt:15 is 'bad\\r', .* 'bad'", "with a return"),
    lines(lambda words: [*words[:-1], "x" * 65], r"vocab\.txt:15 is 'xxx", "with a long word"),
    lines(lambda words: [*words[:-1], "<pad>"], "twice", "with a special word"),
    lines(lambda words: [*words[:-1], words[3]], "twice", "with a word twice"),
    lines(lambda words: [*words[:-1], ""], "empty", "with an empty word"),
    lines(lambda words: words[::-1], "begins with", "reversed"),
    lines(lambda words: [*words, "more"], r"require 'F32' \(16, 16\)", "with one word more"),
    lines(lambda words: words[:-1], r"require 'F32' \(14, 16\)", "with one word less"),
    file("vocab.txt", lambda c: c + b"\xff\n", "cannot be read as a vocabulary", "not UTF-8"),
]
"""Changes by someone who removed the digests, so that only the values show the change."""

DIGEST_MESSAGE = "does not match the digest written with it"


def swapped_words(content: bytes) -> bytes:
    words = content.decode().splitlines()
    words[2], words[3] = words[3], words[2]
    return ("\n".join(words) + "\n").encode()


def next_number(content: bytes) -> bytes:
    """Change the last number of the weights a little."""
    changed = bytearray(content)
    changed[-4] ^= 1
    return bytes(changed)


DIGEST_CHANGES = [
    file(
        "config.toml", lambda c: c.replace(b"max_tokens = 400", b"max_tokens = 401"), DIGEST_MESSAGE, "digest"
    ),
    file("vocab.txt", swapped_words, DIGEST_MESSAGE, "in another order"),
    file(WEIGHTS, next_number, DIGEST_MESSAGE, "one bit"),
    file(WEIGHTS, lambda c: c[:-4], DIGEST_MESSAGE, "copied in part"),
    replace(tensor(LSTM, with_value(float("nan")), "", "NaN"), message=DIGEST_MESSAGE),
    file(DIGESTS, lambda _: b"{}", r"digests\.json is damaged", "empty"),
    file(
        DIGESTS,
        lambda _: b'{"config.toml": 1, "vocab.txt": [], "weights.safetensors": {}}',
        "damaged",
        "numbers",
    ),
    file(DIGESTS, lambda _: b"[]", r"digests\.json is damaged", "list"),
    file(DIGESTS, lambda _: b"[" * 10_000, r"digests\.json is not valid JSON", "nested"),
    special(DIGESTS, os.mkfifo, "a FIFO"),
]
"""Changes of valid values, which only the digests show, and of the digests."""
