"""
Passwords that somebody guesses.
"""
