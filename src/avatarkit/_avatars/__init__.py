"""
Which avatars there are, and how long they live.
"""
