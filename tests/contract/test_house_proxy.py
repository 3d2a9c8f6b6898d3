"""The fault proxy does what each fault says, seen from a plain socket."""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from collections.abc import Iterator

import pytest
from confluent_kafka import Producer

from tests.support.kafka import KafkaBroker
from tests.support.process import free_ports
from tests.support.proxy import FaultProxy


class _Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        while data := self.request.recv(65_536):
            if data == b"bye":
                return
            self.request.sendall(data)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A reset is what these tests are about: nothing to print."""


@pytest.fixture
def proxy() -> Iterator[FaultProxy]:
    with _Server(("127.0.0.1", 0), _Echo) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        with FaultProxy(("127.0.0.1", server.server_address[1])) as running:
            yield running
        server.shutdown()


@pytest.fixture
def client(proxy: FaultProxy) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as connection:
        yield connection


def echo(connection: socket.socket, data: bytes) -> bytes:
    connection.sendall(data)
    answer = b""
    while len(answer) < len(data):
        part = connection.recv(65_536)
        if not part:
            break
        answer += part
    return answer


def connect_and_echo(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        return echo(connection, b"hello")


def test_bytes_pass_whole_and_in_order(client: socket.socket) -> None:
    data = bytes(range(256)) * 4000
    sender = threading.Thread(target=client.sendall, args=(data,))
    sender.start()
    received = b""
    while len(received) < len(data):
        received += client.recv(65_536)
    sender.join()
    assert received == data


def test_latency_delays_each_way_and_does_not_add_up(proxy: FaultProxy, client: socket.socket) -> None:
    proxy.latency_s = 0.1
    began = time.monotonic()
    for number in range(10):
        client.sendall(b"%d" % number)
        time.sleep(0.005)
    received = b""
    while len(received) < 10:
        received += client.recv(100)
    took = time.monotonic() - began
    assert received == b"0123456789"
    assert 0.2 <= took < 0.6


def test_a_stall_holds_bytes_until_it_is_healed(proxy: FaultProxy, client: socket.socket) -> None:
    assert echo(client, b"before") == b"before"
    proxy.stall()
    client.sendall(b"held")
    client.settimeout(0.2)
    with pytest.raises(TimeoutError):
        client.recv(10)
    proxy.heal()
    client.settimeout(5)
    assert client.recv(10) == b"held"


def test_a_cut_ends_connections_and_refuses_new_ones_until_it_is_healed(
    proxy: FaultProxy, client: socket.socket
) -> None:
    assert echo(client, b"before") == b"before"
    proxy.cut()
    assert client.recv(10) == b""
    # Depending on who is faster, the reset meets the connect, the send or the receive.
    with pytest.raises(ConnectionError):
        connect_and_echo(proxy.port)
    proxy.heal()
    assert connect_and_echo(proxy.port) == b"hello"


def test_a_reset_is_seen_as_one_and_new_connections_work(proxy: FaultProxy, client: socket.socket) -> None:
    assert echo(client, b"before") == b"before"
    proxy.reset()
    with pytest.raises(ConnectionResetError):
        client.recv(10)
    assert connect_and_echo(proxy.port) == b"hello"
    assert proxy.accepted == 2


def test_half_open_leaves_the_client_waiting_without_an_end(proxy: FaultProxy, client: socket.socket) -> None:
    assert echo(client, b"before") == b"before"
    proxy.half_open()
    client.sendall(b"into the void")
    client.settimeout(0.3)
    with pytest.raises(TimeoutError):
        client.recv(10)
    assert connect_and_echo(proxy.port) == b"hello"


def test_an_upstream_that_closes_closes_the_client(client: socket.socket) -> None:
    assert echo(client, b"before") == b"before"
    client.sendall(b"bye")
    assert client.recv(10) == b""


def test_a_share_of_chunks_is_reset(proxy: FaultProxy) -> None:
    proxy.reset_ratio = 0.2
    resets = 0
    for _ in range(50):
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as connection:
            try:
                resets += echo(connection, b"x") != b"x"
            except ConnectionError:
                resets += 1
    # Two chunks a connection at 0.2 each: 18 of 50 expected, 3.4 standard deviation.
    assert 5 <= resets <= 31


def test_a_broker_behind_the_proxy_is_cut_off_and_comes_back(kafka_broker: KafkaBroker) -> None:
    assert kafka_broker.bootstrap  # Java and Maven are there
    (port,) = free_ports(1)
    with FaultProxy(("127.0.0.1", port)) as proxy:
        advertised = {"advertised.listeners": f"PLAINTEXT://127.0.0.1:{proxy.port}"}
        with KafkaBroker(ports=[port], properties=advertised) as broker:
            topic = broker.create_topic()
            producer = Producer({"bootstrap.servers": f"127.0.0.1:{proxy.port}", "log_level": 0})
            delivered: list[bool] = []
            producer.produce(topic, b"before", on_delivery=lambda error, _: delivered.append(error is None))
            assert producer.flush(15) == 0
            proxy.cut()
            producer.produce(topic, b"meanwhile", on_delivery=lambda error, _: delivered.append(error is None))
            assert producer.flush(1.5) == 1
            proxy.heal()
            assert producer.flush(30) == 0
            assert delivered == [True, True]
