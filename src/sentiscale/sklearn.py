"""A scikit-learn estimator: `SentimentClassifier`."""
