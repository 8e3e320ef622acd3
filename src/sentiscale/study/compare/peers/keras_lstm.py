"""Train and score an LSTM with max pooling in Keras, on the CPU build of TensorFlow."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from sentiscale.data.batches import IntArray, padded_ids
from sentiscale.data.prepared import PreparedDataset, Split
from sentiscale.study.compare.peers.training import FloatArray, train_network
from sentiscale.study.compare.records import CompareOutcome, CompareTask


def train(task: CompareTask, folder: Path) -> CompareOutcome:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    import keras
    import tensorflow as tf

    dataset, job = PreparedDataset.open(task.data, verify=False), task.job
    tf.config.threading.set_intra_op_parallelism_threads(job.conditions.threads)
    tf.config.threading.set_inter_op_parallelism_threads(job.conditions.threads)
    keras.utils.set_random_seed(job.seed)
    network = KerasNetwork(keras, job.recipe, dataset.manifest.vocab_size, dataset.manifest.class_set.outputs)
    return train_network(job, network, dataset)


class KerasNetwork:
    """The compiled Keras model. It uses no mask, because masking makes it slower on a CPU."""

    packages: tuple[str, ...] = ("tensorflow-cpu", "tensorflow", "keras")

    def __init__(self, keras: Any, recipe: dict[str, float], vocab_size: int, outputs: int) -> None:
        self.outputs = outputs
        self.max_tokens = int(recipe["max_tokens"])
        self.model = keras.Sequential(
            [
                keras.layers.Input((None,), dtype="int32"),
                keras.layers.Embedding(vocab_size, int(recipe["embedding_dim"])),
                keras.layers.LSTM(int(recipe["hidden_dim"]), return_sequences=True),
                keras.layers.GlobalMaxPooling1D(),
                keras.layers.Dense(outputs),
            ]
        )
        losses = keras.losses
        loss = losses.BinaryCrossentropy if outputs == 1 else losses.SparseCategoricalCrossentropy
        self.model.compile(
            optimizer=keras.optimizers.Adam(recipe["lr"]),
            loss=loss(from_logits=True),
            jit_compile=False,  # XLA would recompile for every width of a batch
        )

    def step(self, split: Split, rows: IntArray) -> None:
        self.model.train_on_batch(self._ids(split, rows), split.labels[rows].astype(np.float32)[:, None])

    def logits(self, split: Split, rows: IntArray) -> FloatArray:
        logits: FloatArray = np.asarray(self.model.predict_on_batch(self._ids(split, rows)))
        return logits[:, 0] if self.outputs == 1 else logits

    def _ids(self, split: Split, rows: IntArray) -> IntArray:
        return padded_ids(split.tokens, split.offsets, rows, self.max_tokens)[0].astype(np.int32)
