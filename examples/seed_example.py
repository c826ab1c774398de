"""The plugin engine as a program of one's own would use it: built-in drivers and a user's folder.

Writes a small driver into a temporary folder, finds it beside the built-in ones, loads both, and
asks which of them answers for what. It needs no instrument: the small driver makes up its readings.
"""

import tempfile
from pathlib import Path

import drivebay
from drivebay import PluginManager, PluginMetadata, PluginStatus

MANIFEST = """\
name: bench_thermometer
version: 1.0.0
author: Lab Team
description: A thermometer that is only made up
supported_methods: [temperature]
supported_models: ["T-100"]
driver_class: thermometer.Thermometer
"""
DRIVER = '''\
from drivebay import InstrumentDriver


class Thermometer(InstrumentDriver):
    """Answers as if the room were at 21.5 degrees, whatever is asked."""

    def __init__(self, resource_name, config=None):
        self.resource_name = resource_name
        self.offset_k = float((config or {}).get("offset_k", 0.0))

    def connect(self):
        return True

    def disconnect(self):
        return True

    def reset(self):
        self.offset_k = 0.0

    def get_identity(self):
        return {"manufacturer": "ACME", "model": "T-100", "serial": "1", "firmware": "1.0"}

    def get_capabilities(self):
        return ["temperature"]

    def configure(self, method, params):
        self.offset_k = float(params.get("offset_k", self.offset_k))

    def measure(self, method, params):
        return {"temperature_k": 294.65 + self.offset_k}

    def abort(self):
        pass

    def get_status(self):
        return {"resource": self.resource_name}
'''


def example_usage(user_folder: Path) -> None:
    builtin_folder = Path(drivebay.__file__).parent / "drivers"
    manager = PluginManager([builtin_folder, user_folder], platform_version="1.0.0")
    print(f"platform version  {manager.platform_version}")
    print(f"states            {' '.join(status.value for status in PluginStatus)}")

    metadata = PluginMetadata.from_yaml(user_folder / "thermometer" / "plugin.yaml")
    print(
        f"a manifest        {metadata.name} {metadata.version} serves {metadata.supported_models}"
    )

    print(f"discovered        {manager.discover_plugins()}")
    print(f"loaded            {manager.load_all_plugins()}")
    for name, info in manager.list_plugins().items():
        print(f"plugin            {name}: {info.status}, {info.error_message or 'no error'}")

    print(f"can iv_sweep      {manager.find_drivers_for_method('iv_sweep')}")
    for model in ("2400", "KEITHLEY INSTRUMENTS INC.,MODEL 2400,1234567,C30", "T-100", "9999"):
        print(f"{model[:24]:<25} answered by {manager.find_driver_for_model(model)}")

    name = manager.find_driver_for_model("T-100")
    if name is None:
        raise SystemExit("nothing serves a T-100")
    with manager.get_driver(name, "MADE-UP::1", {"offset_k": 0.5}) as driver:
        print(f"while connected   {manager.plugins[name].status}")
        print(f"reading           {driver.measure('temperature', {})}")
    print(f"afterwards        {manager.plugins[name].status}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        plugin = Path(folder) / "thermometer"
        plugin.mkdir()
        (plugin / "plugin.yaml").write_text(MANIFEST, encoding="utf-8")
        (plugin / "thermometer.py").write_text(DRIVER, encoding="utf-8")
        example_usage(Path(folder))
