"""Names of keys, secrets in messages, TLS and Unix sockets."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from features.velocity import Link
from models.movement_match import ENTRY_BYTES
from stream.state import ConnectionOptions, RedisStore, StoreMisconfigured, Watermark, describe_keys
from stream.state.counters import ENTITY_SHARDS, ENTITY_TTL_MS
from stream.state.keys import WATERMARK_TTL_MS, Keys, pack_expected, unpack_watermark
from stream.state.movements import MovementAsk
from tests.support import require
from tests.support.redis import RedisServer

NOON = 1_790_000_100_000


def tag(key: bytes) -> bytes:
    """The part that a cluster hashes: between the first `{` and the first `}` after it."""
    found = re.search(rb"\{([^}]+)\}", key)
    assert found is not None
    return found[1]


class TestKeys:
    def test_all_of_a_partition_share_one_tag_whatever_the_session_is_called(self) -> None:
        keys = Keys("tellwire", "abc")
        names = ["s", "}", "{x}", "\r\n", "{tellwire:vabc:t:p2}:w", "\ud800"]
        everything = [keys.watermark("t", 1), *keys.sessions("t", 1, names)]
        assert {tag(key) for key in everything} == {b"tellwire:vabc:t:p1"}
        assert len(set(everything)) == len(everything)

    def test_versions_prefixes_topics_and_partitions_never_meet(self) -> None:
        found = {
            key
            for prefix in ("a", "b")
            for version in ("1", "2")
            for topic in ("t", "t2")
            for partition in (1, 11)
            for keys in [Keys(prefix, version)]
            for key in (keys.watermark(topic, partition), *keys.sessions(topic, partition, ["s", "1s"]))
        }
        assert len(found) == 2**4 * 3

    def test_entities_spread_over_all_shards_and_hold_no_reference(self) -> None:
        keys = Keys("tellwire", "abc")
        found = [keys.entity("account", f"ref{number}") for number in range(5_000)]
        assert len(set(found)) == 5_000
        assert len({tag(key) for key in found}) == ENTITY_SHARDS
        assert not any(b"ref" in key for key in found)
        assert keys.entity("account", "x") != keys.entity("device", "x")
        assert keys.entity("account", "x") == Keys("tellwire", "other").entity("account", "x")

    @pytest.mark.parametrize("bad", ["", "a}b", "a b", "a:b", "\n", "x" * 250])
    def test_names_that_would_break_the_tag_are_refused(self, bad: str) -> None:
        with pytest.raises(ValueError, match="may hold"):
            Keys(bad, "1")
        with pytest.raises(ValueError, match="may hold"):
            Keys("p", bad)
        with pytest.raises(ValueError, match="may hold"):
            Keys("p", "1").watermark(bad, 0)
        with pytest.raises(ValueError, match="0 or more"):
            Keys("p", "1").watermark("t", -1)

    @pytest.mark.parametrize("topic_id", ["a", "dG9waWM+/w==", "a:b"])
    def test_a_stored_watermark_is_read_back(self, topic_id: str) -> None:
        watermark = Watermark(topic_id, 123)
        assert unpack_watermark(pack_expected(watermark) + b"writer.1") == watermark
        assert unpack_watermark(None) is None
        assert pack_expected(None) == b""
        for bad in (b"x", b"|", b"a|b", b"a:b|", b"\xff:1|"):
            with pytest.raises(ValueError, match=r"."):
                unpack_watermark(bad)

    async def test_every_key_in_the_server_is_described_and_lives_as_described(self, redis_server: RedisServer) -> None:
        store = RedisStore(
            ConnectionOptions(url=redis_server.url), state_version="7", prefix="pre", cap=4, spill=2, stride=2
        )
        await store.open()
        links = [Link("ip", "i", "sessions", f"s{number}", NOON) for number in range(9)]
        await store.commit(
            "t", 3, None, Watermark("id", 1), {"s": b"x"}, [*links, Link("device", "d", "ips", "i", NOON)], 9_000
        )
        await store.replace_crash_note("t", 3, None, b"note", 9_000)
        await store.movements([MovementAsk("0f", (1, 255, 70, 0), b"x" * ENTRY_BYTES)], 9_000)
        await store.close()
        patterns = {
            each.pattern: re.compile(
                re.escape(each.pattern)
                .replace("TOPIC", "t")
                .replace("PARTITION", r"\d+")
                .replace("SESSION_ID", ".*")
                .replace("SHARD", r"\d+")
                .replace("ENTITY", "[adi]")
                .replace("HASH", "[0-9a-f]{32}")
                .replace("TENANT", "0f")
                .replace("TABLE", "[0-3]")
                .replace("BUCKET", "[0-9a-f]+")
                .replace("WHAT", r"\d")
            )
            for each in describe_keys("pre", "7")
        }
        kinds = {each.pattern: each.kind for each in describe_keys("pre", "7")}
        seen = set()
        with redis_server.client() as client:
            for key in client.scan_iter("*"):
                pattern = next(name for name, regex in patterns.items() if regex.fullmatch(key.decode()))
                seen.add(pattern)
                assert client.type(key).decode() == kinds[pattern].replace("sorted set", "zset")
                left_ms = client.pttl(key)
                limit = (
                    9_000
                    if ":s:" in pattern or pattern.endswith((":c", ":BUCKET"))
                    else WATERMARK_TTL_MS
                    if pattern.endswith(":w")
                    else ENTITY_TTL_MS
                )
                assert limit - 5_000 < left_ms <= limit
        assert seen == set(patterns)


class TestSecrets:
    def test_options_show_no_password(self) -> None:
        options = ConnectionOptions(url="redis://user:hunter2@h", password="hunter3")
        assert "hunter" not in repr(options)
        assert "hunter" not in str(options)

    @pytest.mark.parametrize("url", ["redis://:hunter2/x@h", "redis://u:hunter2@h:port", "hunter2://h"])
    def test_an_unreadable_url_is_not_quoted(self, url: str) -> None:
        with pytest.raises(StoreMisconfigured) as caught:
            ConnectionOptions(url=url).arguments()
        assert "hunter2" not in str(caught.value)


@contextlib.asynccontextmanager
async def tls_in_front_of(server: RedisServer, context: ssl.SSLContext) -> AsyncIterator[int]:
    """Serve TLS on a free port of 127.0.0.1 and pass the bytes on to `server`."""

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65_536):
                sink.write(data)
                await sink.drain()
        sink.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, upstream = await asyncio.open_connection("127.0.0.1", server.port)
        await asyncio.gather(pump(reader, upstream), pump(answers, writer))

    listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        await asyncio.sleep(0.05)  # the pumps end with their connections


@pytest.fixture
def certificate_files(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that nobody signed, and its key."""
    openssl = shutil.which("openssl")
    require(openssl, "openssl is needed to make a certificate")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        [str(openssl), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-keyout", str(key), "-out", str(certificate), "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return certificate, key


class TestTransports:
    async def test_tls_with_a_trusted_and_with_an_unknown_certificate(
        self, redis_server: RedisServer, certificate_files: tuple[Path, Path]
    ) -> None:
        certificate, key = certificate_files
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)
        async with tls_in_front_of(redis_server, context) as port:
            url = f"rediss://127.0.0.1:{port}/0"
            trusting = RedisStore(ConnectionOptions(url=url, tls_ca_file=str(certificate)), state_version="1")
            await trusting.open()
            await trusting.commit("t", 0, None, Watermark("id", 1), {"s": b"x"}, [], 9_000)
            assert (await trusting.load("t", 0, ["s"], [])).blobs == {"s": b"x"}
            await trusting.close()
            with pytest.raises(StoreMisconfigured, match="not trusted"):
                await RedisStore(ConnectionOptions(url=url), state_version="1").open()

    async def test_unix_socket(self, tmp_path: Path) -> None:
        path = tmp_path / "s"
        with RedisServer({"unixsocket": str(path)}):
            store = RedisStore(ConnectionOptions(url=f"unix://{path}"), state_version="1")
            await store.open()
            await store.commit("t", 0, None, Watermark("id", 1), {"s": b"x"}, [], 9_000)
            assert (await store.load("t", 0, ["s"], [])).blobs == {"s": b"x"}
            await store.close()
