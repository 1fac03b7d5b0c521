"""Bytes to templates; knows arrays, not HTTP, not stores."""
