"""The main job on real photographs, through an unmodified boto3."""
