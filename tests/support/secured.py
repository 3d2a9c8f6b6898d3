"""A Kafka broker that asks who is there: SASL_SSL with SCRAM and mutual TLS, a CA of its own, and access rules.

The plain listener stays for the test's own tools, whose user may do everything; what is under test comes through
`settings`. The SASL_SSL listener is behind a `FaultProxy`.
"""

from __future__ import annotations

import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialDeletion,
    UserScramCredentialUpsertion,
)

from tests.support import UnavailableError
from tests.support.kafka import KafkaBroker
from tests.support.process import free_ports
from tests.support.proxy import FaultProxy

USER: Final = "tellwire"
CLIENT_NAME: Final = "tellwire-client"
"""Common name of the client certificate."""
_DAYS: Final = "2"


class SecuredKafka:
    """One broker with three doors: plain (`broker`), SASL_SSL (`settings`), mutual TLS (`mutual_settings`)."""

    def __init__(self, *, reauthenticate_ms: int = 0) -> None:
        """`reauthenticate_ms`: SASL connections end after this time unless they prove themselves again; 0: never."""
        self._reauthenticate_ms = reauthenticate_ms
        self.password = secrets.token_hex(12)

    def __enter__(self) -> Self:
        self._home = Path(tempfile.mkdtemp(prefix="tellwire-secured-"))
        try:
            self._make_certificates()
            plain, sasl, self._mutual_port = free_ports(3)
            self.proxy = FaultProxy(("127.0.0.1", sasl)).__enter__()
            self.broker = KafkaBroker(ports=[plain], properties=self._properties(plain, sasl))
            self.broker.start()
            self.set_password(self.password)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if hasattr(self, "broker"):
            self.broker.stop()
        if hasattr(self, "proxy"):
            self.proxy.__exit__(None, None, None)
        shutil.rmtree(self._home, ignore_errors=True)

    @property
    def admin(self) -> AdminClient:
        """An admin client that may do everything."""
        return self.broker.admin

    @property
    def settings(self) -> dict[str, str]:
        """Settings of a `tellwire` process that comes in by user and password, without their TELLWIRE_ prefix."""
        return {
            "KAFKA__BOOTSTRAP_SERVERS": f"127.0.0.1:{self.proxy.port}",
            "KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
            "KAFKA__SASL_MECHANISM": "SCRAM-SHA-512",
            "KAFKA__SASL_USERNAME": USER,
            "KAFKA__SASL_PASSWORD": self.password,
            "KAFKA__SSL_CA_FILE": str(self._home / "ca.pem"),
        }

    @property
    def mutual_settings(self) -> dict[str, str]:
        """Settings of a `tellwire` process that comes in by a certificate of its own."""
        return {
            "KAFKA__BOOTSTRAP_SERVERS": f"127.0.0.1:{self._mutual_port}",
            "KAFKA__SECURITY_PROTOCOL": "SSL",
            "KAFKA__SSL_CA_FILE": str(self._home / "ca.pem"),
            "KAFKA__SSL_CERTIFICATE_FILE": str(self._home / "client.pem"),
            "KAFKA__SSL_KEY_FILE": str(self._home / "client.key"),
        }

    @property
    def other_authority(self) -> str:
        """Path of a CA certificate that has signed nothing here."""
        return str(self._home / "other-ca.pem")

    def set_password(self, password: str) -> None:
        """Give the user this password; open connections stay open."""
        known = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        self._alter(UserScramCredentialUpsertion(USER, known, password.encode()))

    def drop_user(self) -> None:
        """Let the user's password expire; open connections stay open until they must prove themselves again."""
        self._alter(UserScramCredentialDeletion(USER, ScramMechanism.SCRAM_SHA_512))

    def allow(self, kind: str, name: str, operations: Sequence[str], user: str = USER) -> None:
        """Permit operations (`READ`, `WRITE`, ...) on a `topic` or `group`; a name that ends with `*` is a prefix."""
        made = [AclBinding(*_rule(kind, name, user, operation)) for operation in operations]
        for future in self.admin.create_acls(made, request_timeout=15).values():
            future.result()

    def deny(self, kind: str, name: str, operations: Sequence[str], user: str = USER) -> None:
        """Take back what `allow` permitted."""
        filters = [AclBindingFilter(*_rule(kind, name, user, operation)) for operation in operations]
        for future in self.admin.delete_acls(filters, request_timeout=15).values():
            future.result()

    def _alter(self, change: UserScramCredentialUpsertion | UserScramCredentialDeletion) -> None:
        for future in self.admin.alter_user_scram_credentials([change], request_timeout=15).values():
            future.result()

    def _properties(self, plain: int, sasl: int) -> dict[str, str]:
        scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        trust = {"type": "PEM", "location": str(self._home / "ca.pem")}
        key = {"type": "PEM", "location": str(self._home / "broker-chain.pem")}
        doors = {"PLAINTEXT": plain, "SASL": sasl, "MUTUAL": self._mutual_port}
        advertised = doors | {"SASL": self.proxy.port}
        controller = free_ports(1)[0]
        return {
            "listeners": ",".join(f"{name}://127.0.0.1:{port}" for name, port in doors.items())
            + f",CONTROLLER://127.0.0.1:{controller}",
            "controller.quorum.voters": f"0@127.0.0.1:{controller}",
            "advertised.listeners": ",".join(f"{name}://127.0.0.1:{port}" for name, port in advertised.items()),
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL:SASL_SSL,MUTUAL:SSL",
            "listener.name.sasl.sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.sasl.scram-sha-512.sasl.jaas.config": scram,
            "listener.name.mutual.ssl.client.auth": "required",
            "listener.name.mutual.ssl.principal.mapping.rules": "RULE:^.*CN=([^,]+).*$/$1/",
            **{f"ssl.truststore.{name}": value for name, value in trust.items()},
            **{f"ssl.keystore.{name}": value for name, value in key.items()},
            "connections.max.reauth.ms": str(self._reauthenticate_ms),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
            "allow.everyone.if.no.acl.found": "false",
        }

    def _make_certificates(self) -> None:
        for name in ("ca", "other-ca"):
            self._openssl(
                "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", _DAYS, "-subj", f"/CN=tellwire test {name}",
                "-keyout", f"{name}.key", "-out", f"{name}.pem",
            )  # fmt: skip
        for name, subject in (("broker", "127.0.0.1"), ("client", CLIENT_NAME)):
            (self._home / f"{name}.ext").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
            self._openssl(
                "req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={subject}",
                "-keyout", f"{name}.key", "-out", f"{name}.csr",
            )  # fmt: skip
            self._openssl(
                "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                "-days", _DAYS, "-extfile", f"{name}.ext", "-out", f"{name}.pem",
            )  # fmt: skip
        chain = [self._home / name for name in ("broker.key", "broker.pem", "ca.pem")]
        (self._home / "broker-chain.pem").write_text("".join(part.read_text() for part in chain))

    def _openssl(self, *arguments: str) -> None:
        tool = shutil.which("openssl")
        if tool is None:
            raise UnavailableError("openssl is needed to make certificates, and is not on PATH")
        done = subprocess.run([tool, *arguments], cwd=self._home, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"openssl {arguments[0]} failed: {done.stderr.strip()[-300:]}")


def _rule(
    kind: str, name: str, user: str, operation: str
) -> tuple[ResourceType, str, ResourcePatternType, str, str, AclOperation, AclPermissionType]:
    is_prefix = name.endswith("*")
    pattern = ResourcePatternType.PREFIXED if is_prefix else ResourcePatternType.LITERAL
    who, anywhere = f"User:{user}", "*"
    resource = ResourceType[kind.upper()]
    return resource, name.removesuffix("*"), pattern, who, anywhere, AclOperation[operation], AclPermissionType.ALLOW
