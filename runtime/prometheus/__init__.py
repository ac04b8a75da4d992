"""Prometheus as a source of rows and as where results go."""
