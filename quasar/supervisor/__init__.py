"""`quasar up`: PostgreSQL, the services and the gateway as processes: started, watched, started again, stopped."""
