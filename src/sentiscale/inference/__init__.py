"""A trained model in use: predicting, evaluating, explaining, exporting to ONNX, the scikit-learn estimator.

The HTTP service is `serving`.
"""
