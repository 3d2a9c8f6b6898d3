"""The live demo: starts every part of the pipeline on this machine, sends it traffic, and shows what comes out.

What it shows is a simulation unless recorded sessions are played, and its embedded broker is no instrument for latency:
the view says both.
"""
