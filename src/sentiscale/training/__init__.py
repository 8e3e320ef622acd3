"""From a prepared dataset to a run directory: set-up, the loop, checkpoints, validation, the final scores."""
