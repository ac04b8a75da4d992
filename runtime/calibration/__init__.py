"""The promised false-alarm rate: thresholds and p-values from scores of normal operation."""
