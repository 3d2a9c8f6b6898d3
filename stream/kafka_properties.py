"""Turns the Kafka settings into librdkafka properties, the same for consumers, producers and admin clients."""

from typing import Any, NoReturn

from confluent_kafka import Consumer, KafkaException, Producer

from schemas.topics import MAX_OUTPUT_BYTES
from stream.settings import KafkaSettings, SettingsError, variable_of
from stream.transport.options import ANSWER_MS


def common(settings: KafkaSettings) -> dict[str, Any]:
    """Return the properties that reach and authenticate to the brokers. Raises SettingsError where one is missing."""
    found: dict[str, Any] = {
        "bootstrap.servers": settings.bootstrap_servers,
        "security.protocol": settings.security_protocol,
        # What goes wrong is reported through our own logs and metrics; the library would write to standard error.
        "log_level": 0,
        "socket.timeout.ms": ANSWER_MS,
    }
    optional = {
        "sasl.mechanism": settings.sasl_mechanism,
        "sasl.username": settings.sasl_username,
        "sasl.password": settings.sasl_password.get_secret_value() if settings.sasl_password else None,
        "ssl.ca.location": settings.ssl_ca_file,
        "ssl.certificate.location": settings.ssl_certificate_file,
        "ssl.key.location": settings.ssl_key_file,
    }
    found.update({name: str(value) for name, value in optional.items() if value is not None})
    found.update(settings.properties)
    _check_sasl(found)
    return found


def _check_sasl(properties: dict[str, Any]) -> None:
    """Say which setting is missing; the library would speak of Kerberos, its default, and of how it was built."""
    protocol = str(properties["security.protocol"]).upper()
    if not protocol.startswith("SASL_"):
        return
    mechanism = str(properties.get("sasl.mechanisms", properties.get("sasl.mechanism", "")))
    if not mechanism:
        _refuse("sasl_mechanism", f"must be set, as kafka.security_protocol is {protocol}: PLAIN, SCRAM-SHA-512, ...")
    if mechanism.upper() == "PLAIN" or mechanism.upper().startswith("SCRAM-"):
        for name in ("sasl_username", "sasl_password"):
            if not properties.get(name.replace("_", ".")):
                _refuse(name, f"must be set, as kafka.sasl_mechanism is {mechanism}")


def _refuse(name: str, why: str) -> NoReturn:
    raise SettingsError(f"kafka.{name} ({variable_of('kafka', name)}): {why}")


def consumer(settings: KafkaSettings) -> dict[str, Any]:
    """Return the properties of consumers."""
    return common(settings) | settings.consumer_properties


def producer(settings: KafkaSettings) -> dict[str, Any]:
    """Return the properties of producers; the partitioner is the one that Java's clients use."""
    return common(settings) | {"partitioner": "murmur2_random"} | producer_only(settings)


def producer_only(settings: KafkaSettings) -> dict[str, Any]:
    """Return what a producer needs beside the common properties."""
    # The library's own limit of 1 000 000 bytes is below what the input topic takes, and what a dead letter needs.
    return {"message.max.bytes": MAX_OUTPUT_BYTES} | settings.producer_properties


def check(settings: KafkaSettings) -> None:
    """Raise SettingsError with one line where librdkafka refuses a property; connects to nobody for it."""
    name = "consumer_properties"
    try:
        Consumer(consumer(settings) | {"group.id": "none"}).close()
        name = "producer_properties"
        Producer(producer(settings))
    except KafkaException as error:
        refused = " ".join(error.args[0].str().split())
        _refuse(name, refused)
