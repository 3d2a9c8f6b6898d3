"""Every setting of every process, declared once: type, default, environment variable, meaning.

How they are read, and how what is wrong with them is told, is settings_source.py.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from stream.gateway.settings import GatewaySettings
from stream.redis_url import SENTINEL_FORM, is_usable
from stream.setting_section import Section

MIN_KEY_CHARS = 16
PREFIX = "TELLWIRE_"
CONFIG_VARIABLE = "TELLWIRE_CONFIG"


class SettingsError(Exception):
    """A setting is wrong; the message is one line a problem, fit for a person."""


class KafkaSettings(Section):
    """How to reach Kafka and how the consumer group behaves."""

    bootstrap_servers: str = Field("127.0.0.1:9092", min_length=1, description="Brokers, host:port, comma-separated.")
    group: str = Field("tellwire", min_length=1, description="Consumer group of the workers.")
    learner_group: str = Field("tellwire-learner", min_length=1, description="Consumer group of the learner.")
    group_protocol: Literal["classic", "cooperative", "consumer"] = Field(
        "classic", description="Group protocol: classic (range), cooperative (sticky) or consumer (KIP-848)."
    )
    group_instance_id: str | None = Field(
        None, min_length=1, description="Static membership: a name that survives restarts."
    )
    session_timeout_ms: int = Field(
        6_000,
        ge=1_000,
        le=300_000,
        description="Session timeout, ms. With group protocol consumer the broker has its own: not above that one.",
    )
    heartbeat_interval_ms: int = Field(500, ge=100, le=60_000, description="Heartbeat interval of classic groups, ms.")
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="Transport security."
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] | None = Field(
        None, description="SASL mechanism."
    )
    sasl_username: str | None = Field(None, description="SASL user.")
    sasl_password: SecretStr | None = Field(None, description="SASL password.")
    ssl_ca_file: Path | None = Field(None, description="CA certificates, PEM file.")
    ssl_certificate_file: Path | None = Field(None, description="Client certificate, PEM file.")
    ssl_key_file: Path | None = Field(None, description="Client key, PEM file.")
    properties: dict[str, str] = Field(
        default_factory=dict,
        repr=False,  # may hold passwords and keys
        description="Any librdkafka property for consumer and producer, as a JSON object.",
    )
    consumer_properties: dict[str, str] = Field(
        default_factory=dict, repr=False, description="librdkafka properties, consumer only."
    )
    producer_properties: dict[str, str] = Field(
        default_factory=dict, repr=False, description="librdkafka properties, producer only."
    )

    @field_validator("producer_properties")
    @classmethod
    def _keep_what_delivery_rests_on(cls, properties: dict[str, str]) -> dict[str, str]:
        fixed = sorted({"acks", "enable.idempotence", "partitioner"} & properties.keys())
        if fixed:
            msg = f"may not set {', '.join(fixed)}: delivery and the place of records rest on them"
            raise ValueError(msg)
        return properties

    fixed_topic_id: str | None = Field(
        None, min_length=1, description="Topic id to assume where the broker has none (the embedded broker)."
    )

    @field_validator("heartbeat_interval_ms")
    @classmethod
    def _below_session(cls, value: int, info: ValidationInfo) -> int:
        session_ms = info.data.get("session_timeout_ms")
        if session_ms is not None and value >= session_ms:
            raise ValueError(f"must be below kafka.session_timeout_ms ({session_ms}), best a third of it or less")
        return value


class RedisSettings(Section):
    """How to reach Redis or Valkey, and how long state lives."""

    url: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6379/0"),
        description="redis://, rediss://, unix://, redis+sentinel:// or rediss+sentinel:// URL; may hold a password.",
    )
    sentinel_username: str | None = Field(None, description="User of the sentinels, where they want one.")
    sentinel_password: SecretStr | None = Field(None, description="Password of the sentinels, where they want one.")
    cluster: bool = Field(False, description="The URL names a node of a Redis Cluster.")
    key_prefix: str = Field("tellwire", pattern=r"^[A-Za-z0-9._-]{1,32}$", description="First part of every key.")
    session_ttl_s: int = Field(
        86_400, ge=60, le=30 * 86_400, description="Time after which an idle session is forgotten, s."
    )
    timeout_s: float = Field(
        2.0,
        gt=0,
        le=60,
        description="Longest wait for one answer, s; a server that is slow gets up to 8 times it.",
    )
    rewind_s: int | None = Field(
        None,
        ge=0,
        le=30 * 86_400,
        description="Input that is folded again when all state was lost, s; unset: session_ttl_s, at least 24 h.",
    )

    @field_validator("url")
    @classmethod
    def _usable(cls, value: SecretStr) -> SecretStr:
        if not is_usable(value.get_secret_value()):
            raise ValueError(
                f"must be redis://[user:password@]host[:port][/number], rediss://..., unix://path, {SENTINEL_FORM}"
            )
        return value


class KeySettings(Section):
    """Keys of the keyed hashes."""

    ref_key: SecretStr | None = Field(
        None, description="Secret that hashes account, device and address references; at least 16 characters."
    )
    ref_key_version: str = Field(
        "k1", pattern=r"^[A-Za-z0-9._-]{1,16}$", description="Name of that secret; part of every risk event."
    )

    @field_validator("ref_key")
    @classmethod
    def _long_enough(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None and len(key.get_secret_value()) < MIN_KEY_CHARS:
            msg = f"shorter than {MIN_KEY_CHARS} characters"
            raise ValueError(msg)
        return key


class PipelineSettings(Section):
    """Bounds of the pipeline."""

    target_chunk_ms: float = Field(
        20.0, gt=0, le=1_000, description="Loop time that one chunk may take in all, ms; others have turns in between."
    )
    max_chunk_bytes: int = Field(4_194_304, ge=65_536, le=268_435_456, description="Largest chunk, bytes.")
    pending_records: int = Field(
        5_000,
        ge=100,
        le=10_000_000,
        description="Records held over all partitions before bursts are taken slower; a partition is paused at 10000.",
    )
    pending_bytes: int = Field(
        16_777_216, ge=1_048_576, le=4_294_967_296, description="Bytes of one partition held before it is paused."
    )
    cached_sessions: int = Field(20_000, ge=0, le=10_000_000, description="Sessions kept in the read-through cache.")
    device_templates: bool = Field(
        False,
        description="Count accounts and addresses of devices that look alike (signal fingerprint_copies).",
    )
    counters_refresh_ms: int = Field(
        2_000, ge=0, le=15_000, description="A session's entity counters are read again after this append time, ms."
    )
    features_sessions_per_s: float = Field(
        50.0, ge=0, le=1e6, description="New sessions a second that are logged whole on risk.features."
    )
    features_share: float = Field(0.05, ge=0, le=1, description="Share of sessions logged beyond that rate.")
    deadletter_limit_ratio: float = Field(
        0.5, gt=0, le=1, description="Share of dead letters in the last records above which a partition stops."
    )
    deadletter_limit_window: int = Field(
        1_000, ge=10, le=1_000_000, description="Records that the share is taken over."
    )


class ReplaySettings(Section):
    """How copies of pointer movements are looked for across sessions."""

    enabled: bool = Field(True, description="Compare movements with those of other sessions; the channel replay.")
    ttl_s: int = Field(
        86_400, ge=60, le=30 * 86_400, description="Time after which a movement is forgotten, at the latest, s."
    )
    buckets: int = Field(
        16_384,
        ge=64,
        le=4_194_304,
        description="Buckets of each of 4 tables and tenant; each holds 32 movements of 53 bytes at most.",
    )
    timeout_s: float = Field(
        0.25, gt=0, le=10, description="Longest wait for what is found, s; then events are scored without."
    )


class LearnerSettings(Section):
    """How the learner learns and publishes."""

    snapshot_interval_s: float = Field(300.0, ge=1, le=86_400, description="Time between two snapshots of one flow, s.")
    min_learnt: int = Field(50, ge=1, le=10**9, description="Vectors to learn before the first snapshot.")
    window_size: int | None = Field(
        None, ge=20, le=100_000, description="Vectors in a window of the half-space trees; unset: as the shipped ones."
    )
    max_share_per_source: float = Field(
        0.1, gt=0, le=1, description="Share of a flow's learning that one account, device or address may have."
    )
    max_share_of_people: float = Field(
        0.01,
        gt=0,
        le=1,
        description="Share of the sessions that rank a flow's bot scores that one account, device or address may have.",
    )
    max_daily_rise_ratio: float = Field(
        2.0,
        ge=1,
        le=100,
        description="By what factor the share of live people at or above a bot score may grow in a day, where no "
        "trusted people show it: so far thresholds rise, no further.",
    )


class MetricsSettings(Section):
    """Where metrics and probes are served."""

    host: str = Field("127.0.0.1", min_length=1, description="Address of /metrics, /livez and /readyz.")
    port: int = Field(9464, ge=0, le=65_535, description="Port; 0 picks a free one.")
    enabled: bool = Field(True, description="Serve metrics and probes.")


class LogSettings(Section):
    """How the process logs."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Lowest level written.")
    format: Literal["json", "text"] = Field("json", description="One JSON object a line, or text for people.")


class HealthSettings(Section):
    """When a process counts as stuck, and how long it may take to stop."""

    stall_s: float = Field(
        60.0,
        ge=5,
        le=3_600,
        description="A blocked event loop, a poll thread that does not poll, or lag without progress for this long: "
        "no longer ready, s. An outage of broker or store does not count.",
    )
    restart_s: float = Field(
        120.0,
        ge=10,
        le=86_400,
        validate_default=True,  # against a longer stall_s
        description="The same for this long: the watchdog ends the process with a stack dump, exit status 70, s.",
    )
    stop_s: float = Field(
        10.0,
        ge=7,
        le=600,
        description="Longest time from SIGTERM to the end of the process, s; below the orchestrator's grace period.",
    )

    @field_validator("restart_s")
    @classmethod
    def _beyond_a_stall(cls, value: float, info: ValidationInfo) -> float:
        stall_s = info.data.get("stall_s")
        if stall_s is not None and value <= stall_s:
            raise ValueError(f"must be above health.stall_s ({stall_s:g})")
        return value


class ArtefactSettings(Section):
    """What to score with, and how new ones are tried before they serve."""

    directory: Path | None = Field(None, description="Folder of models and manifest; unset: the shipped ones.")
    policy_file: Path | None = Field(None, description="Policy file; unset: the shipped one.")
    poll_s: float = Field(
        5.0, ge=0.2, le=86_400, description="Time between two looks for new content of both; SIGHUP looks at once, s."
    )
    trial_timeout_s: float = Field(
        60.0, ge=1, le=600, description="Longest time that the trial of new content may take, s."
    )
    trial_memory_mib: int = Field(
        2_048, ge=512, le=65_536, description="Address space that the process of the trial may use, MiB."
    )


class Settings(BaseSettings):
    """All settings."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
    redis: RedisSettings = Field(default_factory=RedisSettings)
    keys: KeySettings = Field(default_factory=KeySettings)
    pipeline: PipelineSettings = Field(default_factory=PipelineSettings)
    replay: ReplaySettings = Field(default_factory=ReplaySettings)
    learner: LearnerSettings = Field(default_factory=LearnerSettings)
    metrics: MetricsSettings = Field(default_factory=MetricsSettings)
    log: LogSettings = Field(default_factory=LogSettings)
    health: HealthSettings = Field(default_factory=HealthSettings)
    artefacts: ArtefactSettings = Field(default_factory=ArtefactSettings)
    gateway: GatewaySettings = Field(default_factory=GatewaySettings)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment above file (which arrives as init values); no .env and no secrets folder."""
        del settings_cls, dotenv_settings, file_secret_settings
        return env_settings, init_settings


def declared() -> Iterator[tuple[str, str, FieldInfo]]:
    """Yield section, name and declaration of every setting, in order."""
    for section_name, section_field in Settings.model_fields.items():
        section = section_field.annotation
        if isinstance(section, type) and issubclass(section, Section):
            for name, field in section.model_fields.items():
                yield section_name, name, field


def variable_of(section: str, name: str) -> str:
    """Return the environment variable of a setting."""
    return f"{PREFIX}{section}__{name}".upper()


def is_secret(field: FieldInfo) -> bool:
    """Whether a setting's value may not be shown."""
    return SecretStr in (field.annotation, *get_args(field.annotation))
