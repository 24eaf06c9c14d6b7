"""`quasar up`: PostgreSQL, the services and the gateway as processes that are started, watched, started again and stopped."""
