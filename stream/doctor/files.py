"""Looks at what a process would start with: models, policy, the learner's snapshots, and settings that don't fit."""

from __future__ import annotations

import time
from typing import Any, Final

from confluent_kafka import TopicPartition
from pydantic import SecretStr

from features.registry import NAMES, REGISTRY_HASH
from features.signal_table import SIGNALS
from models import artifact
from models.errors import ArtifactError, PolicyError
from models.policy import load_policy
from schemas.topics import TELEMETRY_TOPIC, TOPIC
from stream.doctor.finding import Findings, Role, error, ok, warning
from stream.gateway.settings import GatewaySettings
from stream.settings import Settings, variable_of
from stream.topic_reader import ends_of, reading, records_in

OLD_SNAPSHOT_S: Final = 86_400.0
_PATIENCE_S: Final = 10.0
_DEVELOPMENT_KEYS: Final = ("development-only", "changeme", "change-me", "0123456789")


def look_at_artefacts(settings: Settings) -> Findings:
    """Load models and policy as a process does at its start."""
    directory = settings.artefacts.directory
    where = "models" if directory is None else f"models in {directory}"
    try:
        bundle = artifact.read(directory)
        found = artifact.assemble(bundle, NAMES, REGISTRY_HASH)
    except ArtifactError as failed:
        why = "a process does not start; one that runs goes on with what it has"
        do = "put the files back, or seal them anew after a look: `tellwire artefacts check`"
        yield error("models.files", where, str(failed), why, do)
    else:
        libraries = ", ".join(f"{name} {version}" for name, version in sorted(found.manifest.versions.items()))
        folder = artifact.shipped_directory() if directory is None else directory
        age_days = (time.time() - (folder / artifact.MANIFEST).stat().st_mtime) / 86_400
        yield ok("models.files", where, f"{bundle.hash[:12]}, made with {libraries}; files {age_days:.0f} days old")
        if found.manifest.calibration is None:
            yield warning("models.calibration", where, "no calibration", "no score can be high", "train again")
    policy = settings.artefacts.policy_file
    where = "policy" if policy is None else f"policy {policy}"
    try:
        loaded = load_policy(policy, known_signals=SIGNALS)
    except PolicyError as failed:
        why = "a process does not start; one that runs goes on with what it has"
        yield error("policy.file", where, str(failed), why, "correct it: `tellwire artefacts check`")
    else:
        yield ok("policy.file", where, f"{loaded.policy.id}, {loaded.revision[:12]}")


def look_at_snapshots(properties: dict[str, Any]) -> Findings:
    """Look how old the learner's latest snapshots are."""
    topic = "models.snapshots"
    where = f"topic {topic}"
    latest: dict[str, int] = {}
    with reading(properties, topic) as consumer:
        low, high = ends_of(consumer, TopicPartition(topic, 0), _PATIENCE_S)
        if high > low:
            for record in records_in(consumer, topic, {0: (low, high)}, _PATIENCE_S):
                key = record.key()
                if isinstance(key, bytes) and key.endswith(b"/latest") and record.value() is not None:
                    latest[key.decode("utf-8", "replace").removesuffix("/latest")] = record.timestamp()[1]
    if not latest:
        yield ok("models.snapshots", where, "none yet: the shipped models serve")
        return
    age_s = time.time() - max(latest.values()) / 1000.0
    if age_s > OLD_SNAPSHOT_S:
        yield warning(
            "models.snapshots",
            where,
            f"the newest of {len(latest)} is {age_s / 3600:.0f} h old",
            "calibration to live people stands still",
            "is a learner running, and is there traffic? See docs/runbooks/models-stale.md",
        )
    else:
        yield ok("models.snapshots", where, f"{len(latest)}, the newest {age_s / 60:.0f} min old")


def look_at_settings(settings: Settings, role: Role = "worker") -> Findings:
    """Find settings that don't go together, or that are unsafe where others can reach."""
    yield from _keys(settings)
    if role == "gateway":
        yield from _of_gateway(settings.gateway)
    yield from _transport(settings)
    yield from _lifetimes(settings)
    if settings.pipeline.deadletter_limit_ratio >= 1.0:
        yield warning(
            "settings.deadletter_limit",
            "pipeline.deadletter_limit_ratio",
            "is 1",
            "a producer's wrong format turns all input into dead letters, and no partition ever stops for it",
            "0.5, unless an attack is on",
        )
    if not settings.metrics.enabled:
        yield warning(
            "settings.metrics",
            "metrics.enabled",
            "is false",
            "neither probes nor alerts work",
            "leave it on, on an address that only the monitoring reaches",
        )
    yield ok("settings", "settings", "looked at")


def _keys(settings: Settings) -> Findings:
    key = settings.keys.ref_key
    if key is None:
        yield error(
            "settings.ref_key",
            "keys.ref_key",
            "not set",
            "workers and gateway refuse to start: references would be stored as they are",
            "set TELLWIRE_KEYS__REF_KEY to a secret of 32 random characters, the same for all processes",
        )
    elif _is_for_development(key):
        yield warning(
            "settings.ref_key",
            "keys.ref_key",
            "looks like the key of a development set-up",
            "who knows it can tell account, device and address references by trying them",
            "set a secret of 32 random characters, under a new keys.ref_key_version",
        )


def _of_gateway(gateway: GatewaySettings) -> Findings:
    secrets = {"gateway.token_key": gateway.token_key, "gateway.token_key_old": gateway.token_key_old}
    secrets |= {f"gateway.tenants: {name}": secret for name, secret in gateway.tenants.items()}
    for name, needed in (("gateway.token_key", gateway.token_key), ("gateway.tenants", gateway.tenants)):
        if not needed:
            yield error(
                "settings.gateway",
                name,
                "not set",
                "a gateway refuses to start",
                f"set {variable_of(*name.split('.'))}, the same in all gateways",
            )
    for name, secret in secrets.items():
        if secret is not None and _is_for_development(secret):
            yield warning(
                "settings.gateway",
                name,
                "looks like a secret of a development set-up",
                "who knows it can open sessions, or sign their tokens, as anybody",
                "set one of 32 random characters, for example from `openssl rand -hex 32`",
            )


def _is_for_development(secret: SecretStr) -> bool:
    return any(part in secret.get_secret_value().lower() for part in _DEVELOPMENT_KEYS)


def _transport(settings: Settings) -> Findings:
    kafka = settings.kafka
    hosts = [part.strip().rpartition(":")[0] for part in kafka.bootstrap_servers.split(",")]
    protocol = kafka.properties.get("security.protocol", kafka.security_protocol).upper()
    if not all(_is_near(host) for host in hosts):
        if protocol == "SASL_PLAINTEXT":
            yield warning(
                "settings.kafka_tls",
                "kafka.security_protocol",
                "SASL_PLAINTEXT to another machine",
                "telemetry, and with PLAIN the password, can be read on the way",
                "SASL_SSL",
            )
        elif protocol == "PLAINTEXT":
            yield warning(
                "settings.kafka_tls",
                "kafka.security_protocol",
                "PLAINTEXT to another machine",
                "telemetry can be read and changed on the way",
                "SSL or SASL_SSL, unless the network is yours alone",
            )
    url = settings.redis.url.get_secret_value()
    scheme, _, rest = url.partition("://")
    host = rest.rpartition("@")[2].partition("/")[0].partition(":")[0]
    if scheme in {"redis", "redis+sentinel"} and not _is_near(host):
        has_password = "@" in rest
        yield warning(
            "settings.redis_tls",
            "redis.url",
            f"no TLS to another machine, {'with' if has_password else 'and without'} a password",
            "session state can be read and changed on the way" + ("" if has_password else ", or by anybody"),
            "rediss:// with a user and a password, unless the network is yours alone",
        )


def _is_near(host: str) -> bool:
    # A name without a dot is one of the same compose project or namespace.
    return host in {"127.0.0.1", "localhost", "[::1]", ""} or ("." not in host and ":" not in host)


def _lifetimes(settings: Settings) -> Findings:
    redis = settings.redis
    retention_s = int(TOPIC[TELEMETRY_TOPIC].config["retention.ms"]) // 1000
    if redis.session_ttl_s > retention_s:
        yield warning(
            "settings.lifetimes",
            "redis.session_ttl_s",
            f"{redis.session_ttl_s} s, longer than the retention of {TELEMETRY_TOPIC} ({retention_s} s)",
            "sessions that the store loses can't be folded again whole",
            "shorten it, or keep telemetry longer",
        )
    if redis.rewind_s is not None and redis.rewind_s < redis.session_ttl_s:
        yield warning(
            "settings.lifetimes",
            "redis.rewind_s",
            f"{redis.rewind_s} s, shorter than redis.session_ttl_s ({redis.session_ttl_s} s)",
            "after a loss of the store older parts of live sessions are not folded again: they are marked state_cold",
            "unset it, unless starting quickly matters more",
        )
