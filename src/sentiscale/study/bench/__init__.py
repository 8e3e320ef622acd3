"""Measure the cases of a scaling study in fresh processes; conclusions belong in `study.analysis`."""
