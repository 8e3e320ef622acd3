"""Measure the cases of a scaling study in fresh processes. The analysis belongs in `study.analysis`."""
