"""What a pool has, as one pass sees it: instances, the room in them and what fits there.

The actions of a plan are here too: what may be done with all this.
"""
