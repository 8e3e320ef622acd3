"""What is built says its version, holds what it needs and nothing else, and works where nothing else is."""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture.sources import tracked_files
from tests.conftest import REPOSITORY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

VERSION = "9.8.7"
INTERPRETERS = ("python3.11", "python3.12", "python3.13")
FOREIGN = re.compile(r"(^|/)(tests|benchmarks|notebooks|examples|pictures|__pycache__)/|\.(png|pyc|nbi|nbc)$")


def succeed(*command: object, folder: Path, stdin: str = "") -> str:
    """Run a command as a user would, without this environment's variables; return what it printed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST"))}
    done = subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env=kept,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def install(python: Path, *wanted: object) -> None:
    """Install packages of exact versions, or skip the test where there is nothing to take them from."""
    command = [python, "-m", "pip", "install", "--quiet", "--constraint", REPOSITORY / "constraints.txt"]
    done = subprocess.run([*command, *map(str, wanted)], capture_output=True, text=True, check=False)
    if "No matching distribution" in done.stderr:
        pytest.skip(f"needs a package index: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter that can build packages."""
    folder = tmp_path_factory.mktemp("builder")
    venv.create(folder, with_pip=True)
    install(folder / "bin" / "python", "build", "hatchling", "hatch-vcs")
    return folder / "bin" / "python"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """The files of this checkout without its history."""
    return copied(tmp_path / "files")


def copied(folder: Path) -> Path:
    for path in tracked_files():
        target = folder / path.relative_to(REPOSITORY)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target)
    return folder


def git(folder: Path, *arguments: str) -> None:
    person = (
        "-c",
        "user.name=Somebody",
        "-c",
        "user.email=somebody@example.org",
        "-c",
        "commit.gpgsign=false",
    )
    succeed("git", *person, *arguments, folder=folder)


def commit_all(folder: Path) -> None:
    git(folder, "add", "--all", "--force")
    git(folder, "commit", "--quiet", "--message", "All of it")


def version_of(folder: Path, builder: Path) -> str:
    return succeed(builder, "-m", "hatchling", "version", folder=folder).strip()


def test_version_is_that_of_the_last_tag(files, builder, tmp_path):
    project = tomllib.loads((files / "pyproject.toml").read_text(encoding="utf-8"))
    fallback = project["tool"]["hatch"]["version"]["fallback-version"]
    assert version_of(files, builder) == fallback
    git(files, "init", "--quiet")
    commit_all(files)
    untagged = re.escape(fallback.removesuffix("0")) + r"1\+g[0-9a-f]+"
    assert re.fullmatch(untagged, version_of(files, builder))
    git(files, "tag", f"v{VERSION}")
    assert version_of(files, builder) == VERSION
    git(files, "archive", "--output", str(tmp_path / "archive.tar"), "HEAD")
    (files / "more").write_text("more\n")
    commit_all(files)
    assert re.fullmatch(r"9\.8\.8\.dev1\+g[0-9a-f]+", version_of(files, builder))
    with tarfile.open(tmp_path / "archive.tar") as archive:
        archive.extractall(tmp_path / "archive", filter="data")
    assert version_of(tmp_path / "archive", builder) == VERSION


@pytest.fixture(scope="session")
def built(builder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make wheel` puts into dist/ at a tag."""
    folder = copied(tmp_path_factory.mktemp("tagged") / "files")
    git(folder, "init", "--quiet")
    commit_all(folder)
    git(folder, "tag", f"v{VERSION}")
    succeed(builder, "-m", "build", "--outdir", "dist", ".", folder=folder)
    return folder / "dist"


@pytest.fixture(scope="session")
def wheel(built: Path) -> Path:
    return built / f"sentiscale-{VERSION}-py3-none-any.whl"


def package_files() -> set[str]:
    """What is committed below src/, seen from there."""
    source = REPOSITORY / "src"
    return {path.relative_to(source).as_posix() for path in tracked_files() if path.is_relative_to(source)}


def test_wheel_holds_the_package_and_nothing_else(wheel):
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == package_files()
    assert [name for name in names if FOREIGN.search(name)] == []
    for needed in ("py.typed", "configs/fast.toml", "serving/static/index.html", "synthetic/grammar.toml"):
        assert f"sentiscale/{needed}" in names


def test_wheel_says_what_it_is(wheel):
    with zipfile.ZipFile(wheel) as archive:
        folder = f"sentiscale-{VERSION}.dist-info"
        told = archive.read(f"{folder}/METADATA").decode()
        assert archive.read(f"{folder}/licenses/LICENSE") == (REPOSITORY / "LICENSE").read_bytes()
        assert "sentiscale = sentiscale.cli:main" in archive.read(f"{folder}/entry_points.txt").decode()
    assert f"\nVersion: {VERSION}\n" in told
    assert "\nRequires-Python: >=3.11\n" in told
    assert "# sentiscale\n" in told, "the README"


def test_sdist_is_what_a_wheel_is_built_from_and_nothing_else(built):
    root = f"sentiscale-{VERSION}"
    with tarfile.open(built / f"{root}.tar.gz") as archive:
        names = {name.removeprefix(f"{root}/") for name in archive.getnames()}
    others = {name for name in names if not name.startswith("src/")}
    assert names - others == {f"src/{name}" for name in package_files()}
    assert others - {".gitignore"} == {
        "CHANGELOG.md",
        "CITATION.cff",
        "LICENSE",
        "PKG-INFO",
        "README.md",
        "constraints.txt",
        "pyproject.toml",
    }


def found(name: str) -> str | None:
    """An interpreter of that name that works: this one, one of pyenv, or one on the path."""
    if name == f"python{sys.version_info.major}.{sys.version_info.minor}":
        return sys.executable
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    kept = map(str, versions.glob(f"{name.removeprefix('python')}.*/bin/{name}"))
    candidates = [path for path in (*kept, shutil.which(name)) if path is not None]
    works = (
        path for path in candidates if subprocess.run([path, "-c", ""], capture_output=True).returncode == 0
    )
    return next(works, None)


@pytest.fixture(params=INTERPRETERS)
def installed(request: pytest.FixtureRequest, wheel: Path, tmp_path: Path) -> Iterator[Path]:
    """Programs of an environment with the wheel and what it asks for, and nothing else."""
    interpreter = found(request.param)
    if interpreter is None:
        pytest.skip(f"needs {request.param}, which is not on this machine")
    succeed(interpreter, "-m", "venv", "environment", folder=tmp_path)
    programs = tmp_path / "environment" / "bin"
    install(programs / "python", wheel)
    yield programs
    shutil.rmtree(tmp_path / "environment")  # a gigabyte


def test_wheel_works_where_nothing_else_is(installed, tmp_path):
    """From reviews to predictions, with the page and the settings files that lie in the package."""
    home = succeed(installed / "python", "-c", "import sentiscale as s; print(s.__file__)", folder=tmp_path)
    assert Path(home.strip()).is_relative_to(tmp_path / "environment")

    def sentiscale(*arguments: str, stdin: str = "") -> str:
        return succeed(installed / "sentiscale", *arguments, folder=tmp_path, stdin=stdin)

    assert sentiscale("--version").strip() == VERSION
    sentiscale("synth", "--rows", "600", "--out", "reviews.csv")
    sentiscale("prepare", "reviews.csv", "--out", "data", "--quiet")
    sentiscale("eda", "data", "--out", "data.html", "--quiet")
    small = [word for name in ("hidden_dim", "embedding_dim") for word in ("--set", f"model.{name}=8")]
    small += ["--set", "wide.bits=12", "--epochs", "0.5", "--layout", "2x1", "--oversubscribe"]
    told = json.loads(sentiscale("train", "data", "--out", "run", *small, "--quiet", "--json"))
    assert told["layout"] == "2x1"
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    assert record["versions"]["sentiscale"] == VERSION
    answers = sentiscale("predict", "run/model", stdin="Great screen.\nIt broke at once.\n").splitlines()
    assert [answer.split("\t")[0] in ("positive", "negative") for answer in answers] == [True, True]
    for verb in ("export", "serve"):
        assert "Usage: sentiscale" in sentiscale(verb, "--help")
