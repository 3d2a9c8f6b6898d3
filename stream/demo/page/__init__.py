"""The live page of the demo: a form with the collector inside, and what the pipeline makes of who fills it, at once.

It serves one machine: it listens on 127.0.0.1 alone, keeps everything in memory within bounds, and shows sessions by
short references. It needs the extra `gateway`; the rest of the demo does without.
"""
