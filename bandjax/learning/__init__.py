"""Both directions learned: images made on the device, reverse network, surrogate, their training, and the closed loop."""
