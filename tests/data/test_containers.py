"""Reviews inside archives and padded compressed files: the same rows, or a refusal with a remedy."""

import bz2
import gzip
import io
import lzma
import os
import tarfile
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sentiscale.config import PrepareSettings
from sentiscale.data.corpus import Corpus
from sentiscale.data.prepare import prepare
from sentiscale.data.sources import find_files
from sentiscale.errors import DataError
from tests.data.test_corpus import EXPECTED, FASTTEXT, read, zstd

TABLE = b"label,text\n1,Bad: broke at once\n2,Good: works well\n"
PADDED = {
    "gzip, zeros after": gzip.compress(FASTTEXT) + bytes(512),
    "gzip, zeros between": gzip.compress(FASTTEXT[:20]) + bytes(100_000) + gzip.compress(FASTTEXT[20:]),
    "gzip, empty member": gzip.compress(b"") + gzip.compress(FASTTEXT) + gzip.compress(b""),
    "gzip, one member a line": b"".join(map(gzip.compress, FASTTEXT.splitlines(keepends=True))),
    "bz2, zeros after": bz2.compress(FASTTEXT) + bytes(10),
    "bz2, two streams": bz2.compress(FASTTEXT[:20]) + bz2.compress(FASTTEXT[20:]),
    "xz, zeros after": lzma.compress(FASTTEXT) + bytes(8),
    "xz, zeros between": lzma.compress(FASTTEXT[:20]) + bytes(4) + lzma.compress(FASTTEXT[20:]),
    "xz, two streams": lzma.compress(FASTTEXT[:20]) + lzma.compress(FASTTEXT[20:]),
    "zstd, skippable first": b"\x50\x2a\x4d\x18\x04\0\0\0abcd" + zstd(FASTTEXT),
    "zstd, skippable between": zstd(FASTTEXT[:20]) + b"\x5f\x2a\x4d\x18\0\0\0\0" + zstd(FASTTEXT[20:]),
    "zstd, long skippable": b"\x51\x2a\x4d\x18\xa0\x86\x01\0" + bytes(100_000) + zstd(FASTTEXT),
}


def zipped(files, **options):
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", **options) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return sink.getvalue()


def tarred(files, mode="w"):
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode=mode) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return sink.getvalue()


ARCHIVERS = {
    "a.zip": zipped,
    "stored.zip": lambda files: zipped(files, compression=zipfile.ZIP_STORED),
    "lzma.zip": lambda files: zipped(files, compression=zipfile.ZIP_LZMA),
    "a.tar": tarred,
    "a.tar.gz": lambda files: tarred(files, "w:gz"),
    "a.tgz": lambda files: gzip.compress(tarred(files)) + bytes(100),
    "a.tar.bz2": lambda files: tarred(files, "w:bz2"),
    "a.tar.xz": lambda files: tarred(files, "w:xz"),
    "a.tar.zst": lambda files: zstd(tarred(files)),
    "zip-named.csv": zipped,
    "tar-named.csv": tarred,
    "no-suffix": lambda files: tarred(files, "w:gz"),
    "x::y #1 [2]*.zip": zipped,
}


@pytest.mark.parametrize("kind", PADDED)
def test_padded_and_multi_part_files_are_read_whole(write, kind):
    assert read(write("a.txt", PADDED[kind])) == (EXPECTED, [])


@pytest.mark.parametrize("kind", [kind for kind in PADDED if not kind.startswith("zstd")])
def test_what_follows_and_is_not_compressed_is_refused(write, kind):
    with pytest.raises(DataError, match="damaged"):
        read(write("a.txt.gz", PADDED[kind] + b"lost review\n"))


@pytest.mark.parametrize("name", ARCHIVERS)
def test_the_one_review_file_of_an_archive_is_read(write, name):
    around = {
        "__MACOSX/._r.csv": b"\0\5\x16\7",
        "d/.DS_Store": b"\0",
        "README.txt": b"Hello",
        "d/LICENSE": b"MIT",
    }
    path = write(name, ARCHIVERS[name]({**around, "./d/r 1::2.csv": TABLE}))
    assert read(path) == (EXPECTED, [])
    assert read(path, labels="none")[0] == [(255, text) for _, text in EXPECTED]
    assert find_files(path) == [f"{path}/d/r 1::2.csv"]
    assert read(f"{path}/d/r 1::2.csv", block_mb=0.000_01) == (EXPECTED, [])


@pytest.mark.parametrize("name", ["a.zip", "a.tgz"])
@pytest.mark.parametrize(
    "files",
    [
        {"reviews": FASTTEXT},
        {"r.txt.gz": gzip.compress(FASTTEXT)},
        {"1.txt": FASTTEXT.splitlines(True)[0], "2.txt": FASTTEXT.splitlines(True)[1]},
        {"b/2.csv": b"label,text\n2,Good: works well\n", "a/1.csv": b"label,text\n1,Bad: broke at once\n"},
        {"1.csv": b"text,label\nBad: broke at once,1\n", "2.csv": b"label,text,id\n2,Good: works well,7\n"},
        {"r.jsonl": b'{"label":1,"text":"Bad: broke at once"}\n{"label":2,"text":"Good: works well"}'},
        {"r.csv": TABLE.decode().encode("utf-16")},
    ],
)
def test_files_of_one_kind_are_read_together(write, name, files):
    corpus = Corpus.find(write(name, ARCHIVERS[name](files)))
    found = [text.decode() for block in corpus.blocks() for text in block.text.to_pylist()]
    assert found == [text for _, text in EXPECTED]


@pytest.mark.parametrize("name", ["a.zip", "a.tgz"])
@pytest.mark.parametrize(
    ("files", "told"),
    [
        (
            {"train.csv": TABLE, "test.csv": b"id,text\n1,x\n"},
            "It contains test.csv, train.csv. Name the file",
        ),
        ({"train.csv": TABLE, "other.csv": b"label,review\n1,a\n"}, "different kinds"),
        ({"train.csv": TABLE, "r.jsonl": b'{"label":1,"text":"a"}\n'}, "different kinds"),
        (
            {"README.md": b"x", "notes.doc": b"y"},
            "contains no review files. It contains: README.md, notes.doc",
        ),
        ({"r.zip": zipped({"r.csv": TABLE})}, "zip archive"),
        ({"r.parquet": b"PAR1"}, "Parquet file in an archive"),
        ({"r.png": b"\x89PNG\r\n\x1a\n"}, "picture"),
        ({}, "n"),
        ({"r.csv": bytes(300_000_000)}, "not text"),
    ],
)
def test_other_archives_are_refused_with_their_content(write, name, files, told):
    path = write(name, ARCHIVERS[name](files))
    with pytest.raises(DataError) as caught:
        read(path)
    assert told in str(caught.value)


def test_a_member_can_be_named(write):
    path = write("a.zip", zipped({"train.csv": TABLE, "test.csv": b"id,text\n1,x\n"}))
    assert read(f"{path}/train.csv") == (EXPECTED, [])
    with pytest.raises(DataError, match="does not exist"):
        read(f"{path}/tran.csv")
    with pytest.raises(DataError, match="does not exist"):
        read(f"{write('a.csv', TABLE)}/train.csv/x")


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: data[:-10],
        lambda data: data[:40] + b"\xff" + data[41:],
        lambda data: data.replace(b"broke", b"brake"),
    ],
)
@pytest.mark.parametrize("name", ["stored.zip", "a.tar", "a.tgz", "lzma.zip"])
def test_a_damaged_archive_is_refused_or_read_whole(write, name, damage):
    data = ARCHIVERS[name]({"r.txt": FASTTEXT * 200})
    path = write(name, damage(data))
    try:
        reviews, _ = read(path)
    except DataError:
        return
    assert len(reviews) == 400 or name == "a.tar"  # tar archives have no checksum of their content


def test_an_encrypted_archive_is_refused(write):
    data = bytearray(zipped({"r.txt": FASTTEXT}))
    for place in (data.index(b"PK\x03\x04") + 6, data.index(b"PK\x01\x02") + 8):
        data[place] |= 1
    with pytest.raises(DataError, match=r"encrypted.*Unpack it"):
        read(write("a.zip", bytes(data)))


def test_a_bomb_is_read_as_a_stream(write):
    import tracemalloc

    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("r.txt", "w") as member:
        for _ in range(200):
            member.write(b"__label__1 bad\n" * 70_000)
    path = write("a.zip", sink.getvalue())
    assert path.stat().st_size < 1_000_000
    corpus = Corpus.find(path)
    tracemalloc.start()
    rows = sum(raw.data.count(b"\n") for source in corpus.sources for raw in source.blocks(8_000_000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rows == 14_000_000
    assert peak < 100_000_000


def test_an_archive_prepares_like_its_file(tmp_path):
    reviews = "".join(
        f"__label__{1 + i % 2} review number {i} is {'good' if i % 2 else 'bad'}\n" for i in range(300)
    )
    (tmp_path / "r.txt").write_text(reviews)
    (tmp_path / "r.zip").write_bytes(zipped({"r.txt": reviews.encode()}))
    (tmp_path / "r.tgz").write_bytes(tarred({"r.txt": reviews.encode()}, "w:gz"))
    wanted = prepare(tmp_path / "r.txt", tmp_path / "d").manifest
    for name in ("r.zip", "r.tgz"):
        done = prepare(
            tmp_path / name, tmp_path / "d", force=True, block_mb=0.002, processes=True, workers=2
        ).manifest
        assert (done.digest, done.inputs) == (wanted.digest, [f"{tmp_path / name}/r.txt"])


def test_predict_and_evaluate_read_archives(cli, model, write):
    write("r.txt", FASTTEXT)
    write("r.zip", zipped({"r.txt": FASTTEXT}))
    assert cli("predict", model, "r.zip").stdout == cli("predict", model, "r.txt").stdout
    assert cli("evaluate", model, "r.zip").stdout == cli("evaluate", model, "r.txt").stdout
    done = cli("predict", model, "r.zip", "--out", "p.jsonl")
    assert done.returncode == 0, done.stderr


# names


@pytest.mark.parametrize(
    "name",
    [
        "x::y.csv",
        "data:1.csv",
        "file:x.csv",
        "s3:x.csv",
        "a#b.csv",
        "a b.csv",
        "a*.csv",
        "a[1].csv",
        "what?.csv",
        "zip::x.csv",
        "~.csv",
        "%20.csv",
        "{a,b}.csv",
        b"caf\xe9.csv",
        "-.csv",
    ],
)
def test_a_file_that_exists_is_that_file(write, tmp_path, monkeypatch, name):
    path = tmp_path / os.fsdecode(name)
    path.write_bytes(TABLE)
    (tmp_path / "a1.csv").write_bytes(b"other")
    assert read(path) == (EXPECTED, [])
    monkeypatch.chdir(tmp_path)
    assert read(os.fsdecode(name)) == (EXPECTED, [])
    (tmp_path / "a1.csv").unlink()
    assert read(tmp_path) == (EXPECTED, [])


def test_a_parquet_file_of_any_name(tmp_path):
    for name in ("a::b.parquet", "a*#.parquet", os.fsdecode(b"\xff.parquet")):
        with open(tmp_path / name, "wb") as file:
            pq.write_table(pa.table({"label": [1, 2], "text": [text for _, text in EXPECTED]}), file)
        assert read(tmp_path / name) == (EXPECTED, [])


# labels in folder names


def test_the_label_may_be_the_name_of_a_folder(write, tmp_path):
    for stars in (1, 3, 5):
        table = pa.table({"review_body": [f"film {stars}", "again"]})
        write(f"p/star_rating={stars}/.x", b"")
        pq.write_table(table, tmp_path / f"p/star_rating={stars}/part-0.parquet")
        write(f"c/year=2020/label={stars > 2:d}/{stars}.csv", f"text\nfilm {stars}\n")
        write(f"j/sentiment=pos%69tive/{stars}.jsonl", f'{{"text":"film {stars}"}}\n')
    write("n/label=__HIVE_DEFAULT_PARTITION__/r.csv", "text\nx\n")
    write("own/label=0/r.csv", "text,label\nfilm,1\nfilm,0\n")

    def found(path, **settings):
        corpus = Corpus.find(tmp_path / path, PrepareSettings(**settings))
        return [
            (label, text.decode())
            for block in corpus.blocks()
            for label, text in zip(block.labels.tolist(), block.text.to_pylist(), strict=True)
        ]

    assert found("p") == [(0, "film 1"), (0, "again"), (1, "film 5"), (1, "again")]
    assert found("c") == [(0, "film 1"), (1, "film 3"), (1, "film 5")]
    assert found("j") == [(1, "film 1"), (1, "film 3"), (1, "film 5")]
    assert found("own") == [(1, "film"), (0, "film")]
    assert found("n") == []
    write("n/label=0/r.csv", "text\nbad\n")
    write("n/label=1/r.csv", "text\ngood\n")
    assert found("n") == [(0, "bad"), (1, "good")]
    write("k/label=1/r.csv", "text\nbad\n")
    write("k/label=5/r.csv", "text\ngood\n")
    with pytest.raises(DataError, match=r"column 'label' .*--stars-column label"):
        found("k")
    assert found("k", stars_column="label") == [(0, "bad"), (1, "good")]
