"""Files and directories are whole or absent, whatever happens while they are written."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sentiscale.errors import OutputExistsError, SentiscaleError, UsageError
from sentiscale.util import atomic

WRITER = """
import sys, time
from pathlib import Path
from sentiscale.util.atomic import whole_directory
with whole_directory(Path(sys.argv[1]), replace=True) as working:
    (working / "part").write_text("half")
    print("writing", flush=True)
    time.sleep(300)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def killed_writer(path: Path, number: int) -> int:
    """Start writing the directory `path` in another process and kill it half-way; return its id."""
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    process.send_signal(number)
    process.wait(timeout=120)
    process.stdout.close()
    return process.pid


def test_write_file_replaces_the_old_content_and_leaves_nothing_else(tmp_path):
    atomic.write_file(tmp_path / "a.txt", "old")
    atomic.write_file(tmp_path / "a.txt", b"new")
    assert (tmp_path / "a.txt").read_bytes() == b"new"
    assert names(tmp_path) == ["a.txt"]


def test_write_file_keeps_the_old_content_when_the_disk_is_full(small_disk):
    atomic.write_file(small_disk / "a.txt", "old")
    with pytest.raises(SentiscaleError, match=r"a\.txt failed: No space left on device.*Free some space"):
        atomic.write_file(small_disk / "a.txt", bytes(1 << 20))
    assert (small_disk / "a.txt").read_text() == "old"
    assert names(small_disk) == ["a.txt"]


def test_write_file_into_a_missing_folder_names_the_file(tmp_path):
    with pytest.raises(SentiscaleError, match=r"nowhere/a\.txt failed: No such file or directory"):
        atomic.write_file(tmp_path / "nowhere" / "a.txt", "text")


def test_directory_appears_only_when_complete(tmp_path):
    with atomic.whole_directory(tmp_path / "out") as working:
        (working / "inner").mkdir()
        (working / "inner" / "a").write_text("1")
        assert not (tmp_path / "out").exists()
    assert names(tmp_path) == ["out"]
    assert (tmp_path / "out" / "inner" / "a").read_text() == "1"


def test_directory_is_absent_after_an_error_inside(tmp_path):
    def fail_half_way() -> None:
        with atomic.whole_directory(tmp_path / "out") as working:
            (working / "a").write_text("1")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    assert names(tmp_path) == []


def test_directory_is_absent_after_the_disk_filled_up(small_disk):
    with (
        pytest.raises(SentiscaleError, match=r"No space left.*Free some space"),
        atomic.whole_directory(small_disk / "out") as working,
    ):
        (working / "a").write_bytes(bytes(1 << 20))
    assert names(small_disk) == []


def test_fault_of_an_input_is_not_blamed_on_the_output(tmp_path):
    with pytest.raises(FileNotFoundError), atomic.whole_directory(tmp_path / "out"):
        open(tmp_path / "missing-input").close()
    assert names(tmp_path) == []


def test_existing_output_is_refused_and_untouched(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").touch()
    with (
        pytest.raises(OutputExistsError, match=r"exists already.*--force"),
        atomic.whole_directory(tmp_path / "out"),
    ):
        pytest.fail("the block must not start")
    assert names(tmp_path / "out") == ["old"]


def test_replacing_keeps_the_old_directory_until_the_new_one_is_complete(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").touch()
    with pytest.raises(ZeroDivisionError), atomic.whole_directory(tmp_path / "out", replace=True):
        _ = 1 / 0
    assert names(tmp_path / "out") == ["old"]
    with atomic.whole_directory(tmp_path / "out", replace=True) as working:
        (working / "new").touch()
    assert names(tmp_path / "out") == ["new"]
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("content", [["manifest.json", "tokens.bin"], []])
def test_marked_or_empty_directory_may_be_replaced(tmp_path, content):
    (tmp_path / "out").mkdir()
    for name in content:
        (tmp_path / "out" / name).touch()
    with atomic.whole_directory(tmp_path / "out", replace=True, marker="manifest.json"):
        pass
    assert names(tmp_path / "out") == []


def test_foreign_directory_is_not_replaced(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "wedding.jpg").touch()
    with pytest.raises(UsageError, match=r"no manifest\.json, so sentiscale did not write it"):
        atomic.check_output(tmp_path / "photos", replace=True, marker="manifest.json")
    assert names(tmp_path / "photos") == ["wedding.jpg"]


def test_file_is_not_replaced_by_a_marked_directory(tmp_path):
    (tmp_path / "thesis.doc").touch()
    with pytest.raises(UsageError, match="--force does not replace it"):
        atomic.check_output(tmp_path / "thesis.doc", replace=True, marker="manifest.json")


def test_output_below_a_file_is_refused_before_work(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot create"):
        atomic.check_output(tmp_path / "file" / "inner" / "out")


@pytest.mark.parametrize("path", [Path("/"), Path("..")])
def test_output_without_a_name_is_refused(path):
    with pytest.raises(UsageError, match="no name of its own"):
        atomic.check_output(path, replace=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_unwritable_parent_is_refused_before_work(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match="not writable"):
        atomic.check_output(tmp_path / "out")


def test_interrupted_writer_leaves_nothing(tmp_path):
    killed_writer(tmp_path / "out", signal.SIGINT)
    assert names(tmp_path) == []


def test_killed_writer_leaves_no_output_and_the_next_one_clears_its_scraps(tmp_path):
    killed_writer(tmp_path / "out", signal.SIGKILL)
    assert not (tmp_path / "out").exists()
    assert len(names(tmp_path)) == 1, "a killed process cannot clean up: its hidden scraps are still there"
    with atomic.whole_directory(tmp_path / "out"):
        pass
    assert names(tmp_path) == ["out"]


def test_directory_retired_by_a_killed_writer_is_put_back(tmp_path):
    """The one moment between two renames: the old directory is complete, but has no name."""
    dead = killed_writer(tmp_path / "elsewhere", signal.SIGKILL)
    scraps = next(path for path in tmp_path.iterdir() if str(dead) in path.name)
    old = scraps.with_name(scraps.name.replace("elsewhere", "out").replace(".tmp", ".old"))
    scraps.rename(old)
    atomic.remove_abandoned(tmp_path / "out")
    assert names(tmp_path) == ["out"]
    assert (tmp_path / "out" / "part").read_text() == "half"


def test_scraps_of_a_living_writer_are_left_alone(tmp_path):
    with atomic.whole_directory(tmp_path / "out") as working:
        atomic.remove_abandoned(tmp_path / "out")
        assert working.is_dir()
