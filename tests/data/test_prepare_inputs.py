"""The same reviews in other files: compressed, in many files, read by other workers."""

import bz2
import gzip
import lzma

import pyarrow as pa
import pytest

from sentiscale.data.prepare import prepare
from tests.data.prepare_data import reviews

CONTENT = ("\n".join(reviews(900)) + "\n").encode()
COMPRESSORS = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": lambda data: pa.compress(data, "zstd", asbytes=True),
}


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """The digest of the reviews in one plain file."""
    folder = tmp_path_factory.mktemp("expected")
    (folder / "a.txt").write_bytes(CONTENT)
    return prepare(folder / "a.txt", folder / "data").manifest.digest


@pytest.mark.parametrize("suffix", COMPRESSORS)
def test_one_compressed_file_feeds_all_workers_and_gives_the_same_result(tmp_path, expected, suffix):
    path = tmp_path / f"a.txt.{suffix}"
    path.write_bytes(COMPRESSORS[suffix](CONTENT))
    manifest = prepare(path, tmp_path / "data", block_mb=0.005, workers=3).manifest
    assert manifest.digest == expected
    assert manifest.partitions["count"] >= 12
    assert manifest.bytes_in == len(CONTENT)


def test_several_members_in_one_gz_are_all_read(tmp_path, expected):
    cut = CONTENT.index(b"\n", 20_000) + 7
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(CONTENT[:cut]) + gzip.compress(CONTENT[cut:]))
    assert prepare(tmp_path / "a.txt.gz", tmp_path / "data", block_mb=0.005).manifest.digest == expected


def test_a_folder_of_300_tiny_files(tmp_path, expected):
    lines = CONTENT.splitlines(keepends=True)
    (tmp_path / "in").mkdir()
    for number in range(300):
        content = b"".join(lines[3 * number : 3 * number + 3])
        name = f"{number:03d}.txt" + ".gz" * (number % 50 == 0)
        (tmp_path / "in" / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    for block_mb in (0.005, 8):
        manifest = prepare(tmp_path / "in", tmp_path / "data", block_mb=block_mb, force=True).manifest
        assert manifest.digest == expected
        assert manifest.partitions["count"] == pytest.approx(
            len(CONTENT) / min(len(CONTENT), block_mb * 1e6), abs=4
        )
        assert manifest.partitions["bytes_max_over_mean"] < 1.2


def test_processes_give_the_same_result(tmp_path, expected):
    (tmp_path / "a.txt").write_bytes(CONTENT)
    manifest = prepare(
        tmp_path / "a.txt", tmp_path / "data", block_mb=0.01, workers=2, processes=True
    ).manifest
    assert manifest.digest == expected
    assert manifest.workers == 2
