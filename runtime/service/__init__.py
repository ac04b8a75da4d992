"""The HTTP service: its process, its application, its models and its metrics."""
