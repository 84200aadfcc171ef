"""The commands of `dialer`, one module for each noun."""
