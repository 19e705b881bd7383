"""
Logins over the web, where a connection carries the requests of many.
"""
