"""Copies the settings, metrics and artefacts of a run to MLflow or TensorBoard."""
