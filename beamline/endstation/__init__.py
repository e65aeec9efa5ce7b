"""What the endstation is made of: configuration, devices, and connecting to them."""
