"""scikit-learn's own checks of estimators.

They feed rows of numbers. For an estimator that says it takes text they run one check and skip the rest.
So they are run three times: on the estimator as it is; one by one where a check feeds nothing; and all of
them on the same estimator behind a thin spelling of rows of numbers as words.
"""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import SkipTestWarning
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.validation import check_is_fitted, validate_data

from sentiscale.inference.sklearn import SentimentClassifier
from tests.inference.sklearn_estimator.conftest import SMALL

WITHOUT_DATA = (
    "check_valid_tag_types",
    "check_estimator_repr",
    "check_no_attributes_set_in_init",
    "check_mixin_order",
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_parameters_default_constructible",
    "check_get_params_invariance",
    "check_set_params",
    "check_estimator_cloneable",
    "check_estimator_tags_renamed",
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore", SkipTestWarning)  # it says that text cannot be tested
    as_it_is = parametrize_with_checks([SentimentClassifier()])


@as_it_is
def test_estimator_as_it_is(estimator, check):
    check(estimator)


@pytest.mark.parametrize("name", WITHOUT_DATA)
def test_check_that_feeds_nothing(name):
    getattr(estimator_checks, name)("SentimentClassifier", SentimentClassifier())


class OfNumbers(SentimentClassifier):
    """Spells each number as a word, its column and its size: what the checks feed reaches all of ours."""

    def fit(self, X, y, sample_weight=None):
        return super().fit(self.spelt(X, reset=True), y, sample_weight)

    def decision_function(self, X):
        check_is_fitted(self)
        return super().decision_function(self.spelt(X, reset=False))

    def spelt(self, X, *, reset):
        table = validate_data(self, X, reset=reset)
        return [" ".join(f"c{column}x{word(value)}" for column, value in enumerate(row)) for row in table]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        tags.input_tags.one_d_array = False
        tags.input_tags.string = False
        return tags


def word(value):
    return str(round(float(np.clip(value, -1e6, 1e6)) * 2)).replace("-", "m")


def not_expected(estimator):
    reason = "a step reads a number of rows, so a row of weight 2 is not two rows of weight 1"
    return {"check_sample_weight_equivalence_on_dense_data": reason}


@pytest.mark.slow
@parametrize_with_checks([OfNumbers(settings=SMALL, precision="fp32")], expected_failed_checks=not_expected)
def test_estimator_behind_a_spelling_of_numbers(estimator, check):
    check(estimator)
