"""Sends the settings, metrics and files of a run to MLflow or TensorBoard; training works without it."""
