"""Likely label errors and confident mistakes of a model, on one page.

Only what `triage` does; scores are `inference.evaluate`'s, page parts are `report`'s.
"""
