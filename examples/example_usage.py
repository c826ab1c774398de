"""The plugin engine on its own, as programs written against its first version use it.

Discovers every plugin, loads them, and answers which driver serves what. It talks to no instrument.
"""

import logging

from drivebay import PluginManager, PluginMetadata, PluginStatus


def example_usage() -> None:
    manager = PluginManager(platform_version="1.0.0")
    print(f"platform version  {manager.platform_version}")
    print(f"plugin folders    {[str(folder) for folder in manager.plugin_dirs]}")

    metadata = PluginMetadata(
        name="acme_1",
        version="1.0.0",
        author="Lab Team",
        description="ACME Model 1",
        supported_methods=["iv_sweep"],
        supported_models=["Model 1"],
        driver_class="driver.Acme1",
    )
    print(f"a manifest        {metadata.to_dict()}")
    print(f"states            {[status.value for status in PluginStatus]}")

    print(f"discovered        {manager.discover_plugins()}")
    print(f"loaded            {manager.load_all_plugins()}")
    print(f"can iv_sweep      {manager.find_drivers_for_method('iv_sweep')}")
    print(f"serves a 2400     {manager.find_driver_for_model('2400')}")
    print(
        f"by its reply      {manager.find_driver_for_model('KEITHLEY INSTRUMENTS INC.,MODEL 2400')}"
    )


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    example_usage()
