"""Settings: flag before environment before default, and nothing else by accident."""

import pytest
from pydantic import SecretStr, ValidationError

from pandagpt.cli import app, main
from pandagpt.settings import Settings, injected_faults


def parsed(*flags: str) -> Settings:
    _, bound, _ = app.parse_args(["serve", *flags], exit_on_error=False, print_error=False)
    return bound.arguments.get("settings", Settings())


def test_defaults() -> None:
    assert parsed() == Settings()
    assert Settings().is_loopback


def test_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PANDAGPT_PORT", "9000")
    monkeypatch.setenv("PANDAGPT_MAX_BODY_MB", "7")
    monkeypatch.setenv("PANDAGPT_UNHEARD_OF", "7")
    assert parsed() == Settings(port=9000, max_body_mb=7)
    assert parsed("--port", "9001") == Settings(port=9001, max_body_mb=7)


def test_injected_faults_are_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PANDAGPT_FAULTS", "step=nan@1")
    assert parsed() == Settings()
    assert injected_faults() == "step=nan@1"
    assert "faults" not in Settings.model_fields


def test_every_field_has_a_flag() -> None:
    choices = {"device": "cpu", "dtype": "float16", "quantization": "int8", "log_format": "json"}
    choices |= {"adapter": "cats=/models/cats", "max_decode_mb": "64"}
    for name in Settings.model_fields:
        flag = f"--{name.replace('_', '-')}"
        is_switch = Settings.model_fields[name].annotation is bool
        given = parsed(flag) if is_switch else parsed(flag, choices.get(name, "17"))
        assert given.model_fields_set == {name}


def test_adapters(monkeypatch: pytest.MonkeyPatch) -> None:
    adapters = (("a", "/models/a"), ("b", "/of=two words"))
    assert parsed("--adapter", "a=/models/a", "--adapter", "b=/of=two words").adapters == adapters
    monkeypatch.setenv("PANDAGPT_ADAPTER", "a=/models/a c=/models/c")
    assert parsed().adapters == (adapters[0], ("c", "/models/c"))
    assert parsed("--adapter", "d=x").adapters == (("d", "x"),)


@pytest.mark.parametrize(
    "fields",
    [
        {"port": 65536},
        {"threads": 0},
        {"device": "tpu"},
        {"max_queue": -1},
        {"prot": 1},
        {"adapter": ["=x"]},
    ],
)
def test_wrong_values_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate(fields)


def test_keys_never_show() -> None:
    settings = Settings(api_key=SecretStr("key-1, key-2,,"))
    assert settings.api_keys == ("key-1", "key-2")
    assert "key-1" not in repr(settings)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--port", "99999"], ("--port 99999", "65535")),
        (["--threads", "many"], ("--threads many", "integer")),
        (["--device", "tpu"], ("device", "tpu", "cuda")),
        (["--adapter", "a=x", "--adapter", "folder"], ("--adapter", "'folder' is not name=folder")),
    ],
)
def test_wrong_flags_are_told_in_one_line(
    flags: list[str], words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["serve", *flags])
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert all(word in line for word in words)
    assert "pydantic" not in line


def test_typos_get_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["serve", "--prot", "1"])
    assert "--port" in capsys.readouterr().err
