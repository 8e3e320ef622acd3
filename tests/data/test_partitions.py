"""Dividing the input: what comes together, how evenly, and that nothing depends on it."""

import gzip
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentiscale.data.manifest import balance
from sentiscale.data.shards import MAX_FILL, encode_partition, finished_summary, first_lines
from tests.data.encoding import encode, folder, partitions_of, task_of

LINE = b"__label__1 a line of thirty bytes\n"
TABLE = b"".join(b'%d,"number %d\nand more"\n' % (1 + i % 2, i) for i in range(60))


def lines(number, seed=0):
    rng = random.Random(seed)
    return b"".join(
        b"__label__%d " % rng.choice((1, 2)) + b"x" * rng.randint(1, 60) + b"\n" for _ in range(number)
    )


@pytest.fixture
def write(tmp_path):
    def to(name, content):
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return to


@pytest.fixture
def work(tmp_path):
    return folder(tmp_path / "work")


def sizes_of(partitions):
    return [sum(piece.size for piece in partition.slices) for partition in partitions]


def spooled(work):
    return sorted(path.name for path in (work.root / "spool").iterdir())


# what comes together


def test_many_small_files_go_together_in_order(write, work):
    paths = [write(f"{number:03d}.txt", LINE * 3) for number in range(300)]
    partitions = partitions_of(paths, work, 40 * len(LINE))
    assert [piece.file for part in partitions for piece in part.slices] == [str(path) for path in paths]
    assert [part.number for part in partitions] == list(range(len(partitions)))
    assert len(partitions) == 22  # 14 files of 3 lines each are within a tenth of 40 lines
    assert max(sizes_of(partitions)) <= MAX_FILL * 40 * len(LINE)


@pytest.mark.parametrize("block_bytes", [40, 500, 10**6])
def test_test_files_never_share_a_partition_with_others(write, work, block_bytes):
    inputs, tests = (
        [write("a.txt", LINE * 9), write("b.txt", LINE)],
        [write("c.txt", LINE), write("d.txt", LINE * 9)],
    )
    partitions = partitions_of(inputs, work, block_bytes, tests=tests)
    for partition in partitions:
        assert {piece.file in map(str, tests) for piece in partition.slices} == {partition.is_test}
    assert [part.is_test for part in partitions] == sorted(part.is_test for part in partitions)


@pytest.mark.parametrize("rows", [5000, 6001, 7500, 9999])
@pytest.mark.parametrize("in_place", [True, False])
def test_a_file_is_divided_evenly(write, tmp_path, rows, in_place):
    """What is short of a line at the end of each piece makes no small partition of its own."""
    path = write("a.txt", lines(rows))
    done = encode(path, tmp_path / "work", 20_000, in_place=in_place)
    evenness = balance(done.partitions)
    assert evenness["bytes_max_over_mean"] < 1.1
    assert evenness["count"] == -(-path.stat().st_size // 20_000)
    assert sum(sizes_of(done.partitions)) == path.stat().st_size
    assert len(done.rows) == rows


def test_files_of_every_size_make_partitions_of_about_one_size(write, tmp_path):
    rng = random.Random(3)
    paths = [
        write(f"{number:03d}.txt", lines(int(rng.lognormvariate(3, 1.5)) + 1, number))
        for number in range(150)
    ]
    done = encode(paths, tmp_path / "work", 4000)
    assert balance(done.partitions)["bytes_max_over_mean"] < 1.5
    assert len(done.rows) == sum(path.read_bytes().count(b"\n") for path in paths)


# where the bytes are


def test_plain_files_are_read_where_they_lie_and_others_are_copied(write, work):
    plain, packed = write("a.txt", LINE * 50), write("b.txt.gz", gzip.compress(LINE * 50))
    partitions = partitions_of([plain, packed], work, 10 * len(LINE))
    pieces = [piece for part in partitions for piece in part.slices]
    assert {piece.path for piece in pieces if piece.file == str(plain)} == {str(plain)}
    copies = [piece for piece in pieces if piece.file == str(packed)]
    assert b"".join(Path(piece.path).read_bytes() for piece in copies) == LINE * 50
    assert len(spooled(work)) == len(copies) == 5
    for piece in pieces:
        work.unspool(piece.path)
    assert spooled(work) == []
    assert plain.exists(), "a file that was not copied must stay"


def test_a_worker_elsewhere_gets_copies(write, work):
    path = write("a.txt", LINE * 20)
    partitions = partitions_of(path, work, 10 * len(LINE), in_place=False)
    assert all(piece.path.startswith(str(work.root)) for part in partitions for piece in part.slices)


# lines


def test_first_lines_begin_anew_with_every_file(write, tmp_path):
    table, header, plain = (
        write("a.csv", TABLE),
        write("b.csv", b'"label",\n\n"text\nof"\n'[:0] + b"label,text\n" + TABLE),
        write("c.txt", LINE * 9),
    )
    for block_bytes in (50, 333, 10**6):
        done = encode([table, header, plain], tmp_path / "work", block_bytes)
        own = {
            str(path): [row.line for row in done.rows if row.file == str(path)]
            for path in (table, header, plain)
        }
        assert own[str(table)] == list(range(1, 120, 2))
        assert own[str(header)] == list(range(2, 121, 2))
        assert own[str(plain)] == list(range(1, 10))
        assert [row.file for row in done.rows] == sorted(row.file for row in done.rows), (
            "not in the order of the input"
        )
        assert len(first_lines(done.partitions)) == len(done.partitions)


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.integers(1, 40), st.booleans(), st.booleans()), min_size=1, max_size=4),
    st.sampled_from([90, 700]),
    st.sampled_from([300, 10**6]),
)
def test_neither_grouping_nor_cuts_change_rows_or_lines(tmp_path_factory, files, one_size, other_size):
    root = tmp_path_factory.mktemp("cuts")
    paths = []
    for number, (count, packed, table) in enumerate(files):
        content = TABLE[: 24 * count] if table else lines(count, number)
        paths.append(root / f"{number}.{'csv' if table else 'txt'}{'.gz' if packed else ''}")
        paths[-1].write_bytes(gzip.compress(content) if packed else content)
    columns = {"format": "csv"} if all(table for _, _, table in files) else {}
    one = encode(paths, root / "work", one_size, **columns)
    other = encode(paths, root / "work", other_size, in_place=False, **columns)
    assert (one.rows, one.rejects) == (other.rows, other.rejects)


# shards of an earlier run


@pytest.mark.parametrize("content", [lines(200), LINE * 200], ids=["any-lines", "equal-lines"])
def test_a_shard_of_other_bytes_is_not_taken_for_this_ones(write, work, content):
    """Cut where they lie, files are cut at other places than in copies: shards must not be mixed."""
    path = write("a.txt", content)
    ways = [partitions_of(path, work, 1000, in_place=in_place) for in_place in (True, False)]
    assert sizes_of(ways[0]) != sizes_of(ways[1]), "the two ways cut alike: this test says nothing"
    begin, taken = 0, 0
    for one, other in zip(*ways, strict=False):
        encode_partition(task_of(one, work))
        shard = work.shard(one.number)
        assert finished_summary(shard, one.slices) is not None
        same = (one.slices[0].offset, one.slices[0].size) == (begin, other.slices[0].size)
        begin += other.slices[0].size
        taken += same
        assert (finished_summary(shard, other.slices) is not None) == same
    assert taken < len(ways[1])


def test_a_shard_says_whether_it_is_whole(write, work):
    (partition,) = partitions_of(write("a.txt", lines(50)), work, 10**6)
    made = encode_partition(task_of(partition, work))
    path = work.shard(0)
    found = finished_summary(path, partition.slices)
    assert (found.rows, found.size) == (made.rows, made.size)
    assert found.meanings == made.meanings
    assert sorted(made.meanings) == ["1", "2", "negative", "positive"]
    assert (found.records == made.records).all()
    content = path.read_bytes()
    for place in range(len(content) - 1, 0, -len(content) // 40):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        assert finished_summary(path, partition.slices) is None
    path.unlink()
    assert finished_summary(path, partition.slices) is None
