"""Legs on the wire. pjsua2 is loaded in worker processes only."""
