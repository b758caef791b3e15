"""The instances of the local AWS: each is a real process group that boots by running its very user data with bash.

`Hosts` is all that others use. What is a stand-in here is named in standins.py; everything else is the machine's own.
"""

from lowtide.hosts.hosts import Hosts
from lowtide.hosts.orphans import end_orphans
from lowtide.hosts.spec import Spec

__all__ = ["Hosts", "Spec", "end_orphans"]
