"""Simulated people and bots, for `tellwire demo` and load: seeded, with the clock passed in.

Everything here is a simulation. It is plausible, not measured: no recording, no model and no figure is made from it,
and neither training nor evaluation may import it. What it says about detection holds for these simulated families
alone.
"""
