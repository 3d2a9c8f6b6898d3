#!/bin/sh
# Starts tellwire in its container: numba wants a cache that it could write, so the baked kernels are copied to the tmpfs.
set -eu
if [ ! -d "$NUMBA_CACHE_DIR" ]; then
  cp -R -p "${BAKED_KERNELS:-/opt/tellwire/kernels}" "$NUMBA_CACHE_DIR"
fi
exec tellwire "$@"
