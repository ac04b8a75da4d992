"""Run the command line with ``python -m vae_detect``."""

from vae_detect.cli import main

if __name__ == "__main__":
    main()
