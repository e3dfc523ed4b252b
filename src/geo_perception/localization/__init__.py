"""Where the camera is: scene landmarks detected in one image, and the pose they give."""
