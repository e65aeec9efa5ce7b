"""Principal components of a stack, exact and growing with it, and how many of them are more than noise."""

from callbacks.stxm.components.grouped import GroupedSpectra
from callbacks.stxm.components.in_blocks import PixelComponents, components_in_blocks
from callbacks.stxm.components.pca import StreamingPCA, stream_hdf5
from callbacks.stxm.components.significance import Significance, noise_cut, significance
from callbacks.stxm.components.solution import Components, Whitened

__all__ = [
    "Components",
    "GroupedSpectra",
    "PixelComponents",
    "Significance",
    "StreamingPCA",
    "Whitened",
    "components_in_blocks",
    "noise_cut",
    "significance",
    "stream_hdf5",
]
