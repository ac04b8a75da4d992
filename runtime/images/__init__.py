"""Images: reading files within limits, and writing pictures."""
