"""
What a client holds of its session.
"""
