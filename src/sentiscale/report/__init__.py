"""Charts and pages: the scaling report, the page about a dataset, the model card.

Numbers are worked out in `study.analysis`; here they are drawn and put into words.
"""
