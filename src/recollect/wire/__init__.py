"""HTTP and AWS: who is calling, what do they ask, may they; never heard of faces."""
