"""Streams: samples as they come, and what is remembered of each key."""
