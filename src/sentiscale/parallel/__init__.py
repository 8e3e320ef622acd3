"""Layouts, ranks, gradient exchange, pipeline stages and the detection of failed ranks.

Nothing here depends on datasets or optimizers.
"""
