"""The command as a whole: menu, exit codes, one message for every mishap, signals and closed pipes."""

import os
import signal
import subprocess
import sys
from importlib.metadata import version

import pytest

import sentiscale.cli as cli
from sentiscale import errors

HARNESS = """
import os, signal, sys, time
from sentiscale import (cli, errors)

def {verb}():
    {body}

cli.app.command("{verb}")(cli._reporting_errors({verb}))
sys.argv = ["sentiscale", "{verb}"]
cli.main()
"""


def run_verb(body: str, **options) -> subprocess.CompletedProcess[str]:
    """Run a verb with the given body under the real `main`, in a process of its own."""
    code = HARNESS.format(verb="mishap", body=body)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, **options)


def test_menu_lists_every_verb(sentiscale):
    shown = sentiscale("--help")
    assert shown.returncode == 0
    assert [verb for verb in cli.VERBS if f" {verb} " not in shown.stdout] == []


def test_no_arguments_show_the_menu(sentiscale):
    shown = sentiscale()
    assert "First steps" in shown.stdout + shown.stderr
    assert shown.returncode == 2


def test_version_is_the_installed_one(sentiscale):
    assert sentiscale("--version").stdout == version("sentiscale") + "\n"


@pytest.mark.parametrize("arguments", [["prepair"], ["doctor", "--quik"], ["doctor", "extra"]])
def test_misused_command_exits_with_2_and_no_traceback(sentiscale, arguments):
    done = sentiscale(*arguments)
    assert done.returncode == 2
    assert arguments[-1] in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("kind", "exit_code"),
    [(errors.SentiscaleError, 1), (errors.UsageError, 2), (errors.DataError, 3), (errors.Interrupted, 130)],
)
def test_error_raised_on_purpose_is_one_message_and_its_exit_code(kind, exit_code):
    done = run_verb(f"raise errors.{kind.__name__}('got this. Do that.')")
    assert (done.returncode, done.stderr, done.stdout) == (exit_code, "sentiscale: got this. Do that.\n", "")


def test_fault_of_the_system_is_one_message_too(tmp_path):
    done = run_verb(f"open({str(tmp_path / 'nowhere')!r})")
    assert done.returncode == 1
    assert done.stderr == f"sentiscale: {tmp_path / 'nowhere'}: No such file or directory.\n"


def test_fault_of_the_program_keeps_its_traceback():
    done = run_verb("raise ZeroDivisionError('a bug')")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_a_verb_with_130_and_one_message(number):
    done = run_verb(f"os.kill(os.getpid(), {int(number)}); time.sleep(20)")
    assert (done.returncode, done.stderr) == (
        130,
        "sentiscale: interrupted; no partial output was left behind.\n",
    )


@pytest.mark.parametrize("length", [1, 100_000], ids=["noticed at the end", "noticed at once"])
def test_closed_output_is_no_error(length):
    read_end, write_end = os.pipe()
    os.close(read_end)
    code = HARNESS.format(verb="mishap", body=f"print('x' * {length})")
    buffered = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    with os.fdopen(write_end, "w") as closed:
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=closed, stderr=subprocess.PIPE, text=True, env=buffered
        )
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, "400 None"), ({"GOMP_SPINCOUNT": "9"}, "9 None"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "None ACTIVE")],
    ids=["by default", "count given", "policy given"],
)
def test_threads_spin_briefly_unless_asked_otherwise(given, expected):
    body = "print(os.environ.get('GOMP_SPINCOUNT'), os.environ.get('OMP_WAIT_POLICY'))"
    names = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    clean = {key: value for key, value in os.environ.items() if key not in names}
    assert run_verb(body, env=clean | given).stdout == expected + "\n"
