"""OPC UA: reads what tenants mapped on their plants' servers (client.py and up), and serves their readings (server.py and up)."""
