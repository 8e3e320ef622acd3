"""Train presets and other tools on the same data: accuracy against time. Scaling belongs in `study.bench`."""
