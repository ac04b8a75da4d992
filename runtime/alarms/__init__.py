"""From verdicts to what a person acts on: events."""
