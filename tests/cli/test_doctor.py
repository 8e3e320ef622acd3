"""doctor: says the truth about this machine, and what to do where something is wrong."""

import json
import os
import subprocess
import sys

import psutil
import pytest
import torch
from torch import nn

from sentiscale import doctor as machine
from sentiscale.doctor import Report, choose_layout, doctor, examine, ok, problem, warning
from sentiscale.parallel.cpu import gemm_peak_gflops, ran_on_onednn, torch_threads
from sentiscale.parallel.layout import usual_layout
from sentiscale.records import available_cores


@pytest.fixture(scope="module")
def full_report(tmp_path_factory):
    done = subprocess.run(
        [sys.executable, "-m", "sentiscale", "doctor", "--json"],
        capture_output=True,
        text=True,
        cwd=tmp_path_factory.mktemp("doctor"),
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def checks_by_name(report):
    return {check["name"]: check for check in report["checks"]}


def test_full_report_measures_everything_and_finds_no_problem(full_report):
    checks = checks_by_name(full_report)
    assert set(checks) == {
        "cores",
        "load",
        "memory",
        "disk",
        "libraries",
        "torch",
        "threads",
        "gpu",
        "lstm_kernel",
        "gemm_peak",
        "lstm_step",
        "denormals",
        "bf16",
        "gloo",
        "nccl",
        "layout",
    }
    assert full_report["status"] in ("ok", "warning")
    for check in checks.values():
        assert set(check) == {"name", "status", "value", "detail", "remedy"}
        assert (check["remedy"] is None) == (check["status"] == "ok")


def test_full_report_holds_real_figures(full_report):
    checks = checks_by_name(full_report)
    assert checks["gemm_peak"]["value"]["1"] > 1
    assert checks["lstm_step"]["value"]["1"] > 10
    assert checks["gloo"]["value"]["correct"] is True
    assert checks["denormals"]["value"]["flushed_everywhere"] is True
    assert checks["layout"]["value"]["layout"] == str(usual_layout(128, available_cores()))


def test_quick_report_is_text_with_a_line_for_each_check(sentiscale):
    done = sentiscale("doctor", "--quick", "--quiet")
    assert done.returncode == 0
    assert done.stderr == ""
    lines = [line.split() for line in done.stdout.splitlines() if not line.startswith(" ")]
    assert [line[1] for line in lines][:4] == ["cores", "load", "memory", "disk"]
    assert {line[0] for line in lines} <= {"ok", "warning"}


def test_broken_torch_is_a_problem_with_exit_1_and_no_traceback(sentiscale, tmp_path, monkeypatch):
    """A torch that cannot be loaded, as after an installation for another system."""
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise ImportError('libtorch.so: cannot open')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    done = sentiscale("doctor", "--json")
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert report["status"] == "problem"
    found = checks_by_name(report)["torch"]
    assert found["detail"] == "ImportError: libtorch.so: cannot open"
    assert "Reinstall" in found["remedy"]
    assert "lstm_kernel" not in checks_by_name(report), "what needs torch would only fail again"


@pytest.mark.parametrize(
    ("checks", "worst"),
    [
        ([], "ok"),
        ([ok("a", 1, "fine")], "ok"),
        ([ok("a", 1, "fine"), warning("b", 1, "slow", "wait")], "warning"),
        ([problem("c", 1, "broken", "mend"), warning("b", 1, "slow", "wait")], "problem"),
    ],
)
def test_status_is_the_worst_of_all_checks(checks, worst):
    assert Report(checks=checks).status == worst


def test_check_that_breaks_down_is_itself_the_finding():
    found = examine("odd", lambda: 1 / 0)
    assert (found.status, found.detail) == ("problem", "ZeroDivisionError: division by zero")


def test_padded_lstm_is_seen_on_onednn_and_a_gru_is_not():
    inputs_BTE = torch.randn(4, 9, 8)
    assert ran_on_onednn(nn.LSTM(8, 8, batch_first=True)(inputs_BTE)[0].sum())
    assert not ran_on_onednn(nn.GRU(8, 8, batch_first=True)(inputs_BTE)[0].sum())


def test_lstm_off_onednn_is_a_warning(monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    found = machine.check_lstm_kernel()
    assert (found.status, found.value) == ("warning", "generic")
    monkeypatch.undo()
    assert machine.check_lstm_kernel().value == "onednn"


def test_peak_is_measured_quickly_and_leaves_the_threads_as_they_were():
    with torch_threads(1):
        peak = gemm_peak_gflops(available_cores())
        assert torch.get_num_threads() == 1
    assert 0.5 < peak < 1e6


def test_too_many_and_too_few_threads_are_warnings():
    cores = available_cores()
    with torch_threads(cores + 1):
        assert machine.check_threads().remedy.startswith(f"Set OMP_NUM_THREADS={cores}")
    with torch_threads(cores):
        assert machine.check_threads().status == "ok"
    if cores > 1:
        with torch_threads(cores - 1):
            assert machine.check_threads().status == "warning"


def test_memory_limit_of_a_container_counts(tmp_path):
    (tmp_path / "memory.max").write_text(str(512 * 2**20))
    found = machine.check_memory(tmp_path / "memory.max")
    assert found.value["total_mb"] == 512
    assert (found.status, found.detail) == ("warning", "0.5 GiB of 0.5 GiB available")


def test_full_disk_is_a_problem(small_disk):
    found = machine.check_disk(small_disk)
    assert found.status == "problem"
    assert "0.0 GiB free" in found.detail


def test_ranks_that_cannot_meet_are_a_warning_that_says_why(monkeypatch):
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "no-such-interface")
    found = machine.check_gloo()
    assert found.status == "warning"
    assert "two processes could not exchange data" in found.detail
    assert "GLOO_SOCKET_IFNAME=lo" in found.remedy


def test_silent_probe_is_stopped(monkeypatch):
    monkeypatch.setattr(machine, "PROBE_SECONDS", 0.05)
    before = set(psutil.Process().children())
    with pytest.raises(RuntimeError, match="no answer within"):
        machine.run_probes(["denormals"])
    assert set(psutil.Process().children()) <= before


def test_layout_is_the_one_that_training_takes_by_itself():
    found = choose_layout([ok("lstm_step", {"1": 1000, "4": 2500}, "")])
    assert found.value == {
        "layout": str(usual_layout(128, available_cores())),
        "threads": available_cores() // usual_layout(128, available_cores()).world_size,
    }
    if available_cores() > 1:
        assert "4 threads in one process are 2.50 times as fast as one" in found.detail
    gpu = choose_layout([ok("gpu", [{"name": "some"}], "")])
    assert gpu.value == {"layout": "1x1", "threads": available_cores()}


def test_function_and_command_find_the_same(tmp_path):
    report = doctor(quick=True, folder=tmp_path)
    assert report.checks[0].name == "cores"
    assert report.checks[-1].name == "layout"
    assert str(tmp_path) in next(check.detail for check in report.checks if check.name == "disk")


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_unwritable_folder_is_a_warning(tmp_path):
    tmp_path.chmod(0o500)
    assert "not writable" in machine.check_disk(tmp_path).detail
