"""Records survive the way to disk and back; damaged files are named with their line."""

import os

import pytest

from sentiscale import records
from sentiscale.errors import DataError, SentiscaleError
from sentiscale.records import PhaseTimes, append_jsonl, cpu_quota, read_jsonl


def test_records_come_back_as_they_were_written(tmp_path):
    written = [PhaseTimes(data=1.5), PhaseTimes(compute=2.0)]
    for record in written:
        append_jsonl(tmp_path / "times.jsonl", record)
    assert list(read_jsonl(tmp_path / "times.jsonl", PhaseTimes)) == written


def test_keys_of_a_later_version_are_ignored(tmp_path):
    (tmp_path / "times.jsonl").write_text('{"data": 1.0, "teleport": 2.0}\n')
    assert list(read_jsonl(tmp_path / "times.jsonl", PhaseTimes)) == [PhaseTimes(data=1.0)]


@pytest.mark.parametrize(
    "damage", [b'{"data": 1.', b"\n", b'{"data": "long"}', b"[]", b'{"data": "\xff"}', b"\x00\x00"]
)
def test_damaged_line_is_named(tmp_path, damage):
    path = tmp_path / "times.jsonl"
    path.write_bytes(b'{"data": 1.0}\n' + damage)
    found = read_jsonl(path, PhaseTimes)
    assert next(found) == PhaseTimes(data=1.0)
    with pytest.raises(DataError, match=r"times\.jsonl:2 is not a PhaseTimes: .") as caught:
        next(found)
    assert "\n" not in str(caught.value)


def test_missing_file_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match=r"cannot read .*nowhere\.jsonl: No such file"):
        list(read_jsonl(tmp_path / "nowhere.jsonl", PhaseTimes))


def test_full_disk_leaves_only_whole_lines(small_disk):
    path = small_disk / "times.jsonl"
    append_jsonl(path, PhaseTimes(data=1.0))
    (small_disk / "filler").write_bytes(bytes(256 * 1024 - 8192))

    def append_many() -> None:
        for _ in range(1000):
            append_jsonl(path, PhaseTimes(data=2.0))

    with pytest.raises(SentiscaleError, match="No space left"):
        append_many()
    assert {record.data for record in read_jsonl(path, PhaseTimes)} == {1.0, 2.0}


def test_cores_follow_the_affinity_of_the_process():
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system has no affinity")
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert records.available_cores() == 1
    finally:
        os.sched_setaffinity(0, before)
    assert records.available_cores() == len(before)


def test_host_says_what_this_machine_is():
    host = records.Host.current()
    assert host.cores == records.available_cores()
    assert host.memory_mb > 100
    assert host.cpu_model


def test_versions_of_absent_packages_are_left_out():
    found = records.package_versions("numpy", "no-such-package-anywhere")
    assert list(found) == ["numpy"]


def test_commit_is_none_outside_a_repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert records.git_commit() is None


def test_commit_is_none_without_git(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert records.git_commit() is None


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": ""}, None),
        ({"cpu.max": "1 0"}, None),
        ({}, None),
        ({"cpu.max": "10000 100000\n"}, 0.1),
        ({"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4.0),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
    ],
)
def test_a_container_s_share_of_processor_time_counts_as_cores(tmp_path, files, cores):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cpu_quota(tmp_path) == cores
