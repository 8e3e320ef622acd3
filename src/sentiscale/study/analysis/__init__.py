"""Analyse the runs of a study: speedups, fitted scaling laws, a recommendation, findings and caveats.

This package does not import torch and writes no pages. `study.bench` measures a study; `report` renders it.
"""
