"""Faust is imported without aiohttp, which is there for whoever imports it, and whole where Faust wants it."""

from __future__ import annotations

import subprocess
import sys

import pytest

BARE = """
import sys
import stream.transport
assert not [name for name in sys.modules if name.partition(".")[0] == "aiohttp"]
import aiohttp, faust
from faust.types.web import HttpClientT
assert aiohttp.__version__
assert aiohttp.client.ClientSession is not HttpClientT
app = faust.App("x", broker="librdkafka://b", **stream.transport.faust_settings())
assert app.conf.HttpClient is aiohttp.ClientSession
"""
THERE = """
import aiohttp, stream.transport
from faust.types.web import HttpClientT
assert aiohttp.client.ClientSession is HttpClientT
"""
WANTS_MORE = """
import importlib.abc, importlib.util, sys

class More(importlib.abc.MetaPathFinder):
    '''A Faust of the future: its web types take another name of aiohttp, too.'''

    def find_spec(self, name, path, target=None):
        if name == "faust.types.web":
            sys.meta_path.remove(self)
            spec = importlib.util.find_spec(name)
            sys.meta_path.insert(0, self)
            load = spec.loader.exec_module
            def exec_module(module):
                from aiohttp import ClientTimeout
                load(module)
            spec.loader.exec_module = exec_module
            return spec

sys.meta_path.insert(0, More())
import stream.transport, aiohttp, faust
from faust.types.web import HttpClientT
assert aiohttp.client.ClientSession is HttpClientT
assert faust.App("x", broker="librdkafka://b", **stream.transport.faust_settings()).conf.HttpClient is HttpClientT
"""


@pytest.mark.parametrize("code", [BARE, THERE, WANTS_MORE], ids=["bare", "there", "wants more"])
def test_faust_comes_without_its_http_client(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 0, done.stderr
