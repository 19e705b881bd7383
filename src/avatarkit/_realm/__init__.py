"""
A login from its beginning to its end: the session, the realm that starts it, and what takes part.
"""
