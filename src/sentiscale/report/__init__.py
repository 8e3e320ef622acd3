"""Write the scaling report, the page about a dataset and the model card, with their charts.

The numbers of the scaling report are computed in `study.analysis`; this package presents them.
"""
