"""Where packs come from; nothing here is imported while a request runs."""
