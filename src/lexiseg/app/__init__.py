"""The page and the endpoint of ``lexiseg serve``.

``limits`` says how much is taken, ``fair_queue`` gives the model to one request at a time, ``image_store`` keeps encoded images
within a memory, ``studio`` is what can be asked, ``guards`` refuses what must not come in, ``web`` has the addresses, and
``page/`` is what a browser gets: files of our own, no other host.
"""
