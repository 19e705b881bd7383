"""
What a session knows of its client: the mind, and the connection behind it.
"""
