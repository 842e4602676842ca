"""`python3 benches/peers`: see `warpnorm_peers`."""

import sys

from warpnorm_peers.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
