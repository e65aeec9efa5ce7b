"""The endstation without hardware: its physics, the world that is measured, a twin of every device, and an IOC."""
