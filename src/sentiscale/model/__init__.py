"""What is learnt: the network, the n-gram model, word vectors, their scores, and the model directory.

How a model is fitted stands in `training`, how it is spread over ranks in `parallel`.
"""
