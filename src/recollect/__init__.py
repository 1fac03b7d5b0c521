"""recollect: a self-hosted face search server that speaks Rekognition's protocol."""

__version__ = "0.1.0"
