"""What an operator edits: settings, the example configuration, the systemd unit."""
