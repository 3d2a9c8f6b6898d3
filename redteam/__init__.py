"""The attackers of `tellwire redteam` that drive a browser: in an environment of their own, never part of tellwire."""
