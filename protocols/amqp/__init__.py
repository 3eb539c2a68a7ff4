"""AMQP 0-9-1 (RabbitMQ): the listener, and what the broker is told about logins and rights."""
