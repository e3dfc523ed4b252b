"""Messages in and out, and what every node shares. Only this package and the `node.py` files import rclpy."""
