"""Recipes of deploy/train: what they run is a real command, and scripts start, stop and resume it."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from sentiscale.cli import app
from sentiscale.errors import OutputExistsError
from sentiscale.training.run_directory import RunDir
from tests.conftest import REPOSITORY

RECIPES = REPOSITORY / "deploy" / "train"
SCRIPTS = sorted(RECIPES.glob("*.sh"))
OPTIONS = ["--epochs", "1", "--batch-size", "64", "--no-wide", "--quiet"]


def check_train_command(arguments: list[str]) -> None:
    """Parse the arguments behind `train` as the command line does; raises when a flag does not exist."""
    get_command(app).commands["train"].make_context("train", list(arguments))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_sound(script):
    subprocess.run(["bash", "-n", script], check=True)
    assert os.access(script, os.X_OK)
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", script], check=True)


def test_kubernetes_objects_fit_together():
    service, job = yaml.safe_load_all((RECIPES / "kubernetes.yaml").read_text())
    assert (service["kind"], job["kind"]) == ("Service", "Job")
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert spec["completionMode"] == "Indexed"
    assert spec["completions"] == spec["parallelism"]
    assert service["spec"]["clusterIP"] == "None"
    assert pod["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["selector"] == {"batch.kubernetes.io/job-name": job["metadata"]["name"]}
    command = container["command"]
    at = command.index("train")
    launcher, arguments = command[:at], command[at + 1 :]
    assert launcher[0] == "torchrun"
    assert launcher[-2:] == ["-m", "sentiscale"]
    options = dict(word.removeprefix("--").split("=") for word in launcher[1:-2])
    assert options["nnodes"] == str(spec["completions"])
    assert options["master-addr"] == f"{job['metadata']['name']}-0.{pod['subdomain']}"
    assert int(options["master-port"]) == service["spec"]["ports"][0]["port"]
    assert options["node-rank"] == f"$({container['env'][0]['name']})"
    check_train_command(arguments)
    threads = arguments[arguments.index("--threads-per-rank") + 1]
    assert threads == container["resources"]["limits"]["cpu"], "cores are limited by quota, which no one sees"
    [mount] = container["volumeMounts"]
    assert all(arguments[at].startswith(mount["mountPath"]) for at in (0, 2))


def test_flag_that_does_not_exist_would_be_found():
    with pytest.raises(Exception, match="No such option"):
        check_train_command(["/data", "--out", "/run", "--thread-per-ranks", "4"])


def test_run_that_was_ended_before_its_first_step_is_begun_anew(tmp_path):
    run = RunDir(tmp_path / "run")
    assert not run.has_begun
    run.create(resume=False, force=False)
    assert not run.has_begun
    run.log.write_text("")
    run.wide.write_text("")
    run.wide.with_name(f".{run.wide.name}.host.1.tmp").write_text("")
    assert not run.has_begun
    run.check(resume=False, force=True)


@pytest.mark.parametrize("name", ["letters", "checkpoints/letters", "checkpoints/step-00000040"])
def test_force_deletes_nothing_that_a_run_without_a_record_cannot_have_left(tmp_path, name):
    run = RunDir(tmp_path / "run")
    run.create(resume=False, force=False)
    (run.path / name).mkdir()
    assert run.has_begun
    with pytest.raises(OutputExistsError, match="not a run directory"):
        run.create(resume=False, force=True)
    assert (run.path / name).exists()


def test_force_deletes_no_file(tmp_path):
    (tmp_path / "run").write_text("a letter")
    with pytest.raises(OutputExistsError, match="not a run directory"):
        RunDir(tmp_path / "run").check(resume=False, force=True)


@pytest.fixture
def place(sentiscale, tmp_path) -> Path:
    """A folder with prepared data, and `bin` to put stand-ins into."""
    made = sentiscale("synth", "--rows", "4000", "--out", "reviews.ft.txt", "--quiet")
    assert made.returncode == 0, made.stderr
    prepared = sentiscale("prepare", "reviews.ft.txt", "--out", "data", "--quiet")
    assert prepared.returncode == 0, prepared.stderr
    stand_in(tmp_path, "torchrun", f'exec {shlex.quote(sys.executable)} -m torch.distributed.run "$@"')
    return tmp_path


def stand_in(place: Path, name: str, body: str) -> None:
    (place / "bin").mkdir(exist_ok=True)
    program = place / "bin" / name
    program.write_text(f"#!/bin/bash\n{body}\n")
    program.chmod(0o755)


def environment(place: Path, **more: str) -> dict[str, str]:
    own = {"PATH": f"{place / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(REPOSITORY / "src")}
    return os.environ | own | more


def wait_for_checkpoint(run: Path, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 60
    while not any((run / "checkpoints").glob("step-*")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_slurm_script_stops_saved_is_requeued_and_goes_on(place):
    """With stand-ins: `srun` starts two tasks on this machine and hands SIGTERM to them as Slurm does."""
    stand_in(place, "scontrol", f'[ "$1" = show ] && echo 127.0.0.1 || echo "$@" >> {place}/requeued')
    start_two = """while [[ $1 == --* ]]; do shift; done
"$@" & first=$!
"$@" & second=$!
trap 'kill $first $second' TERM
code=0
for task in $first $second; do while kill -0 $task 2>/dev/null; do wait $task || code=$?; done; done
exit $code"""
    stand_in(place, "srun", f"echo $$ > {place}/srun.pid\n{start_two}")
    run = place / "run"
    slurm = {
        "SLURM_JOB_NODELIST": "node[1-2]",
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_CPUS_PER_TASK": "1",
        "DATA": str(place / "data"),
        "RUN": str(run),
    }
    command = [RECIPES / "slurm.sh", "--layout", "2x1", "--checkpoint-every", "20", *OPTIONS[:-1]]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    process = subprocess.Popen(command, env=environment(place, **slurm), **pipes)
    wait_for_checkpoint(run, process)
    os.kill(int((place / "srun.pid").read_text()), signal.SIGTERM)
    output = process.communicate(timeout=60)[0]
    assert process.returncode != 0, output
    assert (place / "requeued").read_text() == f"requeue {os.getpid()}\n", output
    record = json.loads((run / "record.json").read_text())
    assert record["status"] == "interrupted"
    assert record["world_size"] == 2
    again = environment(place, **slurm, SLURM_RESTART_COUNT="1")
    done = subprocess.run(command, env=again, timeout=120, **pipes)
    assert done.returncode == 0, done.stdout
    assert f"resuming {run} at step" in done.stdout
    assert json.loads((run / "record.json").read_text())["status"] == "finished"


@pytest.mark.slow
def test_ssh_script_starts_a_rank_on_each_host_and_ends_all_when_one_fails(place):
    """With a stand-in for ssh that runs the command here."""
    stand_in(place, "ssh", 'while [[ $1 == -* ]]; do [[ $1 == -o ]] && shift; shift; done; shift; eval "$1"')
    run, script = place / "run", RECIPES / "over_ssh.sh"
    train = ["--", "train", "data", "--out", "run", "--layout", "2x1", "--threads-per-rank", "1", *OPTIONS]
    variables = environment(place, MASTER_ADDR="127.0.0.1", MASTER_PORT=str(20000 + os.getpid() % 10000))
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "cwd": place}
    done = subprocess.run([script, "me@one", "two", *train], env=variables, timeout=120, **pipes)
    assert done.returncode == 0, done.stdout
    assert json.loads((run / "record.json").read_text())["world_size"] == 2
    refused = subprocess.run([script, "one", "two", *train], env=variables, timeout=120, **pipes)
    assert refused.returncode == 1
    assert refused.stdout.count("exists already") == 1
