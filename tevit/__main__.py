import sys

from tevit.cli import main

sys.exit(main())
