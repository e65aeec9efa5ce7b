"""STXM: from lines of counts to aligned absorbance images, components and chemical maps."""
