"""
What a session knows of its client.
"""
