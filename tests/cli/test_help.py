"""`--help` says all there is to say: no word is lost, every default is there, and is the one that holds."""

import re
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from sentiscale.cli import MENU, VERBS, app
from sentiscale.config import PREPARE_FLAGS, TRAIN_FLAGS, Settings
from sentiscale.serving.settings import ServeSettings

COMMANDS: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined]


def options(verb: str) -> list[Any]:
    return [each for each in COMMANDS[verb].params if each.param_type_name == "option"]


def one_line(text: str) -> str:
    """Without frames and line breaks."""
    return " ".join(re.sub("[│╭╮╰╯─]", " ", text).split())


@pytest.fixture(params=VERBS)
def shown(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """A verb, and its help on a wide terminal."""
    monkeypatch.setenv("COLUMNS", "400")
    result = CliRunner().invoke(app, [request.param, "--help"])
    assert result.exit_code == 0, result.output
    return request.param, result.output


def test_help_shows_every_word(shown):
    """Square brackets are mark-up to the library that prints it: `[one a core]` disappears."""
    verb, text = shown
    missing = [each.name for each in COMMANDS[verb].params if one_line(each.help or "") not in one_line(text)]
    assert missing == []


def test_paragraphs_fill_the_terminal(shown):
    verb, text = shown
    paragraphs = [part for part in COMMANDS[verb].help.split("\n\n") if "\b" not in part]
    assert [
        part for part in paragraphs if not re.search(rf"^ {re.escape(part)} *$", text, re.MULTILINE)
    ] == []


@pytest.mark.parametrize("verb", VERBS)
def test_defaults_are_said_in_one_way(verb):
    """`[default: ...]` behind the text, and never in it."""
    assert [each.name for each in options(verb) if "default" in (each.help or "")] == []


def defaults() -> list[tuple[str, str, Any]]:
    """Verb, flag and default of every setting that has a flag."""
    settings, serve = Settings(), ServeSettings()
    found = []
    for verb, flags in (("prepare", PREPARE_FLAGS), ("train", TRAIN_FLAGS)):
        for flag, setting in flags.items():
            section, key = setting.split(".")
            found.append((verb, flag, getattr(getattr(settings, section), key)))
    named = {each.name for each in options("serve")} & set(ServeSettings.model_fields)
    return found + [("serve", name, getattr(serve, name)) for name in sorted(named)]


@pytest.mark.parametrize(("verb", "flag", "default"), defaults(), ids=lambda each: str(each)[:20])
def test_the_default_that_is_shown_is_the_one_that_holds(verb, flag, default):
    option = next(each for each in options(verb) if each.name == flag)
    if default is None or default is False or flag == "log_format":  # said in words, or nothing happens
        return
    said = option.show_default.split(";")[0]
    if default is True:
        assert f"--{said}" in option.opts
    elif isinstance(default, int | float):
        assert float(said) == default
    else:
        assert said == (default or "none")


def test_the_menu_has_every_verb_once():
    assert sorted(VERBS) == sorted(COMMANDS) == sorted({verb for verbs in MENU.values() for verb in verbs})


def test_the_shell_completes_verbs_and_flags(monkeypatch, capfd):
    monkeypatch.setenv("_SENTISCALE_COMPLETE", "complete_bash")
    for words, expected in (("sentiscale tr", ["train", "triage"]), ("sentiscale train --lay", ["--layout"])):
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(words.count(" ")))
        with pytest.raises(SystemExit) as ended:
            app(prog_name="sentiscale")
        assert ended.value.code == 0
        assert capfd.readouterr().out.split() == expected


@pytest.mark.parametrize("verb", VERBS)
def test_scripts_may_give_the_common_flags_to_every_verb(verb):
    flags = {flag for each in options(verb) for flag in each.opts}
    assert {"--quiet", "--json", "--config", "--set"} <= flags


def test_settings_of_other_verbs_are_checked_and_change_nothing(tmp_path):
    good, bad = tmp_path / "good.toml", tmp_path / "bad.toml"
    good.write_text("[train]\nlr = 0.1\n[serve]\nport = 9000\n")
    bad.write_text("[trian]\nlr = 0.1\n")
    asked = ["runs", str(tmp_path), "--json", "--quiet"]
    usual = CliRunner().invoke(app, asked)
    same = CliRunner().invoke(app, [*asked, "--config", str(good), "--set", "train.lr=0.2"])
    assert (same.exit_code, same.stdout) == (0, usual.stdout)
    for wrong in (
        ["--config", str(bad)],
        ["--set", "train.lr=fast"],
        ["--config", str(tmp_path / "none.toml")],
    ):
        assert CliRunner().invoke(app, [*asked, *wrong]).exit_code == 2, wrong
