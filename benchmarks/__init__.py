"""Speed, as ratios measured side by side in one run."""

import evalsuite  # noqa: F401 - before torch, so that its threads wait as they do in the command
