import sys

from tevit.cli.main import main

sys.exit(main())
