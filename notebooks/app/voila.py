"""How ``make app`` serves the page; options on the command line, such as ``--port``, come on top."""

import os
from pathlib import Path

c = get_config()  # noqa: F821, Voilà defines it

# The template "page" lies beside this file; Voilà looks for templates where Jupyter looks for data.
here = str(Path(__file__).resolve().parent)
os.environ["JUPYTER_PATH"] = os.pathsep.join(filter(None, (here, os.environ.get("JUPYTER_PATH"))))
c.VoilaConfiguration.template = "page"

# A browser must not be able to choose what is rendered or what is shown of an error.
c.VoilaConfiguration.strip_sources = True
c.VoilaConfiguration.show_tracebacks = False
c.VoilaConfiguration.allow_template_override = "NO"
c.VoilaConfiguration.allow_theme_override = "NO"

c.Voila.tornado_settings = {
    # The largest photo that the page sends (MAX_BYTES in mtlora_lite/dashboard/pictures.py, not imported, as it would
    # bring PyTorch into the server), and the message around it; a connection that sends more is closed.
    "websocket_max_message_size": 21_000_000,
    # A page that is closed says so without the token against forged requests, and would be refused (Voilà's issue
    # 1458). There is no login to forge requests with; and a kernel is known by an id that only its page has.
    "disable_check_xsrf": True,
}
# A redrawn page is half a megabyte, and what a kernel says beyond a rate is thrown away.
c.ZMQChannelsWebsocketConnection.limit_rate = False

# Every visitor has a kernel, which ends when the page is closed. Where a browser did not say so, it ends by itself.
c.MappingKernelManager.cull_idle_timeout = 600
c.MappingKernelManager.cull_interval = 60
c.MappingKernelManager.cull_connected = False
