"""The processes that follow the logs of a data folder: one reduces, one fills the catalogue, one draws.

They share nothing with the process that measures but the folder. `process` is what each of them runs, `followers`
starts or finds them and tells how they keep up, `kinds` lists them, `reduction` and `live_picture` are their work; that
of the catalogue is `beamline.storage.catalogue.ingest`.
"""
