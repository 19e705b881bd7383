"""
Who is still there, how long something may take, and what a client is told at the end.
"""
