"""Maps that live: a scene is refreshed where its place has changed, and stays what it is elsewhere."""
