"""When things happen, and surviving a crash: the timing wheel and the SQLite store."""
