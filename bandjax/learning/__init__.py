"""Both directions learned: images made on the device, the reverse network, its training, and the closed loop."""
