"""Entry point of demo/run."""

import sys

if sys.version_info < (3, 11):
    sys.exit("demo/run needs Python 3.11 or newer")

from privnet.demo import main

sys.exit(main())
