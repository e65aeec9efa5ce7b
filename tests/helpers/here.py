"""Sessions whose runs are reduced by a thread of this process, where a test can reach into a step."""

from beamline.acquire.session import Session
from beamline.storage.layout import REDUCTION


def reducing_session(config, data_dir):
    """Open a session that reduces in this process, and fills no catalogue that nobody looks at."""
    return Session(config, data_dir, in_process=True, followers=(REDUCTION,)).__enter__()
