"""Prepare review files as a dataset on disk, locally or on a Dask cluster, and read batches from it.

Parsing, labels and tokens of a single row are defined in `sentiscale.text`. No module here imports torch.
"""
