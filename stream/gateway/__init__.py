"""The capture gateway: takes a collector's telemetry over HTTP and produces it to Kafka, or says clearly why not."""
