"""What dialing means (`dialer.core`), and the loop that does it (`dialer.engine`)."""
