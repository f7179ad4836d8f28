"""Permissions that hold for root as well."""

import ctypes
import os

CAP_DAC_OVERRIDE = 1


def give_up_power() -> None:
    """Make a process of root's respect the permissions of files, as those of others do."""
    if os.geteuid() == 0:
        header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
        assert ctypes.CDLL(None).capget(header, data) == 0
        data[0] &= ~(1 << CAP_DAC_OVERRIDE)
        assert ctypes.CDLL(None).capset(header, data) == 0
