"""Streams of rows: lines from a pipe."""
