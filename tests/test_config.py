"""Settings: which source wins, and what is said about a wrong one."""

import os

import pytest
from pydantic import ValidationError

from sentiscale.config import PREPARE_FLAGS, Settings, resolve
from sentiscale.errors import UsageError


@pytest.fixture
def toml(tmp_path):
    def write(text):
        path = tmp_path / "settings.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_without_sources_the_defaults_hold():
    assert resolve() == Settings()


def test_later_sources_win_one_by_one(toml):
    """Defaults, base, file, --set, flags: each row adds one source, which takes over one more key."""
    base = {"prepare": {"min_count": 3, "max_tokens": 30, "vocab_size": 300, "dedupe": False}}
    config = toml("[prepare]\nmax_tokens = 40\nvocab_size = 400\ndedupe = true")
    overrides = ["prepare.vocab_size=500", "prepare.dedupe=false"]
    flags = {"prepare.dedupe": True, "prepare.clean": None}

    found = resolve(base=base, config=config, overrides=overrides, flags=flags).prepare
    assert found.clean == Settings().prepare.clean  # the flag was not given
    assert found.min_count == 3  # base
    assert found.max_tokens == 40  # file over base
    assert found.vocab_size == 500  # --set over file
    assert found.dedupe is True  # flag over --set


def test_later_override_wins_over_an_earlier_one():
    assert resolve(overrides=["prepare.min_count=3", "prepare.min_count=4"]).prepare.min_count == 4


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("prepare.min_count=5", "min_count", 5),
        ("prepare.dedupe=false", "dedupe", False),
        ("prepare.split=[0.5, 0.25, 0.25]", "split", (0.5, 0.25, 0.25)),
        ("prepare.text_column=review text", "text_column", "review text"),
        ('prepare.text_column="42"', "text_column", "42"),
        (" prepare.clean = alpha ", "clean", "alpha"),
    ],
)
def test_override_is_read_as_toml_or_else_as_text(override, key, value):
    assert getattr(resolve(overrides=[override]).prepare, key) == value


@pytest.mark.parametrize("override", ["prepare.min_count", "min_count=3", "prepare.min_count=", "=3", ""])
def test_malformed_override_shows_the_form(override):
    with pytest.raises(UsageError, match=r"it takes section\.key=value"):
        resolve(overrides=[override])


def test_unknown_key_gets_a_suggestion():
    with pytest.raises(
        UsageError, match=r"unknown setting 'prepare\.vocab_sizes'\. Did you mean 'vocab_size'\?"
    ):
        resolve(overrides=["prepare.vocab_sizes=3"])


def test_unknown_section_gets_a_suggestion():
    with pytest.raises(UsageError, match=r"unknown setting 'prepair'\. Did you mean 'prepare'\?"):
        resolve(overrides=["prepair.min_count=3"])


def test_unknown_key_without_a_likeness_lists_what_is_allowed():
    with pytest.raises(
        UsageError, match=r"unknown setting 'prepare\.qqq'\. Allowed: format, encoding, text_column"
    ):
        resolve(overrides=["prepare.qqq=3"])


def test_value_out_of_range_names_key_value_and_range():
    with pytest.raises(
        UsageError, match=r"prepare\.min_count is 0: Input should be greater than or equal to 1"
    ):
        resolve(overrides=["prepare.min_count=0"])


def test_all_faults_are_reported_at_once():
    with pytest.raises(UsageError) as caught:
        resolve(overrides=["prepare.min_count=0", "prepare.clean=none"])
    assert "prepare.min_count" in str(caught.value)
    assert "'alpha' or 'words'" in str(caught.value)


@pytest.mark.parametrize("split", ["[0.5, 0.4]", "[1.5, -0.5]", "[1.0]"])
def test_shares_that_do_not_add_up_are_refused(split):
    with pytest.raises(UsageError, match=r"prepare: split is \(.*it needs two or three shares"):
        resolve(overrides=[f"prepare.split={split}"])


def test_section_given_as_a_number_is_refused(toml):
    with pytest.raises(UsageError, match="prepare is 3"):
        resolve(config=toml("prepare = 3"))


def test_missing_file_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"cannot read settings file .*nowhere\.toml: No such file"):
        resolve(config=tmp_path / "nowhere.toml")


def test_broken_toml_is_named_with_its_line(toml):
    with pytest.raises(UsageError, match=r"settings\.toml is not valid TOML: .*line 2"):
        resolve(config=toml("[prepare]\nmin_count = = 3"))


def test_file_that_is_not_text_is_refused(tmp_path):
    (tmp_path / "settings.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="not valid TOML"):
        resolve(config=tmp_path / "settings.toml")


def test_byte_order_mark_is_ignored(toml):
    assert resolve(config=toml("\ufeff[prepare]\nmin_count = 7")).prepare.min_count == 7


def test_settings_cannot_be_changed_afterwards():
    with pytest.raises(ValidationError, match="frozen"):
        Settings().prepare.min_count = 3  # type: ignore[misc]


def test_settings_survive_writing_and_reading():
    settings = resolve(overrides=["prepare.split=[0.9, 0.1]", "prepare.clean=alpha"])
    assert Settings.model_validate_json(settings.model_dump_json()) == settings


def test_every_field_is_described_and_every_flag_has_its_field():
    for section in Settings.model_fields.values():
        for name, field in section.annotation.model_fields.items():
            assert field.description, f"{section.annotation.__name__}.{name} has no docstring"
    assert {key.removeprefix("prepare.") for key in PREPARE_FLAGS.values()} <= set(
        Settings().prepare.model_dump()
    )


@pytest.mark.parametrize(
    "text",
    [
        "[train]\nlr = inf",
        "[train]\nlr = nan",
        "[train]\nepochs = 1e300",
        "[train]\ntime_limit = inf",
        "[train]\nbatch_size = " + "9" * 100,
        "[model]\nlayers = " + "9" * 5000,
        "[train]\nlayout = " + "[" * 10_000,
        "[train." + "a." * 10_000 + "a]",
        "[train]\nlr = 0.1 # " + "x" * 2**17,
        "[prepare]\nsplit = [0.5, nan]",
    ],
    ids=range(10),
)
def test_a_settings_file_that_cannot_work_is_refused_in_one_line(toml, text):
    with pytest.raises(UsageError) as caught:
        resolve(config=toml(text))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_settings_file_that_is_no_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path, told in (
        (tmp_path / "fifo", "is a FIFO"),
        (tmp_path, "is a directory"),
        ("/dev/zero", "device"),
    ):
        with pytest.raises(UsageError, match=told):
            resolve(config=path)


@pytest.mark.parametrize("value", ["[" * 10_000, "9" * 5000])
def test_an_override_that_is_no_toml_is_text(value):
    with pytest.raises(UsageError, match=r"train\.lr is"):
        resolve(overrides=[f"train.lr={value}"])


def test_a_name_with_a_comma_has_a_weight_and_a_class():
    weights = {"a, b": 3.0, "c": 1.0}
    assert resolve(flags={"train.class_weight": "a, b=3,c=1"}).train.class_weight == weights
    assert resolve(flags={"prepare.label_map": "x, y=a b,z=drop"}).prepare.label_map == {
        "x, y": "a b",
        "z": "drop",
    }
