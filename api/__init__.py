"""How others reach us: HTTP in, events out."""
