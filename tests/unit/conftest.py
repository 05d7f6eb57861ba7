"""What the unit tests share: Ansible's plugins and modules, loaded as the plain Python that they are."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


def load(path: str) -> ModuleType:
    """Import a file of the repository that is no part of a package."""
    name = Path(path).stem
    spec = importlib.util.spec_from_file_location(name, ROOT / path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def filters() -> ModuleType:
    """Return the filters that read the inventory's ``apps``."""
    return load("plugins/filter/slipway.py")


@pytest.fixture(scope="session")
def runs() -> ModuleType:
    """Return the filters that tell runs from each other."""
    return load("plugins/filter/run.py")
