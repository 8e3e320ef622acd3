"""The verb: what it plans, and what it refuses."""

import json

import pytest
from typer.testing import CliRunner

from sentiscale.cli import app
from sentiscale.cli.bench import amount_of, check, names
from sentiscale.cli.options import whole_numbers
from sentiscale.errors import UsageError
from sentiscale.study.bench.plan import BenchRequest


def test_a_dry_run_prints_the_plan_and_does_nothing(dataset, tmp_path):
    options = ["--layouts", "1x1,2x1", "--threads", "1", "--batch-sizes", "16,5000", "--models", "gru"]
    command = ["bench", str(dataset.path), "--out", str(tmp_path / "out"), *options, "--dry-run", "--json"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.stderr
    plan = json.loads(done.stdout)
    assert plan["runs"] == 5 * len(plan["cases"])
    assert plan["seconds_expected"] > 0
    assert {case["batch_size"] for case in plan["cases"]} == {16}
    assert {each["case"]["batch_size"] for each in plan["left_out"]} == {5000}
    assert not (tmp_path / "out").exists()


def test_mistakes_are_told_with_what_is_allowed():
    with pytest.raises(UsageError, match=r"--batch-sizes is '32,x'; it takes whole numbers from 1 on"):
        whole_numbers("--batch-sizes", "32,x")
    with pytest.raises(
        UsageError, match=r"--models contains 'ltsm'. Did you mean 'lstm'\? Allowed: lstm, gru"
    ):
        names("--models", "ltsm")
    with pytest.raises(UsageError, match="--rows, --steps each set the length"):
        amount_of(10, 5, None)
    with pytest.raises(UsageError, match=r"--target-accuracy is 1\.5"):
        amount_of(None, None, 1.5)
    with pytest.raises(UsageError, match=r"--scaling is 'big'\. Allowed: strong, weak"):
        check(BenchRequest(scaling="big"), None)
    with pytest.raises(UsageError, match="needs --target-accuracy"):
        check(BenchRequest(), 10.0)
