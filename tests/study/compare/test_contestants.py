"""Who can take part, and what is said to those who cannot."""

from importlib.util import find_spec

import pytest

from sentiscale.config import Settings, resolve
from sentiscale.errors import UsageError
from sentiscale.study.compare.comparison import jobs_of, recipe_of
from sentiscale.study.compare.contestants import CONTESTANTS, chosen
from sentiscale.study.compare.records import CompareConditions


def test_unknown_contestant_gets_a_suggestion():
    with pytest.raises(UsageError, match=r"'fastext'. Did you mean 'fasttext'\? Allowed: fast, balanced"):
        chosen(["fast", "fastext"])


def test_missing_library_is_named_with_its_extra():
    if find_spec("tensorflow"):
        pytest.skip("TensorFlow is installed here, so nothing is missing")
    with pytest.raises(UsageError, match=r"keras-lstm needs pip install 'sentiscale\[compare-keras\]'"):
        chosen(["keras-lstm"])


def test_what_is_not_trained_in_steps_cannot_be_timed_by_steps():
    with pytest.raises(UsageError, match=r"tfidf-lr is not trained in steps.*Allowed: fast,"):
        chosen(["lstm", "tfidf-lr"], steps_only=True)


def test_nobody_is_no_comparison():
    with pytest.raises(UsageError, match="--models is empty"):
        chosen([])


def test_a_name_given_twice_takes_part_once():
    assert [each.name for each in chosen(["lstm", "fast", "lstm"])] == ["lstm", "fast"]


@pytest.mark.parametrize("name", CONTESTANTS)
def test_help_line_fits_on_a_terminal(name):
    assert len(f"{name:17} {CONTESTANTS[name].about}") <= 78


def test_given_settings_win_over_the_preset_and_the_rest_stays():
    own = recipe_of(CONTESTANTS["fast"], "", resolve(flags={"train.epochs": 7.0}), steps_only=False)
    plain = recipe_of(CONTESTANTS["fast"], "", Settings(), steps_only=False)
    assert own["train"]["epochs"] == 7.0
    assert own["model"] == plain["model"]
    assert {**own["train"], "epochs": plain["train"]["epochs"]} == plain["train"]


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_network_alone_has_no_wide_part_and_its_cell(cell):
    recipe = recipe_of(CONTESTANTS[cell], "", Settings(), steps_only=False)
    assert (recipe["model"]["cell"], recipe["wide"]["enabled"]) == (cell, False)


def test_steps_are_timed_at_the_shape_of_the_recurrent_peers():
    ours = recipe_of(CONTESTANTS["lstm"], "", Settings(), steps_only=True)
    peer = CONTESTANTS["packed-lstm"].recipe
    assert (ours["model"]["embedding_dim"], ours["model"]["hidden_dim"]) == (128, 128)
    for name in ("embedding_dim", "hidden_dim"):
        assert ours["model"][name] == peer[name]
    for name in ("batch_size", "max_tokens"):
        assert ours["train"][name] == peer[name]


def test_each_length_of_fasttext_is_a_run_of_its_own():
    jobs = jobs_of([CONTESTANTS["fasttext"]], [0, 1, 0], CompareConditions(threads=1), Settings(), "digest")
    assert len(jobs) == len({job.key for job in jobs}) == 4 * 2
    assert {job.recipe["epoch"] for job in jobs} == {1, 2, 5, 10}
