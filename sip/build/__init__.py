"""The recipe for our own pjsua2: pjproject with our config_site.h, packed as a wheel.

`python3 -m sip.build` runs it from the top of the source tree, before anything is installed: standard library only.
"""
