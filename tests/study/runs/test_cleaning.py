"""`sentiscale runs --clean`: what goes, what stays, and that nothing goes unasked."""

import json
import shutil

from sentiscale.inference.predictor import Predictor
from sentiscale.study.runs import carry_out, plan_cleaning, runs_in, size_of
from sentiscale.training.run_directory import RunDir
from tests.study.runs.conftest import change, contents, silent


def test_nothing_is_deleted_without_yes(cli, copied):
    folder = copied("done").parent
    copied("broken", status="failed")
    before = contents(folder)
    for flags in ((), ("--dry-run",), ("--json",)):
        done = cli("runs", folder, "--clean", *flags)
        assert done.returncode == 0
        assert contents(folder) == before
    planned = json.loads(done.stdout)
    assert planned["deleted"] is False
    assert planned["bytes"] == sum(removal["bytes"] for removal in planned["removals"]) > 0


def test_of_a_finished_run_only_checkpoints_go_and_the_model_still_works(cli, copied):
    run = copied("done")
    before = contents(run)
    size = size_of(run / "checkpoints")
    done = cli("runs", run.parent, "--clean", "--yes")
    assert done.returncode == 0, done.stderr
    assert f"removed {size / 1e6:,.1f} MB from 1 runs" in done.stdout
    kept = {name: content for name, content in before.items() if not name.startswith("checkpoints/")}
    assert contents(run) == kept
    assert Predictor.load(run / "model").predict("good").label in ("positive", "negative")
    assert [found.status for found in runs_in([run.parent])] == ["finished"], "it is still listed"
    assert "nothing to remove" in cli("runs", run.parent, "--clean", "--yes").stdout


def test_what_unfinished_runs_left_goes_as_a_whole(cli, copied):
    folder = copied("broken", status="failed").parent
    copied("stopped", status="interrupted")
    silent(copied("killed", status="running"))
    (copied("damaged") / "record.json").write_text("{")
    shutil.rmtree(folder / "damaged" / "model")
    cut_short = folder / "broken" / ".model.host.123.0a1b2c3d.tmp"
    cut_short.mkdir()
    (cut_short / "vocab.txt").write_text("word")
    assert cli("runs", folder, "--clean", "--yes").returncode == 0
    assert list(folder.iterdir()) == []


def test_runs_that_go_on_are_left_alone(cli, copied):
    here, elsewhere = copied("here", status="failed"), copied("elsewhere", status="running")
    before = contents(here.parent)
    with RunDir(here).logging():
        done = cli("runs", here.parent, "--clean", "--yes")
        assert "nothing to remove" in done.stdout
    assert contents(here.parent) == before
    assert elsewhere.exists()


def test_a_run_that_was_resumed_between_plan_and_deed_is_left_alone(copied):
    run = copied("broken", status="failed")
    planned = plan_cleaning(runs_in([run]))
    before = contents(run)
    with RunDir(run).logging():
        assert carry_out(planned) == []
    assert contents(run) == before
    change(run, status="finished")
    assert carry_out(planned) == []


def test_a_model_is_never_touched_not_even_an_unfinished_runs(copied):
    run = copied("resumed")
    change(run, status="interrupted")
    before = contents(run)
    (removal,) = plan_cleaning(runs_in([run]))
    assert [path.rpartition("/")[2] for path in removal.paths] == ["checkpoints"]
    assert carry_out([removal]) == [removal]
    assert {name for name in before if not name.startswith("checkpoints/")} == contents(run).keys()


def test_files_of_others_and_what_links_lead_to_stay(copied, tmp_path):
    run = copied("broken", status="failed")
    (run / "notes.txt").write_text("why it failed")
    elsewhere = tmp_path / "elsewhere"
    shutil.move(run / "checkpoints", elsewhere)
    (run / "checkpoints").symlink_to(elsewhere)
    kept = contents(elsewhere)
    carry_out(plan_cleaning(runs_in([run])))
    assert contents(elsewhere) == kept
    assert sorted(path.name for path in run.iterdir()) == ["checkpoints", "notes.txt"]
