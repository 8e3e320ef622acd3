"""Networks by name and by numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiscale.errors import UsageError
from sentiscale.study.plan.network import NETWORKS, NetworkLink, parse_network


@pytest.mark.parametrize("name", NETWORKS)
def test_names_are_taken_in_any_case(name):
    assert parse_network(f" {name.upper()} ").link == NETWORKS[name]


def test_a_gigabit_carries_117_megabytes_a_second():
    assert parse_network("1gbit").link.bandwidth == pytest.approx(117.7e6, rel=1e-3)


@pytest.mark.parametrize(
    ("text", "bandwidth", "latency"),
    [
        ("2.5gbit,80us", 312.5e6, 80e-6),
        ("300MB/s, 0.1ms", 300e6, 1e-4),
        ("1e3mbit,1s", 125e6, 1.0),
        ("8kbit,500ns", 1000, 5e-7),
    ],
)
def test_numbers_with_units(text, bandwidth, latency):
    link = parse_network(text).link
    assert link.bandwidth == pytest.approx(bandwidth)
    assert link.latency == pytest.approx(latency)


@given(st.floats(0.001, 1e6), st.sampled_from(["mbit", "gbit", "MB", "GB/s"]), st.floats(0, 1e4))
def test_whatever_is_written_is_read_back(speed, unit, delay):
    link = parse_network(f"{speed!r}{unit},{delay!r}us").link
    per_unit = {"mbit": 125e3, "gbit": 125e6, "MB": 1e6, "GB/s": 1e9}[unit]
    assert link.bandwidth == pytest.approx(speed * per_unit)
    assert link.latency == pytest.approx(delay * 1e-6)


@given(st.text(max_size=30).filter(lambda text: text.strip().lower() not in NETWORKS and "," not in text))
def test_any_other_text_is_refused_in_words(text):
    with pytest.raises(UsageError, match="BANDWIDTH,LATENCY"):
        parse_network(text)


@pytest.mark.parametrize(
    "text", ["", "10", "fast", "0mbit,1us", "1gbit,", "1gbit,5", "-1gbit,5us", "1..2gbit,1us"]
)
def test_what_makes_no_network_is_refused(text):
    with pytest.raises(UsageError, match="It takes 100mbit"):
        parse_network(text)


def test_a_slip_of_the_finger_gets_a_suggestion():
    with pytest.raises(UsageError, match="Did you mean '10gbit'"):
        parse_network("10gbits")


def test_a_wire_driven_by_software_has_the_latency_of_both_and_the_pace_of_the_slower():
    assert NetworkLink(1e-5, 1e9).with_software(NetworkLink(2e-5, 4e8)) == NetworkLink(
        pytest.approx(3e-5), 4e8
    )
