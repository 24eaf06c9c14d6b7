"""The grpc-web gateway: grpc-web in, gRPC out; serves the built frontend. It owns no state and knows no message."""
