"""Files of deploy/serve: linted where a linter is there, fit together, and name only what exists."""

import configparser
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from sentiscale.cli import app
from tests.conftest import REPOSITORY

FOLDER = REPOSITORY / "deploy" / "serve"
DOCKERFILE = FOLDER / "Dockerfile"
UNIT = FOLDER / "sentiscale.service"
USER = 10001
LONGEST_ANSWER_S = 10
"""`serve --timeout-s` by default; whoever stops the service waits longer."""

MOST_EXPOSURE = 20
"""Tenths, as `systemd-analyze security` rates a unit: 100 is a plain one, below 30 is what it calls OK."""


def instructions(text: str) -> list[tuple[str, str]]:
    """Name and rest of each instruction, continued lines joined."""
    plain = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", " ", plain).splitlines()
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in lines if line.strip()]


def last(name: str) -> str:
    return [rest for found, rest in instructions(DOCKERFILE.read_text()) if found == name][-1]


def serve_options(arguments: list[str]) -> dict[str, Any]:
    """What `sentiscale serve` reads from its arguments; raises where a flag does not exist."""
    return get_command(app).commands["serve"].make_context("serve", list(arguments)).params


def needed(program: str) -> str:
    found = shutil.which(program) or shutil.which(str(Path(sys.executable).with_name(program)))
    if found is None:
        pytest.skip(f"needs {program}, which is not installed")
    return found


def test_linter_has_nothing_to_say_of_the_dockerfile():
    done = subprocess.run([needed("hadolint"), DOCKERFILE], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_linter_would_find_a_fault(tmp_path):
    (tmp_path / "Dockerfile").write_text(DOCKERFILE.read_text().replace("3.12-slim-bookworm", "latest"))
    done = subprocess.run([needed("hadolint"), tmp_path / "Dockerfile"], capture_output=True, text=True)
    assert "DL3007" in done.stdout


def test_everything_that_is_copied_exists_and_is_let_through():
    copied = [
        source
        for name, rest in instructions(DOCKERFILE.read_text())
        if name == "COPY" and "--from" not in rest
        for source in rest.split()[:-1]
    ]
    assert set(copied) == {"constraints.txt", "pyproject.toml", "README.md", "LICENSE", "src"}
    assert [source for source in copied if not (REPOSITORY / source).exists()] == []
    ignore = FOLDER.joinpath("Dockerfile.dockerignore").read_text().splitlines()
    assert {line[1:] for line in ignore if line.startswith("!")} == set(copied)


def test_base_images_are_pinned_and_alike():
    images = {rest.split()[0] for name, rest in instructions(DOCKERFILE.read_text()) if name == "FROM"}
    assert len(images) == 1
    assert re.fullmatch(r"python:3\.12-slim-[a-z]+", images.pop())


def test_container_runs_as_an_ordinary_user_and_ends_as_the_service_does():
    assert last("USER") == f"{USER}:{USER}"
    assert f"--uid {USER}" in last("RUN")
    assert last("STOPSIGNAL") == "SIGTERM"
    assert last("EXPOSE") == "8000"


def test_container_starts_a_command_that_exists():
    entry, arguments = yaml.safe_load(last("ENTRYPOINT")), yaml.safe_load(last("CMD"))
    assert entry == ["sentiscale", "serve"]
    options = serve_options(arguments)
    assert options["host"] == "0.0.0.0"
    assert f":{options['port']}/healthz" in last("HEALTHCHECK")
    compile(yaml.safe_load(last("HEALTHCHECK").split("CMD ", 1)[1])[2], "HEALTHCHECK", "exec")


def test_flag_that_does_not_exist_would_be_found():
    with pytest.raises(Exception, match="No such option"):
        serve_options(["/model", "--hots", "0.0.0.0"])


def test_compose_file_is_strict_and_fits():
    service = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]["sentiscale"]
    options = serve_options(service["command"])
    assert str(options["api_key_file"]) == "/run/secrets/api-key"
    assert service["ports"] == [f"127.0.0.1:8000:{options['port']}"]
    assert service["volumes"] == [f"./model:{options['model']}:ro"]
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert int(service["stop_grace_period"].removesuffix("s")) > LONGEST_ANSWER_S


def test_kubernetes_objects_fit_together():
    service, deployment = yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text())
    template = deployment["spec"]["template"]
    assert service["spec"]["selector"] == template["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == template["metadata"]["labels"]
    pod = template["spec"]
    [container] = pod["containers"]
    options = serve_options(container["args"])
    assert container["ports"][0]["containerPort"] == options["port"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert set(mounts) == {volume["name"] for volume in pod["volumes"]}
    assert mounts["model"] == str(options["model"])
    assert mounts["api-key"] == str(options["api_key_file"].parent)
    assert mounts["tmp"] == "/tmp"
    assert pod["securityContext"]["runAsUser"] == USER
    assert container["securityContext"]["readOnlyRootFilesystem"]
    [delay] = [text.removeprefix("serve.drain_delay_s=") for text in options["overrides"]]
    assert pod["terminationGracePeriodSeconds"] > float(delay) + LONGEST_ANSWER_S


def unit() -> configparser.SectionProxy:
    parser = configparser.ConfigParser(interpolation=None, strict=False, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment]
    parser.read(UNIT)
    return parser["Service"]


def test_unit_starts_a_command_that_exists_and_stops_it_as_it_wants():
    program, *arguments = shlex.split(unit()["ExecStart"])
    assert program.endswith("/bin/sentiscale")
    assert arguments[0] == "serve"
    options = serve_options(arguments[1:])
    assert options["host"] == "127.0.0.1"
    assert options["api_key_file"].name == unit()["LoadCredential"].split(":")[0]
    assert unit()["KillSignal"] == "SIGTERM"
    assert int(unit()["TimeoutStopSec"]) > LONGEST_ANSWER_S


@pytest.fixture
def unit_here(tmp_path) -> Path:
    """The unit with the command of this environment: systemd looks whether the program is there."""
    copy = tmp_path / UNIT.name
    command = Path(sys.executable).with_name("sentiscale")
    copy.write_text(UNIT.read_text().replace("/opt/sentiscale/bin/sentiscale", str(command)))
    return copy


def test_systemd_accepts_the_unit(unit_here):
    done = subprocess.run(
        [needed("systemd-analyze"), "verify", "--man=no", unit_here], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_systemd_would_find_a_fault(unit_here):
    unit_here.write_text(unit_here.read_text().replace("ProtectSystem=strict", "ProtectSystme=strict"))
    done = subprocess.run(
        [needed("systemd-analyze"), "verify", "--man=no", unit_here], capture_output=True, text=True
    )
    assert "ProtectSystme" in done.stderr


def test_unit_can_do_little_harm(unit_here):
    command = [
        needed("systemd-analyze"),
        "security",
        "--offline=true",
        f"--threshold={MOST_EXPOSURE}",
        unit_here,
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-300:]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_the_dockerfile_installs_serves(tmp_path):
    """Its pip line in an environment of its own, to which the packages that are installed here are lent."""
    context = tmp_path / "build"
    context.mkdir()
    for name in ("constraints.txt", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, context)
    shutil.copytree(REPOSITORY / "src", context / "src", ignore=shutil.ignore_patterns("__pycache__"))
    venv.create(tmp_path / "environment", with_pip=True)
    programs = tmp_path / "environment" / "bin"
    [own] = tmp_path.glob("environment/lib/python*/site-packages")
    (own / "lent.pth").write_text(sysconfig.get_path("purelib"))
    [pip_line] = [rest for name, rest in instructions(DOCKERFILE.read_text()) if ".[serve]" in rest]
    install = [programs / "python", "-m", *shlex.split(pip_line)]
    done = subprocess.run(install, cwd=context, capture_output=True, text=True)
    if "No matching distribution" in done.stderr:
        pytest.skip("needs a package index to take the build tool from")
    assert done.returncode == 0, done.stderr
    assert (own / "sentiscale" / "serving" / "static" / "index.html").exists()
    assert (own / "sentiscale" / "configs" / "fast.toml").exists()
    shown = subprocess.run([programs / "sentiscale", "serve", "--help"], capture_output=True, text=True)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "--api-key-file" in shown.stdout
