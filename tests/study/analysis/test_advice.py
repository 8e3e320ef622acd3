"""Recommendation, findings and caveats: what is said, and what is not."""

import pytest

from sentiscale.study.analysis.scaling import study_of
from tests.study.analysis.made import host, run, runs, times, two_cores

NOISY = (0.6, 1.0, 1.4, 0.8, 1.2)


def said(study, start):
    """The only finding that begins so."""
    (sentence,) = [one for one in study.findings if one.startswith(start)]
    return sentence


def test_recommendation_says_what_how_much_and_against_what():
    advice = study_of(two_cores()).recommendation
    assert (advice.layout, advice.threads) == ("2x1", 1)
    assert advice.why.startswith("2 ranks x 1 thread (--layout 2x1): 1.80 times plain serial (1.7")
    assert "2 threads in one process give 1.40" in advice.why
    assert "1x2 gives 1.10" in advice.why
    assert "more ranks than cores do not help (2x2: 0.900)" in advice.why
    assert advice.confidence.startswith("High: it is 1.2")


def test_what_cannot_be_told_apart_is_said_and_the_simpler_is_taken():
    """2x1 is 5 % faster than threads, but runs differ by 80 %."""
    found = [
        *runs(10, collectives=False),
        *runs(5.25, NOISY, threads_per_rank=2, collectives=False),
        *runs(5, NOISY, layout="2x1"),
    ]
    advice = study_of(found).recommendation
    assert (advice.layout, advice.threads) == ("1x1", 2)
    assert "--threads-per-rank 2" in advice.why
    assert "2x1 and 2 threads cannot be told apart" in advice.confidence


def test_what_cannot_be_told_apart_here_is_settled_by_the_other_settings():
    """The middle batch size is noisy; with both others, replicas are clearly ahead."""
    found = [
        *runs(10, collectives=False),
        *runs(5.25, NOISY, threads_per_rank=2, collectives=False),
        *runs(5, NOISY, layout="2x1"),
    ]
    for size in (32, 512):
        found += runs(10, collectives=False, batch_size=size)
        found += runs(7, threads_per_rank=2, collectives=False, batch_size=size)
        found += runs(5, layout="2x1", batch_size=size)
    advice = study_of(found).recommendation
    assert (advice.layout, advice.threads) == ("2x1", 1)
    assert "But 2x1 is best in 2 of 2 other settings, so it is taken." in advice.confidence


def test_a_sure_but_useless_lead_is_none():
    """1 % faster, every time: not worth two processes."""
    tight = (1.0, 1.0001, 0.9999, 1.0002, 0.9998)
    found = [
        *runs(10, tight, collectives=False),
        *runs(5.05, tight, threads_per_rank=2, collectives=False),
        *runs(5, tight, layout="2x1"),
    ]
    assert study_of(found).recommendation.layout == "1x1"


def test_serial_is_recommended_where_nothing_is_faster():
    found = [*runs(10, collectives=False), *runs(11, layout="2x1"), *runs(12, layout="1x2")]
    advice = study_of(found).recommendation
    assert (advice.layout, advice.threads) == ("1x1", 1)
    assert "nothing measured is clearly faster" in advice.why


@pytest.mark.parametrize(("repeats", "start"), [(1, "Low"), (3, "Fair"), (5, "High")])
def test_confidence_grows_with_repeats(repeats, start):
    assert study_of(
        two_cores(factors=[1.0, 1.01, 0.99, 1.0, 1.0][:repeats])
    ).recommendation.confidence.startswith(start)


def test_oversubscribed_and_ddp_of_one_and_copies_are_never_recommended():
    """Each of them is made the fastest by far."""
    fastest = [runs(1, layout="2x2"), runs(1, kind="copies", copies=2, collectives=False), runs(1)]
    for more in fastest:
        found = [*runs(10, collectives=False), *runs(6, layout="2x1"), *more]
        assert study_of(found).recommendation.layout == "2x1"
    assert (
        "(2x2: 10.0) enter no recommendation"
        in study_of([*runs(10, collectives=False), *fastest[0]]).recommendation.why
    )


def test_more_ranks_than_cores_that_win_are_a_sign_of_a_busy_machine():
    part = "measure again on an idle machine"
    assert any(part in caveat for caveat in study_of([*two_cores(), *runs(5, layout="4x1")]).caveats)
    assert not any(part in caveat for caveat in study_of(two_cores()).caveats)


def test_other_settings_that_agree_or_differ_are_told():
    agreeing = [*two_cores(), *two_cores(batch_size=32), *two_cores(batch_size=512)]
    assert "The other 2 settings measured agree." in study_of(agreeing).recommendation.confidence
    slow = [*runs(10, collectives=False, model="gru"), *runs(20, layout="2x1", model="gru")]
    confidence = study_of(agreeing + slow).recommendation.confidence
    assert "Of the other 3 settings 2 agree; elsewhere the best is plain serial" in confidence
    assert "GRU" in confidence


def test_family_of_the_recommendation_comes_first():
    found = [*two_cores(batch_size=32), *two_cores(batch_size=128), *two_cores(batch_size=512)]
    study = study_of(
        [*found, *runs(5, kind="prepare", engine="pandas", model="", precision="", batch_size=0)]
    )
    assert study.families[0].name == "LSTM, 128 rows a step, fp32"
    assert study.families[0].name in study.recommendation.why


def test_ceiling_tells_the_machine_from_the_exchange():
    sentence = said(study_of(two_cores()), "The machine's own ceiling")
    assert "2 independent trainings at once, which exchange nothing, reach 1.90" in sentence
    assert "2x1 gets 95 % of it: working together costs 5 %" in sentence


def test_without_copies_the_missing_ceiling_is_a_caveat():
    bare = [one for one in two_cores() if one.case.kind != "copies"]
    assert any("ceiling was not measured" in caveat for caveat in study_of(bare).caveats)
    assert not any("ceiling" in caveat for caveat in study_of(two_cores()).caveats)


def test_price_of_ddp_with_one_rank():
    """A speed of 0.96 takes 1 / 0.96 = 4.2 % longer."""
    assert said(study_of(two_cores()), "DDP with one rank").startswith(
        "DDP with one rank takes 4.2 % more time than plain serial ("
    )
    free = [*runs(10, collectives=False), *runs(10)]
    assert "as fast as plain serial" in said(study_of(free), "DDP with one rank")


def test_model_parallel_divides_memory_not_time():
    found = [
        *runs(10, collectives=False, peak_memory_mb_per_rank=[400.0]),
        *runs(9, layout="1x2", peak_memory_mb_per_rank=[250.0, 200.0]),
    ]
    sentence = said(study_of(found), "Model parallel (1x2)")
    assert (
        "its ranks take 250 and 200 MB where one process takes 400: they divide memory, not time" in sentence
    )


def test_exchange_and_bytes_are_told():
    ranks = [times(forward=4.5, reduce=0.3, waiting=0.2)] * 2
    found = [
        *runs(10, collectives=False),
        *runs(5, layout="2x1", times_per_rank=ranks, bytes_per_step=[2_500_000] * 2),
    ]
    assert "10 % in 2x1 (2.50 MB sent a step)" in said(study_of(found), "Exchange and waiting")


def test_models_batches_precisions_and_devices_are_compared():
    found = [
        *two_cores(12),
        *two_cores(9, model="gru"),
        *two_cores(10, batch_size=512),
        *two_cores(8, precision="bf16"),
        *runs(1.2, collectives=False, device="cuda", host=host(gpu="H100")),
    ]
    study = study_of(found)
    assert "GRU goes through rows faster by a factor of 1.33" in said(study, "GRU against LSTM")
    assert said(study, "bf16 is 1.50")
    assert "512 rows a step" in said(study, "Batch size (LSTM, fp32)")
    assert "times as fast as the best of the CPU (2x1 on 2 cores)" in said(study, "GPU against CPU")
    assert not any(one.startswith("Is a GPU worth it") for one in study.findings)


def test_without_a_gpu_nothing_is_said_about_one():
    sentence = said(study_of(two_cores()), "Is a GPU worth it")
    assert "nothing was measured on one, so this study cannot say" in sentence
    assert "1,229 rows/s" in sentence, "what a GPU would have to beat: 8,192 rows in 12 / 1.8 s"


def test_sixteen_cores_are_beyond_two():
    """Amdahl: 1.8 on two cores is a serial share of 1/9, so 4 / (1 + 3/9) = 3 on four."""
    sentence = said(study_of(two_cores()), "What more cores would bring")
    assert "gives 3.00 (" in sentence
    assert "at 4 cores, with care: it rests on 2 numbers of cores" in sentence
    assert "`sentiscale plan` with --workers 16" in sentence


def test_engines_of_preparation_and_prediction_are_told():
    other = {"model": "", "precision": "", "batch_size": 0}
    found = [
        *runs(4, kind="prepare", engine="sentiscale", **other),
        *runs(2, kind="prepare", engine="sentiscale", engine_workers=2, **other),
        *runs(20, kind="prepare", engine="pandas", **other),
        *runs(8, kind="predict", engine="sentiscale", **other),
    ]
    study = study_of(found)
    sentence = said(study, "Preparation, every engine at its best")
    assert "sentiscale is 10.0" in sentence
    assert "efficiency 100 %" in sentence
    assert said(study, "Prediction, at its best: sentiscale, 1 worker 1,024 rows/s")
    assert study.recommendation is None


def test_prediction_is_told_by_rows_at_once():
    found = [
        *runs(8, kind="predict", engine="sentiscale", batch_size=32),
        *runs(4, kind="predict", engine="sentiscale", batch_size=256),
    ]
    study = study_of(found)
    assert len({family.name for family in study.families}) == 2
    sentence = said(study, "Prediction")
    assert sentence.index("256 rows at once: 2,048 rows/s") < sentence.index("32 rows at once: 1,024 rows/s")


def test_many_layouts_are_not_all_listed():
    big = host(cores=16)
    found = runs(160, collectives=False, host=big)
    for ranks in (2, 4, 8, 16):
        for threads in (1, 2, 4):
            if ranks * threads <= 16:
                seconds = 160 / (ranks * threads) ** 0.8 * threads**0.1
                found += runs(
                    seconds, layout=f"{ranks}x1", threads_per_rank=threads, host=big, oversubscribed=False
                )
    advice = study_of(found).recommendation
    assert advice.layout == "16x1"
    assert advice.why.count("gives") == 1, "the best of the other replicas, and no more"


def test_accuracy_stands_beside_time():
    target = {"amount": {"target_accuracy": 0.9}, "reached": True}
    found = [
        *runs(60, collectives=False, accuracy=0.91, **target),
        *runs(40, layout="2x1", accuracy=0.905, **target),
    ]
    sentence = said(study_of(found), "Time to accuracy")
    assert "serial 0.9100 after 60.0 s; 2x1 0.9050 after 40.0 s" in sentence


def test_mixed_software_is_a_caveat():
    found = [*two_cores(), run(11, collectives=False, versions={"torch": "2.4"}, git_commit="xyz")]
    caveats = study_of(found).caveats
    assert any("Versions differ between runs: torch" in caveat for caveat in caveats)
    assert any("2 commits" in caveat for caveat in caveats)


def test_a_law_of_many_cores_names_its_maximum():
    big = host(cores=64)
    law = {n: (1 + 0.05 * (n - 1) + 0.002 * n * (n - 1)) / n for n in (2, 4, 8, 16, 32)}
    found = runs(100, collectives=False, host=big)
    for cores, cost in law.items():
        found += runs(100 * cost, layout=f"{cores}x1", host=big, oversubscribed=False)
    study = study_of(found)
    sentence = said(study, "What more cores would bring")
    assert "universal scalability law" in sentence
    assert "maximum at 22 cores" in sentence
    assert "rises from" in study.families[0].trend
    assert study.recommendation.layout == "16x1"
