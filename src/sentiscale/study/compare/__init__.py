"""Compare the accuracy and training time of presets and other tools. Scaling belongs in `study.bench`."""
