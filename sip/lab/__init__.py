"""The built-in called party: a SIP and RTP peer whose behaviour follows the end of the called number.

It is no part of the dialer's own stack (plain asyncio, no pjsua2), so that its log can be the judge of it. For demos, for
tests, and to try a new installation before a carrier is connected.
"""

from sip.lab.behaviours import BEHAVIOURS, Behaviour, Plan, behaviour_table
from sip.lab.guard import Auth
from sip.lab.log import Entry, LabLog, RtpCounts
from sip.lab.server import Lab, serve

__all__ = ["BEHAVIOURS", "Auth", "Behaviour", "Entry", "Lab", "LabLog", "Plan", "RtpCounts", "behaviour_table", "serve"]
