"""How accurate and how fast a server is: rates, intervals, reports; no part of serving."""
