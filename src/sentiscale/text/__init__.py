"""Convert bytes to word ids: input formats, cleaning, tokens and vocabulary, in compiled or Arrow code.

Files, worker processes and datasets belong to `data`.
"""
