"""Reports: the figures of a run, and the HTML page that shows them.

Importing matplotlib takes time, so import what is needed from its module: `page.write_page`, and the figures of each
technique, `rixs.map_figures`, `xas.spectrum_figures`, and `stack_figures`, `focus_figures` and `pooled_figures` of
`stxm`.
"""
