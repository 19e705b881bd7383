"""
How many sessions there may be, and who must go when there are too many.
"""
