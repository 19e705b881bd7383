"""
Who is online, and the avatar base classes that are told.
"""
