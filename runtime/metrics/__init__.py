"""What is counted of a model while it scores, and how Prometheus is told."""
