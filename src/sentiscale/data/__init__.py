"""From input files to a prepared dataset on disk, and from there to batches: sources, shards, phases, Dask.

What a single row means is decided in `text`; nothing here imports torch.
"""
