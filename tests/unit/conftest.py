"""What the unit tests share: Ansible's plugins and modules, loaded as the plain Python that they are."""

from __future__ import annotations

import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


def load(path: str) -> ModuleType:
    """Import a file of the repository that is no part of a package."""
    name = Path(path).stem
    # Said which loader, as a script has no suffix to tell it by.
    spec = spec_from_loader(name, SourceFileLoader(name, str(ROOT / path)))
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
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
