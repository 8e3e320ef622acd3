"""Records and costs made by hand, whose predictions can be worked out on paper."""

from datetime import UTC, datetime

from sentiscale.records import Host
from sentiscale.study.plan.costs import Curve, TrainingCosts
from sentiscale.study.plan.network import ClusterNetwork, ClusterSpec, NetworkLink
from sentiscale.study.records import BenchRun, Case, RankTimes

HOST = Host(cpu_model="made", cores=2, memory_mb=1000, gpu=None, system="Linux", python="3.11", load_1m=0.0)
SHAPE = {
    "cell": "lstm",
    "embedding_dim": 10,
    "hidden_dim": 8,
    "layers": 1,
    "bidirectional": False,
    "pooling": "max",
}
DENSE_BYTES = 4 * (4 * 8 * (10 + 8 + 2) + 8 + 1)
STEPS = 10


def even_costs(**changes: object) -> TrainingCosts:
    """10 ms a row, no differences between ranks or steps, nothing on the wire."""
    values = {"name": "even", "compute": Curve((1.0,), (0.010,)), "spread": 0.0, "sparse": False, **changes}
    return TrainingCosts(**values)


def network(latency: float = 1e-3, bandwidth: float = 1e6, ranks_per_host: int = 1, **changes) -> ClusterSpec:
    """Hosts on a wire of 1 ms and 1 MB/s, with software that costs nothing."""
    free = NetworkLink(0.0, 1e15)
    wire = ClusterNetwork("made", NetworkLink(latency, bandwidth))
    return ClusterSpec(ranks_per_host, wire, **{"sockets": free, "memory": free, **changes})


def step_of(rows: float) -> float:
    """Seconds of computing a step in the made records: 2 ms and 1 ms a row."""
    return 0.002 + 0.001 * rows


def touched(rows: float) -> float:
    """Different words of a batch: Heaps' law."""
    return 30 * rows**0.5


def run(case: Case, seconds: float, times: list[RankTimes], sent: float = 0, repeat: int = 0) -> BenchRun:
    """A record of `STEPS` steps."""
    return BenchRun(
        case=case,
        repeat=repeat,
        seed=0,
        amount={"steps": STEPS},
        seconds=STEPS * seconds,
        rows=STEPS * case.batch_size,
        rows_per_s=case.batch_size / seconds,
        steps=STEPS,
        step_seconds=[seconds] * STEPS,
        times_per_rank=times,
        bytes_per_step=[int(sent)] * len(times),
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
        host=HOST,
        data_digest="d",
        embedding_rows=1000,
        shape=SHAPE,
    )


def times(compute: float, update: float = 0.0, waiting: float = 0.0, reduce: float = 0.0) -> RankTimes:
    """A rank's, a third of computing forward."""
    return RankTimes(
        forward=STEPS * compute / 3,
        backward=STEPS * compute * 2 / 3,
        update=STEPS * update,
        waiting=STEPS * waiting,
        reduce=STEPS * reduce,
    )


def serial(batch: int, **about) -> BenchRun:
    update = 1e-6 * touched(batch)
    case = Case(layout="1x1", collectives=False, batch_size=batch, model="lstm", precision="fp32", **about)
    return run(case, step_of(batch) + update, [times(step_of(batch), update)])


def copies(batch: int, slowdown: float = 1.25) -> BenchRun:
    """Two at once."""
    case = Case(kind="copies", copies=2, collectives=False, batch_size=batch, model="lstm", precision="fp32")
    update = 1e-6 * touched(batch / 2)
    compute = slowdown * step_of(batch / 2)
    return run(case, compute + update, 2 * [times(compute, update)])


def replicas(batch: int, slowdown: float = 1.25) -> BenchRun:
    """Two ranks of one host that wait 0.1 ms and exchange for 0.2 ms."""
    case = Case(layout="2x1", batch_size=batch, model="lstm", precision="fp32")
    compute, update = slowdown * step_of(batch / 2), 0.5e-6 * touched(batch)
    sent = touched(batch / 2) / 2 * (4 + 4 * 10) + DENSE_BYTES
    return run(case, compute + update + 0.3e-3, 2 * [times(compute, update, 1e-4, 2e-4)], sent)


def stages(batch: int) -> BenchRun:
    """Two stages: a tenth of the work is the outer one's."""
    case = Case(layout="1x2", batch_size=batch, model="lstm", precision="fp32")
    compute = step_of(batch)
    shared = [times(0.1 * compute, waiting=0.9 * compute), times(0.9 * compute)]
    return run(case, compute, shared, sent=1000 * batch)


def study(*more: BenchRun) -> list[BenchRun]:
    """What a bench records: serial, copies and replicas at three batch sizes."""
    sizes = (32, 64, 128)
    return [each(size) for size in sizes for each in (serial, copies, replicas)] + list(more)
