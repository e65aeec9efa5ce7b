"""The endstation without the hardware: physics and soft twins of every device."""
