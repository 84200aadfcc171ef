"""How audio is counted: in frames of 20 ms, each with a level in dB below full scale (0 the loudest)."""

FRAME_MS = 20
SILENT_DB = 100
