"""The four calls, from server reflection alone: pip install grpcio grpcio-reflection; python3 python_client.py [HOST:PORT]"""
import sys
import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase


class Trunkline:
    def __init__(self, address):
        self.channel = grpc.insecure_channel(address)
        self.pool = DescriptorPool(ProtoReflectionDescriptorDatabase(self.channel))

    def call(self, service, method, **fields):
        described = self.pool.FindServiceByName(f"trunkline.v1.{service}").FindMethodByName(method)
        request, response = GetMessageClass(described.input_type), GetMessageClass(described.output_type)
        stub = self.channel.unary_unary(f"/trunkline.v1.{service}/{method}", request.SerializeToString, response.FromString)
        return stub(request(**fields), timeout=10)

    def push(self, topic, message):
        return self.call("PushService", "Push", topic=topic, messages=[{"payload": message}]).results[0]

    def subscribe(self, topic, consumer):
        return self.call("PopService", "Subscribe", topic=topic, consumer=consumer).subscription

    def pop(self, topic, consumer):
        deliveries = self.call("PopService", "Pop", topic=topic, consumer=consumer, wait={"seconds": 5}).deliveries
        return deliveries[0].message if deliveries else None

    def list_topics(self):
        return [topic.name for topic in self.call("TopicService", "ListTopics").topics]


if __name__ == "__main__":
    trunkline = Trunkline(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:7101")
    trunkline.subscribe("greetings", "python")
    print("receipt:", trunkline.push("greetings", b"hello from Python").receipt)
    received = trunkline.pop("greetings", "python")
    print("message", received.message_id, "says", received.message.payload.decode())
    print("topics:", ", ".join(trunkline.list_topics()))
