"""TF-IDF of words and pairs with logistic regression by stochastic gradient descent, from scikit-learn."""

import numpy as np

from sentiscale.data.prepared import PreparedDataset, Split
from sentiscale.study.compare.peers.scoring import FloatArray, outcome, texts
from sentiscale.study.compare.records import JobFile, Outcome, Stopwatch


def train(task: JobFile) -> Outcome:
    """Train and score; vectorising is part of training. Words are cut at spaces, as cleaning left them."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import SGDClassifier

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
    classifier = SGDClassifier(
        loss="log_loss",
        alpha=recipe["alpha"],
        max_iter=recipe["passes"],
        tol=None,
        random_state=task.job.seed,
    )
    with watch.running():
        classifier.fit(vectorizer.fit_transform(reviews), labels)

    def predict(split: Split) -> FloatArray:
        logits: FloatArray = classifier.decision_function(
            vectorizer.transform(texts(dataset, split.name))
        ).astype(np.float32)
        return logits

    found = outcome(dataset, watch, predict, "scikit-learn")
    return found.model_copy(update={"read_seconds": round(reading.seconds, 3)})
