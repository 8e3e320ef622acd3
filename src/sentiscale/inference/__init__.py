"""Use a trained model: prediction, evaluation, explanation, ONNX export and a scikit-learn estimator.

The HTTP service is in the package `serving`.
"""
