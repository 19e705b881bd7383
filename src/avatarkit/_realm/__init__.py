"""
A login from beginning to end: the session, the realm that opens it, and the parts of a realm.
"""
