"""
How many sessions there may be, and who has to go when there are too many.
"""
