"""The error tree: exit codes as promised, and suggestions for misspelt names."""

import inspect

import pytest

from sentiscale import errors


@pytest.mark.parametrize(
    ("kind", "exit_code"),
    [
        (errors.SentiscaleError, 1),
        (errors.UsageError, 2),
        (errors.OutputExistsError, 2),
        (errors.DataError, 3),
        (errors.ClusterError, 1),
        (errors.RankFailed, 1),
        (errors.PeerFailed, 1),
        (errors.Interrupted, 130),
    ],
)
def test_exit_codes_are_the_documented_ones(kind, exit_code):
    assert kind.exit_code == exit_code


def test_every_error_is_in_the_tree_that_the_module_draws():
    drawn = inspect.getdoc(errors) or ""
    for name, kind in vars(errors).items():
        if inspect.isclass(kind) and issubclass(kind, Exception):
            line = next((line for line in drawn.splitlines() if name in line), "")
            assert str(kind.exit_code) in line.split(), f"{name} and its exit code are missing in the tree"


def test_close_name_is_suggested():
    assert errors.did_you_mean("stras", ["stars", "text"]) == " Did you mean 'stars'?"


def test_nothing_is_suggested_when_nothing_is_close():
    assert errors.did_you_mean("xyz", ["stars", "text"]) == ""
    assert errors.did_you_mean("xyz", []) == ""
