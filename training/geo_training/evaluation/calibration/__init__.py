"""How well a camera is known from single images."""
