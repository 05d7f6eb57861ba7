"""Load filters and tests once, in the process that each task's is forked from, and not anew in each of those."""

from __future__ import annotations

DOCUMENTATION = r"""
name: preload
type: aggregate
short_description: Load filters and tests before the first task
description:
  - Ansible runs each task for each host in a process of its own, and loads a filter when it is first asked for there.
    What is loaded before is there for all.
  - These processes don't collect garbage. They end before it is worth it, and looking for it copies the memory that
    they share with the first one.
"""

import gc
import os
from typing import Any

from ansible.plugins.callback import CallbackBase
from ansible.plugins.loader import filter_loader, test_loader


class CallbackModule(CallbackBase):  # type: ignore[misc] # Ansible has no types
    """Load plugins as a run begins."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "preload"

    def v2_playbook_on_start(self, playbook: Any) -> None:
        """Load them."""
        for loader in (filter_loader, test_loader):
            list(loader.all())
        gc.freeze()
        os.register_at_fork(after_in_child=gc.disable)
