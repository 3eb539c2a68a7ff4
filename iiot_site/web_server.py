"""`python -m iiot_site.web_server …`: uvicorn with its own options, which ends with 0 when it was told to end.

uvicorn raises the signal that stopped it once more when it has finished its work, and so looks as if it had been killed.
"""

import signal
import sys

import uvicorn

if __name__ == "__main__":
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    uvicorn.main(["--http", "iiot_site.web_protocol:HttpProtocol", *sys.argv[1:]])
