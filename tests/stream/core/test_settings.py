"""Settings: what is wrong is one clear line, and no secret is ever shown."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream import settings_source
from stream.setting_rows import MASK, declared_rows, rows
from stream.settings import CONFIG_VARIABLE, Settings, SettingsError, declared, variable_of

SECRET = "s3cret-that-must-not-show"


def problem(config_file: Path | None = None) -> str:
    with pytest.raises(SettingsError) as caught:
        settings_source.load(config_file)
    return str(caught.value)


def file(folder: Path, text: str) -> Path:
    path = folder / "tellwire.toml"
    path.write_text(text, encoding="utf-8")
    return path


WRONG = [
    ("KAFKA__BOOTSTRAP_SERVERS", "", "at least 1"),
    ("KAFKA__GROUP", "", "at least 1"),
    ("KAFKA__GROUP_PROTOCOL", "eager", "'classic', 'cooperative' or 'consumer'"),
    ("KAFKA__GROUP_INSTANCE_ID", "", "at least 1"),
    ("KAFKA__SESSION_TIMEOUT_MS", "999", "greater than or equal to 1000"),
    ("KAFKA__SESSION_TIMEOUT_MS", "6 s", "valid integer"),
    ("KAFKA__SESSION_TIMEOUT_MS", "1.5", "valid integer"),
    ("KAFKA__HEARTBEAT_INTERVAL_MS", "99", "greater than or equal to 100"),
    ("KAFKA__HEARTBEAT_INTERVAL_MS", "6000", "below kafka.session_timeout_ms (6000)"),
    ("KAFKA__SECURITY_PROTOCOL", "TLS", "'PLAINTEXT', 'SSL', 'SASL_PLAINTEXT' or 'SASL_SSL'"),
    ("KAFKA__SASL_MECHANISM", "GSSAPI", "'OAUTHBEARER'"),
    ("KAFKA__PROPERTIES", "client.id=a", "JSON object"),
    ("KAFKA__PROPERTIES", "[1]", "JSON object"),
    ("KAFKA__PROPERTIES", '{"linger.ms": 5}', "linger.ms: input should be a valid string"),
    ("REDIS__URL", "", "redis://[user:password@]host"),
    ("REDIS__URL", "http://127.0.0.1:6379", "redis://[user:password@]host"),
    ("REDIS__URL", "redis://", "redis://[user:password@]host"),
    ("REDIS__URL", "rediss+sentinel://h", "redis+sentinel:// or rediss+sentinel://[user:password@]host"),
    ("REDIS__URL", "redis://h:port/0", "redis://[user:password@]host"),
    ("REDIS__URL", "redis://h:70000/0", "redis://[user:password@]host"),
    ("REDIS__URL", "redis://h/zero", "redis://[user:password@]host"),
    ("REDIS__CLUSTER", "perhaps", "valid boolean"),
    ("REDIS__KEY_PREFIX", "a b", "pattern"),
    ("REDIS__KEY_PREFIX", "{a}", "pattern"),
    ("REDIS__SESSION_TTL_S", "59", "greater than or equal to 60"),
    ("REDIS__TIMEOUT_S", "0", "greater than 0"),
    ("REDIS__TIMEOUT_S", "nan", "less than or equal to 60"),
    ("KEYS__REF_KEY_VERSION", "", "pattern"),
    ("PIPELINE__TARGET_CHUNK_MS", "inf", "less than or equal to 1000"),
    ("PIPELINE__FEATURES_SHARE", "1.01", "less than or equal to 1"),
    ("PIPELINE__DEADLETTER_LIMIT_RATIO", "0", "greater than 0"),
    ("PIPELINE__CACHED_SESSIONS", "-1", "greater than or equal to 0"),
    ("LEARNER__MIN_LEARNT", "many", "valid integer"),
    ("LEARNER__MAX_SHARE_PER_SOURCE", "0", "greater than 0"),
    ("METRICS__PORT", "65536", "less than or equal to 65535"),
    ("METRICS__ENABLED", "", "valid boolean"),
    ("LOG__LEVEL", "loud", "'debug', 'info', 'warning' or 'error'"),
    ("LOG__FORMAT", "xml", "'json' or 'text'"),
    ("HEALTH__STALL_S", "4", "greater than or equal to 5"),
]


@pytest.mark.parametrize(("name", "value", "allowed"), WRONG)
def test_a_wrong_value_is_one_line_with_its_variable_and_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, allowed: str
) -> None:
    monkeypatch.setenv(f"TELLWIRE_{name}", value)
    said = problem()
    assert "\n" not in said
    assert f"TELLWIRE_{name}" in said
    assert allowed in said


def test_every_problem_has_a_line_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELLWIRE_METRICS__PORT", "x")
    monkeypatch.setenv("TELLWIRE_HEALTH__STALL_S", "x")
    assert [line.split(" ")[0] for line in problem().splitlines()] == ["metrics.port", "health.stall_s"]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("TELLWIRE_KAFKA__GRUOP", "did you mean TELLWIRE_KAFKA__GROUP?"),
        ("TELLWIRE_KAFKA_GROUP", "did you mean TELLWIRE_KAFKA__GROUP?"),
        ("TELLWIRE_KAFKA", "no such setting"),
        ("TELLWIRE_ZZZZZZ", "see `tellwire config show`"),
    ],
)
def test_an_unknown_variable_is_refused_with_the_nearest_name(
    monkeypatch: pytest.MonkeyPatch, name: str, hint: str
) -> None:
    monkeypatch.setenv(name, "1")
    said = problem()
    assert "\n" not in said
    assert said.startswith(f"environment variable {name}: no such setting")
    assert hint in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[kafka]\ngruop = 'a'", "kafka.gruop: no such setting; did you mean kafka.group?"),
        ("[kafak]\ngroup = 'a'", "kafak: no such setting; did you mean kafka?"),
        ("kafka = 3", "kafka: must be a section, [kafka] with one setting a line"),
        ("[kafka]\nsession_timeout_ms = 'soon'", "valid integer"),
        ("[kafka", "not valid TOML"),
    ],
)
def test_a_wrong_file_is_one_line_that_names_it(tmp_path: Path, text: str, said: str) -> None:
    path = file(tmp_path, text)
    line = problem(path)
    assert "\n" not in line
    assert str(path) in line
    assert said in line


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert problem(tmp_path / "none.toml") == f"settings file {tmp_path}/none.toml: not found"
    assert problem(tmp_path) == f"settings file {tmp_path}: is a folder, not a file"
    path = tmp_path / "latin1.toml"
    path.write_bytes(b"[kafka]\ngroup = '\xe9'\n")
    assert f"settings file {path}: not valid TOML" in problem(path)
    monkeypatch.setenv(CONFIG_VARIABLE, str(tmp_path / "none.toml"))
    assert problem() == f"settings file {tmp_path}/none.toml: not found"


def test_environment_is_stronger_than_file_is_stronger_than_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = file(tmp_path, "[kafka]\ngroup = 'of-file'\nlearner_group = 'of-file'\n")
    monkeypatch.setenv("TELLWIRE_KAFKA__GROUP", "of-environment")
    loaded = settings_source.load(path)
    assert loaded.kafka.group == "of-environment"
    assert loaded.kafka.learner_group == "of-file"
    assert loaded.kafka.bootstrap_servers == "127.0.0.1:9092"
    origins = {row.name: (row.value, row.origin) for row in rows(loaded, path)}
    assert origins["kafka.group"] == ("of-environment", "environment")
    assert origins["kafka.learner_group"] == ("of-file", "file")
    assert origins["kafka.bootstrap_servers"] == ("127.0.0.1:9092", "default")
    monkeypatch.setenv(CONFIG_VARIABLE, str(path))
    assert settings_source.load().kafka.learner_group == "of-file"


def test_settings_are_frozen_and_their_rows_complete() -> None:
    loaded = settings_source.load()
    with pytest.raises(ValueError, match="frozen"):
        loaded.kafka.group = "other"  # type: ignore[misc]
    found = rows(loaded)
    assert [row.variable for row in found] == [variable_of(section, name) for section, name, _ in declared()]
    assert all(row.description.endswith(".") and row.type for row in found)
    assert [row.value for row in found] == [row.default for row in declared_rows()]


SECRETS = {
    "TELLWIRE_KAFKA__SASL_PASSWORD": SECRET,
    "TELLWIRE_REDIS__URL": f"redis://user:{SECRET}@127.0.0.1:6379/0",
    "TELLWIRE_KEYS__REF_KEY": SECRET,
    "TELLWIRE_KAFKA__PROPERTIES": f'{{"ssl.key.password": "{SECRET}", "sasl.oauthbearer.client.secret": "{SECRET}"}}',
    "TELLWIRE_KAFKA__CONSUMER_PROPERTIES": f'{{"ssl.key.pem": "{SECRET}", "client.rack": "r1"}}',
}


def test_a_secret_is_in_no_row_and_no_rendering(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    loaded = settings_source.load()
    shown = {row.name: row.value for row in rows(loaded)}
    assert SECRET not in repr(shown)
    assert SECRET not in repr(loaded) + str(loaded)
    assert shown["redis.url"] == shown["keys.ref_key"] == shown["kafka.sasl_password"] == MASK
    assert shown["kafka.consumer_properties"] == f"{{client.rack=r1, ssl.key.pem={MASK}}}"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REDIS__URL", f"http://user:{SECRET}@h"),
        ("KAFKA__PROPERTIES", f'{{"x": ["{SECRET}"]}}'),
        ("KAFKA__PROPERTIES", f"{SECRET}"),
    ],
)
def test_a_secret_is_in_no_error(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"TELLWIRE_{name}", value)
    assert SECRET not in problem()


def test_a_secret_of_the_wrong_kind_in_a_file_is_in_no_error(tmp_path: Path) -> None:
    assert SECRET not in problem(
        file(tmp_path, f"[keys]\nref_key = ['{SECRET}']\n[kafka]\nsasl_password = ['{SECRET}']")
    )


@given(st.text(max_size=300))
def test_no_text_of_a_number_gives_more_than_one_short_line(text: str) -> None:
    try:
        Settings(metrics={"port": text})
    except ValueError as error:
        line = settings_source._explain(error, Path("f.toml"))  # type: ignore[arg-type]
        assert "\n" not in line
        assert len(line) < 300
