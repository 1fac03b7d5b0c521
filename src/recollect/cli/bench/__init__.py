"""`recollect bench`: a server under load, and the index alone."""
