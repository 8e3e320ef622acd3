"""Likely label errors and confident mistakes of a model, on one page."""
