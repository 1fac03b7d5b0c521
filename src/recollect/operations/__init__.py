"""One function per API action, named as boto3 names it."""
