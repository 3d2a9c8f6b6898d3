"""Vectors in, scores out: scorers, calibration, combination, decisions and reasons. No Kafka, no Redis, no clock."""
