"""Where a service lives: addresses, certificates, systemd, its log, and how its health is asked."""
