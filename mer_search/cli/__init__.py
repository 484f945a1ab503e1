"""Commands: parse, call, print. Torch and OpenCV are imported by the command that needs them, so --help is instant."""

from mer_search.cli import bench, confirm, data, networks, scores, search  # noqa: F401 (each adds its commands)
from mer_search.cli.options import main as main
