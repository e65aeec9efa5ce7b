"""Raw runs of CCD frames composed from documents, in both forms of reference to the frames."""

import event_model
import h5py
import numpy as np

from callbacks.contract import MEASUREMENT, Key, Measurement
from callbacks.external import HDF5_DATASET
from callbacks.reduction import data_key

FRAMES, ROWS, COLUMNS = 5, 16, 128
CONFIGURATION = {
    "ccd_counts_per_ev": 0.21,
    "ccd_read_noise": 4.0,
    "ccd_full_scale": 65535.0,
    "ccd_pedestal_subtracted": 0,
}


def write_frames(path, expected=None, seed=0):
    """Write the frames of a run to a file: photons of 110 counts, of which `expected` gives how many in each pixel."""
    rng = np.random.default_rng(seed)
    photons = np.full((FRAMES, ROWS, COLUMNS), 0.05) if expected is None else expected
    frames = (340 + 110 * rng.poisson(photons) + rng.normal(0, 4, photons.shape)).round()
    with h5py.File(path, "w") as file:
        file.create_dataset(HDF5_DATASET, data=frames.astype("uint16"), chunks=(1, *frames.shape[1:]))
    return path


def raw_run(
    path, form, *, problems=(), technique="rixs", numbers=range(1, FRAMES + 1), energies=None, columns=COLUMNS, **start
):
    """Give the documents of a run; `form` is how it refers to its frames."""
    points = FRAMES if energies is None else len(energies)
    block = Measurement(technique=technique, sample="test", points=points, exposure_time=300.0).model_dump(mode="json")
    run = event_model.compose_run(metadata={MEASUREMENT: block, **start})
    yield "start", run.start_doc
    keys = {
        str(key): {"dtype": "number", "shape": [], "source": "test"} for key in (Key.ENERGY, Key.I0, Key.EXPOSURE_TIME)
    }
    keys[str(Key.FRAME_PROBLEM)] = {"dtype": "string", "shape": [], "source": "test"}
    external = "STREAM:" if form == "stream" else "FILESTORE:"
    keys[str(Key.CCD_IMAGE)] = {"dtype": "array", "shape": [ROWS, columns], "source": "test", "external": external}
    configuration = {
        "data": CONFIGURATION,
        "timestamps": dict.fromkeys(CONFIGURATION, 0.0),
        "data_keys": {key: data_key(value) for key, value in CONFIGURATION.items()},
    }
    stream = run.compose_descriptor(name="primary", data_keys=keys, configuration={"ccd": configuration})
    yield "descriptor", stream.descriptor_doc
    if form == "stream":
        resource = run.compose_stream_resource(
            mimetype="application/x-hdf5",
            uri=path.as_uri().replace("file://", "file://localhost"),
            data_key=str(Key.CCD_IMAGE),
            parameters={"dataset": HDF5_DATASET},
        )
        yield "stream_resource", resource.stream_resource_doc
        rows = {"start": 0, "stop": points}, {"start": 1, "stop": points + 1}
        yield "stream_datum", resource.compose_stream_datum(*rows, descriptor=stream.descriptor_doc)
    else:
        resource = run.compose_resource(
            spec="AD_HDF5", root=str(path.parent), resource_path=path.name, resource_kwargs={"frame_per_point": 1}
        )
        yield "resource", resource.resource_doc
    for number in numbers if energies is None else range(1, points + 1):
        energy = 530.0 + number if energies is None else float(energies[number - 1])
        values = {str(Key.ENERGY): energy, str(Key.I0): 2.8e7, str(Key.EXPOSURE_TIME): 300.0}
        values[str(Key.FRAME_PROBLEM)] = dict(problems).get(number, "")
        if form != "stream":
            datum = resource.compose_datum(datum_kwargs={"point_number": number - 1})
            yield "datum", datum
            values[str(Key.CCD_IMAGE)] = datum["datum_id"]
        event = stream.compose_event(
            data=values, timestamps=dict.fromkeys(values, 0.0), seq_num=number, validate=False, filled={}
        )
        yield "event", event
    yield "stop", run.compose_stop()
