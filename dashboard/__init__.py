"""The face: pages, sockets, commands, and the place where the parts are put together."""
