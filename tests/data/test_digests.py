"""The digests of a dataset's files are checked when it is opened."""

import pytest

from sentiscale.data.prepare import prepare
from sentiscale.data.prepared import PreparedDataset
from sentiscale.errors import DataError
from sentiscale.util import digests


def test_a_flipped_byte_anywhere_in_a_dataset_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(digests, "CHUNK_BYTES", 64)  # so that small files have several tasks
    lines = [f"__label__{1 + i % 2} this is number {i} of all {i * i}" for i in range(200)]
    (tmp_path / "a.txt").write_text("\n".join(lines))
    dataset = prepare(tmp_path / "a.txt", tmp_path / "data")
    PreparedDataset.open(dataset.path, verify=True)
    assert (
        dataset.path / "train" / "tokens.bin"
    ).stat().st_size > 2 * digests.TASK_CHUNKS * digests.CHUNK_BYTES
    for name in dataset.manifest.files:
        path = dataset.path / name
        whole = path.read_bytes()
        for place in {0, len(whole) // 2, len(whole) - 1}:
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
            with pytest.raises(DataError, match="was changed after it was written") as caught:
                PreparedDataset.open(dataset.path, verify=True)
            assert str(path) in str(caught.value)
        path.write_bytes(whole)
    PreparedDataset.open(dataset.path, verify=True)
