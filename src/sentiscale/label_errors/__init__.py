"""Implementation of `triage`: likely label errors and confident mistakes of a model, on one page.

`inference.evaluate` computes the scores, and `report` provides the components of the page.
"""
