"""The jars of a real Apache Kafka and of its tools, from Maven Central, and the Java that runs them."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.support import UnavailableError

KAFKA_VERSION = os.environ.get("TEST_KAFKA_VERSION", "4.3.1")
_CACHE = Path(__file__).resolve().parents[2] / ".cache" / "kafka"
_MIN_JAVA = 17

_POM = """<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>tellwire.test</groupId><artifactId>jars</artifactId><version>1</version><packaging>pom</packaging>
<dependencies>{dependencies}</dependencies></project>
"""
_DEPENDENCY = "<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version>{}</dependency>"
_ALONE = "<exclusions><exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion></exclusions>"
_LOGGING = ("org.slf4j", "slf4j-simple", "1.7.36", "")


def find_java() -> str:
    """Return a Java executable, version 17 or newer. Raises `UnavailableError`."""
    home = os.environ.get("JAVA_HOME", "")
    java = shutil.which(f"{home}/bin/java") if home else shutil.which("java")
    if java is None:
        raise UnavailableError(f"a Java {_MIN_JAVA}+ runtime is needed for a real Kafka broker and none is on PATH")
    said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    found = re.search(r'version "(\d+)', said)
    if found is None or int(found[1]) < _MIN_JAVA:
        raise UnavailableError(
            f"Java {_MIN_JAVA}+ is needed for a real Kafka broker, found: {said.partition(chr(10))[0]}"
        )
    return java


def kafka_jars(version: str = KAFKA_VERSION) -> Path:
    """Return the folder with the jars of Kafka `version`, fetched by Maven once and kept in `.cache/kafka/`.

    Concurrent callers wait for one another. Raises `UnavailableError` without Maven or when Maven cannot fetch them.
    """
    return _jars(version, [("org.apache.kafka", "kafka_2.13", version, ""), _LOGGING])


def tool_jars(version: str = KAFKA_VERSION) -> Path:
    """Return the folder with what the documentation's commands and programs need beside `kafka_jars()`.

    Kafka's tools without Kafka Connect, and SQLite for Java. Raises `UnavailableError` as `kafka_jars` does.
    """
    tools = [
        ("org.apache.kafka", "kafka-tools", version, _ALONE),
        ("net.sourceforge.argparse4j", "argparse4j", "0.7.0", _ALONE),
        ("com.fasterxml.jackson.dataformat", "jackson-dataformat-csv", "2.21.2", _ALONE),
        ("org.xerial", "sqlite-jdbc", "3.51.1.0", _ALONE),
    ]
    return _jars(f"tools-{version}", tools)


def _jars(name: str, dependencies: Sequence[tuple[str, str, str, str]]) -> Path:
    """Return the folder `name` of the cache with the jars of `dependencies`, and what these need, fetched once."""
    jars = _CACHE / name
    if jars.is_dir():
        return jars
    _CACHE.mkdir(parents=True, exist_ok=True)
    with (_CACHE / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if jars.is_dir():
            return jars
        maven = shutil.which("mvn")
        if maven is None:
            raise UnavailableError("Maven (mvn) is needed once, to fetch Kafka's jars, and is not on PATH")
        with tempfile.TemporaryDirectory(dir=_CACHE) as work:
            wanted = "".join(_DEPENDENCY.format(*each) for each in dependencies)
            Path(work, "pom.xml").write_text(_POM.format(dependencies=wanted))
            fetched = Path(work, "jars")
            goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={fetched}"]
            done = subprocess.run(
                [maven, "-B", "-q", "-Dstyle.color=never", "-f", f"{work}/pom.xml", *goal],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode != 0 or not all(list(fetched.glob(f"{each[1]}-*.jar")) for each in dependencies):
                why = next((line for line in done.stdout.splitlines() if line.startswith("[ERROR]")), "no jars")
                raise UnavailableError(f"Maven could not fetch {name}: {why[:200]}")
            # The rename is what makes the folder valid: a fetch that was cut off is never used.
            fetched.rename(jars)
    return jars
