"""What a user can do, once, for the command line, Python and a service alike: gives data, never prints."""
