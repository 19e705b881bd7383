"""
What may wait: for a result, for its turn, for the reactor.
"""
