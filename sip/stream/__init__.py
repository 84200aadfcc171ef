"""Calls whose other side is a program: audio both ways between a call and a WebSocket server (docs/stream.md).

    bridge's thread                  stream process                    server
    StreamPort  <-- SEQPACKET pair -->  Session  <-- WebSocket, TLS -->

The WebSocket lives in a process of its own. In the SIP worker it could not: there the garbage collector is off (objects of
the stack must not die inside callbacks), and each connection would leave 3.4 KB behind; and with 50 streams a thread for
them made the bridge's turns of 20 ms late, p99 43 to 89 ms instead of 24 to 27. In the main process every frame would
pass the loop that dials. So the worker hands frames over with one `send` that never blocks, and takes them with a `recv`
that never blocks, and nothing that a server does can reach it.

Each stream has a pair of sockets of its own, made by the pool, one end sent to the worker and the other to the stream
process. Its end is a message that needs no words: whichever side goes, the other reads the end of the file.
"""
