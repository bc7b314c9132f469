import json

import torch

from jalon.engines.torch.profiler import profiler
from jalon.sinks.profile import Profile


def test_written(tmp_path):
    """The trace lies where TensorBoard looks, with torch's operations under the numbers of the batches."""
    with profiler(tmp_path) as profile:
        for number in (3, 4):
            with profile.mark(number):
                torch.mm(torch.ones(4, 4), torch.ones(4, 4))

    (trace,) = tmp_path.glob("plugins/profile/*/*.pt.trace.json")
    names = {event.get("name") for event in json.loads(trace.read_bytes())["traceEvents"]}

    assert {"ProfilerStep#3", "ProfilerStep#4", "aten::mm"} <= names
    assert isinstance(profile, Profile)
    assert profile.run_metadata is None


def test_nothing_before_it_begins(tmp_path):
    """Asking for a profiler starts none."""
    profiler(tmp_path)

    assert [] == list(tmp_path.iterdir())
