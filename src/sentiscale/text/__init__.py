"""From bytes to word numbers: input formats, cleaning, tokens, vocabulary; compiled or Arrow code.

Files, workers and datasets are the business of `data`.
"""
