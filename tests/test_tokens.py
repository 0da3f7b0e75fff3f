"""Which token goes where, and that none of them ever shows."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from qflux_hub import AuthError, LocalHub, UsageError, upload_dataset
from qflux_hub.cli import run
from qflux_hub.hub import Hub, Token, find_token, is_same_hub, open_hub
from tests.builders import lay_split, write
from tests.jobtools import environment, qflux, script

NAMES = ["HF_TOKEN", "HUGGINGFACE_HUB_TOKEN", "HUGGING_FACE_HUB_TOKEN"]

SCRIPT = """
from qflux_hub.cli import run
from qflux_hub.hub import open_hub
import sys
with open_hub(*sys.argv[1:]) as hub:
    print(hub.endpoint, hub.token and (hub.token.value, hub.token.source), *[f.code for f in hub.findings])
"""


def chosen(home: Path, *arguments: str, **variables: str) -> str:
    """What a fresh process connects to."""
    ran = script(f"import sys; sys.argv[1:] = {list(arguments)!r}\n{SCRIPT}", env=environment(home, **variables))
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


@pytest.mark.parametrize("broken", ["hf_first\nhf_second", "hf_x\x00", "hf_ü", "hf_x hf_y", " "])
def test_what_cannot_be_sent_as_a_token_is_refused_unprinted(
    broken: str, hub: LocalHub, photos: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The client's error for a header that it cannot send has the header in it."""
    for mode in ("--json", "--verbose"):
        assert run(["diff", str(photos), "me/x", "--hub", hub.url, "--token", broken, mode]) == 3
        said = "".join(capfd.readouterr())
        assert "hf_first" not in said
        assert "The token given is none" in said


def test_a_broken_token_of_the_environment_is_told_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_first\nhf_second")
    with pytest.raises(AuthError, match="The token from HF_TOKEN is none") as raised:
        find_token()
    assert "hf_first" not in str(raised.value)


# --- which one --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_any_of_three_variables_is_enough(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, " hf_x\n")
    assert find_token() == (Token("hf_x", f"from {name}"), ())


def test_the_first_variable_wins_and_differing_ones_are_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    for number, name in enumerate(NAMES):
        monkeypatch.setenv(name, f"hf_{number}")
    token, (finding,) = find_token()
    assert token == Token("hf_0", "from HF_TOKEN")
    assert (finding.code, finding.severity) == ("tokens-differ", "warning")
    assert all(name in finding.message for name in NAMES)
    assert "hf_" not in finding.message


def test_equal_and_empty_variables_are_no_reason_to_warn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "")
    monkeypatch.setenv("HUGGINGFACE_HUB_TOKEN", "hf_x")
    monkeypatch.setenv("HUGGING_FACE_HUB_TOKEN", "hf_x")
    assert find_token() == (Token("hf_x", "from HUGGINGFACE_HUB_TOKEN"), ())


def test_the_stored_login_comes_last(tmp_path: Path) -> None:
    write(tmp_path / "hf" / "token", "hf_stored\n")
    assert chosen(tmp_path) == "http://127.0.0.1:9 ('hf_stored', 'of the stored login')"
    assert chosen(tmp_path, HF_TOKEN="hf_x") == "http://127.0.0.1:9 ('hf_x', 'from HF_TOKEN')"  # noqa: S106


def test_no_token_at_all_is_no_error_until_one_is_needed(tmp_path: Path) -> None:
    assert chosen(tmp_path) == "http://127.0.0.1:9 None"


def test_an_explicit_token_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_env")
    with open_hub(None, "hf_mine") as hub:
        assert hub.token == Token("hf_mine", "given")


# --- where it goes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_tokens_of_the_environment_go_to_its_endpoint_only(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "hf_env")
    with open_hub("http://127.0.0.1:10") as hub:
        assert (hub.endpoint, hub.token) == ("http://127.0.0.1:10", None)
    with open_hub("http://127.0.0.1:9/") as hub:
        assert hub.token == Token("hf_env", f"from {name}")


def test_the_embedded_hub_gets_its_own_token_and_no_other(hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_env")
    with open_hub(hub) as connected:
        assert connected.token == Token(hub.token, "of the embedded hub")


def test_a_variable_names_the_hub_when_no_argument_does(tmp_path: Path) -> None:
    assert chosen(tmp_path, QFLUX_HUB="http://127.0.0.1:10") == "http://127.0.0.1:10 None"
    assert chosen(tmp_path, "http://127.0.0.1:11", QFLUX_HUB="http://127.0.0.1:10") == "http://127.0.0.1:11 None"
    assert "of the embedded hub" in chosen(tmp_path, QFLUX_HUB="local")
    assert chosen(tmp_path, HF_ENDPOINT="") == "https://huggingface.co None"


def test_offline_mode_is_told_as_what_it_is(hub: LocalHub, tmp_path: Path, photos: Path) -> None:
    env = environment(tmp_path, HF_HUB_OFFLINE="1")
    ran = qflux("diff", str(photos), "me/x", "--hub", hub.url, "--token", hub.token, env=env)
    assert (ran.returncode, ran.stderr.splitlines()) == (
        5,
        [
            f"error: HF_HUB_OFFLINE is set, which forbids every request, so {hub.url} was not asked.",
            "Unset it for this command.",
        ],
    )


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "soon", "1e9"])
def test_patience_is_a_number_of_seconds(
    seconds: str, hub: LocalHub, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QFLUX_PATIENCE", seconds)
    with pytest.raises(UsageError, match="QFLUX_PATIENCE"):
        upload_dataset(photos, "me/x", hub=hub, dry_run=True)


@pytest.mark.parametrize("url", ["ftp://x", "huggingface.co", "Local", "/tmp"])  # noqa: S108
def test_what_is_no_url_is_no_hub(url: str) -> None:
    with pytest.raises(UsageError, match="is no Hub"):
        open_hub(url).__enter__()


# --- where it never shows ---------------------------------------------------------------------------------------


def test_neither_prints_nor_pickles_hold_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = Hub("http://127.0.0.1:10", Token("hf_secret", "given"))
    assert "hf_secret" not in repr(secret) + repr(secret.token) + str(secret.token)
    packed = pickle.dumps(secret)
    assert b"hf_secret" not in packed
    copy = pickle.loads(packed)  # noqa: S301 - our own
    assert (copy.endpoint, copy.token) == ("http://127.0.0.1:10", None)
    monkeypatch.setenv("HF_TOKEN", "hf_env")
    home = pickle.loads(pickle.dumps(Hub("http://127.0.0.1:9", Token("hf_secret", "given"))))  # noqa: S301 - our own
    assert home.token == Token("hf_env", "from HF_TOKEN")


@pytest.mark.parametrize("mode", [[], ["--json"], ["-q"], ["--verbose"], ["--verbose", "--json"]])
@pytest.mark.parametrize("outcome", ["done", "refused", "no hub"])
def test_no_output_of_any_mode_shows_a_token(
    hub: LocalHub, repo: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], mode: list[str], outcome: str
) -> None:
    token = {"done": hub.token, "refused": "hf_wrongwrongwrong", "no hub": "hf_secretsecret"}[outcome]
    where = "http://127.0.0.1:9" if outcome == "no hub" else hub.url
    root = lay_split(tmp_path / "ds", "train", "a")
    code = run(["upload-dataset", str(root), repo, "--hub", where, "--token", token, *mode])
    assert code == {"done": 0, "refused": 3, "no hub": 5}[outcome]
    assert token not in "".join(capfd.readouterr())


def test_reports_and_errors_hold_no_token(hub: LocalHub, repo: str, tmp_path: Path) -> None:
    root = lay_split(tmp_path)
    report = upload_dataset(root, repo, hub=hub.url, token=hub.token)
    assert hub.token not in json.dumps(report.to_dict()) + repr(report)
    assert hub.token.encode() not in pickle.dumps(report)
    with pytest.raises(AuthError) as caught:
        upload_dataset(root, "someone/else", hub=hub.url, token=hub.token)
    assert hub.token not in _everything(caught.value)


def _everything(error: BaseException | None) -> str:
    """All texts of an error and of those that led to it."""
    if error is None:
        return ""
    texts: list[Any] = [error, error.args, vars(error)]
    return repr(texts) + _everything(error.__cause__) + _everything(error.__context__)


def test_verbose_says_which_token_is_used(hub: LocalHub, repo: str, tmp_path: Path) -> None:
    root = lay_split(tmp_path / "ds", "train", "a")
    env = environment(tmp_path, HF_ENDPOINT=hub.url, HF_TOKEN=hub.token)
    ran = qflux("upload-dataset", str(root), repo, "--dry-run", "--verbose", env=env)
    assert f"{hub.url}, with the token from HF_TOKEN" in ran.stderr.splitlines()
    assert qflux("upload-dataset", str(root), repo, "--dry-run", env=env).stderr == ""


def test_an_empty_text_is_no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is what a variable that is not set gives; taken for the default, it would send to the public Hub."""
    with pytest.raises(UsageError, match="--hub is empty") as wrong, open_hub(""):
        pytest.fail("it is opened")
    assert wrong.value.hint == "Give a URL, `local`, or nothing at all for the default."
    monkeypatch.setenv("QFLUX_HUB", "")  # as CI systems set what is not given
    with open_hub() as hub:
        assert hub.endpoint


@pytest.mark.parametrize(
    ("url", "target", "same"),
    [
        ("https://hub.example/a", "https://hub.example/b", True),
        ("http://hub.example/a", "https://hub.example/a", True),
        ("https://hf.co/a", "https://huggingface.co/a", True),
        ("https://hub.example/a", "http://hub.example/a", False),
        ("https://hub.example/a", "https://hub.example:8443/a", False),
        ("https://hub.example/a", "https://huggingface.co/a", False),
        ("https://huggingface.co/a", "https://cdn.example/huggingface.co/a", False),
    ],
)
def test_a_redirect_takes_the_token_along_on_one_hub_only(url: str, target: str, same: bool) -> None:
    assert is_same_hub(url, target) is same
