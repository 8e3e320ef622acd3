"""Model directories that someone changed: refused with one line, whatever was changed."""

import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sentiscale.errors import DataError
from sentiscale.inference.predictor import Predictor
from sentiscale.model.directory import load_model, read_record
from sentiscale.model.files import DIGESTS
from tests.model.hostile import CHANGES, DIGEST_CHANGES, Change
from tests.serving.conftest import write_model

TEXTS = ["great film !", "not good, bad", ""]
VERBS = ("predict", "evaluate")
RUN_COMMANDS = """
import contextlib, io, json, sys
from sentiscale.cli import main
for command in json.load(sys.stdin):
    out, err, code = io.StringIO(), io.StringIO(), None
    sys.argv = ["sentiscale", *command]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as stopped:
            code = stopped.code
    print(json.dumps([code, out.getvalue(), err.getvalue()]), flush=True)
"""


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    return write_model(tmp_path_factory.mktemp("original") / "model")


def changed(original: Path, folder: Path, change: Change, *, digests: bool) -> Path:
    shutil.copytree(original, folder)
    change.apply(folder)
    if not digests:
        (folder / DIGESTS).unlink()
    return folder


EVERY_CHANGE = [*((change, False) for change in CHANGES), *((change, True) for change in DIGEST_CHANGES)]
NAMES = [f"{change.name}, {'with' if digests else 'no'} digests" for change, digests in EVERY_CHANGE]


@pytest.fixture(scope="module")
def answers(original, tmp_path_factory) -> dict[tuple[int, str], tuple[int, str, str]]:
    """Exit code, output and messages of the real commands on every changed model, in one process."""
    folder = tmp_path_factory.mktemp("changed")
    rows = folder / "rows.txt"
    rows.write_text("".join(f"__label__{1 + i % 2} {text}\n" for i, text in enumerate(TEXTS)))
    commands = {}
    for number, (change, digests) in enumerate(EVERY_CHANGE):
        model = changed(original, folder / str(number), change, digests=digests)
        for verb in VERBS:
            commands[number, verb] = [verb, str(model), str(rows)]
    done = subprocess.run(
        [sys.executable, "-c", RUN_COMMANDS],
        input=json.dumps(list(commands.values())),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    found = [tuple(json.loads(line)) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"ended with {done.returncode} at {list(commands.values())[len(found)]}"
    return dict(zip(commands, found, strict=True))


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("number", range(len(EVERY_CHANGE)), ids=NAMES)
def test_the_command_refuses_a_changed_model_in_one_line(answers, verb, number):
    code, out, err = answers[number, verb]
    assert (code, out) == (3, "")
    assert err.count("\n") == 1
    assert "Traceback" not in err


@pytest.mark.parametrize(("change", "digests"), EVERY_CHANGE, ids=NAMES)
def test_the_message_names_file_and_field(original, tmp_path, change, digests):
    model = changed(original, tmp_path / "model", change, digests=digests)
    with pytest.raises(DataError, match=change.message) as caught:
        Predictor.load(model).predict("good")
    assert str(model) in str(caught.value)
    assert "\n" not in str(caught.value)


PROCESSES = ("wide arrays of 1", "vocab.txt is a FIFO")


@pytest.mark.parametrize("name", PROCESSES)
def test_a_process_of_its_own_neither_crashes_nor_waits(original, tmp_path, sentiscale, name):
    (change,) = (change for change in CHANGES if change.name == name)
    done = sentiscale("predict", changed(original, tmp_path / "model", change, digests=False), stdin="good\n")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.count("\n") == 1


def test_a_large_claim_takes_no_memory(original, tmp_path):
    """Sizes beyond the file's are refused before anything of that size is allocated."""
    names = ("model.hidden_dim", "model.layers", "wide arrays")
    for number, change in enumerate(change for change in CHANGES if change.name.startswith(names)):
        model = changed(original, tmp_path / str(number), change, digests=False)
        config = model / "config.toml"
        config.write_text(config.read_text().replace("1000000000", "8192").replace("1000000", "32"))
        with pytest.raises(DataError):
            load_model(model)


def test_a_model_without_digests_loads_with_one_note(original, tmp_path, caplog):
    before = [prediction.positive_probability for prediction in Predictor.load(original).predict(TEXTS)]
    old = shutil.copytree(original, tmp_path / "old")
    (old / DIGESTS).unlink()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            after = [prediction.positive_probability for prediction in Predictor.load(old).predict(TEXTS)]
            assert after == before
    assert [record.getMessage() for record in caplog.records] == [
        f"note: {old} has no digests.json, as models of earlier versions: changes of its files go unnoticed."
    ]


def test_the_note_is_one_line_on_stderr(original, tmp_path, sentiscale):
    old = shutil.copytree(original, tmp_path / "old")
    (old / DIGESTS).unlink()
    done = sentiscale("predict", old, stdin="good\n")
    assert done.returncode == 0
    assert done.stdout.count("\n") == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"note: {old} has no digests.json")


@pytest.mark.parametrize(
    "make",
    [
        os.mkfifo,
        lambda path: path.symlink_to("/dev/zero"),
        Path.mkdir,
        lambda path: path.write_bytes(b"[" * 100_000),
        lambda path: path.write_bytes(b"{}"),
    ],
)
def test_a_damaged_record_does_not_matter(original, tmp_path, make):
    model = shutil.copytree(original, tmp_path / "model")
    assert read_record(model)["id"] == "made"
    (model / "record.json").unlink()
    make(model / "record.json")
    assert read_record(model) == {}
    load_model(model)


def test_the_embedding_is_mapped_and_the_other_weights_are_copied(original):
    net = load_model(original).net
    state = net.state_dict()
    assert all(value.isfinite().all() for value in state.values())
    aligned = {name: value.data_ptr() % 64 == 0 for name, value in state.items()}
    assert all(aligned[name] for name in state if not name.startswith("embedding"))
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("no /proc on this system")
    assert f"{original}/weights.safetensors" in maps.read_text()
