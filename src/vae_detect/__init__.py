"""Anomaly detection with autoencoders: train on a workstation, score on the box next to the machine."""

__version__ = "0.1.0"
