"""What plug-in authors get beside the classes that they subclass: requests, notices, HTTP, WebSocket, preferences."""
