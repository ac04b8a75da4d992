"""Posts lines of CSV from standard input to a vae-detect service, each as it comes: post_rows.py URL.

For the simulator of compose.yaml; it needs nothing but Python. A row that the service does not take is said
and left out, as a gateway would do, and the next one is tried.
"""

import sys
import urllib.request

url = sys.argv[1]
header = sys.stdin.readline()
for line in sys.stdin:
    request = urllib.request.Request(url, (header + line).encode(), {"Content-Type": "text/csv"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            answer.read()
    except OSError as error:  # urllib's errors are among them
        sys.stderr.write(f"a row was not taken: {error}\n")
