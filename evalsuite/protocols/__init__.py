"""Protocols: features in, result out."""

from evalsuite.protocols.base import EvaluationProtocol
from evalsuite.registry import Registry

PROTOCOLS: Registry[type[EvaluationProtocol]] = Registry("protocol")
PROTOCOLS.register("zero_shot", "evalsuite.protocols.zero_shot:ZeroShot")
PROTOCOLS.register("linear_probe", "evalsuite.protocols.linear_probe:LinearProbe")

__all__ = ["PROTOCOLS", "EvaluationProtocol"]
