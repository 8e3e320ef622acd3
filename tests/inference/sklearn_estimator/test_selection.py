"""It takes part in what scikit-learn does with estimators: pipelines, cross-validation, search and more."""

import pandas as pd
import pytest
from joblib import parallel_config
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import VotingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer

from tests.inference.sklearn_estimator.conftest import small


def upper(texts):
    return [text.upper() for text in texts]


def test_pipeline(fitted, reviews):
    pipeline = make_pipeline(FunctionTransformer(upper), small()).fit(*reviews)
    assert (pipeline.predict_proba(reviews.texts) == fitted.predict_proba(upper(reviews.texts))).all()


def test_column_of_a_frame(reviews):
    frame = pd.DataFrame({"stars": 3, "text": reviews.texts})
    chosen = ColumnTransformer([("text", "passthrough", ["text"])])
    flat = FunctionTransformer(lambda table: table[:, 0])
    pipeline = Pipeline([("choose", chosen), ("flatten", flat), ("classify", small())])
    assert pipeline.fit(frame, reviews.labels).score(frame, reviews.labels) > 0.5


def test_cross_validation(plain):
    scores = cross_val_score(small(), *plain, cv=3)
    assert scores.shape == (3,)
    assert scores.min() > 0.7
    with parallel_config(backend="threading"):
        assert (cross_val_score(small(), *plain, cv=3, n_jobs=3) == scores).all()


@pytest.mark.slow
def test_cross_validation_in_processes(plain):
    alone = cross_val_score(small(), *plain, cv=4)
    assert (cross_val_score(small(), *plain, cv=4, n_jobs=2) == alone).all()


def test_grid_search(reviews):
    grid = {"classifier__wide": [True, False], "classifier__validation_fraction": [0.2]}
    search = GridSearchCV(Pipeline([("classifier", small())]), grid, cv=2).fit(*reviews)
    assert set(search.best_params_) == set(grid)
    assert search.predict(reviews.texts[:3]).shape == (3,)


def test_calibration(reviews):
    calibrated = CalibratedClassifierCV(small(), cv=2).fit(*reviews)
    assert calibrated.predict_proba(reviews.texts).sum(axis=1) == pytest.approx(1)


def test_vote_with_a_peer(plain):
    peer = make_pipeline(TfidfVectorizer(), LogisticRegression())
    vote = VotingClassifier([("ours", small()), ("peer", peer)], voting="soft").fit(*plain)
    assert vote.score(*plain) > 0.9
