"""PluginManager: the original platform's facade over manifest, index and loader."""

from drivebay._core.manager.able import Ability
from drivebay._core.manager.facade import PluginManager
from drivebay._core.manager.info import PluginEvent, PluginInfo, PluginStatus, plan_for
from drivebay._core.manager.state_file import drivebay_home
from drivebay._core.manager.watcher import Watcher

__all__ = [
    "Ability",
    "PluginEvent",
    "PluginInfo",
    "PluginManager",
    "PluginStatus",
    "Watcher",
    "drivebay_home",
    "plan_for",
]
