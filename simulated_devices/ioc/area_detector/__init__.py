"""The RIXS camera of the IOC: an Andor CCD under areaDetector, with HDF5 plugins that write real files."""

from simulated_devices.ioc.area_detector.camera import SimulatedCamera

__all__ = ["SimulatedCamera"]
