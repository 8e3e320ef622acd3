"""What `scripts/compare_results.py` treats as equal, and how it reports differences."""

import json
import runpy

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.conftest import REPOSITORY

SCRIPT = runpy.run_path(str(REPOSITORY / "scripts" / "compare_results.py"))
RECORD = {"seconds": 1.5, "valid": {"accuracy": 0.5, "confusion": [[3, 1], [0, 4]]}}
WEIGHTS = np.array([1, 2, 3], np.float32)


@pytest.fixture
def folders(tmp_path):
    """Results of the base and of the working tree, equal so far."""
    for side in ("base", "new"):
        (tmp_path / side / "run").mkdir(parents=True)
        (tmp_path / side / "run" / "record.json").write_text(json.dumps(RECORD))
        (tmp_path / side / "run" / "train.log").write_text(f"written by {side}")
        (tmp_path / side / "vocab.txt").write_text("good\nbad\n")
        save_file({"net.bias": WEIGHTS}, tmp_path / side / "weights.safetensors")
        np.savez(tmp_path / side / "logits.npz", logits=WEIGHTS)
        (tmp_path / side / "tokens.bin").write_bytes(b"\1\2\3")
    return tmp_path / "base", tmp_path / "new"


def found(folders):
    return list(SCRIPT["differences"](*folders))


def test_equal_folders_have_no_differences(folders):
    assert found(folders) == []


def test_a_changed_weight_is_named_with_how_much_it_changed(folders):
    save_file({"net.bias": WEIGHTS + np.float32([0, 0.5, 0])}, folders[1] / "weights.safetensors")
    expected = "weights.safetensors: net.bias: 1 of 3 numbers differ, by up to 0.5"
    assert found(folders) == [expected]


@pytest.mark.parametrize(
    "changed", [np.nextafter(WEIGHTS, np.float32(9)), WEIGHTS.astype(np.float64), WEIGHTS[:2], WEIGHTS[None]]
)
def test_the_last_bit_the_type_and_the_shape_count(folders, changed):
    np.savez(folders[1] / "logits.npz", logits=changed)
    assert len(found(folders)) == 1


def test_the_sign_of_zero_counts():
    assert SCRIPT["difference"](np.zeros(2), -np.zeros(2))
    assert SCRIPT["difference"](0.0, -0.0)


def test_nan_equals_itself():
    assert SCRIPT["difference"](np.array([np.nan]), np.array([np.nan])) is None
    assert SCRIPT["difference"](np.nan, np.nan) is None


def test_a_changed_json_value_is_named_by_its_place(folders):
    changed = RECORD | {"valid": {"accuracy": 0.75, "confusion": [[3, 1], [0, 5]]}}
    (folders[1] / "run" / "record.json").write_text(json.dumps(changed))
    assert found(folders) == ["run/record.json: /valid/accuracy: 0.5 is now 0.75 (and 1 more)"]


@pytest.mark.parametrize(
    ("changed", "differ"),
    [
        (RECORD | {"seconds": 9.0}, []),
        (dict(reversed(RECORD.items())), []),
        (RECORD | {"new": [1]}, []),
        (RECORD | {"valid": RECORD["valid"] | {"new": None}}, []),
        (
            {"valid": RECORD["valid"] | {"confusion": [[3, 1], [0, 4], []]}},
            ["run/record.json: /valid/confusion/length: 2 is now 3"],
        ),
        (
            {"valid": {"accuracy": 0.5}},
            ["run/record.json: /valid/confusion/length: 2 is now 'nothing' (and 6 more)"],
        ),
    ],
)
def test_times_order_and_added_keys_do_not_count_but_missing_keys_and_lengths_do(folders, changed, differ):
    (folders[1] / "run" / "record.json").write_text(json.dumps(changed))
    assert found(folders) == differ


def test_the_digest_of_times_does_not_count_but_other_digests_do(folders):
    for folder, digest in zip(folders, ("a", "b"), strict=True):
        for name in ("state.json", "manifest.json"):
            (folder / name).write_text(json.dumps({"digest": digest}))
    assert found(folders) == ["manifest.json: /digest: 'a' is now 'b'"]


def test_a_changed_line_is_shown(folders):
    (folders[1] / "vocab.txt").write_text("good\nbad\r\nugly\n")
    assert found(folders) == ["vocab.txt: line 2: 'bad' is now 'bad\\r' (and 1 more)"]


def test_of_long_lines_the_part_that_differs_is_shown():
    assert SCRIPT["difference"]("x" * 900 + "good", "x" * 900 + "bad").endswith(
        "xgood' is now '" + "x" * 20 + "bad'"
    )


def test_changed_bytes_are_counted(folders):
    (folders[1] / "tokens.bin").write_bytes(b"\1\2\4")
    assert found(folders) == ["tokens.bin: bytes: 1 of 3 numbers differ, by up to 1"]


@pytest.mark.parametrize(("side", "name"), [(0, "base"), (1, "working tree")])
def test_a_missing_file_is_a_difference(folders, side, name):
    (folders[side] / "vocab.txt").unlink()
    assert found(folders) == [f"vocab.txt is missing in the {name}"]


def test_a_command_that_failed_is_a_difference_with_its_message(folders):
    (folders[1] / "failed.txt").write_text("Traceback\nKeyError: 'net'\n")
    [line] = found(folders)
    assert line.startswith("KeyError: 'net'")


@pytest.mark.parametrize(
    ("sentence", "differ"),
    [("Two ranks take 1.50 times as long.", 0), ("2x1 is 1.83 times as fast.", 1), ("Nothing.", 1)],
)
def test_sentences_may_change_but_not_their_numbers(folders, sentence, differ):
    for folder, text in zip(folders, ("It is 1.50 times slower.", sentence), strict=True):
        (folder / "report.json").write_text(json.dumps({"findings": [text]}))
        (folder / "report.md").write_text(text)
    assert len(found(folders)) == 2 * differ
