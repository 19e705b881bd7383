"""
Who is online, and the base classes of avatars that are told.
"""
