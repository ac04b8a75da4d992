"""The heavy half: PyTorch trains, calibrates and exports what the runtime scores."""
