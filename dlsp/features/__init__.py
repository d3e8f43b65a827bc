"""One file for each request, notification or group of them that the server takes part in."""
