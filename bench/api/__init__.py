"""The REST API over RabbitMQ: how long lists and asks take while services run as processes of their own."""
