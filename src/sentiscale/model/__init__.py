"""The models: the network, the n-gram model, word vectors, their scores, and the model directory.

`training` fits a model; `parallel` distributes it over ranks.
"""
