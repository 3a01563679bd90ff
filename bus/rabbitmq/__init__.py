"""The RabbitMQ transport: the only place that speaks AMQP. `transport` is where to begin; `topology` shows
what is on the broker.

    address     the bus URL                            connection  one supervised connection
    topology    queues and bindings, as data           declaring   makes them, names what differs
    wire        frames <-> AMQP messages               publishing  frames out, confirmed
    intake      one channel that consumes              consuming   a consumer that mends itself
    settling    which acknowledgements to send         window      how many frames in hand
    delaying    frames before their time               instances   every_instance consumers of this process
    requests    asks, replies, signals                 keeping     reads the stream of `bus.event.`
    errors      the driver's errors in the bus's words
"""

from __future__ import annotations

from bus.rabbitmq.transport import RabbitTransport, open_rabbitmq

__all__ = ["RabbitTransport", "open_rabbitmq"]
