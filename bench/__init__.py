"""Throughput and latency of the whole job, measured beside what it is compared with. Outside the wheel."""
