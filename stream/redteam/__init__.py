"""The red team: attacks the whole pipeline on this machine, and tells what was found, by what, and after how long.

The attackers that drive a browser are in the checkout's folder `redteam`, in environments of their own; what forges
telemetry without a browser is here. Generators and their sides are `models.attack_generators`.
"""
