"""How the camera sees: focal length, pitch and roll from one image."""
