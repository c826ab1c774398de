"""The platform itself, one module a stage; private: use :mod:`drivebay` and :mod:`drivebay.driver`.

The stages in the order of the data: ``errors``, ``links``, ``methods``, ``manifest``, ``index``,
``contract``, ``loader``, ``session``, ``measurement``, ``runs``, ``manager``, ``bay``. Each imports
those before it, never those after it.
"""
