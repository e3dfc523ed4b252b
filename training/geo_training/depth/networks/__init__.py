"""Networks that learn together with depth: ego-motion, descriptors, and the SIFT they are compared with."""
