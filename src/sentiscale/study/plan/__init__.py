"""Predict training time and cost on other machines, by simulating steps with measured costs.

The costs are measured in `study.bench`; only the network is measured here (`probe`).
"""
