"""Trains presets and other tools on the same data: accuracy against time."""
