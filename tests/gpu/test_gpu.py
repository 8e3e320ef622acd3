"""The network on a graphics processor: same result, every precision, ranks over NCCL."""

import pytest
import torch

from sentiscale.parallel.layout import Layout
from sentiscale.parallel.precision import Precision, choose_device, native_precisions
from sentiscale.parallel.runner import RunnerConfig
from sentiscale.parallel.world import World, single_rank
from sentiscale.training.launch import train
from sentiscale.training.step import Learner
from tests.parallel.learning import Case, learn
from tests.training.conftest import quick
from tests.worlds import run_world

GPUS = torch.cuda.device_count()

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(GPUS == 0, reason="needs a CUDA device; this machine has none"),
]


def learn_on_gpu(world: World, case: Case):
    device = torch.device("cuda", world.rank)
    return learn(World(world.layout, world.rank, device, world.everyone, world.replicas), case)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_gpu_gives_the_result_of_the_cpu(cell):
    case = Case(cell=cell, max_norm=0.05)
    on_cpu, on_gpu = run_world(learn, "1x1", case)[0], run_world(learn_on_gpu, "1x1", case)[0]
    for name, value in on_cpu["weights"].items():
        assert abs(value - on_gpu["weights"][name]).max() < 1e-9, name


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_every_precision_trains_and_reports_the_gpu_s_memory(dataset, tmp_path, precision):
    if precision not in native_precisions(torch.device("cuda")):
        pytest.skip(f"this GPU only emulates {precision}")
    settings = quick(train__device="cuda", train__precision=precision)
    record = train(dataset, tmp_path / "run", settings)
    assert record.precision == precision
    assert record.valid["accuracy"] > 0.6
    assert record.peak_memory_mb_per_rank[0] > 0


def test_words_and_activations_stay_on_the_device():
    device = choose_device("cuda")
    config = RunnerConfig(Case().config().model, 40, Precision("fp32"))
    learner = Learner.build(config, single_rank(device))
    assert {parameter.device for parameter in learner.runner.net.parameters()} == {device}
    assert {moment.device for moments in learner.optimizer.moments.values() for moment in moments} == {device}


@pytest.mark.skipif(GPUS < 2, reason="needs two CUDA devices")
@pytest.mark.parametrize("layout", ["2x1", "1x2"])
def test_ranks_over_nccl_give_the_serial_result(dataset, tmp_path, layout):
    records = [
        train(
            dataset, tmp_path / name, quick(train__device="cuda", train__layout=name, train__precision="fp64")
        )
        for name in ("1x1", layout)
    ]
    losses = [[point.valid_loss for point in record.metrics] for record in records]
    assert losses[0] == pytest.approx(losses[1], abs=1e-9)
    assert Layout.parse(records[1].layout).world_size == 2


@pytest.mark.skipif(GPUS < 2, reason="needs two CUDA devices")
def test_one_process_uses_two_devices(dataset, tmp_path):
    settings = quick(train__device="cuda", train__precision="fp64")
    both = quick(train__device="cuda", train__precision="fp64", train__recurrent_device="cuda:1")
    losses = [
        train(dataset, tmp_path / str(i), each).valid["loss"] for i, each in enumerate((settings, both))
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-9)
