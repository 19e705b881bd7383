"""
Calling many clients at once.
"""
