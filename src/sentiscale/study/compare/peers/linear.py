"""Train and score scikit-learn's logistic regressions on TF-IDF features of words and word pairs."""

from pathlib import Path

import numpy as np

from sentiscale.data.prepared import PreparedDataset, Split
from sentiscale.study.compare.peers.training import FloatArray, outcome_of, texts
from sentiscale.study.compare.records import CompareOutcome, CompareTask
from sentiscale.study.load import Stopwatch


def train(task: CompareTask, folder: Path) -> CompareOutcome:
    """Train and score. The training time includes vectorizing. Words are split at spaces."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression, SGDClassifier

    dataset, recipe = PreparedDataset.open(task.data, verify=False), task.job.recipe
    reading, watch = Stopwatch(), Stopwatch()
    with reading.running():
        reviews = list(texts(dataset, "train"))
        labels = np.asarray(dataset.split("train").labels)
    vectorizer = TfidfVectorizer(
        ngram_range=(1, recipe["ngrams"]),
        min_df=recipe["min_df"],
        sublinear_tf=True,
        tokenizer=str.split,
        token_pattern=None,
        lowercase=False,
    )
    if "alpha" in recipe:
        passes, seed = recipe["passes"], task.job.seed
        classifier = SGDClassifier(
            loss="log_loss", alpha=recipe["alpha"], max_iter=passes, tol=None, random_state=seed
        )
    else:
        classifier = LogisticRegression(C=recipe["C"], max_iter=recipe["passes"], tol=recipe["tol"])
    with watch.running():
        classifier.fit(vectorizer.fit_transform(reviews), labels)

    def predict(split: Split) -> FloatArray:
        features = vectorizer.transform(texts(dataset, split.name))
        logits: FloatArray = classifier.decision_function(features).astype(np.float32)
        return logits

    outcome = outcome_of(dataset, watch, predict, "scikit-learn")
    return outcome.model_copy(update={"read_seconds": round(reading.seconds, 3)})
