"""Times of requests to a level's figures: speed a user sees, time to the first token, gaps between tokens, and what failed.

Definitions, with t0 sent, t1 the first piece of text, tn the last, n tokens of the answer:

    output tokens per second per user   n / (tn - t0)            what Fox-1's figure 3 shows, waiting included
    decoding tokens per second          (n - 1) / (tn - t1)      once it has begun
    time to first token                 t1 - t0
    inter-token latency                 gaps between pieces of text, all requests of a level together
    output tokens per second, all       tokens of all requests / (last end - first sending)
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from tasks.serving.stream import Timeline

JSON = dict[str, Any]
PERCENTILES = (50, 90, 99)


def level_figures(concurrency: int, timelines: Sequence[Timeline], wanted_tokens: int) -> JSON:
    """Return a level's figures; a request that failed is in none of them but in `failed`, by reason."""
    good = [one for one in timelines if not one.fault]
    failed = Counter(one.fault for one in timelines if one.fault)
    figures: JSON = {"concurrency": concurrency, "requests": len(timelines), "failed": dict(failed.most_common())}
    if not good:
        return figures
    tokens = sum(one.output_tokens for one in good)
    seconds = max(one.ended for one in timelines) - min(one.sent for one in timelines)
    known = [one.prompt_tokens for one in good if one.prompt_tokens is not None]
    decoded = [(one.output_tokens - 1) / (one.arrivals[-1] - one.arrivals[0]) for one in good if one.arrivals[-1] > one.arrivals[0]]
    gaps = [after - before for one in good for before, after in zip(one.arrivals, one.arrivals[1:], strict=False)]
    return figures | {
        "seconds": seconds,
        "output_tokens": tokens,
        "output_tokens_mean": tokens / len(good),
        "ended_early": sum(one.output_tokens < wanted_tokens for one in good),
        "counted_by_server": all(one.counted_by_server for one in good),
        "prompt_tokens_mean": sum(known) / len(known) if known else None,
        "output_tokens_per_second": tokens / seconds,
        "output_tokens_per_second_per_user": spread([one.output_tokens / (one.arrivals[-1] - one.sent) for one in good]),
        "decoding_tokens_per_second": spread(decoded),
        "time_to_first_token_seconds": spread([one.arrivals[0] - one.sent for one in good]),
        "inter_token_seconds": spread(gaps),
    }


def spread(values: Sequence[float]) -> JSON | None:
    """Return mean and percentiles of values, interpolated linearly; None if there are none."""
    if not values:
        return None
    points = np.percentile(values, PERCENTILES)
    return {"mean": float(np.mean(values))} | {f"p{rank}": float(point) for rank, point in zip(PERCENTILES, points, strict=True)}
