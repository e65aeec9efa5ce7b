"""Frames are followed where a file holds one an event, and left as they are where it holds them otherwise."""

import pytest

from beamline.storage.catalogue.frame_order import FrameOrder


@pytest.mark.parametrize(
    ("spec", "kwargs", "followed"),
    [("AD_HDF5", {}, True), ("AD_HDF5", {"frame_per_point": 1}, True), ("AD_HDF5", {"frame_per_point": 2}, False),
     ("AD_TIFF", {}, False)],
)  # fmt: skip
def test_frames_are_followed_where_there_is_one_an_event(spec, kwargs, followed):
    order = FrameOrder()
    order.add_resource({"uid": "a", "spec": spec, "root": "/", "resource_path": "a", "resource_kwargs": kwargs})
    for number in (0, 2):
        order.add_datum({"datum_id": f"a/{number}", "resource": "a", "datum_kwargs": {"point_number": number}})
    in_order = [order.add_event("primary", "x", {"shape": [4, 5]}, f"a/{number}") for number in (0, 2)]
    assert in_order == [True, not followed]  # frame 1 was left out
    assert list(order.streams) == ([("primary", "x")] if followed else [])
    assert order.unreferenced == {}
